"""Exercises of tests/exercises.toml: blank a function, check it by its laws, restore it; plant a bug to hunt for.

    minicai exercise                      # the list in reading order
    minicai exercise blank gae ppo_loss   # signature and docstring stay, the body is yours to write
    minicai exercise check gae            # points, and the laws that do not hold; without a name: of all
    minicai exercise restore gae          # as last committed; your own version is kept in gae.attempt
    minicai exercise bug 7                # says what one would see, not where; `restore` alone takes it out
    minicai exercise blank gae --starter ../course   # in a new repository, not here; without a name: all are blank"""
import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from minicai import UserError, blamed
from minicai.tools import command_line


def main(argv: list[str]) -> None:
    parser = command_line(__name__)
    parser.add_argument("act", nargs="?", default="list", choices=("list", "check", *ACTS))
    parser.add_argument("names", nargs="*", metavar="NAME", help="exercises; or the number of a bug")
    parser.add_argument("--starter", metavar="DIR", default="", help="work in a new repository, not in this one")
    parser.add_argument("--grade", metavar="FILE", default="", help="check: also write Gradescope's results.json")
    parser.add_argument("--faults", metavar="FILE", default="tests/museum.toml", help="bugs (default: %(default)s)")
    args = parser.parse_args(argv)
    args.act = "blank" if args.starter else args.act
    with blamed("minicai exercise, in the folder of the repository"):
        listed, bugs = (tomllib.loads(Path(p).read_text("utf-8")) for p in ("tests/exercises.toml", args.faults))
        known = bugs if args.act == "bug" or [args.act, args.names] == ["restore", []] else listed
        for name in args.names or [""] * (args.act == "bug" or args.act == "blank" and not args.starter):
            if name not in known:
                some = f"1 to {len(bugs)}" if known is bugs else "names that `minicai exercise` lists"
                raise UserError(f"{args.act} {name or 'what?'}: expected {some}")
        chosen = {name: known[name] for name in args.names or known}
        if args.act in ACTS:
            change(chosen, args.act, args.starter)
        elif args.act == "check":
            flags = ["-rN", "--tb=short", f"--exercises={','.join(chosen)}", f"--grade={args.grade}"]
            laws = {what["laws"] for what in chosen.values()}
            if args.grade:
                Path(args.grade).write_text('{"score": 0, "output": "The tests could not start."}', "utf-8")
            raise SystemExit(subprocess.call([sys.executable, "-m", "pytest", *flags, *sorted(laws)]))
        else:
            for name, what in chosen.items():
                laws = re.findall(rf'exercise\("{name}", (\d+)\)', Path(what["laws"]).read_text("utf-8"))
                print(f"{name:17}{sum(map(int, laws))} points, laws: {len(laws)}  {what['file']:23}{what['task']}")


def change(chosen: dict[str, dict], act: str, starter: str) -> None:
    """Rewrite the files of exercises or bugs, all or none; for a starter, those of a new repository of one commit."""
    if starter:
        git("checkout-index", "--all", f"--prefix={starter}/")
    elif act != "restore" and (dirty := git("status", "--porcelain", *{what["file"] for what in chosen.values()})):
        raise UserError(f"{' '.join(dirty.split())}: not committed; commit it or restore it first")
    for name, what in chosen.items():
        path = Path(starter, what["file"])
        path.write_text(ACTS[act](path.read_text("utf-8"), name, what), "utf-8")
    for words in ("init -q", "add .", "-c user.name=minicai -c user.email=@ commit -qm Exercises") if starter else ():
        git("-C", starter, *words.split())


def git(*words: str) -> str:
    return subprocess.check_output(["git", *words], text=True)


def split(text: str, file: str, function: str) -> list[str]:
    """The text before a function (`name` or `Class.name`), its signature and docstring, its body, what follows."""
    node, lines = ast.parse(text, file), text.splitlines(keepends=True)
    for name in function.split("."):
        node = next(child for child in node.body if getattr(child, "name", "") == name)
    body = node.body[0].end_lineno if ast.get_docstring(node) else node.body[0].lineno - 1
    cuts = [0, node.lineno - 1, body, node.end_lineno, len(lines)]
    return ["".join(lines[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]


def blanked(text: str, name: str, what: dict) -> str:
    before, head, body, after = split(text, what["file"], what["function"])
    return f'{before}{head}{body[:len(body) - len(body.lstrip())]}raise NotImplementedError("exercise {name}")\n{after}'


def planted(text: str, name: str, what: dict) -> str:
    if text.count(what["right"]) != 1:
        raise ValueError(f"bug {name}: {what['file']} should hold its right line once: {what['right']}")
    print(what["curves"])
    return text.replace(what["right"], what["wrong"])


def restored(text: str, name: str, what: dict) -> str:
    """The text without the bug, or with the exercise as committed; a version that is neither that nor blank is kept."""
    if "wrong" in what:
        return text if what["right"] in text else text.replace(what["wrong"], what["right"])
    then = git("show", f"HEAD:./{what['file']}")
    (before, head, body, after), answer = (split(t, what["file"], what["function"]) for t in (text, then))
    if head + body not in then + blanked(then, name, what):
        Path(f"{name}.attempt").write_text(head + body, "utf-8")
    return before + answer[1] + answer[2] + after


ACTS = {"blank": blanked, "restore": restored, "bug": planted}
