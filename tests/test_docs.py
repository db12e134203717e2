"""Laws of the README: it names what there is, all of it and nothing else, and its commands are understood."""
import json
import pkgutil
import re
import shlex
from pathlib import Path

import pytest
from fakes import STAGES

from minicai import run, tools
from minicai.tools import lab

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in README.split("\n## ")}
COMMANDS = [line.split("#")[0] for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
            for line in re.split(r"\n|&&|;", block.replace("\\\n", " ")) if "python train_" in line]


def test_the_map_names_every_room_and_no_other():
    named = set(re.findall(r"[\w/]*?(\w+\.py)`", SECTIONS["The map: read in this order"]))
    rooms = [*ROOT.glob("train_*.py"), *ROOT.glob("minicai/*.py"), *ROOT.glob("minicai/toyworld/*.py")]
    assert named == {path.name for path in rooms if not path.name.startswith("_")} | {"variants.py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_scripts_understand_the_commands(command):
    _, script, *flags = shlex.split(command)
    run.parse_flags(STAGES[re.findall("_(.+).py", script)[0]][0].Config, "", flags)


def test_help_says_what_is_written_for_a_command_and_nothing_is_written_for_no_command():
    assert set(tools.HELP) <= {module.name for module in pkgutil.iter_modules(tools.__path__)}
    said = tools.command_line(lab.__name__).format_help()
    assert said.index(lab.__doc__) < said.index(tools.HELP["lab"]["text"]) and "usage: minicai lab " in said


def glossary():
    """The names in the first column of the section on the log; there `x_` and `_y` are parts, all pairs are meant."""
    names = set()
    for cell in re.findall(r"^\| (`.+?) \|", SECTIONS["The log"], re.MULTILINE):
        said = re.findall(r"`(\w+)`", cell)
        ends = [name for name in said if name.startswith("_")]
        names |= {name + end[1:] for name in said if name.endswith("_") for end in ends}
        names |= {name for name in said if "_" not in (name[0], name[-1])}
    return names


def test_every_logged_name_stands_in_the_glossary_and_the_reverse(done):
    logged = {name for path in done[0].rglob("metrics.jsonl") for line in path.read_text().splitlines()
              for name in json.loads(line)}
    assert glossary() == logged and len(logged) > 40
