"""These laws have teeth too: every wrong version dies by an assertion of some law of its room."""
import importlib
import inspect

import pytest
from fakes import patch
from wrong_versions_cai import WRONG

FILE = {"reward": "gold", "assistant": "feedback", "measure": "gold", "corpus": "world", "speech": "world"}


def cases(law):
    """The arguments of each case of a law that is parametrised at most once."""
    names, rows = next((mark.args for mark in getattr(law, "pytestmark", [])), ("", [[]]))
    return [dict(zip(names.split(", "), row if names == "" or "," in names else [row], strict=False)) for row in rows]


@pytest.mark.parametrize("target, name, version, why", WRONG, ids=[f"{target}: {name}" for target, name, *_ in WRONG])
def test_a_wrong_version_dies(target, name, version, why, monkeypatch, tmp_path_factory):
    room = target.removeprefix("toyworld.").split(".")[0]
    laws = vars(importlib.import_module(f"test_{FILE.get(room, room)}"))
    patch(monkeypatch, target, version)
    with pytest.raises(AssertionError):
        for law in [law for key, law in laws.items() if key.startswith("test_")]:
            for case in cases(law):
                needs = {*inspect.signature(law).parameters} - {*case}
                law(**case, **{need: tmp_path_factory.mktemp("law") for need in needs})
