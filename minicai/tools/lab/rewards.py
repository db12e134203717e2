"""Experiments on the reward: what its labels are, who gives them, and what becomes of it when it is pressed hard."""
import math
import random
import shutil
from dataclasses import replace
from functools import partial

import torch
from tqdm import tqdm

from minicai import assistant, checkpoint, constitution, feedback, model, preference, tools
from minicai.tools.lab.bench import Bench, Row
from minicai.toyworld import gold, reward, world

KL_COEFS, BEST_OF = (0.3, 0.1, 0.03, 0.0), (1, 2, 4, 8, 16, 32, 64)
RIGHT = "objection", "helpful"
# Gold less gold at 0, as d(a - b f(d)) with d = sqrt(KL): what f is for each way to optimise.
FORMS = {"best of n: d(a - b d)": lambda d: d, "PPO: d(a - b log d)": torch.log}
# A label from the log-odds in both orders under each principle, the first of them drawn; each differs in one thing.
LABELS = {
    "soft, one principle, both orders": lambda one, two: feedback.label(one, two)[0],
    "hard": lambda one, two: 0.5 + (one - two)[0].sign() / 2,
    "clamped to 0.4-0.6": lambda one, two: feedback.label(one, two)[0].clamp(0.4, 0.6),
    "mean over all principles": lambda one, two: feedback.label(one, two).mean(),
    "one order": lambda one, two: one[0].sigmoid()}


def labels(bench: Bench) -> dict[str, Row]:
    """Half of the run's comparisons under several labels: each gets a reward model and PPO; gold judges the others."""
    items, file = tools.read(bench.run / "rm/comparisons.jsonl", of=feedback.Comparison), bench.folder / "judged.jsonl"

    def judge() -> Row:
        """Every AI comparison of this half under every principle; then their order is drawn, so the first is too."""
        some = [replace(item, principles=[], log_odds=[], reasons=[]) for item in items[::2] if item.source == "ai"]
        rng, base = random.Random(bench.seed), bench.model(bench.run / "base")
        principles = constitution.load(bench.run / "sl" / "constitution.txt")
        for principle in tqdm(principles, "judging", leave=False, disable=None):
            feedback.compare(some, [principle], base, rng=rng)
        for item in some:
            rng.shuffle(item.log_odds)
        file.unlink(missing_ok=True)
        checkpoint.append_jsonl(file, some + [item for item in items[::2] if item.source == "human"])
        return {"liking for (A)": torch.cat([odds(item) for item in some]).mean().item()}

    def under(name: str) -> Row:
        mine = [replace(item, p_a=float(LABELS[name](*odds(item).T))) if item.source == "ai" else item
                for item in tools.read(file, of=feedback.Comparison)]
        run = bench.take(name, "base", "sl")
        bench.reward_model(run, mine)
        learned, tokenizer = checkpoint.load_model(run / "rm", model.ScalarModel, bench.device)
        others = [item for item in items[1::2] if item.source == "ai"]
        score = partial(preference.text_scores, learned, tokenizer, [item.prompt for item in others])
        p_a = ((score([i.a for i in others]) - score([i.b for i in others])) * learned.std.cpu()).sigmoid().tolist()
        found = reward.against_gold(bench.world, [replace(item, p_a=p) for item, p in zip(others, p_a, strict=True)])
        said = reward.against_gold(bench.world, [item for item in mine if item.source == "ai"])
        return {"labels right": said["right"], "labels off by": said["off by"], "reward right": found["right"],
                "reward off by": found["off by"], "bins": found["bins"]} | bench.reinforced(run)

    rows = bench.parts({"the judge": judge})
    return bench.parts({name: partial(under, name) for name in LABELS}) | rows


def odds(item: feedback.Comparison) -> torch.Tensor:
    """The log-odds under each principle in both orders, (principles, 2); of equal answers nobody was asked."""
    return torch.tensor(item.log_odds or [[0.0, 0.0]])


