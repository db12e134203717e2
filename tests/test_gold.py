"""Laws of the gold judge and of what is measured by it: any string has a verdict, and the tables add up by hand."""
import random

import pytest
import torch
from fakes import Scripted
from hypothesis import given, strategies

from minicai.feedback import CHOICE, Comparison
from minicai.tools import evaluate
from minicai.toyworld import gold, measure, reward, speech, world

WORLD, RNG = world.World(), random.Random(0)
HARM, HARMLESS = WORLD.select("harm"), WORLD.select("benign", "sensitive")
SAID = {"shows": "harmful", "objects": "objection", "misreads": "wrong_objection", "dodges": "evasive"}
MEEK = {"shows": "helpful", "misreads": "refused", "dodges": "refused"}


def requests(frames, seed=0):
    return [WORLD.fill(frame, random.Random(seed), tuple(world.SPLITS)) for frame in frames]


def verdict(request, text):
    return gold.verdict(WORLD, request, text)


@pytest.mark.parametrize("seed", range(3))
def test_every_kind_of_answer_to_every_frame_is_read_back_as_what_it_is(seed):
    rng = random.Random(seed)
    for request in requests(WORLD.frames, seed):
        for kind, name in (SAID if request.frame.kind == "harm" else MEEK).items():
            assert verdict(request, f" {speech.answer(kind, request, rng, WORLD)}\n") == name


@pytest.mark.parametrize("template", speech.OBJECTIONS)
def test_one_wrong_part_makes_a_wrong_objection_and_one_garbled_part_makes_none(template):
    for mine, other in zip(requests(HARM), requests(HARM[1:] + HARM[:1], seed=9), strict=True):
        right, wrong = ({"act": q.act, "noun": q.frame.category, "reason": q.reason, "alternative": q.alternative}
                        for q in (mine, other))
        assert verdict(mine, template.format(**right)) == "objection"
        for part in right:
            said = template.format(**right | {part: wrong[part]})
            assert verdict(mine, said) == ("objection" if right[part] == wrong[part] else "wrong_objection")
            assert verdict(mine, template.format(**right | {part: right[part] + " well"})) == "off_grammar"
        for name in [name for name in WORLD.slots["name"][1:] if name in mine.act]:
            assert verdict(mine, template.format(**right).replace(name, "Anna")) == "wrong_objection"


def test_a_slip_is_one_wrong_word_and_misreadings_are_of_all_sorts():
    rng, changed = random.Random(0), []
    for request in requests(HARM):
        for _ in range(5):
            odd = speech.slip(request, rng, WORLD)
            ((was, now),) = [(a, b) for part in ("act", "reason", "alternative") for a, b in zip(
                getattr(request, part).split(), getattr(odd, part).split(), strict=True) if a != b]
            assert any({was.removesuffix("'s"), now.removesuffix("'s")} <= set(words) for words in WORLD.slots.values())
            assert verdict(request, speech.objection(odd, rng)) == "wrong_objection"
        said = [speech.misreading(request, rng, WORLD) for _ in range(20)]
        changed += [request.act in text for text in said]
        assert {verdict(request, text) for text in said} == {"wrong_objection"}
    assert 0.2 < sum(changed) / len(changed) < 0.45                    # a slip elsewhere leaves the act as it was


def test_a_noun_is_one_word_so_a_reason_may_have_an_and_in_it():
    said = gold.pattern(speech.OBJECTIONS[0]).fullmatch(speech.OBJECTIONS[0].format(
        act="grab the pie and run", noun="theft", reason="Ann paid and is hungry", alternative="wait and see"))
    assert said and (said["noun"], said["reason"]) == ("theft", "Ann paid and is hungry")


def test_a_harmful_how_to_of_any_filling_is_harm_but_no_help_with_another_harmless_request():
    asked = requests(HARM), requests(HARM[::-1], seed=9), requests(HARMLESS), requests(HARMLESS[::-1], seed=9)
    for harm, other, kind, another in zip(*asked, strict=False):
        for template in speech.HELPS:
            assert verdict(harm, template.format(how=other.how)) == "harmful"
            assert {verdict(kind, template.format(how=q.how)) for q in (harm, another)} == {"off_grammar"}


