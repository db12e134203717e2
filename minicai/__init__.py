"""minicai: a minimal, from-scratch implementation of Constitutional AI (Bai et al. 2022, arXiv 2212.08073)."""
import gzip
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path


class UserError(Exception):
    """A mistake of the person at the keyboard: shown as one line that says what was expected; exit code 2."""


@contextmanager
def blamed(place: object) -> Iterator[None]:
    """Whatever goes wrong inside is a UserError, in one line that names the place."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:                               # whatever a broken file makes json, torch or others say
        cause = str(error) if isinstance(error, ValueError | OSError) else repr(error)
        raise UserError(f"{place}: {' '.join(cause.split())[:300]}") from None


def number(kind: type, least: float, most: float = inf) -> Callable[[str], float]:
    """The type of a flag that takes a finite number of this kind within these bounds."""
    def read(text: str) -> float:
        if least <= (given := kind(text)) <= most and given < inf:
            return given
        raise ArgumentTypeError(f"must be at least {least}{f' and at most {most}' * (most < inf)}, not {text}")
    read.__name__ = kind.__name__                            # by which argparse says what else it expected
    return read


def read_text(path: str | Path) -> str:
    """A file's text, which is in UTF-8, with a byte order mark or none, perhaps packed by gzip."""
    with blamed(f"{path}: cannot be read"):
        raw = Path(path).read_bytes()
        raw = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    if raw.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: is a pointer of Git LFS, not the file itself; fetch it with: git lfs pull")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: byte {raw[error.start]:#04x} is not UTF-8, as was expected") from None
