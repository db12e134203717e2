"""minicai: a minimal, from-scratch implementation of Constitutional AI (Bai et al. 2022, arXiv 2212.08073)."""
from collections.abc import Iterator
from contextlib import contextmanager


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
