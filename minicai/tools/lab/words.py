"""Experiments on what principles do: deleted in turn, drawn once and again, in order of importance."""
import random
from functools import partial
from statistics import mean

import torch

import train_ppo
import train_rm
import train_sl
from minicai.feedback import Comparison, compare_in_order
from minicai.revise import Revision, revise
from minicai.tools.lab.bench import GROUPS, Bench, Rows, shares
from minicai.toyworld import gold, measure, speech
from minicai.toyworld.world import Request

STEPS = 6                   # of revision, in `steer`


def steer(bench: Bench) -> Rows:
    """Which principle does what: one a category, each deleted in turn, six revisions; harmful share by category.

    Expected: the deleted category stays harmful (at most 0.15 of it harmless); of the others nearly as much is harmless
    as can be, the ceiling 1 - (1 - 1/n)^6: the chance that a prompt draws its own one of n principles at least once.
    """
    categories, narrow = bench.world.categories, bench.principles()["narrow"]

    def measured(deleted: str, stage: str) -> dict[str, float]:
        found = measure.behaviour(bench.world, bench.model(bench.folder / f"no {deleted}" / stage),
                                  {"requests": bench.asked["requests"]}, 1.0)["requests"]["by_category"]
        harm = {name: row["harmful"] for name, row in found.items()}
        others = [share for name, share in harm.items() if name != deleted]
        return harm | {"deleted: harmless": 1 - harm[deleted] if deleted in harm else None,
                       "others: harmless": 1 - mean(others), "ceiling": 1 - (1 - 1 / len(others)) ** STEPS}

    def rules(deleted: str) -> str:
        return bench.constitution(f"no {deleted}", [
            principle for name, principle in zip(categories, narrow, strict=True) if name != deleted])

    def supervised(deleted: str) -> dict[str, float]:
        bench.script(train_sl, bench.take(f"no {deleted}", "base"), constitution=rules(deleted), revisions=STEPS,
                     red_team_prompts=400, helpful_prompts=600, probes=8)
        return measured(deleted, "sl")

    def reinforced(deleted: str) -> dict[str, float]:
        run = bench.folder / f"no {deleted}"
        bench.script(train_rm, run, constitution=rules(deleted))
        bench.script(train_ppo, run, probes=8)
        return measured(deleted, "ppo")

    work = {f"no {name}": partial(supervised, name) for name in ("deletion", *categories)}
    return bench.parts(work | {f"no {name}, RL": partial(reinforced, name) for name in categories if bench.rl})


def revisions(bench: Bench) -> Rows:
    """How many revisions are enough: harmful share after k of them, without training and with, at SL's temperature.

    Expected: (1 - m/n)^k of the harm is left, where an answer breaks m of n principles; a critique first makes no
    difference where the reviser is good; SL on all revisions keeps the mean over k, SL on the last one keeps the last.
    """
    lists = bench.principles()

    def revised(requests: list[Request], principles: list[str], critique: bool) -> list[list[str]]:
        """The verdicts on the base's answers after 0 to 4 revisions."""
        base, rng = bench.model(bench.run / "base", train_sl.Config().temperature), random.Random(bench.seed)
        answers = base.reply([[("user", q.prompt)] for q in requests])
        items = [Revision(q.prompt, answer) for q, answer in zip(requests, answers, strict=True)]
        for _ in range(4):
            revise(items, principles, base, rng=rng, critique=critique)
        return [[gold.verdict(bench.world, q, text) for q, text in zip(requests, texts, strict=True)]
                for texts in zip(*([item.response, *item.revisions] for item in items), strict=True)]

    def harm(principles: list[str], critique: bool) -> dict[str, float]:
        said = revised(bench.asked["requests"], principles, critique)
        return {f"k={k}": some.count("harmful") / len(some) for k, some in enumerate(said)}

    def untrained() -> dict[str, float]:
        last = iter(revised([q for group in GROUPS for q in bench.asked[group]], lists["mixed"], True)[-1])
        return shares({group: [next(last) for _ in bench.asked[group]] for group in GROUPS})

    def trained(sft_on: str) -> dict[str, float]:
        run = bench.take(f"SL on {sft_on}", "base")
        bench.script(train_sl, run, constitution=bench.constitution("mixed", lists["mixed"]), sft_on=sft_on, probes=8)
        return bench.behaviour(run / "sl", train_sl.Config().temperature)

    rows = bench.parts({f"{name}, {way}": partial(harm, principles, way == "critique")
                        for name, principles in lists.items() for way in ("critique", "direct")}
                       | {"4 revisions, no training": untrained}
                       | {f"SL on {which}": partial(trained, which) for which in ("final", "all")})
    for name, principles in lists.items():
        about, asked = [bench.world.about[principle] for principle in principles], bench.asked["requests"]
        broken = mean(speech.breaks(concept, q, "shows") for concept in about for q in asked)
        at_first = rows[f"{name}, critique"]["k=0"]
        rows[f"{name}, (1 - m/n)^k"] = {f"k={k}": at_first * (1 - broken) ** k for k in range(5)}
    return rows


def priority(bench: Bench) -> Rows:
    """What sections are for: p(the first is better) where principles conflict, in one list and in order of importance.

    Expected: in one list, harm against dodging depends on which principle is drawn; in order, safety decides it, and of
    two harmless answers the section below.
    """
    concepts, rng = bench.world.concepts, random.Random(bench.seed)
    safety, useful = list(concepts["broad"].principles), list(concepts["engaging"].principles)

    def judged(a: str, b: str) -> dict[str, float]:
        row = {}
        for name, sections in (("one list", [safety + useful]), ("in order", [safety, useful])):
            items = [Comparison(q.prompt, *(speech.answer(kind, q, rng, bench.world) for kind in (a, b)))
                     for q in bench.asked["requests"]]
            compare_in_order(items, sections, bench.model(bench.run / "base"), rng=rng)
            p = torch.tensor([item.p_a for item in items])
            row |= {f"{name}: p": p.mean().item(), f"{name}: deviation": p.std().item()}
        return row
    return bench.parts({f"{a} against {b}": partial(judged, a, b) for a, b in (
        ("shows", "dodges"), ("objects", "dodges"), ("shows", "objects"))})
