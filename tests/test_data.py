"""Laws of people's files: each format gives its prompts and comparisons; a mistake names file, line, what is wrong."""
import random

import pytest
from fakes import table, write
from hypothesis import given, strategies

from minicai import UserError, data, feedback, revise

TABLE, READ = table("files"), {"p": data.prompts, "c": data.comparisons, "e": data.examples}
DEEP = dict(file="p.jsonl", says="line 2: expected a JSON object: RecursionError",
            holds='{"prompt": "one"}\n' + "[" * 99_999)


@pytest.mark.parametrize("row", TABLE["prompts"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_prompts_of_each_format(row, packed, tmp_path):
    write(tmp_path, {(name := row["file"] + packed): row["holds"]})
    assert data.prompts(tmp_path / name) == row["gives"]


@pytest.mark.parametrize("row", TABLE["comparisons"])
def test_comparisons_of_each_format(row, tmp_path):
    write(tmp_path, {"c.jsonl": [row["record"]] * 2})
    assert data.comparisons(tmp_path / "c.jsonl") == [feedback.Comparison(*row["gives"], p_a=1.0, source="human")] * 2


def test_worked_examples_are_read(tmp_path):
    write(tmp_path, {"f.jsonl": TABLE["examples"]})
    found = revise.Revision("p", "r", ["Be."], ["c"], ["v"])
    plain, reasoned = feedback.Comparison("p", "x", "y", 0.0), feedback.Comparison("p", "x", "y", 1.0, reasons=[["so"]])
    assert data.examples(tmp_path / "f.jsonl") == ([found], [plain, reasoned])
    assert data.examples("") == ([], [])


def test_prompts_of_files_are_drawn_without_repeats_and_mixed_by_their_share(tmp_path):
    write(tmp_path, {"prompts.json": [[[f"h{i}" for i in range(9)], ["k0", "k1"]]]})
    files, rng = data.Files(tmp_path / "prompts.json"), random.Random(0)
    assert sorted(files.red_team(99, rng)) == files.harm and len({*files.red_team(5, rng)}) == 5
    assert files.helpful(1, rng) in (["k0"], ["k1"])
    mixed = files.mixed(40, 0.25, rng)
    assert [p[0] for p in mixed] == ["h"] * 10 + ["k"] * 30 and {*mixed[10:]} == {"k0", "k1"} and len({*mixed[:10]}) > 3


def test_a_prompt_that_is_longer_than_the_room_is_named(tmp_path, tokenizer):
    path = tmp_path / "p.txt"
    path.write_text("a cat\nthe cat sat on the mat\n")
    length = len(tokenizer.prompt([("user", "the cat sat on the mat")]))
    assert len(data.fitting(path, tokenizer, length)) == 2
    with pytest.raises(UserError, match=f"p.txt: a prompt has {length} tokens.*'the cat sat"):
        data.fitting(path, tokenizer, length - 1)


@given(strategies.lists(strategies.text(max_size=9), min_size=3, max_size=6))
def test_a_transcript_is_cut_where_the_last_answer_begins(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("law") / "hh.jsonl.gz"
    *talk, a, b = ("x" + part.strip() for part in parts)
    talk = "\n\nAssistant: ok\n\nHuman: ".join(talk)
    write(path.parent, {path.name: [{side: f"\n\nHuman: {talk}\n\nAssistant: {said}" for side, said in (
        ("chosen", a), ("rejected", b))}]})
    assert data.comparisons(path) == [feedback.Comparison(talk, a, b, p_a=1.0, source="human")]


@pytest.mark.parametrize("row", [*TABLE["mistakes"], DEEP])
def test_a_mistake_names_file_and_line_and_what_was_expected(row, tmp_path):
    write(tmp_path, {row["file"]: row["holds"]} if "holds" in row else {})
    with pytest.raises(UserError) as error:
        READ[row["file"][0]](tmp_path / row["file"])
    assert row["says"] in str(error.value) and row["file"] in str(error.value) and "\n" not in str(error.value)
