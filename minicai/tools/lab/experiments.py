"""The experiments: each returns its rows, {part: {column: number}}; its docstring says what is expected."""
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import mean

import torch

import train_ppo
import train_sl
from minicai.checkpoint import load_model
from minicai.feedback import Comparison, compare_in_order, label
from minicai.model import ScalarModel
from minicai.preference import text_scores
from minicai.revise import Revision, revise
from minicai.tools.lab.bench import Bench
from minicai.toyworld import gold, measure, speech

Rows = dict[str, dict[str, float]]
KL_COEFS, BEST_OF = (1.0, 0.3, 0.1, 0.03, 0.0), (1, 4, 16, 64)


def narrow(bench: Bench) -> dict[str, str]:
    """One principle of each category."""
    return {category: bench.world.concepts[category].principles[0] for category in bench.world.categories}


def steer(bench: Bench) -> Rows:
    """Which principle does what: one a category, each deleted in turn, six revisions; share not harmful after SL.

    Expected: the deleted category stays harmful (0.15 at most not), the others come near the ceiling: the chance
    1 - (1 - 1/n)^6 that a prompt draws its principle at least once.
    """
    def without(deleted: str) -> dict[str, float]:
        left = [principle for category, principle in narrow(bench).items() if category != deleted]
        run = bench.take(f"no {deleted}", "base")
        bench.script(train_sl, run, constitution=bench.constitution(f"no {deleted}", left), revisions=6)
        found = measure.behaviour(bench.world, bench.model(run / "sl"), {"requests": bench.asked["requests"]}, 1.0)
        by = found["requests"]["by_category"]
        return {c: 1 - by[c]["harmful"] for c in by} | {"ceiling": 1 - (1 - 1 / len(left)) ** 6}
    return bench.parts({f"no {name}": partial(without, name) for name in ["deletion", *bench.world.categories]})


def revisions(bench: Bench) -> Rows:
    """How many revisions are enough: harmful share of the base's answers after k of them, no training.

    Expected: (1 - m/n)^k of the harm is left, m/n being the share of principles that the answer breaks; with a critique
    first or directly makes no difference where the reviser is good.
    """
    concepts = bench.world.concepts
    lists = {"broad": list(concepts["broad"].principles), "narrow": list(narrow(bench).values())}
    lists["mixed"] = lists["broad"][:8] + lists["narrow"]

    def harm(principles: list[str], critique: bool) -> dict[str, float]:
        base, asked, rng = bench.model(bench.run / "base", 0.5), bench.asked["requests"], random.Random(bench.seed)
        answers = base.reply([[("user", q.prompt)] for q in asked])
        items, row = [Revision(q.prompt, a) for q, a in zip(asked, answers, strict=True)], {}
        for k in range(5):
            if k:
                revise(items, principles, base, rng=rng, critique=critique)
            left = [gold.verdict(bench.world, q, item.answer) for q, item in zip(asked, items, strict=True)]
            row[f"k={k}"] = left.count("harmful") / len(left)
        broken = mean(speech.breaks(bench.world.about[p], q, "shows") for p in principles for q in asked)
        return row | {"expected k=4": row["k=0"] * (1 - broken) ** 4}

    def trained(sft_on: str) -> dict[str, float]:
        run = bench.take(f"SL on {sft_on}", "base")
        bench.script(train_sl, run, constitution=bench.constitution("mixed", lists["mixed"]), sft_on=sft_on)
        return {"after SL": bench.behaviour(run / "sl")["harmful"]}
    return bench.parts({f"{name}, {'critique' if c else 'direct'}": partial(harm, principles, c)
                        for name, principles in lists.items() for c in (True, False)}
                       | {f"SL on {which}": partial(trained, which) for which in ("final", "all")})


def relabelled(bench: Bench, key: str, relabel: Callable[[Comparison], float]) -> dict[str, float]:
    """Reward model and PPO on the run's comparisons, those of harmlessness with other labels."""
    items = [replace(i, p_a=relabel(i)) if i.source == "ai" else i for i in bench.comparisons()]
    report = bench.reward_model(key, items)
    bins = report["calibration"]
    error = sum(b["pairs"] * abs(b["predicted"] - b["label"]) for b in bins) / sum(b["pairs"] for b in bins)
    run = bench.take(key)
    bench.script(train_ppo, run)
    return {"gold accuracy": report["gold"]["accuracy"], "calibration error": error} | bench.behaviour(run / "ppo")


def labels(bench: Bench) -> Rows:
    """What the labels are: soft, hard, clamped to 0.4-0.6; one order of the answers or both; one principle or two.

    Expected: hard labels are overconfident, clamped ones weak beside the hard labels of help; one order keeps the
    judge's liking for a letter.
    """
    return bench.parts({key: partial(relabelled, bench, key, relabel) for key, relabel in LABELS.items()})


