"""Experiments on the method in the embedded world, where every quantity is exact.

    minicai lab                                        # lists them
    minicai lab steer --run runs/default --seeds 3     # runs one on that run's base

Each works on copies in RUN/lab/NAME: a finished part is never done again, so a run that was stopped goes on. Tables are
printed and written to RUN/lab/NAME/results.json; what the scripts say goes to log.txt beside it.
"""
import argparse
from pathlib import Path
from statistics import mean

from minicai.tools.lab.bench import Bench
from minicai.tools.lab.experiments import EXPERIMENTS


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai lab", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=[*EXPERIMENTS], help="the experiment; without it: a list")
    parser.add_argument("--run", type=Path, default=Path("runs/default"), help="what it starts from (%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="how often, with seeds 0, 1, ... (default: %(default)s)")
    parser.add_argument("--probes", type=int, default=192, help="test requests to measure on (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args(argv)
    if args.seeds < 1 or args.probes < 8:
        parser.error("--seeds must be at least 1 and --probes at least 8")
    if not args.name:
        print("\n".join(f"  {name:14}{work.__doc__.splitlines()[0]}" for name, work in EXPERIMENTS.items()))
        return
    work, folder = EXPERIMENTS[args.name], args.run / "lab" / args.name
    results = [work(Bench(args.run, folder / f"seed{s}", s, args.probes, args.device)) for s in range(args.seeds)]
    print(f"{work.__doc__}\n\n{table(results)}\n\nwrote {folder}")


def table(results: list[dict[str, dict[str, float]]]) -> str:
    """Rows and columns of one result a seed -> lines: the mean, and the lowest and highest of several seeds."""
    rows = list(results[0])
    columns = list(dict.fromkeys(name for row in rows for name in results[0][row]))
    width = max(12, 2 + max(map(len, columns)), 22 * (len(results) > 1))
    lines = [f"{'':24}" + "".join(f"{name:>{width}}" for name in columns)]
    for row in rows:
        cells = []
        for name in columns:
            values = [r[row][name] for r in results if r[row].get(name) is not None]
            spread = f" ({min(values):.2f}-{max(values):.2f})" if len(results) > 1 and values else ""
            cells.append(f"{mean(values):.3f}{spread}" if values else "-")
        lines.append(f"{row:24}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)
