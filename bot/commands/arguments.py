"""What the words of a command line mean: counts, shares, amounts, times. Errors are argparse's own."""

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

_DURATION_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_SMALLEST_AMOUNT = Decimal("0.000001")


def names(text: str) -> tuple[str, ...]:
    """Names between commas, as a tuple."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def path(text: str) -> str:
    """A path, in which ``~`` is home."""
    return os.path.expanduser(text)


def named_file(text: str) -> str:
    """``FILE`` or ``SYMBOL=FILE``."""
    symbol, separator, file = text.partition("=")
    return f"{symbol}={path(file)}" if separator else path(text)


def named_value(text: str) -> tuple[str, str]:
    """``KEY=VALUE`` as its two parts."""
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as bars_back=12")
    return key, value


def amount(text: str) -> Decimal:
    """Money above or below 0, in whole millionths."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount such as 2500 or -99.5") from None
    if not amount.is_finite() or not amount or abs(amount) >= 10**12 or amount % _SMALLEST_AMOUNT:
        raise argparse.ArgumentTypeError("an amount is not 0, below 1000000000000, and in whole millionths")
    return amount


def fills_name(text: str) -> str:
    """What ``--fills`` takes by its present name: ``brutal`` and ``band`` are earlier ones."""
    return {"brutal": "pessimistic", "band": "all"}.get(text, text)


def count(text: str) -> int:
    """A whole number above 0."""
    number = count_or_zero(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def count_or_zero(text: str) -> int:
    """A whole number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def at_least(least: int) -> Callable[[str], int]:
    """What reads a whole number of at least ``least``."""

    def parse(text: str) -> int:
        number = count(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return number

    return parse


def share(text: str) -> float:
    """A share between 0 and 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return share


def duration(text: str) -> float:
    """Seconds, from 90s, 15m, 8h or 7d."""
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * _DURATION_SECONDS[unit]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 15m, 8h or 7d") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("a duration is longer than nothing")
    return seconds


def when(text: str) -> int:
    """UTC milliseconds, from 2024-01-31 or 2024-01-31T12:00."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2024-01-31 or 2024-01-31T12:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
