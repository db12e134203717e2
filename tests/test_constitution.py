"""Laws of the constitution: what is a principle, and how principles are drawn."""
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicai import UserError, constitution
from minicai.toyworld.world import World

SHIPPED = Path(__file__).parents[1] / "constitution.txt"
SENTENCES = st.lists(st.from_regex(r"[a-z]{1,6}( [a-z,]{1,6}){0,4}[.!?]", fullmatch=True), max_size=5)


@given(SENTENCES, st.sampled_from(["\n", "\r\n", "\n\n", "\n# a comment\n", " # a remark\n", "\n   \n"]))
def test_a_line_that_ends_a_sentence_is_a_principle(sentences, between):
    assert constitution.parse(between.join(sentences)) == sentences


@given(SENTENCES, st.sampled_from(["\n", "\n  ", "\r\n"]))
def test_a_paragraph_wrapped_over_lines_is_one_principle(sentences, wrap):
    text = "\n".join(sentence.replace(" ", wrap) for sentence in sentences)
    assert constitution.parse(text) == sentences


def test_blank_lines_and_comments_end_a_paragraph_without_a_full_stop():
    assert constitution.parse("be kind\nto all\n\nbe fair\n# why\nhelp") == ["be kind to all", "be fair", "help"]


def test_comments_are_no_principles_wherever_they_stand():
    text = "# one.\n   # two.\nBe kind.   # three.\n#\nUse C#.\n"
    assert constitution.parse(text) == ["Be kind.", "Use C#."]


@given(st.text())
def test_principles_are_plain_lines_and_parse_to_themselves(text):
    principles = constitution.parse(text)
    assert all(p and p == p.strip() and not p.startswith("#") and len(p.splitlines()) == 1 for p in principles)
    assert constitution.parse("\n\n".join(principles)) == principles


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")))
def test_any_file_gives_principles_or_a_one_line_error_that_names_it(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.txt")
        path.write_bytes(content)
        try:
            assert constitution.load(path)
        except UserError as error:
            assert "mine.txt" in str(error) and "\n" not in str(error)


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_principle(tmp_path):
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbfBe kind.\r\nBe fair.\r\n")
    assert constitution.load(tmp_path / "c.txt") == ["Be kind.", "Be fair."]


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"# only a comment\n", "Für Mädchen.".encode("latin-1")])
def test_no_file_no_text_no_principle_is_the_users_error_and_names_the_file(tmp_path, content):
    if content is not None:
        (tmp_path / "c.txt").write_bytes(content)
    with pytest.raises(UserError, match="c.txt"):
        constitution.load(tmp_path / "c.txt")


def test_a_folder_is_no_constitution(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        constitution.load(tmp_path)


def test_the_shipped_constitution_holds_sixteen_principles_that_the_world_knows():
    principles, about = constitution.load(SHIPPED), World().about
    assert len(principles) == len(set(principles)) == 16
    assert {about[p].name for p in principles} >= set(World().categories) | {"broad", "engaging", "principled"}


def test_draws_are_with_replacement_independent_and_even():
    pairs = [tuple(constitution.draw(list("abcd"), 2, rng)) for rng in [random.Random(0)] for _ in range(4000)]
    for pair in [(x, y) for x in "abcd" for y in "abcd"]:
        assert abs(pairs.count(pair) / 4000 - 1 / 16) < 0.02
    assert [len(constitution.draw(["only"], count, random.Random(0))) for count in (5, 0)] == [5, 0]


def test_the_same_rng_draws_the_same():
    first, again, other = (constitution.draw(list("abcdefgh"), 50, random.Random(seed)) for seed in (3, 3, 4))
    assert first == again != other
