"""`minicai COMMAND`: lists and runs the commands of this folder, each a module with a docstring and a `main(argv)`."""
import argparse
import json
import pkgutil
import signal
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import torch

from minicai import UserError, blamed, number

STAGES = {"base": "base", "sl": "sl", "rl": "ppo"}              # model -> its folder in a run
TYPES = {"path": Path, "int": int}                              # of flags in HELP; a number: at least that
HELP = tomllib.loads(Path(__file__).with_name("help.toml").read_text(encoding="utf-8"))


def main() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)                   # as `minicai ... | head` expects
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("-h", "--help"):
        rows = [f"  {name:13}{pkgutil.resolve_name(f'{__name__}.{name}:__doc__').splitlines()[0]}" for name in names]
        return print("usage: minicai COMMAND ... (minicai COMMAND --help tells more)\n", *rows, sep="\n")
    try:
        if command not in names:
            raise UserError(f"unknown command {command!r}; there are: {', '.join(names)}")
        pkgutil.resolve_name(f"{__name__}.{command}:main")(sys.argv[2:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def command_line(module: str) -> argparse.ArgumentParser:
    """The parser of a command, named by its module, described by that and HELP, where its flags stand too."""
    name, said = module.rpartition(".")[2], sys.modules[module].__doc__
    parser = argparse.ArgumentParser(prog=f"minicai {name}", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description=f"{said}\n\n{HELP[name]['text']}" if name in HELP else said)
    for flag, given in HELP.get(name, {}).get("flags", {}).items():
        kind = {name: TYPES.get(least) or number(type(least), least) for name, least in given.items() if name == "type"}
        parser.add_argument(flag, **given | kind)
    return parser


def read(path: Path, key: str = "", of: Callable = dict):
    """What a JSON file says, perhaps at a key, or the records `of` a JSONL file; UserError where there is nothing."""
    with blamed(f"{path}: is needed (the three scripts and then minicai evaluate make it)"):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [of(**json.loads(line)) for line in text.split("\n") if line]
        return json.loads(text)[key] if key else json.loads(text)


def models_of(run: Path) -> dict[str, Path]:
    """The folders of a run's models, by name; UserError where not even a base is there."""
    if not (run / "base").is_dir():
        raise UserError(f"{run}: holds no base/; make one with: python train_sl.py --run {run}")
    return {name: run / folder for name, folder in STAGES.items() if (run / folder).is_dir()}


def speaker(folder: Path, seed: int = 0, temperature: float = 1.0, device="cpu", max_new: int = 80):
    """A stage's model to talk to, an Assistant. Imported here: exercises start while the model is still blank."""
    from minicai import assistant, checkpoint, run
    generator = torch.Generator(device := run.device_of(device)).manual_seed(seed)
    return assistant.Assistant(*checkpoint.load_model(folder, device=device), generator, temperature, max_new)


def spread(values: list[float | None], digits: int) -> str:
    """Mean of what is there, and the lowest and highest if it is several; "-" for nothing."""
    some = sorted(value for value in values if value is not None)
    ends = f" ({some[0]:.{digits}f} to {some[-1]:.{digits}f})" if len(some) > 1 else ""
    return f"{mean(some):.{digits}f}{ends}" if some else "-"


def table(results: list[dict[str, dict]], digits: int = 2) -> str:
    """Rows and columns of one result a seed -> a table in Markdown; lists are for the JSON and the pictures."""
    columns = {name: 0 if name == "seconds" else digits
               for row in results[0].values() for name, value in row.items() if not isinstance(value, list)}
    lines = [["", *columns]] + [[row, *(spread([result.get(row, {}).get(name) for result in results], some)
                                        for name, some in columns.items())] for row in results[0]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(f"{c:{w}}" for c, w in zip(line, widths, strict=True)) + " |" for line in lines)
