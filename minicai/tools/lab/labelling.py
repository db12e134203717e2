"""Experiments on labels: what they are, and who gives them."""
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import train_ppo
import train_rm
import train_sl
from minicai import constitution
from minicai.checkpoint import load_model
from minicai.feedback import Comparison, ask, label
from minicai.model import ScalarModel
from minicai.preference import text_scores
from minicai.run import append_jsonl
from minicai.tools.lab.bench import Bench, Rows
from minicai.toyworld import gold, measure
from minicai.toyworld.world import World


def odds(item: Comparison) -> Tensor:
    """The log-odds of both orders under each principle, (principles, 2); the first principle is the one sampled."""
    return torch.tensor(item.log_odds)


def soft(item: Comparison) -> float:
    return label(*odds(item)[0]).item()


# Each differs from the first in one thing.
LABELS: dict[str, Callable[[Comparison], float]] = {
    "soft, one principle, both orders": soft,
    "hard": lambda item: 0.5 if abs(soft(item) - 0.5) < 1e-6 else float(soft(item) > 0.5),
    "clamped to 0.4-0.6": lambda item: min(max(soft(item), 0.4), 0.6),
    "mean over all principles": lambda item: label(*odds(item).T).mean().item(),
    "one order": lambda item: odds(item)[0, 0].sigmoid().item()}


def people(world: World, item: Comparison) -> float:
    """The label of people who accept any refusal: an answer that does no harm wins over one that does."""
    harm_a, harm_b = (gold.verdict(world, world.recognise(item.prompt), text) == "harmful" for text in (item.a, item.b))
    return 0.5 + 0.5 * (harm_b - harm_a)


def calibration(said: list[float] | Tensor, world: World, items: list[Comparison]) -> dict:
    """Accuracy and calibration of p(the first is better) against gold, where exactly one answer harms."""
    true = torch.tensor([people(world, item) for item in items])
    said, true = torch.as_tensor(said)[true != 0.5], true[true != 0.5]
    bins = measure.reliability(said, true)
    return {"right": measure.mean((said > 0.5) == (true > 0.5)), "bins": bins,
            "off by": sum(b["pairs"] * abs(b["predicted"] - b["label"]) for b in bins) / max(1, len(true))}


def labels(bench: Bench) -> Rows:
    """What the labels are: soft, hard, clamped; one sampled principle or all; one order of the answers or both.

    "off by" is the mean distance of p from what gold finds, of labels and of the reward model, on test requests.
    Expected: hard labels are overconfident, clamped ones weak beside the hard labels of help; the mean over all
    principles is as the sampled one, with less noise; one order keeps the judge's liking for a letter.
    """
    def judge() -> dict[str, float]:
        """Every second of the run's AI comparisons under every principle, in an order of its own."""
        rules, rng = constitution.load(bench.run / "sl" / "constitution.txt"), random.Random(bench.seed)
        base, items = bench.model(bench.run / "base"), bench.comparisons(bench.run)[::2]
        some = [item for item in items if item.source == "ai"]
        for start in tqdm(range(0, len(some), 8), desc="judging", leave=False, disable=None):
            part = some[start:start + 8]
            under = [principle for _ in part for principle in rng.sample(rules, len(rules))]
            pairs = [(item.prompt, item.a, item.b) for item in part for _ in rules]
            found = ask(pairs, under, base, reasoning=True)[0].T.reshape(len(part), len(rules), 2).tolist()
            part[:] = [replace(item, log_odds=rows) for item, rows in zip(part, found, strict=True)]
            some[start:start + 8] = part
        judged.unlink(missing_ok=True)
        append_jsonl(judged, some + [item for item in items if item.source == "human"])
        return {"liking for (A)": measure.mean(torch.cat([odds(item) for item in some]).mean(1))}

    def under(name: str) -> dict:
        items = [Comparison(**json.loads(line)) for line in judged.read_text(encoding="utf-8").splitlines()]
        some = [item for item in items if item.source == "ai"]
        items = [replace(item, p_a=LABELS[name](item)) if item.source == "ai" else item for item in items]
        said = calibration([LABELS[name](item) for item in some], bench.world, some)
        run = bench.take(name, "base", "sl")
        bench.reward_model(run, items)
        found = reward_calibration(bench, run / "rm")
        bench.script(train_ppo, run, probes=8)
        return {"labels right": said["right"], "labels off by": said["off by"], "reward right": found["right"],
                "reward off by": found["off by"], "bins": found["bins"]} | bench.behaviour(run / "ppo")

    judged = bench.folder / "judged.jsonl"
    rows = bench.parts({"the judge": judge})
    return bench.parts({name: partial(under, name) for name in LABELS}) | rows


def reward_calibration(bench: Bench, folder: Path) -> dict:
    """Of a reward model on test requests, each answered once by the base and once by SL."""
    asked = bench.asked["requests"]
    texts = [bench.model(bench.run / name).reply([[("user", q.prompt)] for q in asked]) for name in ("base", "sl")]
    items = [Comparison(q.prompt, *(pair if i % 2 else pair[::-1]))
             for i, (q, pair) in enumerate(zip(asked, zip(*texts, strict=True), strict=True))]
    model, tokenizer = load_model(folder, ScalarModel, bench.device)
    a, b = (text_scores(model, tokenizer, [item.prompt for item in items], side)
            for side in ([item.a for item in items], [item.b for item in items]))
    return calibration(((a - b) * model.std.cpu()).sigmoid(), bench.world, items)       # back in log-odds


def rlhf(bench: Bench) -> Rows:
    """The paper's central claim: labels of people who accept any refusal, or of the constitution; how evasive is RL?

    From the base, which objects to nothing but dodges now and then, and from SL after a single revision, which does
    both. Expected: all are harmless; from the base RL can only learn to dodge; from SL people's labels leave dodging
    as good as objecting, those of the constitution do not.
    """
    rules = bench.principles()["mixed"]

    def begin(start: str) -> dict[str, float]:
        run, file = bench.take(start, "base"), bench.constitution("mixed", rules)
        if start == "base":
            shutil.copytree(run / "base", run / "sl", dirs_exist_ok=True)
        else:
            bench.script(train_sl, run, constitution=file, revisions=1, red_team_prompts=400, helpful_prompts=600,
                         probes=8)
        bench.script(train_rm, run, constitution=file, red_team_prompts=1000, helpful_prompts=700)
        return bench.behaviour(run / "sl")

    def constitutional(start: str) -> dict[str, float]:
        bench.script(train_ppo, bench.folder / start, probes=8)
        return bench.behaviour(bench.folder / start / "ppo")

    def human(start: str) -> dict[str, float]:
        run, items = bench.take(f"{start}, people", "base", "sl", of=bench.folder / start), bench.comparisons(
            bench.folder / start)
        bench.reward_model(run, [replace(item, p_a=people(bench.world, item)) if item.source == "ai" else item
                                 for item in items])
        bench.script(train_ppo, run, probes=8)
        return bench.behaviour(run / "ppo")

    work = {}
    for start in ("base", "SL, one revision"):
        work |= {start: partial(begin, start), f"{start}; RL, people": partial(human, start),
                 f"{start}; RL, constitution": partial(constitutional, start)}
    return bench.parts(work)
