"""Experiments on what principles do: deleted in turn, drawn once and again, in order of importance."""
import random
from functools import partial
from statistics import mean

import torch

from minicai import feedback, revise
from minicai.tools.lab.bench import GROUPS, SCRIPTS, Bench, Row, shares
from minicai.toyworld import gold, measure, speech, world

SHARP = {"red_team_prompts": 600, "helpful_prompts": 200, "epochs": 10, "probes": 8}      # SL that tells kinds apart
STEPS, TEMPERATURE = 6, SCRIPTS["sl"].Config().temperature       # of revision: how often in `steer`, how warm elsewhere


def steer(bench: Bench) -> dict[str, Row]:
    narrow = dict(zip(bench.world.categories, bench.principles()["narrow"], strict=True))

    def trained(deleted: str, stage: str) -> Row:
        run = bench.take(f"no {deleted}", "base")
        rules = bench.constitution(f"no {deleted}", [p for name, p in narrow.items() if name != deleted])
        if stage == "sl":
            bench.script("sl", run, constitution=rules, revisions=STEPS, **SHARP)
        else:
            bench.script("rm", run, constitution=rules)
            bench.script("ppo", run, probes=8)
        model, asked, row = bench.model(run / stage), {"requests": bench.asked["requests"]}, {}
        for temperature, how in ((0.0, "harmless, greedily"), (1.0, "harmless")):
            found = measure.behaviour(bench.world, model, asked, temperature)["requests"]["by_category"]
            harm = {name: shares["harmful"] for name, shares in found.items()}
            row |= {f"deleted: {how}": 1 - harm[deleted] if deleted in harm else None,
                    f"others: {how}": 1 - mean(share for name, share in harm.items() if name != deleted)}
        return harm | row | {"ceiling": 1 - (1 - 1 / (len(harm) - (deleted in harm))) ** STEPS}

    stages = {"": "sl", ", RL": "ppo"} if bench.rl else {"": "sl"}
    return bench.parts({f"no {deleted}{after}": partial(trained, deleted, stage)
                        for after, stage in stages.items() for deleted in ("deletion", *narrow)})


def revisions(bench: Bench) -> dict[str, Row]:
    lists = bench.principles()

    def harm(principles: list[str], critique: bool) -> Row:
        said = revised(bench, bench.asked["requests"], principles, critique)
        return {f"k={k}": some.count("harmful") / len(some) for k, some in enumerate(said)}

    def untrained() -> Row:
        asked = [q for group in GROUPS for q in bench.asked[group]]
        last = iter(revised(bench, asked, lists["mixed"], True)[-1])
        return shares({group: [next(last) for _ in bench.asked[group]] for group in GROUPS})

    def trained(sft_on: str) -> Row:
        run = bench.take(f"SL on {sft_on}", "base")
        bench.script("sl", run, constitution=bench.constitution("mixed", lists["mixed"]), sft_on=sft_on, probes=8)
        return bench.behaviour(run / "sl", TEMPERATURE)

    work = {f"{name}, {way}": partial(harm, principles, way == "critique")
            for name, principles in lists.items() for way in ("critique", "direct")}
    rows = bench.parts(work | {"4 revisions, no training": untrained} | {
        f"SL on {which}": partial(trained, which) for which in ("final", "all")})
    for name, rules in lists.items():
        left = 1 - mean(speech.breaks(bench.world.about[p], q, "shows") for p in rules for q in bench.asked["requests"])
        rows[f"{name}, (1 - m/n)^k"] = {f"k={k}": rows[f"{name}, critique"]["k=0"] * left ** k for k in range(5)}
    return rows


def revised(bench: Bench, asked: list[world.Request], principles: list[str], critique: bool) -> list[tuple[str, ...]]:
    """The verdicts on the base's answers after 0, 1, ... 4 revisions."""
    base, rng = bench.model(bench.run / "base", TEMPERATURE), random.Random(bench.seed)
    answers = base.reply([[("user", q.prompt)] for q in asked])
    items = [revise.Revision(q.prompt, answer) for q, answer in zip(asked, answers, strict=True)]
    for _ in range(4):
        revise.revise(items, principles, base, rng=rng, critique=critique)
    return verdicts(bench.world, items)


def verdicts(embedded: world.World, items: list[revise.Revision]) -> list[tuple[str, ...]]:
    """Gold on the answers to prompts of that world as they were at first, and after each revision."""
    return list(zip(*([gold.verdict(embedded, q, text) for text in (item.response, *item.revisions)]
                      for item in items if (q := embedded.recognise(item.prompt))), strict=True))


def priority(bench: Bench) -> dict[str, Row]:
    concepts, rng = bench.world.concepts, random.Random(bench.seed)
    safety, useful = list(concepts["broad"].principles), list(concepts["engaging"].principles)

    def judged(a: str, b: str) -> Row:
        row = {}
        for name, sections in (("one list", [safety + useful]), ("in order", [safety, useful])):
            items = [feedback.Comparison(q.prompt, *(speech.answer(kind, q, rng, bench.world) for kind in (a, b)))
                     for q in bench.asked["requests"]]
            feedback.compare_in_order(items, sections, bench.model(bench.run / "base"), rng=rng)
            p = torch.tensor([item.p_a for item in items])
            row |= {f"{name}: p": p.mean().item(), f"{name}: deviation": p.std().item()}
        return row
    return bench.parts({f"{a} against {b}": partial(judged, a, b) for a, b in (
        ("shows", "dodges"), ("objects", "dodges"), ("shows", "objects"))})
