"""Laws of the user's mistakes: exit code 2, one line that says what is wrong, no traceback, nothing written."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import patch, tiny_assistant

import train_ppo
import train_rm
import train_sl
from minicai import tools
from minicai.checkpoint import save_model
from minicai.model import ScalarModel
from minicai.run import script

ROOT = Path(__file__).parents[1]
SCRIPTS = {"sl": train_sl, "rm": train_rm, "ppo": train_ppo}
# The command; the stages that are done in the run called work; what the error must name.
TABLE = [[part.strip() for part in line.split("|")] for line in """
sl --constitution=empty.txt | | empty.txt
sl --few-shot=empty.txt --pretrain-steps=1 --hidden-size=32 --layers=1 --probes=8 | | empty.txt
sl --constitution=nowhere.txt | | nowhere.txt
sl --base=nowhere | | nowhere
sl --base=corrupt | | corrupt
sl --base=misfit | | misfit
sl --base=judge | | judge
sl --base=other | base sl | --overwrite
sl | base sl | --overwrite
sl --run=empty.txt | | empty.txt
sl --device=tpu | | --device
sl --sft-on=first | | --sft-on
sl --epochs=0 | | --epochs must be at least 1
sl --frames=20 | | --frames must be at least 1 and at most 12, not 20
sl --lr=nan | | --lr must be at least 0
sl --lr=inf --red-team-prompts=2 --helpful-prompts=2 --revisions=1 --batch=1 | base |
sl --rev=1 --red-team-prompts=1 --helpful-prompts=1 --probes=8 | base | --rev
sl stray | | stray
rm | | base
rm | base | sl
rm | base sl rm | --overwrite
rm --red-team-prompts=4 --helpful-prompts=4 --held-out=1.5 | base sl | --held-out
ppo | base sl | rm
ppo | base sl rm ppo | --overwrite
ppo --top-p=0.9 | | --top-p
ppo --temperature=0 | | --temperature
nosuch | | nosuch
evaluate | | run
evaluate work | | work
evaluate corrupt | | corrupt
evaluate work --probes=1 | base | --probes
evaluate work --compare corrupt | base | corrupt
chat work --say=hi | | work
chat work --say=hi --temperature=nan | base | --temperature
world --documents=-1 | | --documents
chat work --say=/nosuch | base | /nosuch
chat work --say=/critique | base | said
chat work --say=hi --say=/critique | base | principle
chat work --say=hi --say=/judge%be%kind. | base | two
view work | | work
view work | base | work
view corrupt | | corrupt
plot work | base | evaluation.json
lab rlhf --rl | | --rl
lab steer --run work --seeds 0 | base | --seeds
lab steer --run work | | base
lab labels --run work | base | comparisons.jsonl
constitution nosuch.txt --run=work | base | nosuch.txt
constitution empty.txt --run=work | base | principle
constitution constitution.txt --run=work | | base
constitution constitution.txt --run=work --requests=0 | base | --requests
""".strip().splitlines()]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working folder with models, spoilt models, a constitution and an empty file."""
    for seed, name in enumerate(("model", "other", "corrupt", "misfit", "corrupt/base", "judge")):
        (tmp_path / name).mkdir()
        assistant = tiny_assistant(seed)
        model = ScalarModel(assistant.model.model) if name == "judge" else assistant.model
        save_model(tmp_path / name, model, assistant.tokenizer, {})
    (tmp_path / "corrupt" / "weights.pt").write_bytes(b"PK\3\4 no weights")
    (tmp_path / "corrupt" / "base" / "config.json").write_text("{")
    config = tmp_path / "misfit" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 24', '"hidden_size": 32'))
    (tmp_path / "empty.txt").write_text("")
    shutil.copy(ROOT / "constitution.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(desk, present=""):
    """What stands on the desk, a run in which these stages are done among it."""
    for name in present.split():
        shutil.copytree(desk / ("judge" if name == "rm" else "model"), desk / "work" / name)
    return {str(path.relative_to(desk)): path.is_file() and path.read_bytes() for path in desk.rglob("*")}


def call(command, monkeypatch):
    """What the shell would do, in here."""
    first, *rest = (word.replace("%", " ") for word in command.split())
    monkeypatch.setattr(sys, "argv", ["minicai", first, *rest])
    stage = SCRIPTS.get(first)
    with pytest.raises(SystemExit) as stop:
        script(stage.main, stage.Config, "", ["--run=work", "--device=cpu", *rest]) if stage else tools.main()
    return stop.value.code


@pytest.mark.parametrize("command, present, named", TABLE, ids=[f"{row[0]} ({row[1]})" for row in TABLE])
def test_a_mistake_is_one_line_and_changes_nothing(command, present, named, desk, monkeypatch, capsys):
    before = files(desk, present)
    assert call(command, monkeypatch) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.match(r"error: |[\w. ]+: error: ", last) and named in last and files(desk) == before


@pytest.mark.parametrize("command, present, busy", [
    ("sl", "", "toyworld.pretrain.make_tokenizer"), ("sl --overwrite", "base sl", "revise.revise"),
    ("rm --overwrite", "base sl rm", "feedback.compare"), ("ppo", "base sl rm", "rollout.rollout")])
def test_ctrl_c_leaves_what_was_there_and_nothing_half_written(command, present, busy, desk, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt
    before = files(desk, present)
    patch(monkeypatch, busy, stop)
    assert call(command + " --red-team-prompts=2 --helpful-prompts=2" * (command[0] == "r"), monkeypatch) == 130
    assert files(desk) == before | ({} if present else {"work": False}) and "stopped" in capsys.readouterr().err


def test_a_real_command_line_says_it_in_one_line_too(desk):
    for command in (["-m", "minicai", "nosuch"], [str(ROOT / "train_rm.py"), "--run=work"]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == "" and re.fullmatch(r"error: [^\n]+\n", done.stderr)
