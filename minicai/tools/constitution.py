"""What each principle of a constitution means to a run's base, as critic and as judge; warns where it is lost."""
from minicai import constitution, tools
from minicai.toyworld import measure, world


def main(argv: list[str]) -> None:
    args = tools.command_line(__name__).parse_args(argv)
    principles, embedded, lost = constitution.load(args.file), world.World.of(args.run), 0
    found = measure.consult(embedded, tools.speaker(args.run / "base", device=args.device), principles, args.requests)
    for number, (principle, cases) in enumerate(zip(principles, found, strict=True), start=1):
        reading, doubts = measure.describe(embedded, cases)
        lost += bool(doubts)
        print("\n      ".join([f"{'!' if doubts else ' '}{number:3}. {principle}", reading, *doubts]))
    print(f"\n{len(principles) - lost} of {len(principles)} principles are understood")
