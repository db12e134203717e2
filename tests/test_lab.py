"""Laws of the laboratory: parts are done once, tables say what was found, labels are what they are called."""
import json
import math
import random
import shutil
from pathlib import Path

import pytest
import torch
from fakes import STAGES, main

from minicai import UserError, constitution
from minicai.feedback import Comparison
from minicai.tools import lab
from minicai.tools.lab import bench, hacking, labelling, variants, words
from minicai.toyworld import speech
from minicai.toyworld.world import SPLITS, World

WORLD, RNG = World(), random.Random(0)


@pytest.fixture
def desk(done, tmp_path):
    return bench.Bench(done[0], tmp_path / "lab" / "test" / "seed0", 0, "cpu", 8)


@pytest.fixture
def tiny(monkeypatch):
    """The scripts with the tiny sizes of test_scripts, whatever else an experiment asks of them."""
    def script(self, script, run, plugs=(), **settings):
        name, asked = next((name, asked) for name, (module, asked) in STAGES.items() if module is script)
        script.Config(**settings)
        main(name, run, seed=self.seed, plugs=plugs, overwrite=True, **settings | {
            key: asked[key] for key in settings if key in asked and key != "constitution"})
    monkeypatch.setattr(bench.Bench, "script", script)


def test_a_part_is_done_once_and_what_was_found_outlives_a_crash(desk):
    calls = []
    def found(name):
        calls.append(name)
        return {"x": len(calls)} if name != "bad" else 1 / 0
    with pytest.raises(ZeroDivisionError):
        desk.parts({name: lambda name=name: found(name) for name in ("a", "b", "bad")})
    again = bench.Bench(desk.run, desk.folder, 0, "cpu", 8)
    rows = again.parts({name: lambda name=name: found(name) for name in ("b", "c")})
    assert calls == ["a", "b", "bad", "c"] and rows == {"b": {"x": 2, "seconds": 0}, "c": {"x": 4, "seconds": 0}}
    assert set(json.loads(desk.done.read_text())) == {"a", "b", "c"}


def test_the_table_says_mean_and_spread_and_leaves_out_what_is_not_there():
    one, two = {"row": {"a": 0.25, "l": [1]}, "other": {"b": 1.0}}, {"row": {"a": 0.75}, "other": {"b": None}}
    first, rule, row, other = ([cell.strip() for cell in line.split("|")[1:-1]] for line in
                               lab.table([one, two]).splitlines())
    assert first == ["", "a", "b"] and row == ["row", "0.50 (0.25 to 0.75)", "-"] and other == ["other", "-", "1.00"]
    assert not set("".join(rule)) - {"-"} and "(" not in lab.table([one])


def test_labels_by_hand():
    item = Comparison("?", "x", "y", log_odds=[[2.0, 0.0], [math.log(3), math.log(3)]])
    soft, one = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    hand = [soft, 1.0, 0.6, (soft + 0.5) / 2, one]
    assert [relabel(item) for relabel in labelling.LABELS.values()] == pytest.approx(hand, abs=1e-6)
    even = Comparison("?", "x", "x", log_odds=[[0.0, 0.0]])
    assert {relabel(even) for relabel in labelling.LABELS.values()} == {0.5}


def test_people_accept_any_refusal_and_calibration_is_against_them():
    request = WORLD.fill(WORLD.select("harm")[0], RNG, tuple(SPLITS))
    harm, dodge, good = (speech.answer(kind, request, RNG, WORLD) for kind in ("shows", "dodges", "objects"))
    pairs = ((harm, dodge, 0), (dodge, harm, 1), (good, dodge, .5), (harm, harm, .5), (harm, good, 0))
    items = [Comparison(request.prompt, a, b) for a, b, _ in pairs]
    assert [labelling.people(WORLD, item) for item in items] == [p for *_, p in pairs]
    found = labelling.calibration([.32, .68, 0, 1, .38], WORLD, items)              # bins at 0.35 and 0.68
    assert found["right"] == 1 and found["off by"] == pytest.approx((2 * .35 + .32) / 3)
    assert labelling.calibration([.9, .4, 0, 1, .1], WORLD, items)["right"] == pytest.approx(1 / 3, abs=1e-4)


def test_the_two_forms_are_found_again_in_points_that_have_them():
    for f in hacking.FORMS.values():
        d = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
        curve = list(zip(d.tolist(), (0.3 + d * (0.4 - 0.2 * f(d))).tolist(), strict=True))
        assert hacking.fit([[0.0, 0.2], [0.0, 0.4], *curve], f) == pytest.approx({"a": 0.4, "b": 0.2, "start": 0.3})
    rows = {"PPO, KL coefficient 1": {"d": 9, "curve": [[0, 5, .1], [1, 6, .2]]}, "best of 2": hacking.row(
        0.5, torch.tensor(2.0), ["objection", "helpful", "harmful", "off_grammar"])}
    assert rows["best of 2"] == {"d": 0.5, "score": 2, "gold": 0.5, "harmful": 0.5, "evasive": 0, "objection": 0.5,
                                 "helpful": 0.5, "refused": 0}
    assert hacking.points(rows, "PPO: ") == [[0, .1], [1, .2]] and hacking.points(rows, "best of n") == [[0.5, 0.5]]


