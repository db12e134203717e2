"""Laws of the constitution: what is a principle, and how principles are drawn."""
import random

import pytest
from fakes import ROOT
from hypothesis import given
from hypothesis import strategies as st

from minicai import UserError, constitution
from minicai.toyworld.world import World

SENTENCES = st.lists(st.from_regex(r"[a-z]{1,6}( [a-z,]{1,6}){0,4}[.!?]", fullmatch=True), max_size=5)


@given(SENTENCES, st.sampled_from(["\n", "\r\n", "\n\n", "\n# y\n", " # y\n"]), st.sampled_from([" ", "\n", "\r\n  "]))
def test_a_line_or_a_wrapped_paragraph_that_ends_a_sentence_is_a_principle(sentences, between, wrap):
    assert constitution.parse(between.join(s.replace(" ", wrap) for s in sentences)) == sentences


def test_sections_come_in_order_and_without_them_there_is_one(tmp_path):
    text = "Be early.\n[Safety]  # first\nBe safe.\nBe calm\n[Ethics]\n\n[Help]\nBe of\nuse. # [no] section\n"
    assert constitution.sections(text) == [["Be early."], ["Be safe.", "Be calm"], ["Be of use."]]
    (tmp_path / "mine.txt").write_text(text)
    assert constitution.load(tmp_path / "mine.txt") == ["Be early.", "Be safe.", "Be calm", "Be of use."]
    assert constitution.sections("Be [very] kind.\nBe brief.") == [["Be [very] kind.", "Be brief."]]


def test_marks_comments_and_line_ends_are_no_part_of_a_principle(tmp_path):
    text = "\ufeff# one.\r\nBe kind.  # two.\r\nUse C#.\r\n\r\nbe\r\nfair\r\n  # three\r\nbe brave"
    (tmp_path / "c.txt").write_bytes(text.encode())
    assert constitution.load(tmp_path / "c.txt") == ["Be kind.", "Use C#.", "be fair", "be brave"]


@pytest.mark.parametrize("content", [None, b"\n \n", b"# only a comment\n", "Für alle.".encode("latin-1"), "folder"])
def test_no_file_no_text_no_principle_is_the_users_error_and_names_the_file(tmp_path, content):
    path = tmp_path / "c.txt"
    path.mkdir() if content == "folder" else content is None or path.write_bytes(content)
    with pytest.raises(UserError, match="c.txt"):
        constitution.load(path)


def test_the_shipped_constitution_holds_sixteen_principles_that_the_world_knows():
    principles, world = constitution.load(ROOT / "constitution.txt"), World()
    assert len(principles) == len(set(principles)) == 16
    assert {world.about[p].name for p in principles} == {*world.categories, "broad", "engaging", "principled"}


def test_draws_are_with_replacement_independent_even_and_the_rngs_own():
    rng = random.Random(0)
    pairs = [tuple(constitution.draw(list("abcd"), 2, rng)) for _ in range(4000)]
    assert all(abs(pairs.count((x, y)) / 4000 - 1 / 16) < 0.02 for x in "abcd" for y in "abcd")
    assert [len(constitution.draw(["only"], count, rng)) for count in (5, 0)] == [5, 0]
    first, again, other = (constitution.draw(list("abcdefgh"), 50, random.Random(seed)) for seed in (3, 3, 4))
    assert first == again != other
