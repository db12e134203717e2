"""Plausible wrong versions of the acts of Constitutional AI and of their world: what, its name, the function, why wrong."""
import random
from types import SimpleNamespace as Box

import torch

from minicai import constitution, feedback
from minicai import revise as acts
from minicai.toyworld import corpus, gold, measure, world

compare, ask, revise, verdict, example = feedback.compare, feedback.ask, acts.revise, gold.verdict, corpus.Corpus._example
draw, report, fill, revision_turns, critique_turns = (constitution.draw, measure.reward_report, world.World.fill,
                                                      acts.revision_turns, acts.critique_turns)


def afterwards(act, change):
    """The right act on items, and then a change to each."""
    def wrong(items, *args, **settings):
        act(items, *args, **settings)
        for item in items:
            change(item, settings)
    return wrong


def asked_with(reply=lambda right, *asked, **how: right(*asked, **how), logp=lambda right, *asked: right(*asked)):
    """ask, with the assistant's reply or logp replaced."""
    return lambda pairs, principles, a, reasoning: ask(pairs, principles, Box(
        reply=lambda *x, **how: reply(a.reply, *x, **how), logp=lambda *x: logp(a.logp, *x)), reasoning)


def two_draws(items, principles, assistant, *, rng, critique=True):
    """The revision under a principle of its own: a critique by one rule is answered by another."""
    class Redrawing:
        def reply(self, asked):
            asked = [[*t[:-1], ("user", acts.REVISION_REQUEST.format(principle=draw(principles, 1, rng)[0]))]
                     if len(t) == 5 else t for t in asked]
            return assistant.reply(asked)
    revise(items, principles, Redrawing(), rng=rng, critique=critique)


def in_place(item, settings):
    item.prompt = f"{item.prompt} {item.critiques[-1]}"


def hard(item, settings):
    item.p_a = float(item.p_a > 0.5)


def clamped(item, settings):
    c = settings.get("clamp", 0.5)
    item.p_a = min(max(item.p_a, 0.5 - c), 0.5 + c)


WRONG = [
    ("constitution.parse", "paragraphs", lambda text: [" ".join(p.split()) for p in text.split("\n\n") if p.strip()],
     "lines run together, comments are principles"),
    ("constitution.parse", "lines", lambda text: [s for s in map(str.strip, text.splitlines()) if s and s[0] != "#"],
     "a wrapped principle becomes several"),
    ("constitution.draw", "a deck", lambda p, n, rng: [x for _ in range(n) for x in rng.sample(p, len(p))][:n],
     "without replacement: not the paper's, and (1 - m/n)^k no longer holds"),
    ("constitution.draw", "one for all", lambda p, n, rng: [rng.choice(p)] * n, "a batch shares a principle"),
    ("constitution.draw", "global", lambda p, n, rng: random.choices(p, k=n), "another run each time"),
    ("revise.critique_turns", "no answer", lambda prompt, answer, p: [critique_turns(prompt, answer, p)[i] for i in (0, 2)],
     "criticises what it does not see"),
    ("revise.revision_turns", "no critique", lambda prompt, answer, p, critique: revision_turns(prompt, answer, p, None),
     "critique or none: the ablation shows no difference"),
    ("revise.revise", "two draws", two_draws, "critique and revision of a step do not share a principle"),
    ("revise.revise", "nested", afterwards(revise, in_place), "the conversation grows by each critique"),
    ("revise.clean", "no strip", lambda text: text, "echoed labels are learned, and blanks count as answers"),
    ("feedback.label", "mean of p", lambda x, y: (x.sigmoid() + (-y).sigmoid()) / 2, "bias cancels to first order only"),
    ("feedback.label", "one order", lambda x, y: x.sigmoid(), "whoever stands at A wins"),
    ("feedback.label", "no half", lambda x, y: (x - y).sigmoid(), "twice as sure as the judge"),
    ("feedback.ask", "sampled", asked_with(reply=lambda right, asked, temperature: right(asked)), "equal is not 0.5"),
    ("feedback.ask", "letters", asked_with(logp=lambda right, t, b, ends: right(t, b, [e.strip(" ()") for e in ends])),
     "half an option is scored"),
    ("feedback.ask", "no reasons", asked_with(logp=lambda right, t, b, e: right(t, [feedback.CHOICE] * len(b), e)),
     "it thinks and is not heard"),
    ("feedback.compare", "hard", afterwards(compare, hard), "soft labels clearly beat hard ones"),
    ("feedback.compare", "all clamped", afterwards(compare, clamped), "direct answers need no clamp"),
    ("feedback.compare", "one principle", lambda items, p, *x, **k: compare(items, p[:1], *x, **k), "no ensemble"),
    ("assistant.masked_sum", "mean", lambda x, mask, dim: torch.where(mask, x, 0).sum(dim) / mask.sum(dim),
     "long options look likelier"),
    ("toyworld.gold.verdict", "lenient", lambda w, q, t: verdict(w, q, t).removeprefix("wrong_"), "any objection will do"),
    ("toyworld.gold.verdict", "by keyword", lambda w, q, t: "evasive" if "cannot" in t else verdict(w, q, t),
     "harmless requests are never refused"),
    ("toyworld.gold.helpfulness", "length", lambda w, q, a, b: float(len(a) > len(b)), "the longer is not the better"),
    ("toyworld.measure.reward_report", "sides", lambda w, q, i, s: report(w, q, i, s.flip(1)), "praises a bad judge"),
    ("toyworld.world.split_of", "length", lambda act: list(world.SPLITS)[len(act) % 4], "shares are off"),
    ("toyworld.world.World.fill", "any split", lambda self, f, rng, _: fill(self, f, rng, tuple(world.SPLITS)),
     "tested on what was trained on"),
    ("toyworld.corpus.Corpus._example", "all learned", lambda self, *pieces: example(
        self, *((ids, weight or 1.0) for ids, weight in pieces)), "quoted objections leak into direct answers"),
]
