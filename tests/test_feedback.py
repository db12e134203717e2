"""Laws of AI feedback: what the judge is asked, and what becomes of its answer. And of the assistant that it is."""
import math
import random

import pytest
import torch
from fakes import Scripted, close, tiny_assistant

from minicai import feedback, sample
from minicai.feedback import CHOICE, OPTIONS, QUESTION, REASONING, Comparison, ask, compare, compare_in_order, label

WORTH = {"no": 0.0, "well": 1.0, "fine": 2.5}
PRINCIPLES = ["Be kind.", "Be brief.", "Be brave."]


def quoted(turns, before):
    return turns[0][1].split(before)[1].split("\n")[0]


def judge(bias=0.0, scale=1.0, by_principle=None, say=lambda turns: "Hm."):
    """Log-odds of A over B: scale * (worth of what stands at A - at B) + bias; P(A) + P(B) is a half."""
    def score(turns, begun, ending):
        worth = by_principle[quoted(turns, "Principle: ")] if by_principle else WORTH
        odds = scale * (worth.get(quoted(turns, "(A) "), 0.0) - worth.get(quoted(turns, "(B) "), 0.0)) + bias
        return torch.tensor(odds if ending == " (A)" else -odds).double().sigmoid().log() - math.log(2)
    return Scripted(say, score)


def ruled(a, b, fake, **settings):
    item = Comparison("why?", a, b)
    compare([item], PRINCIPLES, fake, rng=random.Random(0), **settings)
    return item


@pytest.mark.exercise("label", 1)
def test_the_label_by_hand_and_with_the_answers_swapped():
    """Half the difference of log-odds: 2 log 3 and 0 make log 3, three to one."""
    hand = {(2 * math.log(3), 0): 3 / 4, (math.log(9), -math.log(9)): 9 / 10, (1, 1): 1 / 2, (0, math.log(16)): 1 / 5}
    close(label(*torch.tensor(list(hand)).T), torch.tensor(list(hand.values())))
    for a, b in (("fine", "no"), ("no", "well")):
        close(ruled(a, b, judge(bias=0.7)).p_a, p := 1 / (1 + math.exp(WORTH[b] - WORTH[a])))
        close(ruled(b, a, judge(bias=0.7)).p_a, 1 - p)


@pytest.mark.parametrize("bias", [0.0, 3.0, -40.0, 1024.0])
@pytest.mark.exercise("label", 2)
def test_a_liking_for_a_letter_cancels_exactly(bias):
    s = torch.tensor([-2.0, 0.0, 0.5, 8.0])
    close(label(s + bias, -s + bias), torch.sigmoid(s), rtol=0, atol=0)
    assert ruled("fine", "no", Scripted(score=lambda turns, begun, ending: bias * (ending == " (A)"))).p_a == 0.5


def test_equal_answers_are_a_half_and_never_asked_about():
    fake, items = judge(), [Comparison("why?", "no", "no"), Comparison("who?", "fine", "no"), Comparison("?", "", "")]
    compare(items, PRINCIPLES, fake, rng=random.Random(0), per_pair=2)
    compare(items[:1], PRINCIPLES, tiny_assistant(), rng=random.Random(0))           # nothing to ask is no error
    assert [items[0].p_a, items[2].p_a] == [0.5, 0.5] and items[1].p_a > 0.9
    assert len(fake.asked) == 4 and all("who?" in turns[0][1] for turns in fake.asked)


@pytest.mark.parametrize("reasoning", [True, False])
def test_both_orders_reach_the_judge_word_for_word(reasoning):
    fake = judge(say=lambda turns: "(A) is no, I think." if "(A) no" in turns[0][1] else " Hm. ")
    item = ruled("fine", "no", fake, reasoning=reasoning)
    asked = [[("user", QUESTION.format(prompt="why?", a=a, b=b, principle=item.principles[0]) + REASONING * reasoning)]
             for a, b in (("fine", "no"), ("no", "fine"))]
    begun = [f"Hm. {CHOICE}", f"(A) is no, I think. {CHOICE}"] if reasoning else [CHOICE] * 2
    assert fake.asked == asked * reasoning and fake.temperatures == [0.0, 0.0] * reasoning
    assert fake.scored == [(turns, b, option) for option in OPTIONS for turns, b in zip(asked, begun, strict=True)]
    assert item.reasons == [begun] and OPTIONS == (" (A)", " (B)")
    close(item.log_odds, [[2.5, -2.5]])


