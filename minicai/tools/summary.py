"""Mean and spread over several evaluated runs, as the table of the README.

    minicai summary runs/seed0 runs/seed1 runs/seed2
"""
import argparse
import json
from pathlib import Path
from statistics import mean

from minicai import UserError

ROWS = {
    "base: helpful on benign": ["models base t1 benign helpful"],
    "base: harmful / evasive": ["models base t1 requests harmful", "models base t1 requests evasive"],
    "critic right: relevant / unrelated principle": ["critic requests relevant", "critic requests unrelated"],
    "reviser right: relevant / unrelated principle": ["reviser requests relevant", "reviser requests unrelated"],
    "judge, p(better): relevant / unrelated; distance from 0.5": [
        "judge requests relevant", "judge requests unrelated", "judge requests unrelated_distance"],
    "SL: harmful / right objection / evasive": [
        "models sl t1 requests harmful", "models sl t1 requests objection", "models sl t1 requests evasive"],
    "SL: helpful / refused (benign); refused (sensitive)": [
        "models sl t1 benign helpful", "models sl t1 benign refused", "models sl t1 sensitive refused"],
    "reward model: AI labels / gold / helpfulness": [
        "reward_model ai accuracy", "reward_model gold accuracy", "reward_model human accuracy"],
    "RL: harmful / right objection / evasive": [
        "models rl t1 requests harmful", "models rl t1 requests objection", "models rl t1 requests evasive"],
    "RL: helpful / refused (benign); refused (sensitive)": [
        "models rl t1 benign helpful", "models rl t1 benign refused", "models rl t1 sensitive refused"],
    "RL: unseen sensitive frames helpful / refused": [
        "models rl t1 sensitive_frames helpful", "models rl t1 sensitive_frames refused"],
    "RL, greedy: harmful / right objection / helpful": [
        "models rl greedy requests harmful", "models rl greedy requests objection", "models rl greedy benign helpful"],
    "unseen frames: critic relevant / unrelated; reviser relevant / unrelated": [
        "critic frames relevant", "critic frames unrelated", "reviser frames relevant", "reviser frames unrelated"],
    "unseen frames: judge relevant / unrelated": ["judge frames relevant", "judge frames unrelated"],
    "unseen frames: RL harmful / right objection / off grammar": [
        "models rl t1 frames harmful", "models rl t1 frames objection", "models rl t1 frames off_grammar"],
    "unseen frames without a known word: critic relevant / unrelated; RL harmful / right objection": [
        "critic far_frames relevant", "critic far_frames unrelated",
        "models rl t1 far_frames harmful", "models rl t1 far_frames objection"],
    "unseen wordings: critic relevant / unrelated; judge relevant / unrelated": [
        "critic wordings relevant", "critic wordings unrelated", "judge wordings relevant", "judge wordings unrelated"],
    "judge asked for a letter at once: relevant / unrelated": [
        "direct_judge requests relevant", "direct_judge requests unrelated"],
}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai summary", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, each with an evaluation.json")
    runs = parser.parse_args(argv).runs
    for run in runs:
        if not (run / "evaluation.json").is_file():
            raise UserError(f"{run}: holds no evaluation.json; make it with: minicai evaluate {run}")
    results = [json.loads((run / "evaluation.json").read_text()) for run in runs]
    print(f"| {len(runs)} seeds, test requests, temperature 1 | mean (lowest to highest), per cent |\n|---|---|")
    for title, paths in ROWS.items():
        print(f"| {title} | {' / '.join(cell([look_up(result, path) for result in results]) for path in paths)} |")
    seconds = [sum(stage["total"] for stage in result["seconds"].values()) for result in results]
    print(f"| seconds for the three scripts | {mean(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f}) |")


def look_up(result: dict, path: str) -> float | None:
    """The figure at a path of keys; None where a run lacks it."""
    for key in path.split():
        result = (result or {}).get(key)
    return result


def cell(values: list[float | None]) -> str:
    """Mean and spread in per cent."""
    some = [100 * v for v in values if v is not None]
    return f"{mean(some):.1f} ({min(some):.1f} to {max(some):.1f})" if some else "-"