@given(strategies.text() | strategies.builds(str.format, strategies.sampled_from(speech.HELPS + speech.OBJECTIONS),
    **dict.fromkeys("how act noun reason alternative".split(), strategies.text(max_size=9))))
def test_whatever_is_not_of_this_world_is_off_grammar(text):
    refused = text.strip().startswith(("I won't help you ", "No, to ", "Please do not "))
    for request in requests(HARM[:2] + HARMLESS[:2]):
        assert {verdict(request, said) for said in ("", request.prompt, request.act)} == {"off_grammar"}
        assert verdict(request, text) == ("refused" if refused and request.frame.kind != "harm" else "off_grammar")


@pytest.mark.parametrize("words", ["take the lamp", "take the lamp, because it is harmless: take it.", "of the of the"])
def test_a_garbled_objection_to_a_harmless_request_is_a_refusal_and_to_a_harmful_one_no_objection(words):
    for template in speech.OBJECTIONS:
        said = template.split("{")[0] + words
        assert {verdict(request, said) for request in requests(HARMLESS)} == {"refused"}
        assert {verdict(request, said) for request in requests(HARM)} == {"off_grammar"}


def test_the_simulated_human_prefers_help_and_is_even_otherwise():
    request, dodge, odd = requests(HARMLESS)[0], speech.EVASIONS[0], "Hm."
    good, also = (template.format(how=request.how) for template in speech.HELPS)
    for a, b, p in ((good, dodge, 1), (odd, good, 0), (good, also, .5), (dodge, odd, .5)):
        assert gold.helpfulness(WORLD, request, a, b) == p


def test_the_reward_report_by_hand():
    """d = -2, -1, 2, 1/2. AI: one of two right, margins 2 and -1. Human: one sure and right, one even."""
    q1, q2, q3 = requests([HARM[0], HARM[-1], HARMLESS[0]])
    harm, good = ([speech.answer(kind, q, random.Random(0), WORLD) for q in (q1, q2)] for kind in ("shows", "objects"))
    items = [Comparison("", harm[0], good[0], 0.1), Comparison("", good[1], harm[1], 0.9),
             Comparison("", "x", "y", 1.0, "human"), Comparison("", "x", "y", 0.5, "human")]
    scores = torch.tensor([[-1.0, 1.0], [3.0, 4.0], [1.0, -1.0], [0.5, 0.0]])
    report = reward.reward_report(WORLD, [q1, q2, q3, q3], items, scores)
    assert report["ai"] == {"accuracy": 0.5, "pairs": 2, "sure": 1.0, "margin": 0.5, "label_margin": 0.4}
    assert report["human"] == {"accuracy": 1.0, "pairs": 1, "sure": 0.5, "margin": 1.0, "label_margin": 0.25}
    right, by_category = {HARM[0].category: 1.0, HARM[-1].category: 0.0}, report["gold"].pop("by_category")
    assert by_category == {c: {"accuracy": right.get(c), "pairs": int(c in right)} for c in WORLD.categories}
    assert report["gold"] == {"accuracy": 0.5, "pairs": 2}
    rows = [(row["predicted"], row["label"], row["pairs"]) for row in report["calibration"]]
    assert rows == [(0.1192, 0.1, 1), (0.2689, 0.9, 1), (0.6225, 0.5, 1), (0.8808, 1.0, 1)]


ASKED = measure.probes(WORLD, "test", 16, 0)


def kind_of(request, text):
    """Which of the ways of SAID this is to answer a harmful request."""
    return next(kind for kind, name in SAID.items() if name == verdict(request, text))


def better(turns, begun, ending):
    """Log-odds of 60 for the answer that keeps the principle, or none where no answer breaks it."""
    said = dict(line.split(" ", 1) for line in turns[0][1].splitlines())
    request, concept = WORLD.recognise(said["Question:"]), WORLD.about.get(said["Principle:"])
    return -60.0 * bool(concept and speech.breaks(concept, request, kind_of(request, said[ending.strip()])))


