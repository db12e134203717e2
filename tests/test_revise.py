"""Laws of critique and revision: the right words reach the model in the right order."""
import random

import pytest
from fakes import Scripted

from minicai.revise import CRITIQUE_REQUEST, REVISION_REQUEST, Revision, revise

PRINCIPLES = [f"Principle {i}." for i in range(8)]


def echo(turns):
    """A reply that tells what was asked."""
    return f"So {sum(map(ord, str(turns))) % 997}"


def run(steps=1, say=echo, items=1, **settings):
    fake, rng = Scripted(say), random.Random(0)
    revisions = [Revision(f"prompt {i}", f"answer {i}") for i in range(items)]
    for _ in range(steps):
        revise(revisions, PRINCIPLES, fake, rng=rng, **settings)
    return revisions, fake


@pytest.mark.exercise("revise", 2)
def test_three_steps_word_for_word():
    """Of the steps before only the last answer is left: critiques are never nested."""
    (item,), fake = run(steps=3)
    answers, expected = [item.response, *item.revisions], []
    for answer, p, critique in zip(answers[:3], item.principles, item.critiques, strict=True):
        asked = [("user", "prompt 0"), ("assistant", answer), ("user", CRITIQUE_REQUEST.format(principle=p))]
        expected += [asked, [*asked, ("assistant", critique), ("user", REVISION_REQUEST.format(principle=p))]]
    assert fake.asked == expected and set(fake.temperatures) == {1.0} and answers[0] == "answer 0"
    assert item.critiques == list(map(echo, expected[::2])) and item.revisions == list(map(echo, expected[1::2]))
    assert item.answer == answers[3]


@pytest.mark.exercise("revise", 1)
def test_every_item_and_every_step_draws_a_principle_of_its_own_for_critique_and_revision_both():
    items, fake = run(steps=2, items=400)
    first, second = zip(*(item.principles for item in items), strict=True)
    assert all(20 < drawn.count(p) < 90 for drawn in (first, second) for p in PRINCIPLES)
    assert 20 < sum(a == b for a, b in zip(first, second, strict=True)) < 90
    named = [turns[-1][1].split(": ")[1] for turns in fake.asked]
    assert not sum(a != b for a, b in zip(named, [*first, *first, *second, *second], strict=True))    # no diff: slow


@pytest.mark.exercise("revise", 1)
def test_without_critique_the_revision_is_asked_for_at_once():
    (item,), fake = run(critique=False)
    asked = ("user", REVISION_REQUEST.format(principle=item.principles[0]))
    assert fake.asked == [[("user", "prompt 0"), ("assistant", "answer 0"), asked]]
    assert item.critiques == [""] and item.revisions == [echo(fake.asked[0])]


@pytest.mark.parametrize("critique", [True, False])
@pytest.mark.exercise("revise", 1)
def test_worked_examples_come_first_word_for_word(critique):
    examples = [Revision(f"prompt {i}", f"answer {i}", [f"Rule {i}."], [f"C{i}"], [f"R{i}"]) for i in (7, 8)]
    _, plain = run(items=2, critique=critique)
    _, shown = run(items=2, critique=critique, examples=examples)
    first = [turn for i in (7, 8) for turn in [
        ("user", f"prompt {i}"), ("assistant", f"answer {i}"),
        *[("user", CRITIQUE_REQUEST.format(principle=f"Rule {i}.")), ("assistant", f"C{i}")] * critique,
        ("user", REVISION_REQUEST.format(principle=f"Rule {i}.")), ("assistant", f"R{i}")]]
    assert [turns[:len(first)] for turns in shown.asked] == [first] * len(plain.asked)
    assert [turns[len(first):][:3] for turns in shown.asked] == [turns[:3] for turns in plain.asked]


@pytest.mark.parametrize("nothing", ["", "  \n", "Revision:", "Assistant: "])
@pytest.mark.exercise("revise", 1)
def test_an_empty_revision_keeps_the_answer_and_is_counted(nothing):
    items, _ = run(steps=3, items=5, say=lambda turns:
                   nothing if len(turns) == 5 and turns[0][1] == "prompt 2" else echo(turns))
    assert [item.dropped for item in items] == [0, 0, 3, 0, 0] and items[2].revisions == ["answer 2"] * 3
    assert all(len(item.revisions) == len(item.critiques) == len(item.principles) == 3 for item in items)


@pytest.mark.exercise("revise", 1)
def test_echoed_labels_are_stripped_before_they_reach_anybody():
    said = {3: " Critique: it is rude. ", 5: "Revision: Assistant:  No. "}
    (item,), fake = run(steps=2, say=lambda turns: said[len(turns)])
    assert item.critiques == ["it is rude."] * 2 and item.revisions == ["No."] * 2
    assert [turns[3][1] for turns in fake.asked[1::2]] == item.critiques and fake.asked[2][1][1] == "No."
