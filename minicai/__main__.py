"""`minicai COMMAND`: lists and runs the commands of minicai/tools, each a module with a docstring and a `main(argv)`."""
import importlib
import pkgutil
import sys

from minicai import UserError, tools


def main() -> None:
    names = [m.name for m in pkgutil.iter_modules(tools.__path__)]
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: minicai COMMAND ...\n")
        for name in names:
            print(f"  {name:10} {importlib.import_module(f'minicai.tools.{name}').__doc__.splitlines()[0]}")
    elif sys.argv[1] not in names:
        sys.exit(_say(f"unknown command {sys.argv[1]!r}; there are: {', '.join(names)}"))
    else:
        try:
            importlib.import_module(f"minicai.tools.{sys.argv[1]}").main(sys.argv[2:])
        except UserError as error:
            sys.exit(_say(error))


def _say(error) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
