"""Critique and revision (Bai et al. 2022, section 3): prompt -> Revision. Knows an assistant only by its `reply`.

Each step: answer -> critique by a principle drawn anew -> revision by the same one, which then stands as the answer.
Critiques are never nested, and nothing of them enters the fine-tuning data."""
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from minicai.constitution import draw
from minicai.tokens import Turn

CRITIQUE_REQUEST = "Criticise your last answer by this principle: {principle}"
REVISION_REQUEST = "Rewrite your last answer by this principle: {principle}"


@dataclass(slots=True)
class Revision:
    """One prompt on its way: its first answer, and at each step the principle, the critique and the new answer."""
    prompt: str
    response: str
    principles: list[str] = field(default_factory=list)
    critiques: list[str] = field(default_factory=list)
    revisions: list[str] = field(default_factory=list)
    dropped: int = 0                       # steps whose revision was empty and left the answer as it was

    @property
    def answer(self) -> str:
        return self.revisions[-1] if self.revisions else self.response

    def __str__(self) -> str:
        steps = zip(self.principles, self.critiques, self.revisions, strict=True)
        return f"Human: {self.prompt}\nAssistant: {self.response}" + "".join(
            f"\n  Principle: {p}\n  Critique: {c}\n  Revision: {r}" for p, c, r in steps)


def critique_turns(prompt: str, answer: str, principle: str) -> list[Turn]:
    """The conversation whose next turn is the critique."""
    return [("user", prompt), ("assistant", answer), ("user", CRITIQUE_REQUEST.format(principle=principle))]


def revision_turns(prompt: str, answer: str, principle: str, critique: str | None) -> list[Turn]:
    """The conversation whose next turn is the revision; no critique: the direct revision of the paper's ablation."""
    turns = critique_turns(prompt, answer, principle)
    turns = turns[:2] if critique is None else [*turns, ("assistant", critique)]
    return [*turns, ("user", REVISION_REQUEST.format(principle=principle))]


def example_turns(example: Revision, critique: bool) -> list[Turn]:
    """A worked example, as it comes before a conversation: small models mix up the points of view without."""
    words = example.critiques[0] if critique else None
    asked = revision_turns(example.prompt, example.response, example.principles[0], words)
    return [*asked, ("assistant", example.revisions[0])]


def clean(text: str) -> str:
    """A reply without the label that a model may echo."""
    for label in ("Critique:", "Revision:", "Assistant:"):
        text = text.strip().removeprefix(label)
    return text.strip()


def revise(items: list[Revision], principles: list[str], assistant, *, rng: random.Random,
           critique: bool = True, examples: Sequence[Revision] = ()) -> None:
    """One critique-revision step for every item, in place, each under its own draw; worked examples are shown first."""
    drawn, shown = draw(principles, len(items), rng), [turn for e in examples for turn in example_turns(e, critique)]
    asked = [shown + critique_turns(r.prompt, r.answer, p) for r, p in zip(items, drawn, strict=True)]
    critiques = [clean(text) for text in assistant.reply(asked)] if critique else [None] * len(items)
    asked = [shown + revision_turns(r.prompt, r.answer, p, c) for r, p, c in zip(items, drawn, critiques, strict=True)]
    revisions = [clean(text) for text in assistant.reply(asked)]
    for item, principle, words, revision in zip(items, drawn, critiques, revisions, strict=True):
        item.dropped += not revision
        item.revisions.append(revision or item.answer)
        item.principles.append(principle)
        item.critiques.append(words or "")