@pytest.mark.parametrize("reasoning", [True, False])
def test_worked_comparisons_come_first_each_under_its_own_draw_and_alike_in_both_orders(reasoning):
    examples = [Comparison("who?", "x", "y", p_a=1.0, reasons=[["Because."]]), Comparison("when?", "z", "w", p_a=0.0)]
    fake = Scripted(lambda turns: "Hm.", lambda turns, begun, ending: 0.0)
    items = [Comparison(f"why {i}?", "fine", "no") for i in range(200)]
    compare(items, PRINCIPLES, fake, rng=random.Random(0), reasoning=reasoning, examples=examples)
    asked = [turns for turns, _, _ in fake.scored]
    assert asked[:400] == asked[400:] and all(x[:4] == y[:4] for x, y in zip(asked[:200], asked[200:400], strict=True))
    said = [(f"Because. {CHOICE} (A)." if reasoning else f"{CHOICE} (A)."), f"{CHOICE} (B)."]
    assert all([turns[1], turns[3]] == [("assistant", text) for text in said] for turns in asked)
    drawn = [[turns[k][1].split("Principle: ")[1].split("\n")[0] for k in (0, 2, 4)] for turns in asked[:200]]
    for i, j in ((0, 1), (0, 2), (1, 2)):                                            # thirds, each on its own
        assert all(8 < sum((row[i], row[j]) == (p, q) for row in drawn) < 40 for p in PRINCIPLES for q in PRINCIPLES)
    for k, (a, b) in ((0, "xy"), (2, "zw")):
        assert all(f"(A) {a}\n(B) {b}\n" in turns[k][1] and (REASONING in turns[k][1]) == reasoning for turns in asked)


@pytest.mark.parametrize("said, begun", [
    ("", CHOICE), (CHOICE + "?", CHOICE), (f"So. {CHOICE} (A). {CHOICE} (B)", f"So. {CHOICE}"), ("A\n", f"A {CHOICE}")])
def test_what_the_judge_says_behind_its_choice_is_cut(said, begun):
    assert ask([("?", "no", "well")], ["Be."], fake := judge(say=lambda turns: said), True)[2] == [[begun], [begun]]
    assert [row[1] for row in fake.scored] == [begun] * 4


def test_only_reasoned_labels_are_clamped():
    for a, b, bound in (("fine", "no", 0.6), ("no", "fine", 0.4)):
        close(ruled(a, b, judge(), clamp=0.1).p_a, bound)
        close(ruled(a, b, judge(), reasoning=False, clamp=0.1).p_a, ruled(a, b, judge()).p_a)
    assert 0.5 < ruled("well", "no", judge(scale=0.1), clamp=0.1).p_a < 0.55


def test_the_label_is_the_mean_over_principles_drawn_anew_for_each_pair():
    worth = dict(zip(PRINCIPLES, (0.0, 1.0, -2.0), strict=True))
    fake = judge(bias=5.0, by_principle={p: {"fine": 2.5 * factor} for p, factor in worth.items()})
    items = [Comparison(f"why {i}?", "fine", "no") for i in range(60)]
    compare(items, PRINCIPLES, fake, rng=random.Random(0), per_pair=3)
    for item in items:
        odds = torch.tensor([2.5 * worth[p] for p in item.principles])
        close(item.p_a, odds.sigmoid().mean().item())
        close(torch.tensor(item.log_odds), torch.stack([5 + odds, 5 - odds], dim=1))
        asked = [turns for turns in fake.asked if item.prompt in turns[0][1]]
        assert [quoted(turns, "Principle: ") for turns in asked] == item.principles * 2
    drawn = {tuple(item.principles) for item in items}
    assert len(drawn) > 15 and any(len(set(some)) < 3 for some in drawn)


