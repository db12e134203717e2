"""Fixtures, the markers, and the tally of exercises."""
import json
import re
import shutil
from pathlib import Path

import hypothesis
import pytest
import torch
from fakes import STAGES, contents, main, tiny

from minicai.model import LanguageModel, ScalarModel
from minicai.tokens import Tokenizer
from minicai.toyworld.bpe import train_bpe

hypothesis.settings.register_profile("laws", database=None, deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("laws")
TEXT = "the cat sat on the mat. the mat sat under the cat! a banana, 42 bananas; two Ünïcødé bananas ...\n" * 3
SAID: dict[str, str] = {}         # for the tally of exercises: law -> how its first failure reads, "" if all cases hold


def pytest_addoption(parser):
    parser.addoption("--exercises", default="", help="run only the laws of these exercises (a,b,c), tally the points")
    parser.addoption("--grade", default="", help="write the tally as Gradescope's results.json")


def pytest_collection_modifyitems(config, items):
    if wanted := [*filter(None, config.option.exercises.split(","))]:
        items[:] = [item for item in items if any(m.args[0] in wanted for m in item.iter_markers("exercise"))]
    left_out = {name: name not in config.getoption("-m") for name in ("slow", "browser")}
    left_out["cuda"] = not torch.cuda.is_available()
    for item in items:
        for name in (name for name in left_out if left_out[name] and item.get_closest_marker(name)):
            item.add_marker(pytest.mark.skip(reason=f"{name}: see the markers in pyproject.toml"))


def pytest_runtest_logreport(report):
    if report.failed or report.when == "call":
        law = report.nodeid.split("[")[0]
        SAID[law] = SAID.get(law) or (report.failed and report.longrepr.reprcrash.message.splitlines()[0]) or ""


def marked():
    """(exercise, points, law) of every mark, read as text: it counts though the file may not even import."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for name, points, law in re.findall(r'exercise\("(\w+)", (\d+)\)\n(?=(?:@.+\n)*def (\w+))', path.read_text()):
            yield name, int(points), f"tests/{path.name}::{law}"


def pytest_terminal_summary(terminalreporter, config):
    results = []
    for name in filter(None, config.option.exercises.split(",")):
        laws = [(points, law, SAID.get(law, "did not run")) for of, points, law in marked() if of == name]
        got, most = sum(points for points, _, said in laws if not said), sum(points for points, *_ in laws)
        terminalreporter.write_line(f"{name:17}{got:3} of {most} points")
        for points, law, said in laws:
            title = law.split("::test_")[1].replace("_", " ")
            results.append({"name": f"{name}: {title}", "score": 0 if said else points, "max_score": points,
                            "output": said or "holds"})
            if said:
                terminalreporter.write_line(f"    not yet: {title} ({said})")
    if config.option.grade:
        Path(config.option.grade).write_text(json.dumps({"tests": results}, indent=1) + "\n")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def model() -> LanguageModel:
    return tiny()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_bpe(TEXT, 280))


@pytest.fixture
def speaker(tokenizer) -> LanguageModel:
    return tiny(vocab_size=tokenizer.vocab_size)


@pytest.fixture
def judge(speaker) -> ScalarModel:
    scalar = ScalarModel(speaker.model)
    torch.nn.init.normal_(scalar.score.weight)
    return scalar


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """A whole chain, with the contents of all files after each stage."""
    run = tmp_path_factory.mktemp("runs") / "first"
    return run, [main(stage, run) or contents(run) for stage in STAGES]


@pytest.fixture
def begun(done, tmp_path):
    """A copy of the whole run, to do a stage anew in."""
    return Path(shutil.copytree(done[0], tmp_path / "run"))
