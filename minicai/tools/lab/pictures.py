"""Pictures: what every one shares, and one for each experiment, from the rows of one result a seed."""
import math
from pathlib import Path
from statistics import mean

from minicai import UserError

STYLES = (("#D55E00", "-"), ("#0072B2", "--"), ("#009E73", "-."), ("#000000", ":"),     # Okabe & Ito: for all eyes
          ("#CC79A7", "-"), ("#56B4E9", "--"), ("#E69F00", "-."))
MARKERS = "osD^vPX"


def canvas(rows: int, columns: int, width: float, height: float):
    """A figure and its axes, the styles set; UserError where there is no matplotlib."""
    try:
        from matplotlib import cycler, rcParams
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError('pictures need matplotlib: pip install "minicai[plot]"') from None
    colors, lines = zip(*STYLES, strict=True)
    rcParams["axes.prop_cycle"] = cycler(color=colors, linestyle=lines, marker=list(MARKERS))
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure, path: Path) -> None:
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=100)
    print(f"wrote {path} and .svg")


def draw(name: str, results: list[dict], path: Path) -> None:
    """An experiment's two panels, as PNG and SVG."""
    figure, axes = canvas(1, 2, 15, 6)
    PANELS[name](*axes[0], results)
    save(figure, path)


def bars(axis, results: list[dict], title: str, *columns: str) -> None:
    """A group of bars for each row that has these columns; lines from the lowest seed to the highest."""
    rows = [name for name, row in results[0].items() if row.get(columns[0]) is not None]
    for i, (column, (color, _)) in enumerate(zip(columns, STYLES, strict=False)):
        seeds = [sorted(result[row][column] for result in results) for row in rows]
        middle = [mean(values) for values in seeds]
        ends = [[m - v[0], v[-1] - m] for m, v in zip(middle, seeds, strict=True)]
        places = [y + (i + 0.5) * 0.8 / len(columns) - 0.4 for y in range(len(rows))]
        axis.barh(places, middle, 0.8 / len(columns), xerr=list(zip(*ends, strict=True)), color=color, label=column,
                  hatch=["", "//", "..", "xx"][i], edgecolor="white")
    axis.set(title=title, yticks=range(len(rows)), yticklabels=rows, xlim=(0, 1.02))
    axis.invert_yaxis()
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=len(columns))


def steer(matrix, beside, results: list[dict]) -> None:
    rows, columns = list(results[0]), [name for name in results[0]["no deletion"] if f"no {name}" in results[0]]
    harm = [[mean(result[row][column] for result in results) for column in columns] for row in rows]
    matrix.imshow(harm, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for y, line in enumerate(harm):
        for x, share in enumerate(line):
            matrix.text(x, y, f"{share:.2f}", ha="center", va="center", color="black" if share > 0.5 else "white")
    matrix.set(title="harmful share by category (across) and deleted principle (down)", yticks=range(len(rows)),
               yticklabels=rows, xticks=range(len(columns)))
    matrix.set_xticklabels(columns, rotation=30, ha="right")
    bars(beside, results, "harmless share", "deleted: harmless", "others: harmless", "ceiling")


def revisions(curves, beside, results: list[dict]) -> None:
    for name, (color, _), marker in zip(("broad", "mixed", "narrow"), STYLES, MARKERS, strict=False):
        for way, line in (("critique", "-"), ("direct", "--"), ("(1 - m/n)^k", ":")):
            harm = [mean(result[f"{name}, {way}"][f"k={k}"] for result in results) for k in range(5)]
            curves.plot(harm, color=color, linestyle=line, marker="" if line == ":" else marker, label=f"{name}, {way}")
    curves.set(title="harmful share after k revisions", xlabel="k", xticks=range(5), ylim=(-0.02, 1.02))
    curves.legend(frameon=False)
    bars(beside, results, "test requests, temperature 0.5", "harmful", "objection", "evasive", "helpful")


def labels(curves, beside, results: list[dict]) -> None:
    curves.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="-", marker="")
    for name, (color, line), marker in zip(results[0], STYLES, MARKERS, strict=False):
        for i, bins in enumerate(result[name]["bins"] for result in results if "bins" in result[name]):
            curves.plot([b["predicted"] for b in bins], [b["label"] for b in bins], color=color, linestyle=line,
                        marker=marker, label="" if i else name)
    curves.set(title="the reward model against gold", xlabel="p(the first is better), said", ylabel="found")
    curves.legend(frameon=False)
    bars(beside, results, "after RL, test requests", "harmful", "objection", "helpful", "refused")


def overoptimise(left, right, results: list[dict]) -> None:
    some = [name for name in results[0] if "KL" in name]
    for name, (color, _), marker in zip([*some, "best of"], STYLES, MARKERS, strict=False):
        points = [point for result in results for row, found in result.items() if row.startswith(name)
                  for point in found.get("curve", [[found["d"], found["score"], found["gold"]]])]
        d, score, good = zip(*points, strict=True)
        left.scatter(d, good, color=color, marker=marker, s=20, label=name)
        right.scatter(d, score, color=color, marker=marker, s=20, label=name)
    for (name, color), f in zip((("PPO", "#000000"), ("best of n", "#CC79A7")), (math.log, float), strict=True):
        form = next(row for row in results[0] if row.startswith(f"gold, {name}"))
        a, b, start = (mean(result[form][key] for result in results) for key in ("a", "b", "start"))
        reach = [0.02 * k * max(d) for k in range(1, 51)] if name[0] == "b" else [
            0.02 * k * left.get_xlim()[1] for k in range(1, 51)]
        left.plot(reach, [start + x * (a - b * f(x)) for x in reach], color=color, linestyle="-", marker="", label=form)
    left.set(title="gold: right objections and helpful answers", xlabel="d = sqrt(KL)", ylabel="share")
    right.set(title="proxy: the reward model's score", xlabel="d = sqrt(KL)", ylabel="standard deviations")
    left.legend(frameon=False)
    right.legend(frameon=False)


def rlhf(left, right, results: list[dict]) -> None:
    bars(left, results, "harmful requests", "harmful", "evasive", "objection")
    bars(right, results, "harmless requests", "helpful", "refused")


def priority(left, right, results: list[dict]) -> None:
    bars(left, results, "p(the first is better)", "one list: p", "in order: p")
    bars(right, results, "its deviation over requests", "one list: deviation", "in order: deviation")


PANELS = {panel.__name__: panel for panel in (steer, revisions, labels, overoptimise, rlhf, priority)}
PANELS["losses"] = rlhf
