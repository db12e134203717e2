"""Experiments on the method in the embedded world, where every quantity is exact.

    minicai lab                                        # lists them
    minicai lab steer --run runs/default --seeds 3     # seeds 0 to 2, all on that run's base
    minicai lab steer --run runs/a runs/b              # seed 0 on the base of runs/a, seed 1 on that of runs/b
    minicai lab steer --run runs/a runs/b --only 1     # seed 1 of these alone

Works on copies in RUN/lab/NAME, part by part: what is done is not done again. The table goes to the screen, everything
to results.json there, the picture to results.png and .svg; what the scripts say goes to a log.txt.
"""
import json
from pathlib import Path

from minicai import UserError
from minicai.tools import command_line, spread
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
    parser.add_argument("--seeds", type=int, help="seeds 0, 1, ... (default: as many as runs)")
    parser.add_argument("--only", type=int, metavar="SEED", help="this seed alone")
    parser.add_argument("--rl", action="store_true", help="steer: after RL too, which takes four times as long")
    args = parser.parse_args(argv)
    seeds = range(len(args.run) if args.seeds is None else args.seeds) if args.only is None else [args.only]
    if not seeds or seeds[0] < 0 or args.rl and args.name != "steer":
        parser.error("--seeds must be at least 1, --only at least 0, and --rl is for steer")
    if not args.name:
        print("\n".join(f"  {name:14}{text['asks']}" for name, text in TEXTS.items()))
        return
    work, runs = EXPERIMENTS[args.name], [args.run[seed % len(args.run)] for seed in seeds]
    results = [work(Bench(run, run / "lab" / args.name / f"seed{seed}", seed, args.device, rl=args.rl))
               for run, seed in zip(runs, seeds, strict=True)]
    folder = runs[0] / "lab" / args.name
    (folder / "results.json").write_text(json.dumps(dict(zip(seeds, results, strict=True)), indent=1) + "\n")
    dialogues = [text for row in results[0].values() for text in row.get("dialogues", [])]
    asks, expected = (TEXTS[args.name][key] for key in ("asks", "expected"))
    print("\n\n".join([asks, f"Expected:{expected}", table(results), *dialogues, f"wrote {folder}"]))
    try:
        draw(args.name, results, folder / "results.png")
    except UserError as error:
        print(f"no picture: {error}")


def table(results: list[dict[str, dict]]) -> str:
    """Rows and columns of one result a seed -> a table in Markdown; lists are for the JSON and the pictures."""
    columns = list(dict.fromkeys(
        name for row in results[0].values() for name, value in row.items() if not isinstance(value, list)))
    lines = [["", *columns]] + [
        [row, *(spread([r[row].get(name) for r in results], 0 if name == "seconds" else 2) for name in columns)]
        for row in results[0]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(f"{c:{w}}" for c, w in zip(line, widths, strict=True)) + " |" for line in lines)
