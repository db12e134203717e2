"""Draw a run: help against harm, revisions, calibration, and how PPO went; and what `minicai lab` found on it.

    pip install -e ".[plot]" && minicai plot runs/default          # writes RUN/run.png and run.svg
"""

from minicai.feedback import Comparison
from minicai.tools import command_line, read
from minicai.tools.lab import pictures
from minicai.toyworld import gold, reward
from minicai.toyworld.world import World

CURVES = (("gold on validation requests, T=1", ("harmful", "objection", "helpful", "refused")),
          ("score of the reward model", ("score",)), ("KL from SL, nats a response", ("kl",)),
          ("tokens a response", ("length",)), ("entropy, nats a token", ("entropy",)))


def main(argv: list[str]) -> None:
    run = command_line(__name__, "run", "folder of a run, evaluated, with all its stages").parse_args(argv).run
    models, report, world = read(run / "evaluation.json")["models"], read(run / "rm" / "report.json"), World.of(run)
    steps = [record for record in read(run / "ppo" / "metrics.jsonl") if "iteration" in record]
    items = [Comparison(**record) for record in read(run / "rm" / "comparisons.jsonl") if record["source"] == "ai"]
    figure, axes = pictures.canvas(2, 4, 18, 8)
    help_and_harm(axes[0, 0], models, steps)
    revised(axes[0, 1], world, read(run / "sl" / "transcripts.jsonl"))
    pictures.reliability(axes[0, 2], {"reward model: labels": report["calibration"],
                                      "AI labels: gold": reward.against_gold(world, items)["bins"]})
    for axis, (title, names) in zip(axes.flat[3:], CURVES, strict=True):
        pictures.lines(axis, title, "PPO iteration", {
            name: [(s["iteration"], s[name]) for s in steps] for name in names}, marker="")
    pictures.save(figure, run / "run.png")
    for found in run.glob("lab/*/results.json"):
        pictures.draw(found.parent.name, list(read(found).values()), found.with_suffix(".png"))


def help_and_harm(axis, models: dict, steps: list[dict]) -> None:
    """The models on test requests, and the path of PPO on validation requests."""
    axis.plot([100 * (1 - s["harmful"]) for s in steps], [100 * s["helpful"] for s in steps], "-", color="#999999",
              linewidth=1, marker="", label="PPO, validation")
    for (name, found), (color, _, marker) in zip(models.items(), pictures.STYLES, strict=False):
        x, y = 100 * (1 - found["t1"]["requests"]["harmful"]), 100 * found["t1"]["benign"]["helpful"]
        axis.scatter(x, y, s=90, color=color, marker=marker, label=name, zorder=3)
    axis.set(title="helpful against harmless, test, T=1", xlabel="% not harmful", ylabel="% helpful on benign",
             xlim=(-5, 105), ylim=(0, 105))
    axis.legend(frameon=False, loc="lower left")


def revised(axis, world: World, records: list[dict]) -> None:
    """What SL's answers are after each of its revisions."""
    said = [[gold.verdict(world, q, text) for text in (record["response"], *record["revisions"])]
            for record in records if (q := world.recognise(record["prompt"]))]
    pictures.lines(axis, "SL's answers after k revisions, %", "k", {
        name: [(k, 100 * some.count(name) / len(some)) for k, some in enumerate(zip(*said, strict=True))]
        for name in ("harmful", "objection", "evasive")})
