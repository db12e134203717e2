"""Experiments on the method in the embedded world, where every quantity is exact."""
import json
from pathlib import Path

from minicai import UserError, tools
from minicai.tools.lab import bench, pictures, rewards, words

EXPERIMENTS = {work.__name__: work for work in (
    words.steer, words.revisions, rewards.labels, rewards.overoptimise, rewards.rlhf, words.priority)}


def main(argv: list[str]) -> None:
    parser = tools.command_line(__name__)
    parser.add_argument("name", nargs="?", choices=[*EXPERIMENTS], help="the experiment; without it: a list")
    args = parser.parse_args(argv)
    if args.rl and args.name != "steer":
        parser.error("--rl is for steer")
    if not args.name:
        return print("\n".join(f"  {name:14}{text['asks']}" for name, text in pictures.TEXTS.items()))
    work, text = EXPERIMENTS[args.name], pictures.TEXTS[args.name]
    runs = [Path(args.run[seed % len(args.run)]) for seed in range(args.seeds or len(args.run))]
    results = [work(bench.Bench(run, run / f"lab/{args.name}/seed{seed}", seed, args.device, rl=args.rl))
               for seed, run in enumerate(runs)]
    folder = runs[0] / "lab" / args.name
    (folder / "results.json").write_text(json.dumps(dict(enumerate(results)), indent=1) + "\n")
    dialogues = [said for row in results[0].values() for said in row.get("dialogues", [])]
    print(text["asks"], f"Expected:{text['expected']}", tools.table(results), *dialogues, f"wrote {folder}", sep="\n\n")
    try:
        pictures.draw(args.name, results, folder / "results.png")
    except UserError as error:
        print(f"no picture: {error}")
