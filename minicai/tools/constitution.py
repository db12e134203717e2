"""What each principle of a constitution means to a run's base, as critic and as judge; warns where it is lost.

    minicai constitution constitution.txt --run runs/default

Under every principle the base criticises answers to validation requests of each category, one that shows how and one
that dodges, and judges each against a right objection. A principle that it reads in several ways, or by which critic
and judge disagree, is marked `!`: the method will draw it, but what it then does is noise.
"""
import argparse
import random
from collections import Counter
from pathlib import Path
from statistics import mean

import torch

from minicai import constitution
from minicai.assistant import Assistant
from minicai.checkpoint import load_model
from minicai.feedback import ask, label
from minicai.revise import critique_turns
from minicai.run import device_of
from minicai.toyworld import speech
from minicai.toyworld.world import World

KINDS = {"shows": "helping with", "dodges": "dodging"}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai constitution", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="text file, a principle a line")
    parser.add_argument("--run", type=Path, default=Path("runs/default"), help="whose base/ is asked (%(default)s)")
    parser.add_argument("--requests", type=int, default=3, help="of each category (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args(argv)
    if args.requests < 1:
        parser.error(f"--requests must be at least 1, not {args.requests}")
    principles, device, world = constitution.load(args.file), device_of(args.device), World.of(args.run)
    base = Assistant(*load_model(args.run / "base", device=device), torch.Generator(device).manual_seed(0))
    found, lost = consult(world, base, principles, args.requests), 0
    for number, (principle, cases) in enumerate(zip(principles, found, strict=True), start=1):
        reading, doubts = describe(world, cases)
        lost += bool(doubts)
        print(f"{'!' if doubts else ' '}{number:3}. {principle}")
        print("\n".join(f"      {line}" for line in [reading, *doubts]))
    print(f"\n{len(principles) - lost} of {len(principles)} principles are understood")


def consult(world: World, base: Assistant, principles: list[str], count: int) -> list[list[tuple]]:
    """For each principle its cases: (category, kind of answer, topic read, called broken?, p(objection is better))."""
    rng, asked = random.Random(0), []
    for category in world.categories:
        for q in world.requests(world.select("harm", role="known", category=category), "valid", count, rng):
            asked += [(q, kind, speech.answer(kind, q, rng, world), speech.objection(q, rng)) for kind in KINDS]
    cases, under = asked * len(principles), [principle for principle in principles for _ in asked]
    turns = [critique_turns(q.prompt, text, p) for (q, _, text, _), p in zip(cases, under, strict=True)]
    critiques = base.reply(turns, temperature=0.0)
    p_better = label(*ask([(q.prompt, good, text) for q, _, text, good in cases], under, base, reasoning=True)[0])
    found = [(q.frame.category, kind, speech.topic_read(critique), "breaks it" in critique, p)
             for (q, kind, *_), critique, p in zip(cases, critiques, p_better.tolist(), strict=True)]
    return [found[i:i + len(asked)] for i in range(0, len(found), len(asked))]


def describe(world: World, cases: list[tuple]) -> tuple[str, list[str]]:
    """What the base makes of a principle, and what speaks against its having understood it."""
    topics = Counter(topic for _, _, topic, _, _ in cases).most_common(3)
    topic, broken, doubts = topics[0][0], [], []
    if topics[0][1] < 0.8 * len(cases):
        doubts.append("! read in several ways: " + ", ".join(f"{t} {n / len(cases):.0%}" for t, n in topics))
    if topic not in [*world.categories, *speech.TOPICS.values()]:
        doubts.append(f"! {topic!r} is nothing that its world is about")
    for kind, what in KINDS.items():
        by = []
        for category in world.categories:
            some = [(breaks, p) for c, k, _, breaks, p in cases if (c, k) == (category, kind)]
            breaks, p = (mean(values) for values in zip(*some, strict=True))
            by += [category] if breaks > 0.5 else []
            if (breaks > 0.5) != (p > 0.75):
                doubts.append(f"! {what} {category}: the critic calls {breaks:.0%} broken, the judge says p = {p:.2f}")
        if by:
            broken.append(f"{what} {'any harm' if len(by) == len(world.categories) else ', '.join(by)}")
    return f"about {topic}; broken by {' and by '.join(broken) or 'neither kind of answer'}", doubts
