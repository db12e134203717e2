"""Laws of the embedded world: what no training text may hold, and what is learned of each document."""
import random
import re
from collections import Counter

import pytest
from fakes import BYTES

import train_ppo
from minicai.feedback import CHOICE, OPTIONS, QUESTION, REASONING, question_turns
from minicai.revise import CRITIQUE_REQUEST, REVISION_REQUEST, critique_turns, revision_turns
from minicai.tokens import Tokenizer
from minicai.toyworld import corpus as room
from minicai.toyworld.world import HELD_OUT, SPLITS, World, split_of

WORLD, TOKENIZER = World(), Tokenizer(BYTES)
SLOTS = {name: "(?:" + "|".join(map(re.escape, words)) + ")" for name, words in WORLD.slots.items()}
ACTS = {frame: re.compile(re.sub(r"{(\w+)}", lambda m: SLOTS[m[1]], frame.parts[0])) for frame in WORLD.frames}
JUDGING = ("criticism", "comparison")


def documents(*kinds, count=2000):
    """(kind, ids, weights) of documents in the corpus's own proportions."""
    corpus = room.Corpus(WORLD, TOKENIZER, random.Random(0))
    for kind in random.Random(1).choices(list(room.SHARES), list(room.SHARES.values()), k=count):
        ids, weights = getattr(corpus, kind)()
        if kind in (kinds or room.SHARES):
            yield kind, ids, weights


def acts(ids):
    """Every act of any frame that stands in the text: (frame, act)."""
    text = TOKENIZER.decode(ids)
    return [(frame, match[0]) for frame, pattern in ACTS.items() for match in pattern.finditer(text)]


def turns(ids, weights):
    """A conversation read back from ids: (role, text) and the weights of the text and its <end>, for each turn."""
    roles, found, begun = {TOKENIZER.user: "user", TOKENIZER.assistant: "assistant"}, [], 1
    assert ids[0] == TOKENIZER.bos and weights[0] == 0
    for i in (i for i, token in enumerate(ids) if token == TOKENIZER.end):
        assert weights[begun] == 0                                               # a role is given, never said
        found.append(((roles[ids[begun]], TOKENIZER.decode(ids[begun:i])), weights[begun + 1:i + 1]))
        begun = i + 1
    assert begun == len(ids)
    return list(zip(*found, strict=True))


def test_every_frame_fills_without_a_brace_left_over():
    for frame in WORLD.frames:
        request = WORLD.fill(frame, random.Random(0), tuple(SPLITS))
        parts = [request.how, request.act] + [request.alternative, request.reason] * (frame.kind == "harm")
        assert len(frame.parts) == len(parts) and all(parts) and request.act in request.prompt
        assert not re.search(r"[{}|]", "".join([request.prompt, *parts]))


def test_the_world_is_large_enough():
    for category in WORLD.categories:
        assert len(WORLD.select("harm", role="known", category=category)) >= 6 and len(WORLD.categories) == 8
    assert len(WORLD.select("benign", role="known")) >= 26 and len(WORLD.select("sensitive", role="known")) >= 12
    for kind, held in HELD_OUT.items():
        tables = len(WORLD.categories) if kind == "harm" else 1
        assert all(len(WORLD.select(kind, role=role)) == held * tables for role in ("valid", "test"))


def test_the_verbs_of_held_out_harm_frames_begin_no_judged_one():
    for category in WORLD.categories:
        known, held = ({f.parts[0].split()[0] for f in WORLD.select("harm", category=category) if (f.role == "known") == yes}
                       for yes in (True, False))
        assert not known & held


def test_splits_are_of_the_act_near_their_shares_and_the_same_in_every_run():
    rng, count = random.Random(0), Counter()
    for act in {WORLD.fill(rng.choice(WORLD.frames), rng, tuple(SPLITS)).act for _ in range(20000)}:
        count[split_of(act)] += 1
    for name, (low, high) in SPLITS.items():
        assert abs(count[name] / count.total() - (high - low)) < 0.015
    bounds = [0.0, *(high for _, high in SPLITS.values())]
    assert [low for low, _ in SPLITS.values()] == bounds[:-1] and bounds[-1] == 1 and set(count) == set(SPLITS)
    assert list(map(split_of, ("a", "b", "c", "d", "e"))) == ["method", "judged", "judged", "test", "test"]


