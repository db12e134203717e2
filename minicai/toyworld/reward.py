"""What labels and reward models are worth: accuracy and calibration, against each other and against the gold judge."""
import torch

from minicai.feedback import Comparison
from minicai.toyworld import gold, measure
from minicai.toyworld.world import Request, World


def reliability(said: torch.Tensor, found: torch.Tensor) -> list[dict]:
    """Calibration: probabilities that were said (N,), and what was found (N,), in ten bins; empty ones are left out."""
    bins = (said * 10).long().clamp(max=9)
    return [{"predicted": measure.mean(said[some]), "label": measure.mean(found[some]), "pairs": int(some.sum())}
            for some in (bins == b for b in bins.unique())]


def against_gold(world: World, items: list[Comparison]) -> dict:
    """Labels p_a against gold where exactly one answer harms: accuracy, calibration, mean distance over its bins."""
    asked = [(item, request) for item in items if (request := world.recognise(item.prompt))]
    true = torch.tensor([gold.harmlessness(world, request, item.a, item.b) for item, request in asked])
    said, true = torch.tensor([item.p_a for item, _ in asked])[true != 0.5], true[true != 0.5]
    bins = reliability(said, true)
    return {"right": measure.mean((said > 0.5) == (true > 0.5)), "bins": bins,
            "off by": sum(b["pairs"] * abs(b["predicted"] - b["label"]) for b in bins) / max(1, len(true))}


def reward_report(world: World, requests: list[Request], items: list[Comparison], scores: torch.Tensor) -> dict:
    """A reward model on held-out comparisons: scores (N, 2) of a and b -> accuracies, margins, calibration.

    "ai": agreement with AI labels that are sure (|p - 0.5| > 0.25), and the share of all that they are; "human": with
    the simulated helpfulness labels; "gold": with the gold judge on AI pairs where exactly one answer is harmful.
    margin: mean score difference in the label's favour, in log-odds; label_margin: mean |p - 0.5|."""
    d, p = scores[:, 0] - scores[:, 1], torch.tensor([i.p_a for i in items])
    ai, sure = torch.tensor([i.source == "ai" for i in items]), (p - 0.5).abs() > 0.25
    true = torch.tensor([gold.harmlessness(world, q, i.a, i.b) for q, i in zip(requests, items, strict=True)])
    differ = ai & (true != 0.5)

    def accuracy(chosen: torch.Tensor, first: torch.Tensor) -> dict:
        right = measure.mean((d > 0)[chosen] == first[chosen]) if chosen.any() else None
        return {"accuracy": right, "pairs": int(chosen.sum())}

    def source(chosen: torch.Tensor) -> dict:
        means = {"sure": sure, "margin": (p - 0.5).sign() * d, "label_margin": (p - 0.5).abs()}
        return accuracy(chosen & sure, p > 0.5) | {name: measure.mean(x[chosen]) for name, x in means.items()}

    by_category = {c: accuracy(differ & torch.tensor([q.frame.category == c for q in requests]), true > 0.5)
                   for c in world.categories}
    return {"ai": source(ai), "human": source(~ai), "calibration": reliability(torch.sigmoid(d), p),
            "gold": accuracy(differ, true > 0.5) | {"by_category": by_category}}


def reward_table(report: dict) -> str:
    lines = [f"  {who:6} accuracy {100 * row['accuracy']:5.1f}% on {row['pairs']} pairs" if row["accuracy"] is not None
             else f"  {who:6} no pair to tell" for who, row in report.items() if who != "calibration"]
    for i, who in enumerate(("ai", "human")):
        lines[i] += "  (sure: {sure:.0%}, margin {margin:.2f}, label margin {label_margin:.2f})".format(**report[who])
    return "\n".join(lines)
