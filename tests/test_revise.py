"""Laws of critique and revision: the right words reach the model in the right order."""
import random

import pytest
from fakes import Scripted

from minicai import revise as room
from minicai.revise import CRITIQUE_REQUEST, REVISION_REQUEST, Revision

PRINCIPLES = [f"Principle {i}." for i in range(8)]


def echo(turns):
    """Says what it was asked, so that every reply can be traced: C(...) for a critique, R(...) for a revision."""
    number = sum(map(ord, "".join(text for _, text in turns))) % 997
    return f"{'C' if turns[-1][1].startswith(CRITIQUE_REQUEST[:9]) else 'R'}{number}"


def run(steps=1, say=echo, items=1, seed=0, **settings):
    fake, rng = Scripted(say), random.Random(seed)
    revisions = [Revision(f"prompt {i}", f"answer {i}") for i in range(items)]
    for _ in range(steps):
        room.revise(revisions, PRINCIPLES, fake, rng=rng, **settings)
    return revisions, fake


def test_three_steps_word_for_word():
    (item,), fake = run(steps=3)
    answers = [item.response, *item.revisions]
    expected = []
    for k in range(3):
        p, c = item.principles[k], item.critiques[k]
        asked = [("user", "prompt 0"), ("assistant", answers[k]), ("user", CRITIQUE_REQUEST.format(principle=p))]
        expected += [asked, [*asked, ("assistant", c), ("user", REVISION_REQUEST.format(principle=p))]]
    assert fake.asked == expected
    assert [say for k in range(3) for say in (item.critiques[k], item.revisions[k])] == list(map(echo, fake.asked))
    assert item.response == "answer 0" and item.answer == item.revisions[2] and set(fake.temperatures) == {1.0}


def test_critique_and_revision_of_a_step_share_a_principle_and_the_next_step_draws_anew():
    items, _ = run(steps=2, items=400)
    first, second = zip(*(item.principles for item in items), strict=True)
    for drawn in (first, second):                                     # each item has a draw of its own
        assert all(20 < drawn.count(p) < 90 for p in PRINCIPLES)
    assert 20 < sum(a == b for a, b in zip(first, second, strict=True)) < 90
    _, fake = run(items=30)
    critic, reviser = fake.asked[:30], fake.asked[30:]
    assert all(r[:3] == c for c, r in zip(critic, reviser, strict=True))
    assert all(r[2][1].split(": ")[1] == r[4][1].split(": ")[1] in PRINCIPLES for r in reviser)


def test_critiques_are_never_nested_and_old_answers_are_forgotten():
    (item,), fake = run(steps=4)
    for step in range(1, 4):
        words = " ".join(text for turns in fake.asked[2 * step:2 * step + 2] for _, text in turns).split()
        assert not {item.response, *item.critiques[:step], *item.revisions[:step - 1]} & set(words)
        assert item.revisions[step - 1] in words


def test_without_critique_the_revision_is_asked_for_at_once():
    (item,), fake = run(critique=False)
    asked = ("user", REVISION_REQUEST.format(principle=item.principles[0]))
    assert fake.asked == [[("user", "prompt 0"), ("assistant", "answer 0"), asked]]
    assert item.critiques == [""] and item.revisions == [echo(fake.asked[0])]


@pytest.mark.parametrize("nothing", ["", "  \n", "Revision:", "Assistant: "])
def test_an_empty_revision_keeps_the_answer_and_is_counted(nothing):
    mute = ("user", "prompt 2")
    items, _ = run(steps=3, items=5, say=lambda turns: nothing if len(turns) == 5 and turns[0] == mute else echo(turns))
    assert [item.dropped for item in items] == [0, 0, 3, 0, 0]
    assert items[2].answer == "answer 2" and items[2].revisions == ["answer 2"] * 3
    assert all(len(item.revisions) == len(item.critiques) == len(item.principles) == 3 for item in items)


def test_echoed_labels_are_stripped_before_they_reach_anybody():
    said = {3: " Critique: it is rude. ", 5: "Revision: Assistant:  No. "}
    (item,), fake = run(steps=2, say=lambda turns: said[len(turns)])
    assert item.critiques == ["it is rude."] * 2 and item.revisions == ["No."] * 2
    assert [turns[3][1] for turns in fake.asked[1::2]] == item.critiques and fake.asked[2][1][1] == "No."


def test_the_same_rng_draws_the_same_principles():
    first, again, other = (run(steps=4, seed=seed)[0][0].principles for seed in (1, 1, 2))
    assert first == again != other
