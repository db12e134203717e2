"""The constitution: principles, the same for critiques, revisions and comparisons (the paper has two lists of 16).

Lines in brackets, such as [Safety], may divide it into sections, the most important first; comparisons heed them."""
import random
import re
from pathlib import Path

from minicai import UserError, read_text

LONGEST = 2000                  # characters of a line: with two answers, a principle has to fit into a prompt
SECTION = r"\[[^\[\]]+\]"


def parse(text: str) -> list[str]:
    """Principles of a text: paragraphs between blank or `#` or [Section] lines, or lines that end a sentence."""
    principles, begun = [], ""
    for line in [*text.splitlines(), ""]:
        line = line.split(" #")[0].strip()
        apart = not line or line.startswith("#") or re.fullmatch(SECTION, line)
        if not apart:
            begun = f"{begun} {line}".strip()
        if begun and (apart or line[-1] in ".!?"):
            principles.append(begun)
            begun = ""
    return principles


def sections(text: str) -> list[list[str]]:
    """The principles of each section, the most important first; of a text without sections, all in one."""
    parts = re.split(rf"(?m)^[ \t]*{SECTION}\s*?(?: #.*)?$", text)
    return [found for part in parts if (found := parse(part))]


def load_sections(path: str | Path) -> list[list[str]]:
    """Read a constitution; UserError in one line if there is no file, no text or no principle in it."""
    for n, line in enumerate((text := read_text(path)).splitlines(), start=1):
        if len(line) > LONGEST:
            raise UserError(f"{path}, line {n}: has {len(line)} characters; expected a sentence of at most {LONGEST}")
    if found := sections(text):
        return found
    raise UserError(f"{path}: holds no principle; expected a sentence a line ('#' starts a comment)")


def load(path: str | Path) -> list[str]:
    """Its principles in one list; errors as above."""
    return sum(load_sections(path), [])


def draw(principles: list[str], count: int, rng: random.Random) -> list[str]:
    """`count` principles drawn independently, with replacement, as in the paper."""
    return rng.choices(principles, k=count)
