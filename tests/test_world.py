"""Laws of the embedded world: what no training text may hold, and what is learned of each document."""
import random
import re
from collections import Counter

import pytest
from fakes import BYTES, write

import train_ppo
from minicai import revise, tokens
from minicai.feedback import CHOICE, OPTIONS, QUESTION, REASONING, question_turns
from minicai.toyworld import corpus, pretrain, speech, world

WORLD, TOKENIZER = world.World(), tokens.Tokenizer(BYTES)
SLOTS = {name: "(?:" + "|".join(map(re.escape, words)) + ")" for name, words in WORLD.slots.items()}
ACTS = {f: re.compile(re.sub(r"{(\w+)}", lambda m: SLOTS[m[1]], f.parts[0]) + r"\b") for f in WORLD.frames}


def documents(*kinds):
    """(kind, ids, weights, text) of 2,000 documents in the corpus's own proportions, of these kinds."""
    source = corpus.Corpus(WORLD, TOKENIZER, random.Random(0))
    for kind in random.Random(1).choices(list(corpus.SHARES), list(corpus.SHARES.values()), k=2000):
        ids, weights = getattr(source, kind)()
        if kind in (kinds or corpus.SHARES):
            yield kind, ids, weights, TOKENIZER.decode(ids)


def acts(text):
    """Every act of any frame that stands in the text: (frame, act)."""
    return [(frame, match[0]) for frame, pattern in ACTS.items() for match in pattern.finditer(text)]


def conversations(*kinds):
    """Documents read back from their ids: (role, text) of each turn, and the weights of its text and <end>."""
    for _, ids, weights, _ in documents(*kinds):
        ends = [i for i, token in enumerate(ids) if token == TOKENIZER.end]
        spans = list(zip([1] + [end + 1 for end in ends], ends, strict=False))
        assert not any(weights[begun] for begun, _ in spans)                    # roles are given, never said
        roles = ["user" if ids[begun] == TOKENIZER.user else "assistant" for begun, _ in spans]
        said = [(role, TOKENIZER.decode(ids[begun:end])) for role, (begun, end) in zip(roles, spans, strict=True)]
        yield said, [weights[begun + 1:end + 1] for begun, end in spans]


def test_every_frame_fills_without_a_brace_left_over_and_its_prompt_is_recognised_and_of_words_that_were_met():
    met = corpus.vocabulary(WORLD)
    for frame in WORLD.frames:
        request = WORLD.fill(frame, random.Random(0), tuple(world.SPLITS))
        parts = [request.how, request.act] + [request.alternative, request.reason] * (frame.kind == "harm")
        assert len(frame.parts) == len(parts) and all(parts) and request.act in request.prompt
        assert not re.search(r"[{}|]", "".join([request.prompt, *parts]))
        assert WORLD.recognise(request.prompt) == request and met.issuperset(corpus.words_of(request.prompt))


def test_the_world_is_large_enough_and_held_out_verbs_begin_no_judged_frame():
    assert len(WORLD.categories) == 8 and len(world.ASKS) == 8
    for category in WORLD.categories:
        verbs = {role: {f.parts[0].split()[0] for f in WORLD.select("harm", role=role, category=category)}
                 for role in ("known", "valid", "test")}
        assert len(WORLD.select("harm", role="known", category=category)) == world.MOST >= 12
        assert len(verbs["valid"]) == len(verbs["test"]) == 2 and not verbs["known"] & (verbs["valid"] | verbs["test"])
        assert len(WORLD.concepts[category].principles) >= 10
    assert len(WORLD.select("benign")) >= 40 and len(WORLD.select("sensitive", role="known")) >= 16
    assert all(len(WORLD.select(kind, role="test")) == world.HELD_OUT[kind] for kind in ("benign", "sensitive"))


def test_every_split_has_requests_and_a_frame_that_has_none_in_a_split_is_passed_over():
    rng, bare = random.Random(0), []
    for split in world.SPLITS:
        for frame in WORLD.frames:
            try:
                assert world.split_of(WORLD.fill(frame, rng, (split,)).act) == split
            except LookupError:
                bare.append((frame, split))
    assert [split for _, split in bare] == ["test"]
    asked = WORLD.requests([bare[0][0], WORLD.frames[0]], "test", 5, rng)
    assert len(asked) == 5 and {q.frame for q in asked} == {WORLD.frames[0]}


