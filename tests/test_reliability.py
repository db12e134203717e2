"""Laws of being stopped: whatever happens and wherever, nothing is lost, nothing half-written or damaged is trusted."""
import fcntl
import json
import os
import pkgutil
import random
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fakes import STAGES, close, command, contents, main, patch
from hypothesis import given, strategies

import train_ppo
from minicai import UserError, checkpoint, constitution, data, finetune, model, optimise, ppo, preference, run, tokens
from minicai.run import resume
from minicai.toyworld import pretrain, world

pytestmark = pytest.mark.reliability
SETTINGS = {"lr": 0.1}


class Killed(BaseException):
    """As by kill -9: nobody is ready for it."""


def same(one, other):
    """Every weight, metric and record of two runs; the rest names the run or the time."""
    own = {"config.json", "seconds.json", checkpoint.MANIFEST}
    one, other = ({name: raw for name, raw in contents(run).items() if Path(name).name not in own}
                  for run in (one, other))
    assert one.keys() == other.keys() and [name for name in one if one[name] != other[name]] == []


@pytest.fixture
def keep(tmp_path):
    """-> a factory of keepers of one stage, as in one process after the other."""
    (tmp_path / "work").mkdir()
    return lambda every=0.0, **other: resume.Keeper(tmp_path / "state", tmp_path / "work", SETTINGS | other, every)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No signal is waiting, and the tests keep their own handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    patch(monkeypatch, "run.resume.STOP", [])
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_killed_in_every_save_and_after_it_the_chain_is_bitwise_that_of_a_run_left_alone(done, tmp_path, monkeypatch):
    tried, tokenizer = [], pretrain.make_tokenizer(world.World(), seed=0)
    monkeypatch.setattr(pretrain, "make_tokenizer", lambda *_, **__: tokenizer)            # it takes its time

    def killing(save, amid):
        def saved(self, *records):
            assert self.step < 2 or any(self.folder.glob("step*"))                         # the last good one stands
            place = self.folder, self.asked, self.step
            if records or save.__name__ == "checkpoint":
                tried.append(place)
                with monkeypatch.context() as patched:
                    if tried.count(place) == 1:                                            # the first time amid writing
                        patched.setattr(*amid, lambda *_: (_ for _ in ()).throw(Killed))
                    save(self, *records)
                raise Killed
            save(self)
        return saved

    monkeypatch.setattr(resume.Keeper, "append", killing(resume.Keeper.append, (os, "fsync")))
    monkeypatch.setattr(resume.Keeper, "checkpoint", killing(resume.Keeper.checkpoint, (Path, "rename")))
    for stage in STAGES:
        while not (tmp_path / "run" / stage).exists():
            try:
                main(stage, tmp_path / "run", resume=True, save_every=0.0)
            except Killed:
                assert not (tmp_path / "run" / stage).exists()
            for said in (tmp_path / "run").glob(f".*/{resume.SAID}"):
                if len(tried) % 3 == 1:
                    os.truncate(said, said.stat().st_size - 3)                             # the last one was torn
    same(done[0], tmp_path / "run")
    assert len({*tried}) == 3 + 6 + 2 + 8 + 2 + 2


@pytest.mark.parametrize("stage, kills", [("rm", 1), ("ppo", 2)] + [
    pytest.param(stage, 20, marks=pytest.mark.slow) for stage in STAGES])
def test_killed_at_random_moments_a_stage_ends_bitwise_as_if_left_alone(done, begun, stage, kills):
    rng = random.Random(f"{stage} {kills}")
    for name in (("base", "sl") if stage == "sl" else (stage,)):
        shutil.rmtree(begun / name)
    resumed = command(stage, begun, "--save-every=0", "--resume")
    for _ in range(kills):
        process = subprocess.Popen(resumed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while process.poll() is None and not [*begun.glob(".*.state/*")]:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3 if kills < 20 else 4))
        process.kill()                                                                     # kill -9
        process.communicate()
    finished = subprocess.run(resumed, capture_output=True, text=True)
    assert finished.returncode == 0 or (begun / stage).exists() and "exists already" in finished.stderr
    same(done[0], begun)


