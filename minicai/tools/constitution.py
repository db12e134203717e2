"""What each principle of a constitution means to a run's base, as critic and as judge; warns where it is lost."""
from minicai import constitution
from minicai.tools import command_line, speaker
from minicai.toyworld.measure import consult, describe
from minicai.toyworld.world import World


def main(argv: list[str]) -> None:
    args = command_line(__name__).parse_args(argv)
    principles, world, lost = constitution.load(args.file), World.of(args.run), 0
    found = consult(world, speaker(args.run / "base", device=args.device), principles, args.requests)
    for number, (principle, cases) in enumerate(zip(principles, found, strict=True), start=1):
        reading, doubts = describe(world, cases)
        lost += bool(doubts)
        print("\n      ".join([f"{'!' if doubts else ' '}{number:3}. {principle}", reading, *doubts]))
    print(f"\n{len(principles) - lost} of {len(principles)} principles are understood")