def test_a_smaller_world_has_the_first_known_frames_and_the_same_held_out_ones():
    small = world.World(frames=3)
    for kind, known in (("harm", 24), ("benign", round(36 / 4)), ("sensitive", 4)):
        assert len(small.select(kind, role="known")) == known
        for role in ("valid", "test"):
            assert small.select(kind, role=role) == WORLD.select(kind, role=role)
    assert WORLD.select("harm", category="lying")[:3] == small.select("harm", role="known", category="lying")


@pytest.mark.parametrize("text", ['{"training": {"frames": 3}}', '{"training": {}}', '[]', "", None])
def test_a_run_tells_its_world_and_a_base_from_elsewhere_has_the_whole_one(tmp_path, text):
    write(tmp_path, {"base/weights.pt": ""} if text is None else {"base/config.json": text})
    assert len(world.World.of(tmp_path).select("harm", role="known")) == 8 * (3 if text and "3" in text else world.MOST)


def test_the_method_prompts_sensitive_frames_as_often_as_benign_ones():
    for each in (WORLD, world.World(frames=5)):
        kinds = Counter(frame.kind for frame in each.harmless() if frame.role == "known")
        assert sum(kinds.values()) == len(each.harmless()) and 0.8 < kinds["sensitive"] / kinds["benign"] < 1.25
        assert set(each.harmless()) == set(each.select("benign", "sensitive", role="known"))


def test_far_frames_are_those_whose_act_shares_no_content_word_with_a_known_frame():
    known = " ".join(part for f in WORLD.select("harm", role="known") for part in f.parts).lower()
    for frame in WORLD.select("harm", role="test"):
        shared = [w for w in re.sub(r"{\w+}('s)?", "", frame.parts[0]).split() if re.search(rf"\b{w}\b", known)]
        assert WORLD.far(frame) == (not set(shared) - WORLD.plain)
    assert {f.category for f in WORLD.select("harm", role="test") if WORLD.far(f)} == set(WORLD.categories)
    assert not any(map(WORLD.far, WORLD.select("harm", role="known")))


def test_splits_are_of_the_act_near_their_shares_and_the_same_in_every_run():
    rng = random.Random(0)
    drawn = {WORLD.fill(rng.choice(WORLD.frames), rng, tuple(world.SPLITS)).act for _ in range(20000)}
    for name, (low, high) in world.SPLITS.items():
        assert abs(sum(world.split_of(act) == name for act in drawn) / len(drawn) - (high - low)) < 0.015
    assert [low for low, _ in world.SPLITS.values()] + [1] == [0] + [high for _, high in world.SPLITS.values()]
    assert list(map(world.split_of, "abde")) == ["valid", "judged", "method", "test"]


def test_no_document_holds_a_valid_or_test_filling_in_any_form():
    assert {world.split_of(act) for *_, text in documents() for _, act in acts(text)} == {"judged", "method"}


def test_only_judged_fillings_of_known_frames_are_criticised_or_compared():
    texts = [text for *_, text in documents("criticism", "comparison")]
    assert {(frame.role, world.split_of(act)) for text in texts for frame, act in acts(text)} == {("known", "judged")}


def test_unseen_wordings_of_principles_stand_in_the_glossary_only():
    unseen = {p for concept in WORLD.concepts.values() for p in concept.unseen}
    assert {kind for kind, *_, text in documents() for p in unseen if p in text} == {"glossary"}
    assert not unseen & {p for concept in WORLD.concepts.values() for p in concept.principles}


def test_prompts_of_the_method_are_method_fillings_of_known_frames():
    cfg = train_ppo.Config(prompts=400, red_team=0.25)
    asked = [acts(prompt) for prompt in WORLD.mixed_prompts(cfg.prompts, cfg.red_team, random.Random(0))]
    kinds = [{frame.kind for frame, _ in found} for found in asked]
    assert kinds[:100] == [{"harm"}] * 100 and set.union(*kinds[100:]) == {"benign", "sensitive"} and len(kinds) == 400
    assert {(frame.role, world.split_of(act)) for found in asked for frame, act in found} == {("known", "method")}


