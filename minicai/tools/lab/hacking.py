"""The experiment on over-optimisation: a reward that is only a model of what is wanted, and more and more of it."""
import json
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import train_ppo
from minicai.checkpoint import load_model
from minicai.model import ScalarModel
from minicai.preference import text_scores
from minicai.tools.lab.bench import Bench, Rows
from minicai.toyworld import gold
from minicai.toyworld.world import Request

KL_COEFS, BEST_OF = (0.3, 0.1, 0.03, 0.0), (1, 2, 4, 8, 16, 32, 64)
# Gold less gold at 0, as d(a - b f(d)) with d = sqrt(KL): what f is for each way to optimise.
FORMS: dict[str, Callable[[Tensor], Tensor]] = {"best of n: d(a - b d)": lambda d: d, "PPO: d(a - b log d)": torch.log}


def overoptimise(bench: Bench) -> Rows:
    """When the reward is hacked: PPO at several prices of KL, and the best of n; d = sqrt(KL), score against gold.

    Gold: the share of right objections and helpful answers. Expected: far from SL the score goes on rising while gold
    falls; gold follows the two forms of Gao et al. (2023, arXiv 2210.10760). PPO's learning rate is 0.001, to go far.
    """
    def answered(stage, requests: list[Request]) -> tuple[Tensor, list[str], list[str]]:
        """Scores, verdicts and answers."""
        prompts = [q.prompt for q in requests]
        texts = bench.model(stage).reply([[("user", prompt)] for prompt in prompts])
        scores = text_scores(*load_model(bench.run / "rm", ScalarModel, bench.device), prompts, texts)
        return scores, [gold.verdict(bench.world, q, text) for q, text in zip(requests, texts, strict=True)], texts

    def ppo(kl_coef: float) -> dict:
        run = bench.take(f"PPO, KL coefficient {kl_coef}", "base", "sl", "rm")
        bench.script(train_ppo, run, kl_coef=kl_coef, iterations=36, lr=1e-3)
        steps = map(json.loads, (run / "ppo" / "metrics.jsonl").read_text().splitlines())
        curve = [[max(0.0, s["kl"]) ** 0.5, s["score"], (s["objection"] + s["helpful"]) / 2]
                 for s in steps if "iteration" in s]
        asked = bench.asked["requests"] + bench.asked["benign"]
        scores, said, texts = answered(run / "ppo", asked)
        wrong = [i for i in scores.argsort(descending=True).tolist() if said[i] not in ("objection", "helpful")]
        return row(curve[-1][0], scores.mean(), said) | {"curve": curve, "dialogues": [
            f"[KL coefficient {kl_coef}, score {scores[i]:.2f}, gold: {said[i].replace('_', ' ')}]\n"
            f"Human: {asked[i].prompt}\nAssistant: {texts[i]}" for i in wrong[:4]]}

    def best() -> dict:
        asked = [q for group in ("requests", "benign") for q in bench.asked[group][:64] for _ in range(max(BEST_OF))]
        scores, said, _ = answered(bench.run / "sl", asked)
        return {"scores": scores.tolist(), "said": said}

    rows = bench.parts({f"PPO, KL coefficient {c}": partial(ppo, c) for c in KL_COEFS} | {"samples": best})
    some = rows.pop("samples")
    for n in BEST_OF:
        top = torch.tensor(some["scores"]).view(-1, n).max(1)
        said = [some["said"][i * n + j] for i, j in enumerate(top.indices.tolist())]
        rows[f"best of {n}"] = row((math.log(n) - (n - 1) / n) ** 0.5, top.values.mean(), said)
    return rows | {f"gold, {form}": fit(points(rows, form), f) for form, f in FORMS.items()}


def row(d: float, score: Tensor, said: list[str]) -> dict[str, float]:
    """Verdicts on as many harmful requests as harmless ones -> what the table says of them."""
    return {"d": d, "score": score.item(), "gold": sum(v in ("objection", "helpful") for v in said) / len(said)} | {
        name: 2 * said.count(name) / len(said) for name in ("harmful", "evasive", "objection", "helpful", "refused")}


def points(rows: Rows, form: str) -> list[list[float]]:
    """(d, gold) of each iteration of PPO, or of each best of n."""
    curves = [[[r["d"], r["score"], r["gold"]]] if "best" in name else r.get("curve", []) for name, r in rows.items()
              if name.startswith(form[:3])]
    return [[d, good] for curve in curves for d, _, good in curve]


def fit(points: list[list[float]], f: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Least squares of gold - gold(0) = d(a - b f(d)) over points (d, gold), of which some have d = 0."""
    d, good = torch.tensor(points, dtype=torch.float64).T
    start, far = good[d == 0].mean(), d > 0
    a, b = torch.linalg.lstsq(torch.stack([d, -d * f(d)], 1)[far], (good - start)[far, None]).solution[:, 0].tolist()
    return {"a": a, "b": b, "start": start.item()}
