"""`minicai COMMAND`: lists and runs the commands of this folder, each a module with a docstring and a `main(argv)`."""
import argparse
import importlib
import pkgutil
import sys
from statistics import mean

from minicai import UserError


def main() -> None:
    """The entry point: `minicai`, `minicai --help` or `minicai COMMAND ...`."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("-h", "--help"):
        print("usage: minicai COMMAND ... (minicai COMMAND --help tells more)\n")
        for name in names:
            print(f"  {name:13}{importlib.import_module(f'{__name__}.{name}').__doc__.splitlines()[0]}")
        return
    try:
        if command not in names:
            raise UserError(f"unknown command {command!r}; there are: {', '.join(names)}")
        importlib.import_module(f"{__name__}.{command}").main(sys.argv[2:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def command_line(module: str) -> argparse.ArgumentParser:
    """The parser of a command, which is named and described by its module."""
    return argparse.ArgumentParser(prog=module.replace("minicai.tools.", "minicai "),
                                   description=sys.modules[module].__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)


def spread(values: list[float | None], digits: int) -> str:
    """Mean of what is there, and the lowest and highest if it is several; "-" for nothing."""
    low, *rest = sorted(value for value in values if value is not None) or [None]
    if low is None:
        return "-"
    return f"{mean([low, *rest]):.{digits}f}" + (f" ({low:.{digits}f} to {rest[-1]:.{digits}f})" if rest else "")
