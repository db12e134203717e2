"""Laws of the README: it names what there is, all of it and nothing else, and its commands are understood."""
import json
import pkgutil
import re
import shlex
import shutil
import sys
from functools import partial
from importlib.util import find_spec

import pytest
from fakes import ROOT, STAGES

import train_ppo
from minicai import run, tools
from minicai.tools import lab

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in README.split("\n## ")}
TINY = {"evaluate": "--probes 8", "chat": "--say hi", "constitution": "--requests 1"}
COMMANDS = [line.split("#")[0] for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
            for line in re.split(r"\n|&&|;", block.replace("\\\n", " ")) if "python train_" in line]


def test_the_map_names_every_room_and_no_other():
    named = set(re.findall(r"[\w/]*?(\w+\.py)`", SECTIONS["The map: read in this order"]))
    rooms = [path for where in ("train_", "minicai/", "minicai/run/", "minicai/toyworld/")
             for path in ROOT.glob(f"{where}*.py")]
    assert named == {path.name for path in rooms if not path.name.startswith("_")} | {"variants.py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_scripts_understand_the_commands(command):
    _, script, *flags = shlex.split(command)
    run.parse_flags(STAGES[re.findall("_(.+).py", script)[0]][0].Config, "", flags)


def test_the_commands_of_the_tour_do_their_work_on_a_tiny_run(done, tmp_path, monkeypatch):
    for name in ("default", "other"):
        shutil.copytree(done[0], tmp_path / "runs" / name)
    shutil.copy(ROOT / "constitution.txt", tmp_path / "my_constitution.txt")
    monkeypatch.chdir(tmp_path)
    tour = re.findall(r"(minicai (\w+) [^`;#\n]*runs/default[^`;#\n]*)", README)
    assert {name for _, name in tour} == {"evaluate", "view", "chat", "plot", "constitution", "export"}
    for command, name in sorted(tour, key=lambda some: some[1] != "evaluate"):                  # what plot needs, first
        if name != "plot" or find_spec("matplotlib"):
            monkeypatch.setattr(sys, "argv", shlex.split(f"{command} {TINY.get(name, '')}"))
            tools.main()
    assert {"evaluation.json", "view.html"} <= {path.name for path in (tmp_path / "runs" / "default").iterdir()}
    assert (tmp_path / "exported" / "model.safetensors").is_file()


def test_the_loss_in_eight_lines_trains(done, tmp_path, monkeypatch):
    shutil.copytree(done[0], tmp_path / "runs" / "default")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_ppo, "Config", partial(train_ppo.Config, **STAGES["ppo"][1]))
    code, = re.findall(r"```python\n(.*?)```", SECTIONS["Change the loss in eight lines"], re.DOTALL)
    exec(code, {})
    assert (tmp_path / "runs/default/ppo/weights.pt").read_bytes() != (done[0] / "ppo" / "weights.pt").read_bytes()


@pytest.mark.parametrize("file", ["README.md", "RESULTS.md"])
def test_figures_stand_beside_the_command_that_makes_them(file):
    """A section with a table in which something was measured: a share, or a number with a fraction."""
    for part in re.split(r"\n(?=## )", (ROOT / file).read_text(encoding="utf-8")):
        figures = [line for line in part.splitlines() if line.startswith("|") and re.search(r"\d %|\d\.\d", line)]
        assert not figures or re.search(r"minicai [a-z]+ |python \S+\.py", part), part.splitlines()[0]


def test_help_says_what_is_written_for_a_command_and_nothing_is_written_for_no_command():
    assert set(tools.HELP) <= {module.name for module in pkgutil.iter_modules(tools.__path__)}
    said = tools.command_line(lab.__name__).format_help()
    assert said.index(lab.__doc__) < said.index(tools.HELP["lab"]["text"]) and "usage: minicai lab " in said


def test_every_logged_name_stands_in_the_glossary_and_the_reverse(done):
    """In the first column of the section on the log; there `x_` and `_y` are parts, all pairs are meant."""
    names = set()
    for cell in re.findall(r"^\| (`.+?) \|", SECTIONS["The log"], re.MULTILINE):
        said = re.findall(r"`(\w+)`", cell)
        names |= {a + b[1:] for a in said for b in said if a.endswith("_") and b.startswith("_")}
        names |= {name for name in said if "_" not in (name[0], name[-1])}
    logged = {name for path in done[0].rglob("metrics.jsonl") for line in path.read_text().splitlines()
              for name in json.loads(line)}
    assert names == logged and len(logged) > 40
