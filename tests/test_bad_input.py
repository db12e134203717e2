"""Laws of the user's mistakes: exit code 2, one line that says what is wrong, no traceback, nothing written."""
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from fakes import ROOT, STAGES, save, table, tiny_assistant, write

from minicai import run, tools
from minicai.model import ScalarModel

TABLE = table("bad_input")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working folder with models, spoilt models, a constitution and an empty file."""
    for seed, name in enumerate(("model", "other", "corrupt", "misfit", "corrupt/base", "judge")):
        model = tiny_assistant(seed).model
        save(tmp_path / name, ScalarModel(model.model) if name == "judge" else model)
    config = (tmp_path / "misfit" / "config.json").read_text().replace('"hidden_size": 24', '"hidden_size": 32')
    write(tmp_path, TABLE["desk"] | {"misfit/config.json": config})
    shutil.copy(ROOT / "constitution.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(desk, present="", more=()):
    """What stands on the desk, a run in which these stages are done among it, and more files."""
    for name in present.split():
        shutil.copytree(desk / ("judge" if name == "rm" else "model"), desk / "work" / name)
    write(desk, dict(more))
    return {str(path.relative_to(desk)): path.is_file() and path.read_bytes() for path in desk.rglob("*")
            if path.name != ".lock"}


def call(command, monkeypatch):
    """What the shell would do, in here."""
    first, *rest = shlex.split(command)
    stage, _ = STAGES.get(first, (None, {}))
    monkeypatch.setattr(sys, "argv", ["minicai", first, *rest])
    monkeypatch.setattr("signal.signal", lambda *_: None)                  # the tests keep their own
    with pytest.raises(SystemExit) as stop:
        run.script(stage.main, stage.Config, "", ["--run=work", "--device=cpu", *rest]) if stage else tools.main()
    return stop.value.code


@pytest.mark.parametrize("row", TABLE["mistakes"], ids=lambda row: f"{row['command']} ({row.get('done', '')})")
def test_a_mistake_is_one_line_and_changes_nothing(row, desk, monkeypatch, capsys):
    before = files(desk, row.get("done", ""), row.get("files", {}))
    assert call(row["command"], monkeypatch) == 2
    said = capsys.readouterr().err
    last = said.strip().splitlines()[-1]
    assert re.match(r"error: |[\w. ]+: error: ", last) and row["says"] in last and files(desk) == before
    assert said.count("error: ") == 1 and "Traceback" not in said


def test_a_real_command_line_says_it_in_one_line_too(desk):
    for command in (["-m", "minicai", "nosuch"], [str(ROOT / "train_rm.py"), "--run=work"]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == "" and re.fullmatch(r"error: [^\n]+\n", done.stderr)


def test_who_reads_only_the_first_line_gets_it_and_no_traceback():
    piped = subprocess.run(f"{sys.executable} -m minicai world | head -1", shell=True, capture_output=True, text=True)
    assert piped.stderr == "" and piped.stdout.startswith("| ")
