"""Laws of the laboratory: parts are done once, tables say what was found, labels are what they are called."""
import json
import math
import shutil
from pathlib import Path

import pytest
from fakes import STAGES, main

from minicai import UserError, constitution
from minicai.feedback import Comparison
from minicai.tools import lab
from minicai.tools.lab import bench, experiments
from minicai.toyworld import gold, speech
from minicai.toyworld.world import World

WORLD = World()


@pytest.fixture
def desk(done, tmp_path):
    return bench.Bench(done[0], tmp_path / "lab" / "test" / "seed0", 0, 8, "cpu")


@pytest.fixture
def tiny(monkeypatch):
    """The scripts with the tiny settings of test_scripts, whatever else an experiment asks of them."""
    def script(self, script, run, **settings):
        name = next(name for name, (module, _) in STAGES.items() if module is script)
        main(name, run, seed=self.seed, **{"overwrite": True} | settings)
    monkeypatch.setattr(bench.Bench, "script", script)


def test_a_part_is_done_once_and_what_was_found_outlives_a_crash(desk):
    calls = []
    def found(name):
        calls.append(name)
        return {"x": len(calls)} if name != "bad" else 1 / 0
    with pytest.raises(ZeroDivisionError):
        desk.parts({name: lambda name=name: found(name) for name in ("a", "b", "bad")})
    again = bench.Bench(desk.run, desk.folder, 0, 8, "cpu")
    rows = again.parts({name: lambda name=name: found(name) for name in ("b", "c")})
    assert calls == ["a", "b", "bad", "c"] and rows == {"b": {"x": 2}, "c": {"x": 4}}
    assert set(json.loads(desk.done.read_text())) == {"a", "b", "c"}


def test_the_table_says_mean_and_spread_and_leaves_out_what_is_not_there():
    one, two = {"row": {"a": 0.25}, "other": {"b": 1.0}}, {"row": {"a": 0.75}, "other": {"b": None}}
    lines = lab.table([one, two]).splitlines()
    assert lines[0].split() == ["a", "b"] and lines[1].split() == ["row", "0.500", "(0.25-0.75)", "-"]
    assert lines[2].split() == ["other", "-", "1.000", "(1.00-1.00)"] and "(" not in lab.table([one])


def test_labels_by_hand():
    item = Comparison("?", "x", "y", p_a=0.7, log_odds=[[2.0, 0.0], [math.log(3), math.log(3)]])
    soft, one = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    hand = {"soft": (soft + 0.5) / 2, "hard": 1.0, "clamped to 0.4-0.6": 0.6, "one order": (one + 0.75) / 2,
            "one principle": soft}
    assert {name: relabel(item) for name, relabel in experiments.LABELS.items()} == pytest.approx(hand, abs=1e-6)
    even = Comparison("?", "x", "x")
    assert {relabel(even) for relabel in experiments.LABELS.values()} == {0.5}


def test_people_accept_any_refusal(desk, monkeypatch):
    monkeypatch.setattr(experiments, "relabelled", lambda bench, key, relabel: {"label": relabel(item)})
    monkeypatch.setattr(desk, "behaviour", lambda folder: {})
    request = desk.asked["requests"][0]
    harm, good, dodge = speech.HELPS[0].format(how=request.how), "I won't help you", speech.EVASIONS[0]
    assert gold.verdict(desk.world, request, harm) == "harmful"
    for a, b, p in ((harm, dodge, 0), (dodge, harm, 1), (good, dodge, .5), (harm, harm, .5)):
        item, desk.results = Comparison(request.prompt, a, b, p_a=0.9), {}
        rows = experiments.rlhf(desk)
        assert rows["RL, people"]["label"] == p and rows["RL, constitution"]["label"] == 0.9


def test_revisions_leave_what_no_principle_speaks_of(desk, monkeypatch, tiny):
    def revise(items, principles, base, *, rng, critique):
        for item in items[:4] if critique else []:                                         # half of them become good
            item.revisions.append(speech.EVASIONS[0])
    monkeypatch.setattr(experiments, "revise", revise)
    monkeypatch.setattr(bench.Bench, "model", lambda self, *_: type("Base", (), {"reply": lambda self, turns: [
        speech.HELPS[0].format(how=desk.world.recognise(t[0][1]).how) for t in turns]})())
    monkeypatch.setattr(desk, "behaviour", lambda folder: {"harmful": 0.125})
    rows = experiments.revisions(desk)
    assert [rows["broad, critique"][f"k={k}"] for k in range(5)] == [1.0] + [0.5] * 4
    assert rows["broad, direct"]["k=4"] == 1 and rows["broad, critique"]["expected k=4"] == 0
    assert rows["narrow, critique"]["expected k=4"] == pytest.approx((7 / 8) ** 4)
    assert rows["SL on all"]["after SL"] == 0.125


@pytest.mark.parametrize("name", ["steer", "labels", "overoptimise", "priority"])
def test_every_experiment_runs_on_a_tiny_run_and_leaves_that_as_it_was(name, desk, tiny, monkeypatch):
    before = {path: path.read_bytes() for path in desk.run.rglob("*") if path.is_file()}
    monkeypatch.setattr(experiments, "KL_COEFS", (0.5,))
    monkeypatch.setattr(experiments, "BEST_OF", (1, 2))
    monkeypatch.setattr(experiments, "LABELS", {"hard": experiments.LABELS["hard"]})
    if name == "steer":
        monkeypatch.setattr(bench.Bench, "script", lambda self, script, run, **settings: shutil.copytree(
            run / "base", run / "sl") and checked(settings))
    rows = lab.EXPERIMENTS[name](desk)
    assert rows and all(isinstance(value, float | int | None) for row in rows.values() for value in row.values())
    assert before == {path: path.read_bytes() for path in desk.run.rglob("*") if path.is_file()}
    assert lab.table([rows]) and lab.EXPERIMENTS[name].__doc__.count("Expected:") == 1


def checked(settings):
    """A constitution of `steer` lacks one category, or none."""
    deleted = Path(settings["constitution"]).stem.removeprefix("no ")
    about = {WORLD.about[p].name for p in constitution.load(settings["constitution"])}
    assert about == set(WORLD.categories) - {deleted} and settings["revisions"] == 6


def test_a_run_that_lacks_a_stage_is_one_clear_line(desk):
    desk.run = desk.folder
    for work in (lambda: desk.take("part", "base"), desk.comparisons):
        with pytest.raises(UserError, match="train_rm|base"):
            work()