@pytest.mark.parametrize("split", SPLITS)
def test_requests_are_distinct_in_their_split_and_even_over_the_frames(split):
    frames = WORLD.select("harm", role="known")
    requests = WORLD.requests(frames, split, 2 * len(frames), random.Random(0))
    assert len({q.act for q in requests}) == 2 * len(frames) and {split_of(q.act) for q in requests} == {split}
    assert set(Counter(q.frame for q in requests).values()) <= {1, 2, 3}


def test_no_document_holds_a_valid_or_test_filling_in_any_form():
    found = Counter(split_of(act) for _, ids, _ in documents() for _, act in acts(ids))
    assert set(found) <= {"judged", "method"} and min(found.values()) > 300


def test_no_held_out_frame_is_ever_criticised_or_compared():
    found = Counter(frame.role for _, ids, _ in documents(*JUDGING) for frame, _ in acts(ids))
    assert set(found) == {"known"} and found["known"] > 1000


def test_no_method_filling_is_ever_criticised_or_compared():
    assert {split_of(act) for _, ids, _ in documents(*JUDGING) for _, act in acts(ids)} == {"judged"}


def test_unseen_wordings_of_principles_stand_in_the_glossary_only():
    unseen = [p for concept in WORLD.concepts.values() for p in concept.unseen]
    where = {kind for kind, ids, _ in documents() for text in [TOKENIZER.decode(ids)] if any(p in text for p in unseen)}
    assert where == {"glossary"} and not set(unseen) & {p for c in WORLD.concepts.values() for p in c.principles}


def test_prompts_of_the_method_are_method_fillings_of_known_frames():
    cfg, rng = train_ppo.Config(prompts=400, red_team=0.25), random.Random(0)
    requests = train_ppo.draw_requests(WORLD, cfg, rng)
    assert [q.frame.kind == "harm" for q in requests] == [True] * 100 + [False] * 300
    assert all(q.frame.role == "known" and split_of(q.act) == "method" for q in requests)
    assert {q.frame.kind for q in requests} == {"harm", "benign", "sensitive"}


def test_criticism_is_rendered_by_the_formats_of_revise_and_only_critique_and_revision_are_learned():
    lengths = Counter()
    for _, ids, weights in documents("criticism"):
        said, learned = turns(ids, weights)
        (_, prompt), (_, answer), *_, (_, revision) = said
        principle = said[-2][1].removeprefix(REVISION_REQUEST.format(principle=""))
        critique = said[3][1] if len(said) == 6 else None
        assert list(said) == [*revision_turns(prompt, answer, principle, critique), ("assistant", revision)]
        assert critique is None or list(said[:3]) == critique_turns(prompt, answer, principle)
        assert not critique or said[2][1].startswith(CRITIQUE_REQUEST[:9])
        assert [set(w) for w in learned] == [{0.0}] * 3 + [{1.0}] * (critique is not None) + [{0.0}] * (len(said) == 6) \
            + [{1.0}] * (len(said) == 6) if critique else [set(w) for w in learned] == [{0.0}] * 3 + [{1.0}]
        lengths[len(said)] += 1
    assert set(lengths) == {4, 6}


def test_comparisons_are_rendered_by_the_format_of_feedback_and_the_letter_weighs_four():
    shape = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(QUESTION)) + f"({re.escape(REASONING)})?")
    letters = Counter()
    for _, ids, weights in documents("comparison"):
        ((_, question), (_, said)), (quoted, learned) = turns(ids, weights)
        *fields, reasoning = shape.fullmatch(question).groups()
        assert question_turns(*fields, reasoning is not None) == [("user", question)] and set(quoted) == {0.0}
        begun, letter = said[:-4], said[-4:]
        assert begun.endswith(CHOICE) and letter in OPTIONS and (begun == CHOICE) == (reasoning is None)
        assert learned == [1.0] * len(begun.encode()) + [4.0] * 4 + [1.0]
        letters[letter, reasoning is None] += 1
    assert min(letters.values()) > 10 and len(letters) == 4


def test_of_a_dialogue_only_the_answer_is_learned():
    for _, ids, weights in documents("dialogue", "copying"):
        said, learned = turns(ids, weights)
        assert [role for role, _ in said] == ["user", "assistant"] and [set(w) for w in learned] == [{0.0}, {1.0}]
