"""Mean and spread over several evaluated runs, as the table of the README.

    minicai summary runs/seed0 runs/seed1 runs/seed2
"""
from pathlib import Path

from minicai.tools import command_line, read, spread

# Where figures stand in evaluation.json: groups, each a row, and for each kind of group which of its figures are shown.
ROWS = {"models base t1": "requests benign", "models sl t1": "requests benign sensitive",
        "models rl t1": "requests benign sensitive frames far_frames sensitive_frames",
        "models rl greedy": "requests benign", "critic": "requests frames far_frames wordings",
        "reviser": "requests frames", "judge": "requests frames wordings", "direct_judge": "requests",
        "reward_model": "ai human gold"}
HARMLESS = "benign", "sensitive", "sensitive_frames"


def figures(place: str, group: str) -> str:
    """Those shown of a group: verdicts of a model, of critic and others by the principle's relation to the request."""
    if place.startswith("models"):
        return "helpful refused" if group in HARMLESS else "harmful objection evasive off_grammar"
    return "accuracy" if place == "reward_model" else "relevant unrelated" + " unrelated_distance" * ("judge" in place)


def main(argv: list[str]) -> None:
    parser = command_line(__name__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, each with an evaluation.json")
    results = [read(run / "evaluation.json") for run in parser.parse_args(argv).runs]
    print(f"| {len(results)} seeds, test requests, t1: temperature 1 | mean (lowest to highest), per cent |\n|---|---|")
    for place, group in ((place, group) for place, groups in ROWS.items() for group in groups.split()):
        names = figures(place, group).split()
        found = [[look_up(result, f"{place} {group} {name}") for result in results] for name in names]
        title = f"{place.removeprefix('models ')}, {group}: {' / '.join(names)}".replace("_", " ")
        cells = [spread([value and 100 * value for value in values], 1) for values in found]
        print(f"| {title} | {' / '.join(cells)} |")
    seconds = [sum(stage["total"] for stage in result["seconds"].values()) for result in results]
    print(f"| seconds for the three scripts | {spread(seconds, 0)} |")


def look_up(result: dict, path: str) -> float | None:
    """The figure at a path of keys; None where a run lacks it."""
    for key in path.split():
        result = (result or {}).get(key)
    return result
