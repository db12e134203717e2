"""Plausible wrong versions of the acts of Constitutional AI and of their world: (what, name, function, why wrong)."""
import random
import re
from types import SimpleNamespace as Box

import torch

from minicai import feedback
from minicai import revise as acts
from minicai.assistant import Assistant
from minicai.toyworld import corpus, gold, measure, speech, world

compare, ask, draw_pairs, logp = feedback.compare, feedback.ask, feedback.draw_pairs, Assistant.logp
critique_turns, revision_turns = acts.critique_turns, acts.revision_turns
verdict, report, fill, example = gold.verdict, measure.reward_report, world.World.fill, corpus.Corpus._example


def afterwards(act, field, change):
    """The right act on items, and then a change to a field of each."""
    def wrong(items, *args, **settings):
        act(items, *args, **settings)
        for item in items:
            setattr(item, field, change(item, settings.get("clamp", 0.5)))
    return wrong


WRONG = [
    ("constitution.parse", "paragraphs", lambda text: [" ".join(p.split()) for p in text.split("\n\n") if p.strip()],
     "lines run together, comments are principles"),
    ("constitution.parse", "lines", lambda text: [s for s in map(str.strip, text.splitlines()) if s and s[0] != "#"],
     "a wrapped principle becomes several"),
    ("constitution.draw", "a deck", lambda p, n, rng: [x for _ in range(n) for x in rng.sample(p, len(p))][:n],
     "without replacement: not the paper's, and (1 - m/n)^k no longer holds"),
    ("constitution.draw", "global", lambda p, n, rng: random.choices(p, k=n), "another run each time"),
    ("revise.critique_turns", "no answer", lambda *x: critique_turns(*x)[::2], "criticises what it does not see"),
    ("revise.revision_turns", "no critique", lambda prompt, answer, p, c: revision_turns(prompt, answer, p, None),
     "critique or none: the ablation shows no difference"),
    ("revise.revision_turns", "two draws", lambda prompt, answer, p, c: [
        *revision_turns(prompt, answer, p, c)[:-1], *revision_turns(prompt, answer, "Principle 1.", c)[-1:]],
     "critique and revision of a step do not share a principle"),
    ("revise.revise", "nested", afterwards(acts.revise, "prompt", lambda item, _: item.prompt + item.critiques[-1]),
     "the conversation grows by each critique"),
    ("revise.clean", "no strip", lambda text: text, "echoed labels are learned, and blanks count as answers"),
    ("feedback.label", "mean of p", lambda x, y: (x.sigmoid() + (-y).sigmoid()) / 2, "bias cancels only nearly"),
    ("feedback.label", "no half", lambda x, y: (x - y).sigmoid(), "twice as sure as the judge"),
    ("feedback.ask", "sampled", lambda pairs, principles, a, *how: ask(pairs, principles, Box(
        reply=lambda asked, temperature: a.reply(asked), logp=a.logp), *how), "equal questions differ"),
    ("feedback.ask", "letters", lambda pairs, principles, a, *how: ask(pairs, principles, Box(
        reply=a.reply, logp=lambda t, b, e: a.logp(t, b, [s.strip(" ()") for s in e])), *how), "half an option"),
    ("feedback.draw_pairs", "the first two", lambda prompts, a, source, samples, *how: draw_pairs(
        prompts, a, source, 2, *how), "alike answers teach nothing"),
    ("feedback.compare", "hard", afterwards(compare, "p_a", lambda item, _: float(item.p_a > .5)), "no doubts left"),
    ("feedback.compare", "all clamped", afterwards(compare, "p_a", lambda item, c: min(max(item.p_a, .5 - c), .5 + c)),
     "direct answers need no clamp"),
    ("feedback.compare_in_order", "all together", lambda items, sections, a, **k: compare(
        items, sum(sections, []), a, **k), "what matters most is outvoted"),
    ("feedback.compare_in_order", "the last word", lambda items, sections, a, **k: [
        compare(items, some, a, **k) for some in sections], "what matters least decides"),
    ("assistant.Assistant.logp", "mean", lambda self, turns, begun, ends: logp(self, turns, begun, ends) / torch.tensor(
        [len(self.tokenizer.encode(end)) for end in ends]), "long options look likelier"),
    ("toyworld.gold.verdict", "lenient", lambda w, q, t: verdict(w, q, t).removeprefix("wrong_"), "any objection"),
    ("toyworld.gold.pattern", "any noun", lambda t: re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(t))),
     "a reason with an 'and' in it is read as part of the noun, and a right objection as a wrong one"),
    ("toyworld.gold.helpfulness", "length", lambda w, q, a, b: float(len(a) > len(b)), "the longer is not the better"),
    ("toyworld.measure.reward_report", "sides", lambda w, q, i, s: report(w, q, i, s.flip(1)), "praises a bad judge"),
    ("toyworld.world.split_of", "length", lambda act: list(world.SPLITS)[len(act) % 4], "shares are off"),
    ("toyworld.world.World.fill", "any split", lambda self, f, rng, _: fill(self, f, rng, tuple(world.SPLITS)),
     "tested on what was trained on"),
    ("toyworld.world.World.far", "acts only", lambda self, f: not any(
        f.words(slice(1)) & known.words(slice(1)) for known in self.select("harm", role="known")),
     "its words may stand in a reason or a how-to"),
    ("toyworld.speech.reading", "fits all", lambda concept, noun: f"The principle is about {speech.topic(concept)}.",
     "an unrelated principle would count as broken: deleting one shows nothing"),
    ("toyworld.corpus.Corpus._example", "all learned", lambda self, *pieces: example(
        self, *((ids, weight or 1.0) for ids, weight in pieces)), "quoted objections leak into direct answers"),
]
