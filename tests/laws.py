"""What the laws say of a changed program: put other text in the place of a file's functions, run a law by hand."""
import gc
import inspect
import itertools
import pkgutil
import types

import torch


def codes(code):
    """{qualified name: compiled function} of all that is defined in a compiled file, though not within functions."""
    inner = [child for child in code.co_consts if isinstance(child, types.CodeType) and "<" not in child.co_qualname]
    return {child.co_qualname: child for child in inner} | {k: v for child in inner for k, v in codes(child).items()}


def change(monkeypatch, file, text):
    """Every function of the file as it reads in this other text: whoever imported one by name has it, too."""
    module = pkgutil.resolve_name(file.removesuffix(".py").replace("/", "."))
    others = codes(compile(text, module.__file__, "exec"))
    for function in (found for found in gc.get_objects() if type(found) is types.FunctionType):
        if function.__code__.co_filename == module.__file__ and function.__code__.co_qualname in others:
            monkeypatch.setattr(function, "__code__", others[function.__code__.co_qualname])


def cases(law):
    """The arguments of each case of a law: all combinations of what it is parametrised by."""
    tables = [mark.args for mark in getattr(law, "pytestmark", []) if mark.name == "parametrize"]
    for rows in itertools.product(*(values for _, values in tables)):
        yield {name: value for (names, _), row in zip(tables, rows, strict=True)
               for name, value in zip(names.split(", "), row if "," in names else [row], strict=True)}


def obey(law, request, tmp_path_factory):
    """Run a law, `tests/test_x.py::test_y`, in all its cases; a failure is raised."""
    law = pkgutil.resolve_name(law.removeprefix("tests/").replace(".py::", ":"))
    for case in cases(law):
        torch.manual_seed(0)
        for need in set(inspect.signature(law).parameters) - set(case):
            case[need] = tmp_path_factory.mktemp("law") if need == "tmp_path" else request.getfixturevalue(need)
        law(**case)