def test_a_section_is_asked_only_where_those_above_it_see_hardly_a_difference():
    worth = {"Be safe.": {"bomb": -3.0}, "Be good.": {"lie": -2.0}, "Be of use.": {"bomb": 9.0, "lie": 9.0, "help": 1.}}
    sections = [[principle] for principle in worth]
    for a, b, odds, asked in (("bomb", "help", -3, 1), ("lie", "help", -2, 2), ("help", "no", 1, 3), ("", "no", 0, 3)):
        item = Comparison("why?", a, b)
        compare_in_order([item], sections, judge(by_principle=worth), rng=random.Random(0))
        close(item.p_a, 1 / (1 + math.exp(-odds)))
        assert item.principles == [*worth][:asked] and len(item.log_odds) == len(item.reasons) == asked
    item = Comparison("why?", "no", "well")
    compare_in_order([item], [PRINCIPLES], judge(), rng=random.Random(0), per_pair=2)
    assert item == ruled("no", "well", judge(), per_pair=2)


def test_pairs_are_the_answers_that_share_fewest_words_of_the_prompts_where_these_are_fewest():
    said = {"who?": ["a b", "a c", "b a", "d e"], "why?": ["x", "x", "x", "x"],
            "how?": ["a b c", "a b", "b c d", "b c"], "when?": ["a b", "b a", "a b c d", "b a"]}
    speaker = Scripted(lambda turns: said[turns[0][1]][len(speaker.asked) // 4 - 1])
    pairs = feedback.draw_pairs(list(said), speaker, "human", 4, 0.5, 1.5)
    assert [(c.prompt, c.a, c.b, c.p_a, c.source) for c in pairs] == [
        ("who?", "a b", "d e", 0.5, "human"), ("how?", "a b", "b c d", 0.5, "human")]
    assert speaker.asked == [[("user", prompt)] for prompt in said] * 4 and set(speaker.temperatures) == {1.5}
    assert len(feedback.draw_pairs(["why?", "who?", "how?"], Scripted(lambda turns: "x"), "ai", 2, 0.1, 1.0)) == 2


def test_mass_is_the_probability_of_either_letter():
    odd = Scripted(score=lambda turns, begun, ending: math.log({"no": .1, "well": .2}[quoted(turns, "(A) ")]))
    close(ruled("no", "well", odd).mass, 0.3)                                  # 0.1 + 0.1, and swapped 0.2 + 0.2


def test_the_log_probability_of_words_is_the_sum_over_their_tokens():
    assistant, given = tiny_assistant(batch=2), [[("user", text)] for text in ("why?", "so long?", "é")]
    begun, endings = ["So", "", "x" * 40], [" (A)", "b", " (B)"]
    for turns, start, end, got in zip(given, begun, endings, assistant.logp(given, begun, endings), strict=True):
        ids, total = assistant.tokenizer.prompt(turns, start), 0.0
        for token in assistant.tokenizer.encode(end):
            total += assistant.model(torch.tensor([ids]))[0, -1].log_softmax(-1)[token].detach()
            ids = [*ids, token]
        close(got, total, atol=1e-4, rtol=1e-5)


def test_a_reply_stops_at_the_first_control_token_and_keeps_none():
    assistant, asked = tiny_assistant(max_new=40), [[("user", "why?" * i)] for i in range(1, 25)]
    prompts, stops = [assistant.tokenizer.prompt(turns) for turns in asked], assistant.tokenizer.stops
    ids, _ = sample.generate(assistant.model, prompts, max_new=40, stops=stops, generator=tiny_assistant().generator)
    words = [row[:-1] if row[-1] in stops else row for row in ids]
    assert any(len(row) < 40 for row in ids) and not any(set(row) & stops for row in words)
    assert assistant.reply(asked) == [bytes(row).decode("utf-8", "replace") for row in words]
