"""Experiments on the method in the embedded world, where every quantity is exact."""
import json
from pathlib import Path

from minicai import UserError
from minicai.tools import at_least, command_line, table
from minicai.tools.lab.bench import Bench
from minicai.tools.lab.pictures import TEXTS, draw
from minicai.tools.lab.rewards import labels, overoptimise, rlhf
from minicai.tools.lab.words import priority, revisions, steer

EXPERIMENTS = {work.__name__: work for work in (steer, revisions, labels, overoptimise, rlhf, priority)}


def main(argv: list[str]) -> None:
    parser = command_line(__name__, device=True)
    parser.add_argument("name", nargs="?", choices=[*EXPERIMENTS], help="the experiment; without it: a list")
    parser.add_argument("--run", type=Path, nargs="+", default=[Path("runs/default")],
                        help="what it starts from; of several, each seed takes the next (default: runs/default)")
    parser.add_argument("--seeds", type=at_least(1), help="seeds 0, 1, ... (default: as many as runs)")
    parser.add_argument("--rl", action="store_true", help="steer: after RL too, which takes four times as long")
    args = parser.parse_args(argv)
    if args.rl and args.name != "steer":
        parser.error("--rl is for steer")
    if not args.name:
        print("\n".join(f"  {name:14}{text['asks']}" for name, text in TEXTS.items()))
        return
    runs = [args.run[seed % len(args.run)] for seed in range(args.seeds or len(args.run))]
    results = [EXPERIMENTS[args.name](Bench(run, run / f"lab/{args.name}/seed{seed}", seed, args.device, rl=args.rl))
               for seed, run in enumerate(runs)]
    folder = runs[0] / "lab" / args.name
    (folder / "results.json").write_text(json.dumps(dict(enumerate(results)), indent=1) + "\n")
    dialogues = [text for row in results[0].values() for text in row.get("dialogues", [])]
    print("\n\n".join([TEXTS[args.name]["asks"], f"Expected:{TEXTS[args.name]['expected']}", table(results),
                       *dialogues, f"wrote {folder}"]))
    try:
        draw(args.name, results, folder / "results.png")
    except UserError as error:
        print(f"no picture: {error}")
