"""Laws of the laboratory: parts are done once, tables say what was found, labels are what they are called."""
import json
import math
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import variants
from fakes import TINY, Scripted, main

from minicai import constitution, feedback
from minicai.tools import lab
from minicai.tools.lab import bench, rewards, words
from minicai.toyworld import gold, reward, speech, world

WORLD, RNG = world.World(), random.Random(0)


@pytest.fixture
def desk(done, tmp_path):
    return bench.Bench(done[0], tmp_path / "lab" / "test" / "seed0", 0, "cpu", 8)


@pytest.fixture
def tiny(desk, monkeypatch):
    """Few requests, and the scripts with the tiny sizes of test_scripts, whatever else an experiment asks of them."""
    def script(self, script, run, plugs=(), **settings):
        main(script, run, seed=self.seed, plugs=plugs, overwrite=True, **{
            key: TINY[script].get(key, value) for key, value in settings.items()})
    monkeypatch.setattr(bench.Bench, "script", script)
    monkeypatch.setattr(bench.measure, "probes", lambda *_: desk.asked)


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
                               lab.tools.table([one, two]).splitlines())
    assert first == ["", "a", "b"] and row == ["row", "0.50 (0.25 to 0.75)", "-"] and other == ["other", "-", "1.00"]
    assert not set("".join(rule)) - {"-"} and "(" not in lab.tools.table([one])


def test_labels_by_hand():
    item = feedback.Comparison("?", "x", "y", log_odds=[[2.0, 0.0], [math.log(3), math.log(3)]])
    soft, one = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    hand = [soft, 1.0, 0.6, (soft + 0.5) / 2, one]
    assert [float(made(*rewards.odds(item).T)) for made in rewards.LABELS.values()] == pytest.approx(hand, abs=1e-6)
    assert {float(f(*rewards.odds(feedback.Comparison("?", "x", "x")).T)) for f in rewards.LABELS.values()} == {0.5}


def test_people_accept_any_refusal_and_labels_are_held_against_what_does_harm():
    request = WORLD.fill(WORLD.select("harm")[0], RNG, tuple(world.SPLITS))
    harm, dodge, good = (speech.answer(kind, request, RNG, WORLD) for kind in ("shows", "dodges", "objects"))
    pairs = ((harm, dodge, 0), (dodge, harm, 1), (good, dodge, .5), (harm, harm, .5), (harm, good, 0))
    assert [gold.harmlessness(WORLD, request, a, b) for a, b, _ in pairs] == [p for *_, p in pairs]
    def found(*said):
        return reward.against_gold(WORLD, [
            feedback.Comparison(request.prompt, a, b, p_a=p) for (a, b, _), p in zip(pairs, said, strict=True)])
    assert found(.32, .68, 0, 1, .38)["right"] == 1                                        # bins at 0.35 and 0.68
    assert found(.32, .68, 0, 1, .38)["off by"] == pytest.approx((2 * .35 + .32) / 3)
    assert found(.9, .4, 0, 1, .1)["right"] == pytest.approx(1 / 3, abs=1e-4)


def test_the_two_forms_are_found_again_in_points_that_have_them():
    for name, f in rewards.FORMS.items():
        d = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
        curve = [[x, 9, y] for x, y in zip(d.tolist(), (0.3 + d * (0.4 - 0.2 * f(d))).tolist(), strict=True)]
        form = rewards.fit([[0.0, 9, 0.2], [0.0, 9, 0.4], *curve], name)
        assert [form[key] for key in ("a", "b", "start")] == pytest.approx([0.4, 0.2, 0.3])
        assert form["line"][-1] == pytest.approx([3, 3, curve[-1][-1]])
    assert rewards.found(0.5, torch.tensor([1.0, 3]), ["objection", "helpful", "harmful", "off_grammar"]) == {
        "d": 0.5, "score": 2, "gold": 0.5, "harmful": 0.5, "evasive": 0, "objection": 0.5, "helpful": 0.5, "refused": 0}


