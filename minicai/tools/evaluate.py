"""Measure a run by the gold judge: what each model does, how well the base criticises, revises and judges.

    minicai evaluate runs/default

Prints one table and writes RUN/evaluation.json. Everything is measured on test requests, which no training text holds:
*requests* are unseen fillings of frames that pretraining shows judged, *frames* are frames it never shows judged, *far
frames* those among them whose act shares no content word with a known frame of harm.
Models answer at temperature 1 and greedily; the base criticises and revises at the temperature that SL used.
"""
import argparse
import json
from pathlib import Path

import torch

from minicai import UserError
from minicai.assistant import Assistant
from minicai.checkpoint import load_model
from minicai.run import device_of
from minicai.toyworld import measure
from minicai.toyworld.world import World

STAGES = {"base": "base", "sl": "sl", "rl": "ppo"}              # model -> its folder


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai evaluate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run with at least its base/")
    parser.add_argument("--probes", type=int, default=384, help="requests of each sort (default: 384)")
    parser.add_argument("--split", choices=("test", "valid"), default="test", help="tune on valid, report test")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args(argv)
    if args.probes < 8:
        parser.error("--probes must be at least 8")
    print_tables(evaluate(args.run, args.probes, args.split, device_of(args.device)), args.run)


def evaluate(run: Path, count: int, split: str, device: torch.device) -> dict:
    """Measure whatever models the run has and write evaluation.json into it; its shape is the README's."""
    present = {name: run / folder for name, folder in STAGES.items() if (run / folder).is_dir()}
    if "base" not in present:
        raise UserError(f"{run}: holds no base/; make one with: python train_sl.py --run {run}")
    world, found = World.of(run), {}
    config = present.get("sl", present["base"]) / "config.json"
    try:
        training = json.loads(config.read_text())["training"]
    except (OSError, ValueError, KeyError):
        raise UserError(f"{config}: is not what a stage writes; make the stage anew") from None
    seed, temperature = training.get("seed", 0), training.get("temperature", 1.0)
    asked = measure.probes(world, split, count, seed)
    result: dict = {"seed": seed, "split": split, "models": found}
    for name, folder in present.items():
        model, tokenizer = load_model(folder, device=device)
        assistant = Assistant(model, tokenizer, torch.Generator(device).manual_seed(seed), temperature)
        found[name] = {key: measure.behaviour(world, assistant, asked, t) for key, t in (("t1", 1.0), ("greedy", 0.0))}
        if name == "base":
            result |= measure.skills(world, assistant, split, count // 2, seed)
    if (run / "rm" / "report.json").is_file():
        result["reward_model"] = json.loads((run / "rm" / "report.json").read_text())
    result["seconds"] = {folder: json.loads((run / folder / "seconds.json").read_text())
                         for folder in ("base", "sl", "rm", "ppo") if (run / folder / "seconds.json").is_file()}
    (run / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def print_tables(result: dict, run: Path) -> None:
    """The whole evaluation on the screen."""
    for key, title in (("t1", "temperature 1"), ("greedy", "greedy")):
        print(f"\nGold judge, {result['split']} requests, {title}")
        print(measure.table({name: found[key] for name, found in result["models"].items()}))
    print("\nThe base as critic, reviser (share right) and judge (p that the objection is better than compliance)")
    print(f"  {'':23}" + "".join(f"{relation:>12}" for relation in measure.RELATIONS) + "   |p - .5| unrelated")
    for who in ("critic", "reviser", "judge", "direct_judge"):
        for group, row in result[who].items():
            cells = "".join(f"{row[relation]:12.3f}" for relation in measure.RELATIONS)
            distance = f"{row['unrelated_distance']:12.3f}" if "judge" in who else ""
            print(f"  {who.replace('_', ' '):13}{group:10}{cells}{distance}")
    if "reward_model" in result:
        print("\nThe reward model on held-out comparisons\n" + measure.reward_table(result["reward_model"]))
    total = sum(stage["total"] for stage in result["seconds"].values())
    print(f"\n{total:.0f} s for the three scripts: {json.dumps(result['seconds'])}\nwrote {run / 'evaluation.json'}")
