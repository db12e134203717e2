"""Draw a run: help against harm for each model, and how PPO went. Needs matplotlib: pip install "minicai[plot]".

    minicai plot runs/default          # writes RUN/run.png
"""
import argparse
import json
from pathlib import Path

from minicai import UserError

CURVES = (("harm and help, validation", ("harmful", "objection", "helpful", "refused")),
          ("score of the reward model", ("score",)), ("KL from SL, nats a response", ("kl",)))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai plot", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run, evaluated, with its ppo/")
    args = parser.parse_args(argv)
    for name in ("evaluation.json", "ppo/metrics.jsonl"):
        if not (args.run / name).is_file():
            raise UserError(f"{args.run}: holds no {name}; run the three scripts and minicai evaluate {args.run} first")
    draw(args.run)
    print(f"wrote {args.run / 'run.png'}")


def draw(run: Path) -> None:
    """Four panels into run.png."""
    try:
        import matplotlib
    except ImportError:
        raise UserError('minicai plot needs matplotlib: pip install "minicai[plot]"') from None
    matplotlib.use("Agg")
    from matplotlib import pyplot
    models = json.loads((run / "evaluation.json").read_text())["models"]
    records = [json.loads(line) for line in (run / "ppo" / "metrics.jsonl").read_text().splitlines()]
    records = [r for r in records if "iteration" in r]
    figure, axes = pyplot.subplots(1, 4, figsize=(17, 4), layout="constrained")
    for name, found in models.items():
        harm, kind = found["t1"]["requests"], found["t1"]["benign"]
        axes[0].scatter(100 * (1 - harm["harmful"]), 100 * kind["helpful"], s=90)
        axes[0].annotate(f" {name}", (100 * (1 - harm["harmful"]), 100 * kind["helpful"]), fontsize=13)
    axes[0].set(title="helpful against harmless, test, T=1", xlabel="% not harmful", ylabel="% helpful on benign",
                xlim=(-5, 112), ylim=(0, 105))
    for axis, (title, names) in zip(axes[1:], CURVES, strict=True):
        for name in names:
            axis.plot([r["iteration"] for r in records], [r[name] for r in records], label=name)
        axis.set(title=title, xlabel="PPO iteration")
        axis.legend(frameon=False)
    figure.savefig(run / "run.png", dpi=110)
