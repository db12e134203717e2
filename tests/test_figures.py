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


@pytest.mark.skipif(not RUN, reason="set MINICAI_RUN to the folder of an evaluated default run")
@pytest.mark.parametrize("path, sign, bound", LIMITS)
def test_it_is_as_measured(path, sign, bound):
    found = reduce(dict.__getitem__, path.split(), json.loads((Path(RUN) / "evaluation.json").read_text()))
    assert found >= bound if sign == ">" else found <= bound
