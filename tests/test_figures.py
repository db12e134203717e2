"""The default run's figures against what was measured (README), less a margin. Needs a finished, evaluated run:

    MINICAI_RUN=runs/default python -m pytest tests/test_figures.py"""
import json
import os
import re
from functools import reduce
from pathlib import Path

import pytest
from fakes import table

RUN = os.environ.get("MINICAI_RUN")
LIMITS = [(f"{who} {group} {name}", sign, float(bound)) for who, groups in table("figures").items()
          for group, limits in groups.items() for name, sign, bound in re.findall(r"(\w+)([<>])(\S+)", limits)]


@pytest.fixture(scope="module")
def figures() -> dict:
    if not RUN:
        pytest.skip("set MINICAI_RUN to the folder of an evaluated default run")
    return json.loads((Path(RUN) / "evaluation.json").read_text())


@pytest.mark.parametrize("path, sign, bound", LIMITS)
def test_it_is_as_measured(figures, path, sign, bound):
    found = reduce(dict.__getitem__, path.split(), figures)
    assert found >= bound if sign == ">" else found <= bound