@pytest.mark.parametrize("stage, busy, number", [
    ("sl", "sample.generate", signal.SIGTERM), ("rm", "preference.bradley_terry_loss", signal.SIGINT),
    ("ppo", "sample.generate", signal.SIGINT)])
def test_a_signal_lets_the_step_be_finished_and_saved_and_a_second_one_does_not(
        done, begun, monkeypatch, capsys, stage, busy, number):
    shutil.rmtree(begun / stage)
    with monkeypatch.context() as patched:
        work, left = pkgutil.resolve_name(f"minicai.{busy}"), []

        def interrupted(*x, **how):
            os.kill(os.getpid(), number)
            return work(*x, **how)
        patch(patched, busy, interrupted)
        patched.setattr(os, "_exit", left.append)
        with pytest.raises(SystemExit) as stop:
            run.script(STAGES[stage][0].main, STAGES[stage][0].Config, "", command(stage, begun, "--save-every=9")[2:])
        assert stop.value.code == 128 + number and not (begun / stage).exists()
        assert left == [128 + number] * (stage == "ppo")                                   # it samples the probes too
    assert capsys.readouterr().out.rstrip().endswith("--resume")
    resume.STOP.clear()
    main(stage, begun, resume=True)
    same(done[0], begun)


def test_after_its_last_step_a_stage_ends_and_the_shell_still_hears_of_the_signal():
    with pytest.raises(SystemExit) as stop:
        run.script(lambda cfg: os.kill(os.getpid(), signal.SIGTERM), train_ppo.Config, "", [])
    assert stop.value.code == 143