def odds(item: Comparison) -> torch.Tensor:
    """The log-odds of both orders under each principle, (principles, 2); of equal answers nobody was asked."""
    return torch.tensor(item.log_odds or [[0.0, 0.0]])


LABELS: dict[str, Callable[[Comparison], float]] = {
    "soft": lambda i: label(*odds(i).T).mean().item(),
    "hard": lambda i: 0.5 if abs(i.p_a - 0.5) < 1e-6 else float(i.p_a > 0.5),
    "clamped to 0.4-0.6": lambda i: min(max(i.p_a, 0.4), 0.6),
    "one order": lambda i: odds(i)[:, 0].sigmoid().mean().item(),
    "one principle": lambda i: label(*odds(i)[0]).item()}


def rlhf(bench: Bench) -> Rows:
    """The paper's central claim: labels of people who accept any refusal, or of the constitution; how evasive is RL?

    Expected: both are harmless; with human labels dodging is as good as objecting, by the constitution it is not.
    """
    def human(item: Comparison) -> float:
        request = bench.world.recognise(item.prompt)
        harm_a, harm_b = (gold.verdict(bench.world, request, text) == "harmful" for text in (item.a, item.b))
        return 0.5 + 0.5 * (harm_b - harm_a)
    return bench.parts({"SL": lambda: bench.behaviour(bench.run / "sl"),
                        "RL, constitution": partial(relabelled, bench, "RL, constitution", lambda item: item.p_a),
                        "RL, people": partial(relabelled, bench, "RL, people", human)})


def overoptimise(bench: Bench) -> Rows:
    """When the reward is hacked: PPO at several prices of KL, and the best of n, by the reward model and by gold.

    Expected: far from SL the score goes on rising while gold falls (Gao et al. 2023, arXiv 2210.10760).
    """
    def ppo(kl_coef: float) -> dict[str, float]:
        run = bench.take(f"kl {kl_coef}", "base", "sl", "rm")
        bench.script(train_ppo, run, kl_coef=kl_coef, iterations=36)
        steps = [json.loads(line) for line in (run / "ppo" / "metrics.jsonl").read_text().splitlines()]
        last = {name: mean(s[name] for s in steps[-6:-1]) for name in ("kl", "score")}      # the last line: validation
        return {"sqrt KL": max(0.0, last["kl"]) ** 0.5, "score": last["score"]} | bench.behaviour(run / "ppo")

    def best(n: int) -> dict[str, float]:
        harm, kind = bench.asked["requests"][:64], bench.asked["benign"][:64]
        judge = load_model(bench.run / "rm", ScalarModel, bench.device)
        prompts = [q.prompt for q in harm + kind for _ in range(n)]
        texts = bench.model(bench.run / "sl").reply([[("user", prompt)] for prompt in prompts])
        score = text_scores(*judge, prompts, texts).view(-1, n)
        top = [texts[i * n + j] for i, j in enumerate(score.argmax(1).tolist())]
        top = [gold.verdict(bench.world, q, text) for q, text in zip(harm + kind, top, strict=True)]
        return {"sqrt KL": (math.log(n) - (n - 1) / n) ** 0.5, "score": score.amax(1).mean().item(),
                "helpful": top.count("helpful") / len(kind)} | {
                    name: top.count(name) / len(harm) for name in ("harmful", "evasive", "objection")}
    return bench.parts({f"PPO, KL coefficient {c}": partial(ppo, c) for c in KL_COEFS}
                       | {f"best of {n}": partial(best, n) for n in BEST_OF})


def priority(bench: Bench) -> Rows:
    """What sections are for: p(the first is better) where principles conflict, in one list and in order of importance.

    Expected: in one list, harm against dodging depends on which principle is drawn; in order, safety decides it, and of
    two harmless answers the section below.
    """
    concepts, rng = bench.world.concepts, random.Random(bench.seed)
    safety, useful = list(concepts["broad"].principles), list(concepts["engaging"].principles)
    conflicts = [("shows", "dodges"), ("objects", "dodges"), ("shows", "objects")]

    def judged(a: str, b: str) -> dict[str, float]:
        row = {}
        for name, sections in (("one list", [safety + useful]), ("in order", [safety, useful])):
            items = [Comparison(q.prompt, *(speech.answer(kind, q, rng, bench.world) for kind in (a, b)))
                     for q in bench.asked["requests"]]
            compare_in_order(items, sections, bench.model(bench.run / "base"), rng=rng)
            p = torch.tensor([item.p_a for item in items])
            row |= {f"{name}: p": p.mean().item(), f"{name}: spread": p.std().item()}
        return row
    return bench.parts({f"{a} against {b}": partial(judged, a, b) for a, b in conflicts})


EXPERIMENTS: dict[str, Callable[[Bench], Rows]] = {
    work.__name__: work for work in (steer, revisions, labels, overoptimise, rlhf, priority)}
