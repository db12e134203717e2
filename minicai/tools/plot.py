"""Draw a run: help against harm, revisions, calibration, and how PPO went; and what `minicai lab` found on it."""
from minicai import feedback, revise, tools
from minicai.tools.lab import pictures, words
from minicai.toyworld import reward, world


def main(argv: list[str]) -> None:
    run = tools.command_line(__name__).parse_args(argv).run
    models, bins = tools.read(run / "evaluation.json", "models"), tools.read(run / "rm" / "report.json", "calibration")
    embedded, steps = world.World.of(run), [s for s in tools.read(run / "ppo" / "metrics.jsonl") if "iteration" in s]
    items = [i for i in tools.read(run / "rm" / "comparisons.jsonl", of=feedback.Comparison) if i.source == "ai"]
    answers = words.verdicts(embedded, tools.read(run / "sl" / "transcripts.jsonl", of=revise.Revision))
    figure, axes = pictures.canvas(2, 4, 18, 8)
    pictures.lines(axes[0, 0], "helpful against harmless, T=1", "% not harmful", {
        "PPO, validation": [(100 - 100 * s["harmful"], 100 * s["helpful"]) for s in steps]} | {
        f"{name}, test": [(100 - 100 * found["t1"]["requests"]["harmful"], 100 * found["t1"]["benign"]["helpful"])]
        for name, found in models.items()}, ylabel="% helpful on benign", xlim=(-5, 105), ylim=(0, 105))
    pictures.lines(axes[0, 1], "SL's answers after k revisions, %", "k", {
        name: [(k, 100 * said.count(name) / len(said)) for k, said in enumerate(answers)]
        for name in ("harmful", "objection", "evasive")})
    pictures.reliability(axes[0, 2], {"reward model: labels": bins,
                                      "AI labels: gold": reward.against_gold(embedded, items)["bins"]})
    for axis, (title, names) in zip(axes.flat[3:], tools.HELP["plot"]["curves"].items(), strict=True):
        curves = {name: [(s["iteration"], s[name]) for s in steps] for name in names}
        pictures.lines(axis, title, "PPO iteration", curves, marker="")
    pictures.save(figure, run / "run.png")
    for found in run.glob("lab/*/results.json"):
        pictures.draw(found.parent.name, list(tools.read(found).values()), found.with_suffix(".png"))
