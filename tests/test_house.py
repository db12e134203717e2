"""Laws of the house: who may import whom, how long a thing may be, what stands in no file. By reading alone."""
import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = {path.stem: path for path in sorted(ROOT.glob("train_*.py"))}
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
         for path in sorted((ROOT / "minicai").rglob("*.py"))} | SCRIPTS
TEXT = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
TREE = {name: ast.parse(text) for name, text in TEXT.items()}
HOUSE = tomllib.loads((ROOT / "tests" / "house.toml").read_text())
FLOOR = {room: i for i, rooms in enumerate(HOUSE["floors"].values()) for room in rooms.split()}
BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try)


def room(module):
    """minicai.toyworld.gold -> toyworld, train_sl -> train_sl."""
    return module.removeprefix("minicai.").split(".")[0]


def imports(name):
    """The modules of this project that a file imports, however it spells it."""
    found = set()
    for node in ast.walk(TREE[name]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not getattr(node, "level", 0), f"{name}: a relative import"
            spelt = {f"{node.module}.{a.name}" if isinstance(node, ast.ImportFrom) else a.name for a in node.names}
            found |= {whole if whole in FILES else whole.rpartition(".")[0] for whole in spelt} & set(FILES)
    return found - {name}


def depth(node):
    """How deep blocks stand in one another: an elif is no deeper than its if, an inner function starts anew."""
    inner = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.FunctionDef)]
    chained = getattr(node, "orelse", []) if isinstance(node, ast.If) else []
    own = [isinstance(c, BLOCKS) and not (isinstance(c, ast.If) and c in chained) for c in inner]
    return max((depth(c) + deeper for c, deeper in zip(inner, own, strict=True)), default=0)


def said(texts):
    """Lines that say something: code, comments, docstrings; blank lines are free."""
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_one_idea_and_imports_from_floors_below(name):
    assert TEXT[name].count("\n") <= (120 if name in SCRIPTS else 200) and ast.get_docstring(TREE[name])
    for other in imports(name):
        here, there = FLOOR[room(name)], FLOOR[room(other)]
        assert there < here or here == there >= FLOOR["toyworld"], f"{name} imports {other}"
        assert other not in SCRIPTS or room(name) == "tools", f"{name} imports the script {other}"


def test_imports_make_no_cycle():
    left = {name: imports(name) for name in FILES}
    while free := {name for name, needs in left.items() if not needs & set(left)}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left


def test_a_function_is_one_act():
    functions = [(name, f) for name in FILES for f in ast.walk(TREE[name]) if isinstance(f, ast.FunctionDef)]
    assert not [(name, f.name, n) for name, f in functions if (n := f.end_lineno - f.lineno + 1) > 40]
    assert not [(name, f.name, n) for name, f in functions if (n := depth(f)) > 3]


def test_every_public_function_of_the_method_says_what_it_does():
    assert not [f"{name}:{f.name}" for name in FILES if name.count(".") == 1 for f in TREE[name].body if isinstance(
        f, ast.FunctionDef) and not f.name.startswith("_") and f.name != "main" and not ast.get_docstring(f)]


@pytest.mark.parametrize("budget", HOUSE["budgets"])
def test_budgets_are_kept(budget):
    rooms = budget["rooms"].split() if "rooms" in budget else {*FLOOR} - set(budget["but"].split())
    assert said(TEXT[name] for name in FILES if room(name) in rooms) <= budget["lines"]
    assert said(path.read_text() for path in (ROOT / "tests").glob("*.py")) <= 3000


def test_nothing_that_was_read_is_ever_run():
    for name, text in TEXT.items():
        assert not re.search(r"pickle|weights_only=False|(?<![\w.])(eval|exec)\(", text), name
        assert text.count("torch.load(") == text.count("weights_only=True"), name


def test_the_program_stands_on_four_libraries_and_ships_all_its_rooms():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name for name, path in FILES.items() if path.name == "__init__.py"}
    assert [re.match(r"\w+", d)[0] for d in project["project"]["dependencies"]] == "torch numpy tiktoken tqdm".split()
    assert project["tool"]["setuptools"]["py-modules"] == ["train_sl", "train_rm", "train_ppo"]
    assert set(project["tool"]["setuptools"]["packages"]) == packages
