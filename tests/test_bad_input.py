"""Laws of the user's mistakes: exit code 2, one line that says what is wrong, no traceback, nothing written."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train_ppo
import train_rm
import train_sl
from fakes import patch
from minicai import tools
from minicai.checkpoint import save_model
from minicai.run import script
from fakes import tiny_assistant

ROOT = Path(__file__).parents[1]
SCRIPTS = {"sl": train_sl, "rm": train_rm, "ppo": train_ppo}
RULE = f"--constitution={ROOT / 'constitution.txt'}"
# command (a stage with flags, or a tool with arguments), what stands in the run, what the error must name.
TABLE = [
    (["sl", "--constitution=empty.txt"], "", "empty.txt"),
    (["sl", "--constitution=nowhere.txt"], "", "nowhere.txt"),
    (["sl", "--constitution=."], "", "."),
    (["sl", RULE, "--base=nowhere"], "", "nowhere"),
    (["sl", RULE, "--base=corrupt"], "", "corrupt"),
    (["sl", RULE, "--base=misfit"], "", "misfit"),
    (["sl", RULE, "--base=model"], "base sl", "--overwrite"),
    (["sl", RULE], "base sl", "--overwrite"),
    (["sl", RULE, "--run=empty.txt"], "", "empty.txt"),
    (["sl", "--device=tpu"], "", "--device"),
    (["sl", "--sft-on=first"], "", "--sft-on"),
    (["sl", "--epochs=0"], "", "--epochs must be at least 1"),
    (["sl", "--lr=-1"], "", "--lr must be at least 0"),
    (["sl", "--lr=nan"], "", "--lr must be at least 0"),
    (["sl", "--layers=two"], "", "--layers"),
    (["sl", "--unknown=1"], "", "--unknown"),
    (["sl", "--rev=2"], "", "--rev"),
    (["sl", "stray"], "", "stray"),
    (["rm", RULE], "", "base"),
    (["rm", RULE], "base", "sl"),
    (["rm", RULE], "base sl rm", "--overwrite"),
    (["rm", RULE, "--red-team-pairs=2", "--helpful-pairs=2"], "base sl", "held"),
    (["rm", RULE, "--held-out=1.5"], "base sl", "held"),
    (["ppo"], "base sl", "rm"),
    (["ppo"], "base sl rm ppo", "rm"),
    (["ppo", "--top-p=0.9"], "", "--top-p"),
    (["ppo", "--temperature=0"], "", "--temperature"),
    (["nosuch"], "", "nosuch"),
    (["evaluate"], "", "run"),
    (["evaluate", "work"], "", "work"),
    (["evaluate", "nowhere"], "", "nowhere"),
    (["evaluate", "corrupt"], "", "corrupt"),
    (["evaluate", "work", "--probes=1"], "base", "--probes"),
    (["chat", "work", "--say=hi"], "", "work"),
    (["chat", "work", "--say=hi", "--temperature=-1"], "base", "--temperature"),
    (["plot", "work"], "base", "evaluation.json"),
]


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A folder with a model, spoilt models and an empty file."""
    store = tmp_path_factory.mktemp("store")
    assistant = tiny_assistant()
    for name in ("model", "corrupt", "misfit", "corrupt/base"):
        (store / name).mkdir()
        save_model(store / name, assistant.model, assistant.tokenizer, {})
    (store / "corrupt" / "weights.pt").write_bytes(b"PK\3\4 no weights")
    (store / "corrupt" / "base" / "config.json").write_text("{")
    config = store / "misfit" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 24', '"hidden_size": 32'))
    (store / "empty.txt").write_text("")
    return store


@pytest.fixture
def desk(store, tmp_path, monkeypatch):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


def call(command, monkeypatch):
    """What the shell would do, in here."""
    if command[0] in SCRIPTS:
        stage = SCRIPTS[command[0]]
        return script(stage.main, stage.Config, stage.__doc__, ["--run=work", "--device=cpu", *command[1:]])
    monkeypatch.setattr(sys, "argv", ["minicai", *command])
    return tools.main()


@pytest.mark.parametrize("command, present, named", TABLE, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_mistake_is_one_line_and_changes_nothing(command, present, named, desk, monkeypatch, capsys):
    for name in present.split() or [""][:command[0] in ("evaluate", "chat")]:
        shutil.copytree(desk / "model", desk / "work" / name) if name else (desk / "work").mkdir()
    before = files(desk)
    with pytest.raises(SystemExit) as stop:
        call(command, monkeypatch)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and re.match(r"error: |[\w. ]+: error: ", last) and named in last
    assert files(desk) == before


@pytest.mark.parametrize("stage, step, present", [("sl", "minicai.toyworld.pretrain.pretrain", ""), ("sl", "minicai.revise.revise", "base"),
                                                  ("rm", "minicai.feedback.compare", "base sl"), ("ppo", "minicai.rollout.rollout", "base sl rm")])
def test_ctrl_c_leaves_nothing_half_written(stage, step, present, desk, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt
    ...


def test_a_real_command_line_says_it_in_one_line_too(desk):
    for command in (["-m", "minicai", "nosuch"], [str(ROOT / "train_rm.py"), RULE, "--run=work"]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == "" and re.fullmatch(r"error: [^\n]+\n", done.stderr)
