"""The laws have teeth: each blanked exercise fails its own, each bug of the museum dies of one. And the command."""
import ast
import json
import subprocess
import sys
import time
from contextlib import nullcontext

import exercise
import pytest
from conftest import marked
from fakes import ROOT, table, write
from laws import change, obey

from minicai import UserError

EXERCISES, MUSEUM, VERSIONS = map(table, ("exercises", "museum", "versions"))
LAWS = {name: {law: points for of, points, law in marked() if of == name} for name in EXERCISES}
WRONG = {bug["title"]: bug for bug in [*MUSEUM.values(), *VERSIONS.values()]}


def read(file):
    return (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("bug", WRONG.values(), ids=WRONG)
def test_a_wrong_version_dies_of_its_law_within_seconds(bug, tokenizer, monkeypatch, request, tmp_path_factory):
    change(monkeypatch, bug["file"], read(bug["file"]).replace(bug["right"], bug["wrong"]))
    start = time.process_time()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        obey(bug["law"], request, tmp_path_factory)
    assert time.process_time() - start < 5


def test_a_bug_is_one_line_that_can_be_put_in_and_taken_out_whatever_others_there_are():
    assert len(WRONG) == len(MUSEUM) + len(VERSIONS)
    assert sum("seen" in bug for bug in MUSEUM.values()) >= 30
    for number, bug in MUSEUM.items():
        text = wrong = exercise.planted(read(bug["file"]), number, bug)
        for other in (other for other in MUSEUM.values() if other["file"] == bug["file"]):
            text = exercise.restored(text, "", other)
        assert len(wrong.splitlines()) == len(text.splitlines()) and wrong != text == read(bug["file"])


@pytest.mark.parametrize("name, law", [(name, law) for name, laws in LAWS.items() for law in laws])
def test_a_blanked_exercise_fails_each_of_its_laws(name, law, tokenizer, monkeypatch, request, tmp_path_factory):
    obey(law, request, tmp_path_factory)
    what = EXERCISES[name]
    change(monkeypatch, what["file"], exercise.blanked(read(what["file"]), name, what))
    with pytest.raises((AssertionError, NotImplementedError, pytest.fail.Exception)):
        obey(law, request, tmp_path_factory)


def test_every_test_of_an_exercised_function_carries_its_mark():
    assert set(LAWS) == {name for name, *_ in marked()} and len(LAWS) >= 12
    for name, what in EXERCISES.items():
        own = {node.name: node for node in ast.parse(read(what["laws"])).body if isinstance(node, ast.FunctionDef)}

        def names(node, own=own):
            """All that a test names, and what the helpers do that it names."""
            found = {getattr(n, "attr", getattr(n, "id", "")) for n in ast.walk(node)}
            return found.union(*(names(own[f]) for f in found & set(own) - {node.name}))
        tests = {f"{what['laws']}::{test}" for test, node in own.items() if test.startswith("test_")
                 and what["function"] in names(node)}
        assert tests <= set(LAWS[name]) and all(law.startswith(what["laws"]) for law in LAWS[name])


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("courses") / "starter"
    command = [sys.executable, "-m", "minicai", "exercise", "--starter", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def solve(folder):
    write(folder, {what["file"]: read(what["file"]) for what in EXERCISES.values()})


def test_unsolved_gives_nothing_solved_all_and_one_exercise_wrong_that_much_less(course):
    command = [sys.executable, "-m", "minicai", "exercise", "check", "--grade", "results.json"]

    def graded():
        done = subprocess.run(command, cwd=course, capture_output=True, text=True)
        rows = json.loads((course / "results.json").read_text())["tests"]
        assert sum(row["max_score"] for row in rows) == sum(all_points.values())
        return {name: sum(row["score"] for row in rows if row["name"].startswith(f"{name}: ")) for name in LAWS}, done
    all_points = {name: sum(laws.values()) for name, laws in LAWS.items()}
    points, done = graded()
    assert set(points.values()) == {0} and done.returncode == 1
    assert f"gae                0 of {all_points['gae']} points" in done.stdout
    assert "    not yet: advantages by hand (NotImplementedError: exercise gae)\n" in done.stdout
    solve(course)
    points, done = graded()
    assert points == all_points and done.returncode == 0 and "not yet" not in done.stdout
    head, body, after = exercise.split(read("minicai/ppo.py"), "ppo.py", "gae")[1:]
    wrong = read("minicai/ppo.py").replace(head + body, head + "    return reward, value\n")
    (course / "minicai" / "ppo.py").write_text(wrong, encoding="utf-8")
    assert graded()[0] == all_points | {"gae": 0}
    (course / "minicai" / "model.py").write_text("def", encoding="utf-8")
    subprocess.run(command, cwd=course, capture_output=True)
    assert json.loads((course / "results.json").read_text())["score"] == 0


def test_blank_restore_and_bug_change_what_is_named_and_lose_no_work(course, monkeypatch, capsys):
    monkeypatch.chdir(course)
    solve(course)
    subprocess.run("git add -A && git -c user.name=a -c user.email=a@b commit -qm solved", shell=True, check=True)
    ppo, bug = course / "minicai" / "ppo.py", next(n for n, bug in MUSEUM.items() if bug["title"] == "no lambda")
    for step in table("session")["steps"]:
        write(course, step.get("files", {}))
        ppo.write_text(before := ppo.read_text().replace(*step.get("edit", ("", ""))))
        monkeypatch.chdir(course / step.get("folder", "."))
        with pytest.raises(UserError, match=step["refused"]) if "refused" in step else nullcontext() as refusal:
            exercise.main(step["type"].format(bug=bug).split())
        text, said = ppo.read_text(), capsys.readouterr().out
        if "refused" in step:
            assert text == before and "\n" not in str(refusal.value)
        else:
            assert (text == read("minicai/ppo.py")) == step["answer"]
        for words, needed, banned in ((said, "says", "hides"), (text, "holds", "lacks")):
            assert all(x in words for x in step.get(needed, [])) and not any(x in words for x in step.get(banned, []))
    assert "return value, reward" in (course / "gae.attempt").read_text() and not list(course.glob("ppo_loss.attempt"))
