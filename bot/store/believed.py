"""What a stranger's file makes the bot raise becomes one line that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.errors import BrokenInvariant, InputError, shortened

_RAISED = (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError, AttributeError, AssertionError)
"""What values that fit no place raise in those who meet them; RecursionError is one of them."""


@contextmanager
def believed(path: Path | str) -> Iterator[None]:
    """Around whatever a recording makes the core do: what contradicts itself there is the file's mistake.

    Its form is checked before; what its entries come to together shows only as they are run.
    """
    try:
        yield
    except (BrokenInvariant, *_RAISED) as error:
        raise InputError(
            f"{path} holds what no session can have seen ({_told(error)}); use another copy of it"
        ) from error


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Around whatever is read of a database and shown: a row that nothing can be made of is the file's mistake.

    Tables, types and bounds are checked before; what is left is what rows come to together.
    """
    try:
        yield
    except _RAISED as error:
        raise InputError(
            f"{path} holds what no session has written ({_told(error)}); use a copy of before, or another --db"
        ) from error


def _told(error: Exception) -> str:
    problem = shortened(error) or "it contradicts itself"
    return problem if isinstance(error, BrokenInvariant) else f"{type(error).__name__}: {problem}"