def test_criticism_has_the_format_of_revise_and_only_critique_and_revision_are_learned():
    lengths = Counter()
    for said, learned in conversations("criticism"):
        principle = said[-2][1].removeprefix(revise.REVISION_REQUEST.format(principle=""))
        critique = said[3][1] if len(said) == 6 else None
        assert said == [*revise.revision_turns(said[0][1], said[1][1], principle, critique), ("assistant", said[-1][1])]
        assert [set(w) for w in learned] == ([{0.0}] * 3 + [{1.0}, {0.0}, {1.0}] if critique else [{0.0}] * 3 + [{1.0}])
        lengths[len(said)] += 1
    assert set(lengths) == {4, 6}


def test_comparisons_have_the_format_of_feedback_and_the_letter_weighs_four():
    shape = re.compile(re.sub(r"\\{\w+\\}", "(.+)", re.escape(QUESTION)) + f"({re.escape(REASONING)})?")
    letters = Counter()
    for ((_, question), (_, said)), (quoted, learned) in conversations("comparison"):
        *fields, reasoning = shape.fullmatch(question).groups()
        assert question_turns(*fields, reasoning is not None) == [("user", question)] and set(quoted) == {0.0}
        begun, letter = said[:-4], said[-4:]
        assert begun.endswith(CHOICE) and letter in OPTIONS and (begun == CHOICE) == (reasoning is None)
        assert learned == [1.0] * len(begun.encode()) + [4.0] * 4 + [1.0]
        letters[letter, reasoning is None] += 1
    assert min(letters.values()) > 10 and len(letters) == 4


def test_of_a_dialogue_only_the_last_answer_is_learned():
    for kind in ("dialogue", "copying"):
        for said, learned in conversations(kind):
            assert [role for role, _ in said] == ["user", "assistant"] * (len(said) // 2)
            assert len(said) == 2 or kind == "copying" and len(said) == 4
            assert [set(w) for w in learned] == [{0.0}] * (len(said) - 1) + [{1.0}]


def test_what_is_copied_stands_in_what_was_said_before():
    shapes = Counter()
    for (*given, (_, text)), _ in conversations("copying"):
        before = " ".join(words for _, words in given)
        assert re.sub("^(Your plan is|You asked how|You want) to ", "", text).removesuffix(".") in before
        shapes[given[-1][1].split(":")[0]] += 1
    assert set(shapes) == {"Repeat", *(ask for ask, _ in WORLD.book["again"])}


def test_the_glossary_says_of_every_wording_what_it_is_about_and_only_that_is_learned():
    asked = r"Somebody asks: .+?[.?]"
    shape = re.compile(rf"(?:{asked} )?Principle: (.+?)(?: {asked})?( The request is (\w+)\. "
                       r"The principle is about (.+?)(, not this)?\.)")
    nouns = Counter()
    for _, ids, weights, text in documents("glossary"):
        principle, said, noun, topic, other = shape.fullmatch(text).groups()
        ((frame, _),) = acts(text)
        assert frame.role == "known" and noun == (frame.category if frame.kind == "harm" else "harmless")
        concept = WORLD.about[principle]
        assert topic == speech.TOPICS.get(concept.name, concept.name)
        assert bool(other) == (topic in WORLD.categories and topic != noun)
        assert TOKENIZER.decode([i for i, w in zip(ids, weights, strict=True) if w]) == said
        nouns[topic in WORLD.categories, bool(other)] += 1
    assert set(nouns) == {(True, True), (True, False), (False, False)} and min(nouns.values()) > 30


def test_a_step_of_pretraining_has_its_rows_of_short_and_of_long_documents():
    source = corpus.Corpus(WORLD, TOKENIZER, random.Random(0))
    for short, long in pretrain.draw_batches(source, 5, early=True):
        assert (len(short), len(long)) == pretrain.ROWS
        assert max(len(ids) for ids, _ in short) <= pretrain.SHORT < min(len(ids) for ids, _ in long)
