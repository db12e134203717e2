"""What each principle of a constitution means to a run's base, as critic and as judge; warns where it is lost."""
from pathlib import Path

from minicai import constitution
from minicai.run import device_of
from minicai.tools import at_least, command_line, speaker
from minicai.toyworld.measure import consult, describe
from minicai.toyworld.world import World


def main(argv: list[str]) -> None:
    parser = command_line(__name__, "file", "text file, a principle a line", device=True)
    parser.add_argument("--run", type=Path, default=Path("runs/default"), help="whose base/ is asked (%(default)s)")
    parser.add_argument("--requests", type=at_least(1), default=3, help="of each category (default: %(default)s)")
    args = parser.parse_args(argv)
    principles, world, lost = constitution.load(args.file), World.of(args.run), 0
    found = consult(world, speaker(args.run / "base", device=device_of(args.device)), principles, args.requests)
    for number, (principle, cases) in enumerate(zip(principles, found, strict=True), start=1):
        reading, doubts = describe(world, cases)
        lost += bool(doubts)
        print("\n      ".join([f"{'!' if doubts else ' '}{number:3}. {principle}", reading, *doubts]))
    print(f"\n{len(principles) - lost} of {len(principles)} principles are understood")