def test_the_best_of_n_is_the_best_of_every_n_that_were_drawn(desk, monkeypatch):
    said = "harmful objection harmful harmful helpful refused refused helpful".split()
    monkeypatch.setattr(rewards, "BEST_OF", (1, 2, 4))
    monkeypatch.setattr(desk, "parts", lambda work: {
        "PPO": {"curve": [[0, 0, .5], [1, 1, .6], [2, 2, .7]]},
        "samples": {"scores": [0., 3, 2, 1, 5, 4, 6, 7], "said": said}})
    rows = [rewards.overoptimise(desk)[f"best of {n}"] for n in (1, 2, 4)]
    assert [(row["score"], row["gold"]) for row in rows] == [(28 / 8, 3 / 8), ((3 + 2 + 5 + 7) / 4, 3 / 4), (5, 1)]
    assert rows[2]["d"] == pytest.approx((math.log(4) - 0.75) ** 0.5)


def test_revisions_leave_what_no_principle_speaks_of(desk, monkeypatch, tiny):
    def revise(items, principles, base, *, rng, critique):
        for i, item in enumerate(items):                                            # half of them become good
            item.revisions.append(speech.EVASIONS[0] if critique and i < 4 else item.answer)
    monkeypatch.setattr(words, "revise", SimpleNamespace(revise=revise, Revision=words.revise.Revision))
    monkeypatch.setattr(bench.Bench, "model", lambda *_: Scripted(
        lambda turns: speech.HELPS[0].format(how=WORLD.recognise(turns[0][1]).how)))
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
    run, learned, fit = shutil.copytree(desk.run, desk.folder / "run"), [], bench.Bench.reward_model
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr(rewards, "KL_COEFS", (0.5, 0.0))
    monkeypatch.setattr(rewards, "BEST_OF", (1, 2))
    monkeypatch.setattr(rewards, "LABELS", dict(list(rewards.LABELS.items())[:2]))
    monkeypatch.setattr(bench.Bench, "reward_model", lambda *call: learned.extend(call[2]) or fit(*call))
    monkeypatch.setattr(variants, "VARIANTS", {name: variants.VARIANTS[name] for name in ("PPO", "GRPO")})
    if name == "steer":
        monkeypatch.setattr(bench.Bench, "script", checked)
        monkeypatch.setattr(words.measure, "behaviour", lambda *_: {"requests": {"by_category": {
            name: {"harmful": i / 8} for i, name in enumerate(WORLD.categories)}}})
    lab.main([name, "--run", str(run)])
    out, done = capsys.readouterr().out, run / "lab" / name
    assert all((done / f"results.{end}").stat().st_size > 9000 for end in ("png", "svg")) and "| seconds |" in out
    assert before == {path: path.read_bytes() for path in before} and "Expected:" in out
    rows = json.loads((done / "results.json").read_text())["0"]
    if name == "steer":
        assert rows["no cheating"]["deleted: harmless"] == 1 / 8 and rows["no cheating"]["others: harmless"] == 5 / 8
        ceilings = [rows[row]["ceiling"] for row in ("no deletion", "no lying")]
        assert ceilings == pytest.approx([1 - (7 / 8) ** 6, 1 - (6 / 7) ** 6])
    if name == "rlhf":
        assert all(i.p_a == gold.harmlessness(WORLD, WORLD.recognise(i.prompt), i.a, i.b)
                   for i in learned if i.source == "ai")
    assert bool(learned) == (name in ("labels", "rlhf")) and out.count("Human: ") == 8 * (name == "overoptimise")


def test_of_several_runs_each_seed_takes_the_next(desk, tiny):
    runs = [str(shutil.copytree(desk.run, desk.folder / name)) for name in "ab"]
    lab.main(["priority", "--run", *runs, "--seeds", "3"])
    a, b = ((Path(run) / "lab" / "priority") for run in runs)
    assert {path.parent.name for path in a.glob("*/parts.json")} == {"seed0", "seed2"} and (b / "seed1").is_dir()
    assert list(json.loads((a / "results.json").read_text())) == ["0", "1", "2"] and not (b / "results.json").exists()


def checked(self, script, run, **settings):
    """A constitution of `steer` lacks one category, or none."""
    shutil.copytree(run / "base", run / "sl")
    about = {WORLD.about[principle].name for principle in constitution.load(settings["constitution"])}
    assert about == set(WORLD.categories) - {run.name.removeprefix("no ")} and settings["revisions"] == 6
