"""Pictures: what every one shares, and the panels of each experiment, from the rows of one result a seed."""
import tomllib
from itertools import product
from pathlib import Path
from statistics import mean

from minicai import UserError, tools

TEXTS = tomllib.loads(Path(__file__).with_name("experiments.toml").read_text(encoding="utf-8"))


def canvas(rows: int, columns: int, width: float, height: float):
    """A figure and its axes, the styles set; UserError where there is no matplotlib."""
    try:
        from matplotlib import cycler, figure, rcParams
    except ImportError:
        raise UserError('pictures need matplotlib: pip install "minicai[plot]"') from None
    rcParams["axes.prop_cycle"] = cycler(**tools.HELP["plot"]["styles"])
    drawn = figure.Figure((width, height), layout="constrained")
    return drawn, drawn.subplots(rows, columns, squeeze=False)


def save(figure, path: Path) -> None:
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=100)
    print(f"wrote {path} and .svg")


def draw(name: str, results: list[dict], path: Path) -> None:
    figure, axes = canvas(1, 2, 15, 6)
    for axis, (panel, *words) in zip(axes[0], TEXTS[name]["panels"], strict=True):
        PANELS[panel](axis, results, *words)
    save(figure, path)


def lines(axis, title: str, x: str, series: dict[str, list], linestyle=None, marker=None, **more) -> None:
    """A line through its points (x, y) for each name; None: the next of the styles; more: set on the axis."""
    for name, points in series.items():
        axis.plot(*zip(*points, strict=True), linestyle=linestyle, marker=marker, label=name)
    axis.locator_params("x", integer=x in ("k", "PPO iteration"))
    axis.set(title=title, xlabel=x, **more)
    if len(series) > 1:
        axis.legend(frameon=False)


def reliability(axis, found: dict[str, list[dict]], linestyle: str | None = None) -> None:
    """Calibration, {name: bins}: what was found against what was said."""
    axis.plot([0, 1], [0, 1], "-", color="#999999", linewidth=1, marker="")
    series = {name: [(b["predicted"], b["label"]) for b in bins] for name, bins in found.items()}
    lines(axis, "calibration", "p(the first is better), said", series, linestyle, ylabel="found", xlim=(-.03, 1.03))


def bars(axis, results: list[dict], title: str, *columns: str) -> None:
    """A group of bars for each row that has these columns; black lines from the lowest seed to the highest."""
    rows = [name for name, row in results[0].items() if row.get(columns[0]) is not None]
    for i, column in enumerate(columns):
        seeds = [sorted(result[row][column] for result in results) for row in rows]
        ends = [[mean(values) - values[0], values[-1] - mean(values)] for values in seeds]
        places = [y + (i + 0.5) * 0.8 / len(columns) - 0.4 for y in range(len(rows))]
        axis.barh(places, list(map(mean, seeds)), 0.8 / len(columns), color=f"C{i}", edgecolor="white",
                  xerr=list(zip(*ends, strict=True)), hatch=["", "//", "..", "xx"][i], label=column)
    axis.set(title=title, yticks=range(len(rows)), yticklabels=rows, xlim=(0, 1.02))
    axis.invert_yaxis()
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=len(columns))


def matrix(axis, results: list[dict]) -> None:
    rows, columns = list(results[0]), [name for name in results[0]["no deletion"] if f"no {name}" in results[0]]
    harm = [[mean(result[row][column] for result in results) for column in columns] for row in rows]
    axis.imshow(harm, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for y, x in product(range(len(rows)), range(len(columns))):
        axis.text(x, y, f"{harm[y][x]:.2f}", ha="center", va="center", color="black" if harm[y][x] > 0.5 else "white")
    axis.set(title="harmful: category (across), deleted principle (down)", yticks=range(len(rows)), yticklabels=rows)
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right")


def steps(axis, results: list[dict]) -> None:
    for way, line in (("critique", "-"), ("direct", "--"), ("(1 - m/n)^k", ":")):
        axis.set_prop_cycle(None)                                                # a colour for each constitution
        lines(axis, "harmful share after k revisions", "k", {
            f"{name}, {way}": [(k, mean(result[f"{name}, {way}"][f"k={k}"] for result in results)) for k in range(5)]
            for name in ("broad", "mixed", "narrow")}, line, "" if line == ":" else None)


def calibrated(axis, results: list[dict]) -> None:
    reliability(axis, {name: [b for result in results for b in result[name]["bins"]] for name, row in results[0].items()
                       if "bins" in row}, "" if len(results) > 1 else None)


def along(axis, results: list[dict], title: str, column: int) -> None:
    """Points [d, score, gold] of PPO and best of n: a column against d; with gold, the lines that were fitted to it."""
    for key, linestyle, marker in (("curve", "", None), ("line", "-", ""))[:column]:
        series = {}
        for row, found in ((row, found) for result in results for row, found in result.items() if key in found):
            points = series.setdefault("best of n" if row.startswith("best") else row, [])
            points += [(p[0], p[column]) for p in found[key]] + [(float("nan"), float("nan"))]
        lines(axis, title, "d = sqrt(KL)", series, linestyle, marker)


PANELS = {panel.__name__: panel for panel in (matrix, steps, calibrated, bars, along)}
