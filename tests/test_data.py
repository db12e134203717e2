"""Laws of people's files: each format gives its prompts and comparisons; a mistake names file, line, what is wrong."""
import gzip
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicai import UserError, data
from minicai.feedback import Comparison
from minicai.revise import Revision

HH = {"chosen": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nAssistant: As so.",
      "rejected": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nAssistant: As\n\nyou say"}
TALK = "Hi\n\nAssistant: Yes?\n\nHuman: Why?"                               # what HH's two answers are answers to
SAID = [{"role": role, "content": text} for role, text in (("user", "Hi"), ("assistant", "Yes?"), ("user", "Why?"))]
A, B = ({"role": "assistant", "content": text} for text in ("As so.", "As\n\nyou say"))
LONE = {"prompt": "a\ud800b"}                                               # half a surrogate pair: no UTF-8


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize("name, content, expected", [
    ("p.txt", "one\n\n two \nthree", ["one", "two", "three"]),
    ("p.txt", "\ufeffone\r\ntwo\u2028or so\r\n", ["one", "two\u2028or so"]),
    ("p", lines({"prompt": "one"}, {"prompt": " two "}), ["one", "two"]),
    ("p.jsonl", "\ufeff" + lines({"prompt": "one"}).replace("\n", "\r\n\r\n"), ["one"]),
    ("p.jsonl", lines({"messages": SAID}, {"messages": [*SAID, A]}, {"prompt": SAID[:1]}), [TALK, TALK, "Hi"]),
    ("p.jsonl", lines(HH, {"prompt": "Hi", "chosen": "a", "rejected": "b"}), [TALK, "Hi"]),
    ("p.jsonl", lines(LONE), ["a\ufffdb"]),
    ("p.json", json.dumps([{"transcript": HH["chosen"]}, {"transcript": "\n\nHuman: a\n\nb"}]), ["Hi", "a\n\nb"]),
    ("p.jsonl", lines({"transcript": HH["chosen"], "rating": 1}), ["Hi"])])
@pytest.mark.parametrize("packed", [False, True])
def test_prompts_of_each_format(name, content, expected, packed, tmp_path):
    raw = content.encode()
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    assert data.prompts(path) == expected


@pytest.mark.parametrize("record, expected", [
    (HH, (TALK, "As so.", "As\n\nyou say")),
    ({"chosen": "\n\nHuman: x\n\nAssistant:", "rejected": "\n\nHuman: x\n\nAssistant: y"}, ("x", "", "y")),
    ({"prompt": "x", "chosen": "y", "rejected": " z"}, ("x", "y", "z")),
    ({"prompt": "\n\nHuman: x\n\nAssistant:", "chosen": " y", "rejected": " z"}, ("x", "y", "z")),
    ({"prompt": SAID, "chosen": [A], "rejected": [B]}, (TALK, "As so.", "As\n\nyou say")),
    ({"prompt": "q", "corrects": "good", "incorrects": ["bad", "worse"]}, ("q", "good", "bad")),
    ({"prompt": "Hm", "chosen": [*SAID, A], "rejected": [*SAID, B]}, ("Hm", "As so.", "As\n\nyou say")),
    ({"chosen": [*SAID, A], "rejected": [*SAID, B]}, (TALK, "As so.", "As\n\nyou say"))])
def test_comparisons_of_each_format(record, expected, tmp_path):
    (tmp_path / "c.jsonl").write_text(lines(record) * 2)
    assert data.comparisons(tmp_path / "c.jsonl") == [Comparison(*expected, p_a=1.0, source="human")] * 2


R = {"prompt": "p", "response": "r", "principle": "Be.", "critique": "c", "revision": "v"}
C = {"prompt": "p", "a": "x", "b": "y", "better": "B"}


def test_worked_examples_are_read(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(lines(C, R, C | {"better": "A", "reason": "so"}))
    found = Revision("p", "r", ["Be."], ["c"], ["v"])
    plain, reasoned = Comparison("p", "x", "y", 0.0), Comparison("p", "x", "y", 1.0, reasons=[["so"]])
    assert data.examples(path) == ([found], [plain, reasoned])
    assert data.examples("") == ([], [])


def test_prompts_of_files_are_drawn_without_repeats_and_mixed_by_their_share(tmp_path):
    (tmp_path / "prompts.json").write_text(json.dumps([[f"h{i}" for i in range(9)], ["k0", "k1"]]))
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


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=3, max_size=6))
def test_a_transcript_is_cut_where_the_last_answer_begins(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("law") / "hh.jsonl.gz"
    *talk, a, b = ("x" + part.strip() for part in parts)
    talk = "".join(f"\n\nHuman: {part}\n\nAssistant: ok" for part in talk[:-1]) + f"\n\nHuman: {talk[-1]}"
    path.write_bytes(gzip.compress(lines({k: f"{talk}\n\nAssistant: {v}" for k, v in zip(
        ("chosen", "rejected"), (a, b), strict=True)}).encode()))
    assert data.comparisons(path) == [Comparison(talk.removeprefix("\n\nHuman: "), a, b, p_a=1.0, source="human")]


ONE = lines({"prompt": "one"})


@pytest.mark.parametrize("name, content, named", [
    ("p.txt", None, "cannot be read"), ("p.txt", b"", "holds no record"), ("p.jsonl", b"\n \r\n", "holds no record"),
    ("p.txt", b"one\ntw\xff", "line 2: byte 0xff is not UTF-8"), ("p.txt", "one".encode("utf-16"), "line 1: byte 0xff"),
    ("p.gz", gzip.compress(b"one two three")[:-9], "cannot be read"), ("p.gz", b"\x1f\x8b?", "cannot be read"),
    ("p.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
    ("p.jsonl", ONE + "{'prompt': 1}", "line 2: expected a JSON object: Expecting property"),
    ("p.jsonl", ONE + "\nplain words", "line 3: expected a JSON object"), ("p.jsonl", "7", "expected a prompt, m"),
    ("p.jsonl", ONE + "[" * 99_999, "line 2: expected a JSON object: RecursionError"),
    ("p.json", '[{"prompt": "x"},\n 3', "expected a JSON array: Expecting"),
    ("p.json", '[{"prompt": "x"}, 3]', "record 2: expected a prompt, messages"),
    ("p.jsonl", ONE + lines({"prompt": " "}), "line 2: expected a prompt"), ("p.jsonl", '{"prompt": 7}', "line 1"),
    ("p.jsonl", lines({"transcript": "Assistant: x"}), "line 1: expected a prompt"),
    ("p.jsonl", lines({"messages": [{"role": "system", "content": "x"}]}), "role user or assistant, not {'role': 'sys"),
    ("p.jsonl", lines({"messages": [A]}), "line 1: expected messages"),
    ("p.jsonl", lines({"messages": "x", "prompt": ["x"]}), "not 'x'"),
    ("e.jsonl", lines(R, R | {"better": "A"}), "line 2: expected prompt, response, principle"),
    ("e.jsonl", lines(C | {"better": "C"}), "line 1: expected prompt, response"),
    ("e.jsonl", lines(C | {"a": " "}), "(A or B): texts"),
    ("c.jsonl", lines({"prompt": "x", "corrects": [], "incorrects": "y"}), "line 1: expected an object with chosen"),
    ("c.jsonl", lines(HH) + ONE, "line 2: expected an object with chosen and rejected"),
    ("c.jsonl", lines(HH | {"rejected": [A]}), "both alike"),
    ("c.jsonl", lines({"chosen": "a", "rejected": "b"}), "line 1: expected a prompt, messages"),
    ("c.jsonl", lines({"chosen": [*SAID, A], "rejected": [SAID[2], B]}), "answers alike up to the last")])
def test_a_mistake_names_file_and_line_and_what_was_expected(name, content, named, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        {"c": data.comparisons, "p": data.prompts, "e": data.examples}[name[0]](tmp_path / name)
    assert named in str(error.value) and name in str(error.value) and "\n" not in str(error.value)
