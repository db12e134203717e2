"""The constitution: principles, the same for critiques, revisions and comparisons (the paper has two lists of 16)."""
import random
from pathlib import Path

from minicai import UserError


def parse(text: str) -> list[str]:
    """Principles of a text: paragraphs between blank or `#` lines, or lines that end a sentence; no comments."""
    principles, begun = [], ""
    for line in [*text.splitlines(), ""]:
        line = line.split(" #")[0].strip()
        if line and not line.startswith("#"):
            begun = f"{begun} {line}".strip()
        if begun and (not line or line.startswith("#") or line[-1] in ".!?"):
            principles.append(begun)
            begun = ""
    return principles


def load(path: str | Path) -> list[str]:
    """Read a constitution; UserError in one line if there is no file, no text or no principle in it."""
    try:
        if principles := parse(Path(path).read_text(encoding="utf-8-sig")):
            return principles
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a text file in UTF-8 ({error})") from None
    raise UserError(f"{path}: holds no principle; expected a sentence a line ('#' starts a comment)")


def draw(principles: list[str], count: int, rng: random.Random) -> list[str]:
    """`count` principles drawn independently, with replacement, as in the paper."""
    return rng.choices(principles, k=count)