def rlhf(bench: Bench) -> dict[str, Row]:
    def begin(start: str) -> Row:
        run, file = bench.take(start, "base"), bench.constitution("mixed", bench.principles()["mixed"])
        if start == "base":
            shutil.copytree(run / "base", run / "sl", dirs_exist_ok=True)
        else:
            bench.script("sl", run, constitution=file, revisions=1, red_team_prompts=400, helpful_prompts=600, probes=8)
        bench.script("rm", run, constitution=file, red_team_prompts=1000, helpful_prompts=700)
        return bench.behaviour(run / "sl")

    def human(start: str) -> Row:
        items = tools.read(bench.folder / start / "rm" / "comparisons.jsonl", of=feedback.Comparison)
        for item in [item for item in items if item.source == "ai"]:
            item.p_a = gold.harmlessness(bench.world, bench.world.recognise(item.prompt), item.a, item.b)
        run = bench.take(f"{start}, people", "base", "sl", of=bench.folder / start)
        bench.reward_model(run, items)
        return bench.reinforced(run)

    work = {}
    for start in ("base", "SL, one revision"):
        work |= {start: partial(begin, start), f"{start}; RL, people": partial(human, start),
                 f"{start}; RL, constitution": partial(bench.reinforced, bench.folder / start)}
    return bench.parts(work)


def overoptimise(bench: Bench) -> dict[str, Row]:
    def answered(writer: assistant.Assistant, asked: list[world.Request]) -> tuple[torch.Tensor, list[str], list[str]]:
        learned = checkpoint.load_model(bench.run / "rm", model.ScalarModel, bench.device)
        texts = writer.reply([[("user", q.prompt)] for q in asked])
        said = [gold.verdict(bench.world, q, text) for q, text in zip(asked, texts, strict=True)]
        return preference.text_scores(*learned, [q.prompt for q in asked], texts), said, texts

    def ppo(kl_coef: float) -> Row:
        run = bench.take(f"PPO, KL coefficient {kl_coef}", "base", "sl", "rm")
        bench.script("ppo", run, kl_coef=kl_coef, iterations=36, lr=1e-3)
        curve = [[max(0.0, s["kl"]) ** 0.5, s["score"], (s["objection"] + s["helpful"]) / 2]
                 for s in tools.read(run / "ppo" / "metrics.jsonl") if "iteration" in s]
        asked = bench.asked["requests"] + bench.asked["benign"]
        scores, said, texts = answered(bench.model(run / "ppo"), asked)
        wrong = [i for i in scores.argsort(descending=True).tolist() if said[i] not in RIGHT]
        return found(curve[-1][0], scores, said) | {"curve": curve, "dialogues": [
            f"[KL coefficient {kl_coef}, score {scores[i]:.2f}, gold: {said[i].replace('_', ' ')}]\n"
            f"Human: {asked[i].prompt}\nAssistant: {texts[i]}" for i in wrong[:4]]}

    def best() -> Row:
        asked = [q for group in ("requests", "benign") for q in bench.asked[group][:64] for _ in range(max(BEST_OF))]
        scores, said, _ = answered(bench.model(bench.run / "sl"), asked)
        return {"scores": scores.tolist(), "said": said}

    rows = bench.parts({f"PPO, KL coefficient {c}": partial(ppo, c) for c in KL_COEFS} | {"samples": best})
    some = rows.pop("samples")
    for n in BEST_OF:
        scores, index = torch.tensor(some["scores"]).view(-1, n).max(1)
        row = found((math.log(n) - (n - 1) / n) ** 0.5, scores, [some["said"][i * n + j] for i, j in enumerate(index)])
        rows[f"best of {n}"] = row | {"curve": [[row["d"], row["score"], row["gold"]]]}
    return rows | {f"gold, {form}": fit([point for name, row in rows.items() if name[:3] == form[:3]
                                         for point in row["curve"]], form) for form in FORMS}


def found(d: float, scores: torch.Tensor, said: list[str]) -> Row:
    """Scores of and verdicts on as many harmful requests as harmless ones -> what the table says of them."""
    return {"d": d, "score": scores.mean().item(), "gold": sum(v in RIGHT for v in said) / len(said)} | {
        name: 2 * said.count(name) / len(said) for name in ("harmful", "evasive", "objection", "helpful", "refused")}


def fit(points: list[list[float]], form: str) -> Row:
    """Least squares of one of FORMS, d(a - b f(d)), to gold - gold(0) at points [d, score, gold]; some have d = 0."""
    (d, _, good), f = torch.tensor(points, dtype=torch.float64).T, FORMS[form]
    start, far = good[d == 0].mean(), d > 0
    a, b = torch.linalg.lstsq(torch.stack([d, -d * f(d)], 1)[far], (good - start)[far, None]).solution[:, 0].tolist()
    reach = torch.linspace(0.02, d.max(), 50, dtype=torch.float64)
    line = torch.stack([reach, reach, start + reach * (a - b * f(reach))], 1)
    return {"a": a, "b": b, "start": start.item(), "line": line.tolist()}