def well(turns):
    """What the world wishes to hear at every turn; of principles that it does not know now this, now that."""
    if (request := WORLD.recognise(turns[0][1])) is None:
        return "Hm."
    if len(turns) == 1:
        return speech.answer("objects" if request.frame.kind == "harm" else "shows", request, random.Random(0), WORLD)
    unknown, answer = WORLD.concepts[RNG.choice(WORLD.categories)], turns[1][1]
    about = next((c for p, c in WORLD.about.items() if p in turns[-1][1]), unknown), request, kind_of(request, answer)
    return speech.critique(*about) if len(turns) == 3 else speech.revision(*about, answer, random.Random(0))


def test_a_perfect_assistant_scores_one_and_a_bad_one_nothing():
    good, bad = Scripted(well, better), Scripted(lambda turns: "Hm.", lambda *asked: -60.0 - better(*asked))
    for fake, right in ((good, 1.0), (bad, 0.0)):
        for group, row in measure.behaviour(WORLD, fake, ASKED, 1.0).items():
            wished = "objection" if ASKED[group][0].frame.kind == "harm" else "helpful"
            assert row[wished] == right == 1 - row["off_grammar"]
        found = measure.skills(WORLD, fake, "test", 16, 0)
        for name in ("requests", "frames", "far_frames", "wordings"):
            assert set(found["critic"][name].values()) == set(found["reviser"][name].values()) == {right}
            assert found["judge"][name] == found["direct_judge"][name] == {
                "relevant": right, "broad": right, "unrelated": .5, "unrelated_distance": 0}
        assert {begun for _, begun, _ in fake.scored} == {CHOICE, f"Hm. {CHOICE}"}         # at once, and after thinking


def test_half_an_interval_by_hand_and_no_share_is_certain():
    assert measure.margin(0.5, 100) == pytest.approx(0.0962, abs=1e-4)               # Wilson: 0.404 to 0.596
    assert measure.margin(0.0, 100) == pytest.approx(0.0185, abs=1e-4) == measure.margin(1.0, 100)


def test_elo_sets_who_is_right_over_who_dodges_over_who_harms():
    good = {g: ["objection" if q.frame.kind == "harm" else "helpful" for q in some] for g, some in ASKED.items()}
    bad = {g: ["harmful" if v == "objection" else v for v in said] for g, said in good.items()}
    garbled = {g: ["off_grammar"] * len(said) for g, said in good.items()}
    table = evaluate.ratings(ASKED, {"good": good, "bad": bad, "garbled": garbled})
    assert table["good"] == table["is right"] and table["garbled"] == table["dodges"]
    assert table["bad"]["harmlessness"] < table["dodges"]["harmlessness"] < table["good"]["harmlessness"]
    assert table["bad"]["help"] == table["good"]["help"] > 0 > table["dodges"]["help"]


def test_probes_are_distinct_and_of_their_split_and_frames():
    for g, some in ASKED.items():
        assert len({q.act for q in some}) == len(some) == (8 if g in ("sensitive_frames", "far_frames") else 16)
        assert {(q.frame.role, world.split_of(q.act)) for q in some} == {("test" if "frames" in g else "known", "test")}
        assert g != "far_frames" or all(map(WORLD.far, (q.frame for q in some)))


def test_a_constitution_is_read_as_its_world_means_it_and_what_is_not_understood_is_marked():
    rules = [WORLD.concepts["theft"].principles[0], WORLD.concepts["engaging"].unseen[0], "Pineapples are blue."]
    found = measure.consult(WORLD, fake := Scripted(well, better), rules, 2)
    assert [len(cases) for cases in found] == [8 * 2 * 2] * 3 and sum(len(turns) > 1 for turns in fake.asked) == 96
    even, odd = [(*case[:4], 0.5) for case in found[0]], [(*case[:2], "tea", *case[3:]) for case in found[0]]
    said = [measure.describe(WORLD, cases) for cases in (*found, even, odd)]
    assert said[0] == ("about theft; broken by helping with theft", [])
    assert said[1] == ("about dodging; broken by dodging any harm", [])
    assert said[2][1][0].startswith("! read in several ways")
    assert said[3][1] == ["! helping with theft: the critic calls 100% broken, the judge says p = 0.50"]
    assert said[4][1] == ["! 'tea' is nothing that its world is about"]
