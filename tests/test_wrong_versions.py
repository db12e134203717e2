"""The laws have teeth: every wrong version dies by one, and by an assertion, not by a crash."""
import importlib
import inspect
import itertools

import pytest
import wrong_versions

WRONG, FILE = wrong_versions.WRONG, {"optimise": "learning", "finetune": "learning", "checkpoint": "learning"}


def parametrised(law):
    tables = [mark.args for mark in getattr(law, "pytestmark", []) if mark.name == "parametrize"]
    for rows in itertools.product(*(values for _, values in tables)):
        yield {name: value for (names, _), row in zip(tables, rows, strict=True)
               for name, value in zip(names.split(", "), row if "," in names else [row], strict=True)}


def obey_all_laws(target, version, monkeypatch, request, tmp_path_factory):
    """Put the version in place and run the laws of its file, those that speak of it first."""
    monkeypatch.setattr("minicai." + target, version)
    module, *_, name = target.split(".")
    laws = vars(importlib.import_module("test_" + FILE.get(module, module)))
    laws = [law for key, law in laws.items() if key.startswith("test_") and "hugging_faces" not in key]
    for law in sorted(laws, key=lambda law: name not in inspect.getsource(law)):
        for case in parametrised(law):
            for need in set(inspect.signature(law).parameters) - set(case):
                case[need] = tmp_path_factory.mktemp("law") if need == "tmp_path" else request.getfixturevalue(need)
            law(**case)


@pytest.mark.parametrize("target, name, version, why", WRONG, ids=[f"{target}: {name}" for target, name, *_ in WRONG])
def test_a_wrong_version_dies(target, name, version, why, monkeypatch, request, tmp_path_factory):
    with pytest.raises(AssertionError):
        obey_all_laws(target, version, monkeypatch, request, tmp_path_factory)


def test_the_loss_whose_parts_are_replaced_is_right(monkeypatch, request, tmp_path_factory):
    obey_all_laws("ppo.ppo_loss", wrong_versions.loss(), monkeypatch, request, tmp_path_factory)
