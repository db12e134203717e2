"""minicai: a minimal, from-scratch implementation of Constitutional AI (Bai et al. 2022, arXiv 2212.08073)."""


class UserError(Exception):
    """A mistake of the person at the keyboard: shown as one line that says what was expected; exit code 2."""
