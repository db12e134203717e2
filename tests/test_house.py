"""Laws of the house: who may import whom, how long a thing may be, what stands in no file. By reading, without imports."""
import ast
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = {path.stem: path for path in sorted(ROOT.glob("train_*.py"))}
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
         for path in sorted((ROOT / "minicai").rglob("*.py"))} | SCRIPTS
TEXT = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
TREE = {name: ast.parse(text) for name, text in TEXT.items()}
# A room imports from floors below; `beside` and `roof` from their own floor as well.
FLOORS = {"cellar": "minicai", "ground": "constitution tokens tensors model optimise",
          "first": "sample preference ppo checkpoint finetune", "second": "assistant revise feedback rollout",
          "beside": "toyworld hf data", "roof": "run tools __main__ " + " ".join(SCRIPTS)}
FLOOR = {room: i for i, rooms in enumerate(FLOORS.values()) for room in rooms.split()}
OWN = {i for i, name in enumerate(FLOORS) if name in ("beside", "roof")}
BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try)
FUNCTIONS = {f"{name}:{f.name}": f for name, tree in TREE.items() for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)}


def room(module):
    """minicai.toyworld.gold -> toyworld, train_sl -> train_sl."""
    return module.removeprefix("minicai.").split(".")[0]


def imports(name):
    """The modules of this project that a file imports, however it spells it."""
    found = set()
    for node in ast.walk(TREE[name]):
        assert not isinstance(node, ast.ImportFrom) or not node.level, f"{name}: a relative import"
        for alias in getattr(node, "names", []) if isinstance(node, ast.Import | ast.ImportFrom) else []:
            whole = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            known = whole if whole in FILES else whole.rpartition(".")[0]
            found |= {known} & set(FILES)
    return found - {name}


def depth(node, own=0):
    """How deep blocks stand in one another; an elif is no deeper than its if, and an inner function starts anew."""
    children = [(child, field) for field, value in ast.iter_fields(node)
                for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST)]
    return max([own] + [depth(child, own + (isinstance(child, BLOCKS) and not (
        isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If))))
        for child, field in children if not isinstance(child, ast.FunctionDef)])


def lines(*names):
    return sum(TEXT[name].count("\n") for name in names)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_one_idea_and_every_room_has_its_floor(name):
    assert lines(name) <= (120 if name in SCRIPTS else 200) and ast.get_docstring(TREE[name])
    assert room(name) in FLOOR, f"{name} stands on no floor of the table"
    for other in imports(name):
        here, there = FLOOR[room(name)], FLOOR[room(other)]
        assert there < here or there == here in OWN, f"{name} imports {other} from a floor above or beside"
        assert other not in SCRIPTS or room(name) == "tools", f"{name} imports the script {other}"


def test_imports_make_no_cycle():
    left = {name: imports(name) - {"minicai", "minicai.tools"} for name in FILES}
    while free := {name for name, needs in left.items() if not needs & set(left)}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left


def test_a_function_is_one_act():
    too_long = {name: f.end_lineno - f.lineno + 1 for name, f in FUNCTIONS.items() if f.end_lineno - f.lineno >= 40}
    too_deep = {name: depth(f) for name, f in FUNCTIONS.items() if depth(f) > 3}
    assert not too_long and not too_deep, (too_long, too_deep)


def test_every_public_function_of_the_method_says_what_it_does():
    silent = [f"{name}:{f.name}" for name, tree in TREE.items() if room(name) != "toyworld" for f in tree.body
              if isinstance(f, ast.FunctionDef) and f.name[0] != "_" and f.name != "main" and not ast.get_docstring(f)]
    assert not silent


@pytest.mark.parametrize("what, most", [("method", 1300), ("toyworld", 700), ("hf data", 400), ("tools", 900), ("all", 3300)])
def test_budgets_are_kept(what, most):
    beside = ("toyworld", "tools", "hf", "data")
    chosen = [name for name in FILES if what == "all" or room(name) in what.split() or what == "method" and room(name) not in beside]
    assert lines(*chosen) <= most


def test_the_tests_have_a_budget_too():
    assert sum(path.read_text().count("\n") for path in (ROOT / "tests").glob("*.py")) <= 3000


def test_nothing_read_from_disk_is_ever_run():
    for name, text in TEXT.items():
        assert not re.search(r"pickle|weights_only=False|(?<![\w.])(eval|exec)\(", text), name
        assert text.count("torch.load(") == text.count("weights_only=True"), name


def test_the_program_stands_on_four_libraries():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert [re.match(r"\w+", d)[0] for d in project["project"]["dependencies"]] == ["torch", "numpy", "tiktoken", "tqdm"]
    assert sorted(project["tool"]["setuptools"]["py-modules"]) == sorted(SCRIPTS)
    assert {str(FILES[p].parent.relative_to(ROOT)).replace("/", ".") for p in FILES if p not in SCRIPTS} == \
        set(project["tool"]["setuptools"]["packages"])


def test_the_floors_are_in_order():
    assert all(low < high for low, high in pairwise(FLOOR[r] for r in ("tokens", "sample", "revise", "toyworld", "run")))