def test_a_second_process_on_one_run_is_refused_and_a_dead_one_leaves_no_lock(begun):
    with open(begun / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is at work"):
            main("ppo", begun, overwrite=True)
    main("ppo", begun, overwrite=True, iterations=1)


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-1], lambda raw: raw[:len(raw) // 2] + bytes([
    raw[len(raw) // 2] ^ 16]) + raw[len(raw) // 2 + 1:], lambda raw: None], ids=["cut", "a bit", "gone"])
def test_a_damaged_file_of_a_stage_or_of_a_checkpoint_is_refused_by_name(begun, keep, spoil):
    list(keep().steps(range(2), counter={"x": 1}))
    kinds = dict.fromkeys(("base", "sl", "ppo"), model.LanguageModel) | {"rm": model.ScalarModel}
    stages = [(begun / name, lambda folder: checkpoint.load_model(folder, kinds[folder.name])) for name in kinds]
    for folder, load in [*stages, (max(keep().folder.glob("step*")), lambda _: list(keep().steps([], counter={})))]:
        load(folder)
        for path in [path for path in folder.iterdir() if path.name != checkpoint.MANIFEST]:
            raw = path.read_bytes()
            path.unlink() if spoil(raw) is None else path.write_bytes(spoil(raw))
            with pytest.raises(UserError, match=path.name):
                load(folder)
            path.write_bytes(raw)
        (folder / checkpoint.MANIFEST).write_bytes(b"\xff" + (folder / checkpoint.MANIFEST).read_bytes()[1:])
        with pytest.raises(UserError, match="damaged"):
            load(folder)


def test_no_pickle_is_trusted(keep):
    list(keep().steps(range(1), counter={}))
    newest = max(keep().folder.glob("step*"))
    (newest / checkpoint.MANIFEST).unlink()
    (newest / resume.STATE).write_bytes(b"cbuiltins\nexec\n(S'raise SystemExit(1)'\ntR.")
    with pytest.raises(UserError, match=resume.STATE):
        list(keep().steps(range(1), counter={}))


def test_a_stage_that_was_stopped_with_other_settings_or_by_another_base_is_not_resumed(begun, monkeypatch):
    monkeypatch.setattr(resume.Keeper, "steps", lambda *_, **__: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        main("sl", begun, overwrite=True)
    with pytest.raises(UserError, match=r"temperature was 0.5, now 0.7$"):
        main("sl", begun, overwrite=True, resume=True, temperature=0.7)
    (begun / "base" / checkpoint.MANIFEST).write_text("")
    with pytest.raises(UserError, match=r"base/manifest.sha256 was '\w+', now '\w+'$"):
        main("sl", begun, overwrite=True, resume=True)
    with pytest.raises(Killed):                                                            # from the beginning
        main("sl", begun, overwrite=True, temperature=0.7)


def test_stopped_before_its_base_was_brought_a_stage_does_not_go_on_with_the_old_one(begun, tmp_path):
    other = shutil.copytree(begun / "ppo", tmp_path / "other")
    main("sl", begun, base=str(other), overwrite=True, resume=True)
    assert (begun / "base" / "weights.pt").read_bytes() == (other / "weights.pt").read_bytes()


def test_when_the_disk_is_full_the_last_checkpoint_stays_and_a_line_says_so(keep):
    counter, before = {"x": 0}, signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    steps, limits = keep().steps(range(3), counter=counter), resource.getrlimit(resource.RLIMIT_FSIZE)
    next(steps)
    counter["x"] = 1
    next(steps)
    counter["x"] = torch.zeros(100_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(UserError, match="is the disk full"):
            next(steps)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(keep().steps(range(3), counter=counter)) == [1, 2] and counter == {"x": 1}


@pytest.mark.parametrize("cost", [0.5, 20.0])
def test_checkpoints_cost_less_than_two_per_cent_of_the_time(keep, monkeypatch, cost):
    """A clock of our own: a step takes a second, a checkpoint half a second or twenty."""
    spent, steps = [], 0
    monkeypatch.setattr(resume, "time", SimpleNamespace(perf_counter=lambda: steps + sum(spent)))
    monkeypatch.setattr(resume.torch, "save", lambda x, path: spent.append(cost) or path.write_bytes(b""))
    for _ in keep(60).steps(range(20_000), counter={}):
        steps += 1
    assert len(spent) >= 19 and sum(spent) < 0.02 * (steps + sum(spent)) + cost


def test_a_loss_that_is_not_finite_stops_before_the_update_names_the_step_and_keeps_the_batch(begun, monkeypatch):
    factors = iter([1, 1, float("nan")])

    def loss(new, old):
        total, stats = ppo.ppo_loss(new, old)
        return total * next(factors), stats
    with pytest.raises(optimise.Diverged, match=r"^ppo, step 2: .*loss nan.*ppo.diverged.jsonl$"):
        main("ppo", begun, overwrite=True, epochs=1, save_every=0.0, plugs={"loss_fn": loss})
    batch = json.loads((begun / "ppo.diverged.jsonl").read_text())
    assert len(batch["ids"]) == len(batch["adv"]) == 12 and (begun / "ppo").exists()
    assert {path.name for path in (begun / ".ppo.state").iterdir()} == {resume.SAID, "step00000001"}


def test_the_policy_that_learns_must_be_the_one_that_sampled_and_the_reference_what_it_was(begun, monkeypatch):
    """A thousandth in a log-prob is a fault in fp32, no more than a rounding in bf16."""
    config = begun / "sl" / "config.json"
    config.write_text(config.read_text().replace('"auto"', '"float32"'))
    (begun / "sl" / checkpoint.MANIFEST).unlink()
    look, load, loaded = train_ppo.rollout.look, checkpoint.load_model, []
    with monkeypatch.context() as patched:
        patched.setattr(train_ppo.rollout, "look", lambda *x: replace(               # the learner's, not the sampler's
            now := look(*x), logp=now.logp + 1e-3 * now.logp.requires_grad))
        with pytest.raises(optimise.Diverged, match="step 1: the ratio is 1.001.. before any update"):
            main("ppo", begun, overwrite=True)
    monkeypatch.setattr(checkpoint, "load_model", lambda *x, **how: loaded.append(load(*x, **how)) or loaded[-1])
    main("ppo", begun, overwrite=True, iterations=1)
    with pytest.raises(AssertionError, match="the reference has changed"):
        main("ppo", begun, overwrite=True, iterations=1, plugs={"reward_fn": lambda prompts, texts: (
            loaded[-1][0].model.norm.weight.data.mul_(1.001), torch.zeros(len(texts)))[1]})


@pytest.mark.parametrize("kl, said", [(-0.9, []), (5.0, []), (-1.5, ["KL -1.50"])])
def test_a_very_negative_kl_is_warned_of(kl, said, recwarn):
    zero = torch.zeros(2, 1)
    ppo.summary(ppo.Old(zero, zero == 0, zero + kl, zero, zero, zero[0], zero[0], zero, zero))
    assert [str(warning.message)[:8] for warning in recwarn] == said


@given(strategies.binary(max_size=60) | strategies.text(max_size=40).map(str.encode) | strategies.sampled_from(
    [b'{"prompt": 1}', b'[{"chosen": [], "rejected": []}]', b"YQ== 0\n", b"[Safety]\n"]))
def test_whatever_a_file_holds_its_reader_succeeds_or_says_so_in_one_line(tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("any")
    for name in ("config.json", "tokenizer.bpe", "weights.pt", "x.jsonl", "x.txt"):
        (folder / name).write_bytes(raw)
    for read in (constitution.load, data.prompts, data.comparisons):
        for name in ("x.jsonl", "x.txt"):
            try:
                assert read(folder / name)
            except UserError as error:
                assert name in str(error) and "\n" not in str(error)
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        checkpoint.load_model(folder)


@given(strategies.integers(0, 10**6))
def test_what_was_said_is_whole_up_to_the_last_full_record_wherever_it_was_cut_or_changed(tmp_path_factory, place):
    folder, records = tmp_path_factory.mktemp("any"), [{"said": ["a\u2028b", n / 3]} for n in range(3)]
    resume.Keeper(folder, folder, SETTINGS, 0.0).append(*records)
    raw = (path := folder / resume.SAID).read_bytes()
    place %= len(raw) - 1
    path.write_bytes(raw[:place])
    assert resume.recovered(path) == [SETTINGS, *records][:raw[:place].count(b"\n")]
    resume.Keeper(folder, folder, SETTINGS, 0.0).append({"said": 1})
    assert resume.recovered(path)[-1] == {"said": 1}
    path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1:])
    with pytest.raises(UserError, match=r"said.jsonl, line \d: is damaged"):
        resume.recovered(path)


@pytest.mark.parametrize("extra", [1, 2, 5])
def test_padding_changes_no_score_and_no_supervised_loss(judge, speaker, tokenizer, extra, monkeypatch):
    pairs, pad, width = [("the cat", "sat on a mat"), ("a", "b")], tokens.pad, 48 * extra
    turns = [[("user", prompt), ("assistant", text)] for prompt, text in pairs]
    ids, weight = zip(*(finetune.response_example(tokenizer, t) for t in turns), strict=True)
    loss = finetune.sequence_loss(speaker, pad(ids, 0), pad(weight, 0.0))
    before = [*preference.read_scores(judge, tokenizer, pairs), loss]
    monkeypatch.setattr(preference, "pad", lambda rows, value: pad(rows, value, width))
    loss = finetune.sequence_loss(speaker, pad(ids, 9, width), pad(weight, 0.0, width))
    close([*preference.read_scores(judge, tokenizer, pairs), loss], before, atol=1e-6, rtol=0)