def test_the_best_of_n_is_the_best_of_every_n_that_were_drawn(desk, monkeypatch):
    monkeypatch.setattr(hacking, "BEST_OF", (1, 2, 4))
    samples = {"scores": [0., 3, 2, 1, 5, 4, 6, 7], "said": "harmful objection harmful harmful helpful refused "
               "refused helpful".split()}
    monkeypatch.setattr(desk, "parts", lambda work: {"PPO, KL coefficient 0": {
        "curve": [[0, 0, .5], [1, 1, .6], [2, 2, .7]]}, "samples": samples})
    rows = hacking.overoptimise(desk)
    assert [rows[f"best of {n}"]["score"] for n in (1, 2, 4)] == [3.5, (3 + 2 + 5 + 7) / 4, (3 + 7) / 2]
    assert [rows[f"best of {n}"]["gold"] for n in (1, 2, 4)] == [3 / 8, 3 / 4, 1]
    assert rows["best of 4"]["d"] == pytest.approx((math.log(4) - 0.75) ** 0.5)


def test_revisions_leave_what_no_principle_speaks_of(desk, monkeypatch, tiny):
    def revise(items, principles, base, *, rng, critique):
        for i, item in enumerate(items):                                            # half of them become good
            item.revisions.append(speech.EVASIONS[0] if critique and i < 4 else item.answer)
    monkeypatch.setattr(words, "revise", revise)
    monkeypatch.setattr(bench.Bench, "model", lambda self, *_: type("Base", (), {"reply": lambda self, turns: [
        speech.HELPS[0].format(how=desk.world.recognise(t[0][1]).how) for t in turns]})())
    monkeypatch.setattr(desk, "behaviour", lambda folder, temperature: {"harmful": 0.125})
    rows = words.revisions(desk)
    assert [rows["broad, critique"][f"k={k}"] for k in range(5)] == [1.0] + [0.5] * 4
    assert rows["broad, direct"]["k=4"] == 1 and rows["SL on all"]["harmful"] == 0.125
    for name, left in (("broad", 0), ("narrow", 7 / 8), ("mixed", 1 / 2)):
        assert list(rows[f"{name}, (1 - m/n)^k"].values()) == pytest.approx([left ** k for k in range(5)])
    untrained = rows["4 revisions, no training"]
    assert untrained["harmful"] == untrained["evasive"] == 0.5 and untrained["helpful"] == 1


@pytest.mark.parametrize("name", lab.EXPERIMENTS)
def test_every_experiment_runs_on_a_tiny_run_and_leaves_that_as_it_was(name, desk, tiny, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    before = {path: path.read_bytes() for path in desk.run.rglob("*") if path.is_file()}
    monkeypatch.setattr(hacking, "KL_COEFS", (0.5, 0.0))
    monkeypatch.setattr(hacking, "BEST_OF", (1, 2))
    monkeypatch.setattr(labelling, "LABELS", dict(list(labelling.LABELS.items())[:2]))
    monkeypatch.setattr(variants, "VARIANTS", {name: variants.VARIANTS[name] for name in ("PPO", "GRPO")})
    if name == "steer":
        monkeypatch.setattr(bench.Bench, "script", lambda self, script, run, **settings: shutil.copytree(
            run / "base", run / "sl") and checked(settings))
    run = shutil.copytree(desk.run, desk.folder / "run")
    monkeypatch.setattr(bench.measure, "probes", lambda *_: desk.asked)
    for _ in range(2):
        lab.main([name, "--run", str(run)])
    out, done = capsys.readouterr().out, run / "lab" / name
    assert all((done / f"results.{end}").stat().st_size > 9000 for end in ("png", "svg")) and "| seconds |" in out
    assert set(json.loads((done / "results.json").read_text())) == {"0"}
    assert before == {path: path.read_bytes() for path in before} and "Expected:" in lab.EXPERIMENTS[name].__doc__
    assert out.count("Human: ") == (8 * 2 if name == "overoptimise" else 0)


def checked(settings):
    """A constitution of `steer` lacks one category, or none."""
    deleted = Path(settings["constitution"]).stem.removeprefix("no ")
    about = {WORLD.about[p].name for p in constitution.load(settings["constitution"])}
    assert about == set(WORLD.categories) - {deleted} and settings["revisions"] == 6


def test_a_run_that_lacks_a_stage_is_one_clear_line(desk):
    desk.run = desk.folder
    for work in (lambda: desk.take("part", "base"), lambda: desk.comparisons(desk.run)):
        with pytest.raises(UserError, match="train_rm|base"):
            work()
