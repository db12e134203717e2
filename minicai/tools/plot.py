"""Draw a run: help against harm, revisions, calibration, and how PPO went.

    pip install -e ".[plot]" && minicai plot runs/default          # writes RUN/run.png and run.svg
"""
import argparse
import json
from pathlib import Path

from minicai import UserError
from minicai.tools.lab.pictures import MARKERS, STYLES, canvas, save
from minicai.toyworld import gold
from minicai.toyworld.world import World

NEEDED = ("evaluation.json", "sl/transcripts.jsonl", "rm/report.json", "rm/comparisons.jsonl", "ppo/metrics.jsonl")
CURVES = (("gold on validation requests, T=1", ("harmful", "objection", "helpful", "refused")),
          ("score of the reward model", ("score",)), ("KL from SL, nats a response", ("kl",)),
          ("tokens a response", ("length",)), ("entropy, nats a token", ("entropy",)))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai plot", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run, evaluated, with all its stages")
    run = parser.parse_args(argv).run
    for name in NEEDED:
        if not (run / name).is_file():
            raise UserError(f"{run}: holds no {name}; run the three scripts and minicai evaluate {run} first")
    draw(run)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw(run: Path) -> None:
    """Eight panels into run.png and run.svg."""
    steps = [record for record in read(run / "ppo" / "metrics.jsonl") if "iteration" in record]
    figure, axes = canvas(2, 4, 18, 8)
    help_and_harm(axes[0, 0], json.loads((run / "evaluation.json").read_text())["models"], steps)
    revised(axes[0, 1], run)
    calibration(axes[0, 2], run)
    for axis, (title, names) in zip(axes.flat[3:], CURVES, strict=True):
        for name in names:
            axis.plot([s["iteration"] for s in steps], [s[name] for s in steps], marker="", label=name)
        axis.set(title=title, xlabel="PPO iteration")
        if len(names) > 1:
            axis.legend(frameon=False)
    save(figure, run / "run.png")


def help_and_harm(axis, models: dict, steps: list[dict]) -> None:
    """The models on test requests, and the path of PPO on validation requests."""
    axis.plot([100 * (1 - s["harmful"]) for s in steps], [100 * s["helpful"] for s in steps], "-", color="#999999",
              linewidth=1, marker="", label="PPO, validation")
    for (name, found), (color, _), marker in zip(models.items(), STYLES, MARKERS, strict=False):
        x, y = 100 * (1 - found["t1"]["requests"]["harmful"]), 100 * found["t1"]["benign"]["helpful"]
        axis.scatter(x, y, s=90, color=color, marker=marker, label=name, zorder=3)
    axis.set(title="helpful against harmless, test, T=1", xlabel="% not harmful", ylabel="% helpful on benign",
             xlim=(-5, 105), ylim=(0, 105))
    axis.legend(frameon=False, loc="lower left")


def revised(axis, run: Path) -> None:
    """What SL's revisions are, step by step."""
    world, records = World.of(run), read(run / "sl" / "transcripts.jsonl")
    asked = [world.recognise(record["prompt"]) for record in records]
    some = [(q, [record["response"], *record["revisions"]]) for q, record in zip(asked, records, strict=True) if q]
    for name in ("harmful", "objection", "evasive"):
        said = [[gold.verdict(world, q, text) == name for text in texts] for q, texts in some]
        axis.plot([100 * sum(step) / len(step) for step in zip(*said, strict=True)], label=name)
    axis.set(title="SL's answers after k revisions", xlabel="k", ylabel="%", ylim=(-2, 102))
    axis.set_xticks(range(len(some[0][1])))
    axis.legend(frameon=False)


def calibration(axis, run: Path) -> None:
    """Predicted against found: the reward model against labels, AI labels against gold where one answer harms."""
    bins = json.loads((run / "rm" / "report.json").read_text())["calibration"]
    axis.plot([b["predicted"] for b in bins], [b["label"] for b in bins], label="reward model: labels")
    world, found = World.of(run), {}
    for record in read(run / "rm" / "comparisons.jsonl"):
        if record["source"] == "ai" and (request := world.recognise(record["prompt"])):
            harm_a, harm_b = (gold.verdict(world, request, record[side]) == "harmful" for side in "ab")
            if harm_a != harm_b:
                found.setdefault(min(9, int(record["p_a"] * 10)), []).append((record["p_a"], harm_b))
    points = [[sum(column) / len(some) for column in zip(*some, strict=True)] for _, some in sorted(found.items())]
    axis.plot(*zip(*points, strict=True), label="AI labels: gold")
    axis.plot([0, 1], [0, 1], "-", color="#999999", linewidth=1, marker="")
    axis.set(title="calibration", xlabel="p(the first is better), said", ylabel="found", xlim=(-.03, 1.03))
    axis.legend(frameon=False)
