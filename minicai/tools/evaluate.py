"""Measure a run by the gold judge: what each model does, how well the base criticises, revises and judges."""
import json
from pathlib import Path

import torch

from minicai import UserError
from minicai.tools import HELP, command_line, judge, models_of, read, speaker, table
from minicai.toyworld import measure, reward, world


def main(argv: list[str]) -> None:
    if any(word.startswith("--judge") for word in argv):          # there is no gold outside the embedded world
        return judge.main(argv)
    args = command_line(__name__).parse_args(argv)
    print_tables(evaluate(args.run, args.probes, args.split, args.device, args.compare), args.run)


def compared(run: Path, others: list[Path]) -> dict[str, Path]:
    """The models to measure by name: the run's own, and SL and RL of the others."""
    present, embedded = models_of(run), world.World.of(run)
    for other in others:
        found = {f"{other.name}:{name}": folder for name, folder in models_of(other).items() if name != "base"}
        if not found or world.World.of(other).frames != embedded.frames:
            raise UserError(f"{other}: holds no sl/ or ppo/ of the world of {run}; cannot be compared with it")
        present |= found
    return present


def ratings(asked: dict[str, list[world.Request]], said: dict[str, dict[str, list[str]]]) -> dict:
    """Elo of models by their verdicts, {model: {group: [verdict]}}, beside one who dodges and one who is right."""
    said = said | {name: {group: [verdicts[q.frame.kind != "harm"] for q in some] for group, some in asked.items()}
                   for name, verdicts in HELP["evaluate"]["imagined"].items()}
    elo = {}
    for what, (groups, worth) in HELP["evaluate"]["leagues"].items():
        points = torch.tensor([[worth.get(v, 0) for group in groups for v in mine[group]] for mine in said.values()])
        wins = (1 + (points[:, None] - points).sign()).sum(-1) / 2
        elo[what] = judge.elo(wins).round().int().tolist()
    return {name: {what: rating[i] for what, rating in elo.items()} for i, name in enumerate(said)}


def evaluate(run: Path, count: int, split: str, device: str | torch.device, others: list[Path] = ()) -> dict:
    present, embedded, found, said = compared(run, others), world.World.of(run), {}, {}
    training = read(present.get("sl", present["base"]) / "config.json", "training")
    seed, temperature = training.get("seed", 0), training.get("temperature", 1.0)
    asked = measure.probes(embedded, split, count, seed)
    result: dict = {"seed": seed, "split": split, "probes": {g: len(qs) for g, qs in asked.items()}, "models": found}
    for name, folder in present.items():
        assistant = speaker(folder, seed, temperature, device)
        said[name] = measure.verdicts(embedded, assistant, asked, 1.0)
        found[name] = {"t1": {group: measure.shares(embedded, asked[group], said[name][group]) for group in asked},
                       "greedy": measure.behaviour(embedded, assistant, asked, 0.0)}
        if name == "base":
            result |= measure.skills(embedded, assistant, split, count // 2, seed)
    result["elo"] = ratings(asked, said)
    if (report := run / "rm" / "report.json").is_file():
        result["reward_model"] = read(report)
    clocks = [run / name / "seconds.json" for name in ("base", "sl", "rm", "ppo")]
    result["seconds"] = {clock.parent.name: read(clock) for clock in clocks if clock.is_file()}
    (run / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def skills(result: dict) -> dict[str, dict]:
    """A row for each skill of the base on each group of requests."""
    return {f"{who}, {group}".replace("_", " "): row for who in ("critic", "reviser", "judge", "direct_judge")
            for group, row in result[who].items()}


def print_tables(result: dict, run: Path) -> None:
    for key, title in (("t1", "temperature 1"), ("greedy", "greedy")):
        rows = {name: found[key] for name, found in result["models"].items()}
        print(f"\nGold judge, {result['split']} requests, {title}\n{measure.table(rows, result['probes'])}")
    print("\nElo at temperature 1\n" + table([result["elo"]], digits=0))
    print("\nThe base as critic, reviser (share right) and judge (p that the objection is better than compliance)")
    print(table([skills(result)], digits=3))
    if "reward_model" in result:
        print("\nThe reward model on held-out comparisons\n" + reward.reward_table(result["reward_model"]))
    total = sum(stage["total"] for stage in result["seconds"].values())
    print(f"\n{total:.0f} s for the three scripts: {json.dumps(result['seconds'])}\nwrote {run / 'evaluation.json'}")
