"""What a recording may hold: the one place where a stranger's header and entries are held against bounds.

Types are msgspec's to check. Beyond them every figure, time and text is within what any market and any
session of this bot can have written, so that nothing behind the reader meets a number that it cannot book.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

from msgspec import Struct

from bot.errors import BrokenInvariant, InputError
from bot.market import INTERVAL_MS, Bar, Book, Funding, Instrument, Quote

LAST_MS = 253_402_300_799_999
"""The end of the year 9999, in milliseconds."""

_MAX_CONTENT = 1 << 24
_MAGNITUDE, _DIGITS, _DECIMALS = 24, 90, 60
_LARGEST = 2**53
_LONGEST_TEXT = 100_000
_LONGEST_MINUTES = 10_000_000
_POSITIVE = frozenset(
    ("bid", "ask", "mark", "mark_price", "price", "open", "high", "low", "close", "tick_size", "lot_size")
)


@contextmanager
def believed(path: Path) -> Iterator[None]:
    """Around whatever a recording makes the core do: what contradicts itself there is the file's mistake.

    Its form is checked before; what its entries come to together shows only as they are run.
    """
    try:
        yield
    except (BrokenInvariant, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())[:200] or "it contradicts itself"
        kind = "" if isinstance(error, BrokenInvariant) else f"{type(error).__name__}: "
        raise InputError(
            f"{path} holds what no session can have seen ({kind}{told}); use another copy of it"
        ) from error


class Unpacked(BytesIO):
    """Takes in what a record unpacks to, and no more than any record holds."""

    def write(self, part: Any) -> int:
        if self.tell() + len(part) > _MAX_CONTENT:
            raise OverflowError("it is longer than any")
        return super().write(part)

    def take(self) -> bytes:
        """What was unpacked since the last time."""
        content = self.getvalue()
        self.seek(0)
        self.truncate()
        return content


def problem_of(entry: Struct, interval: str | None = None) -> str | None:
    """Why this was never recorded, in a few words; None where it may have been.

    ``interval`` is the run's, where the entry is one of the market's.
    """
    problem = _field(type(entry).__name__, entry)
    if problem is None and isinstance(entry, Bar):
        if entry.interval not in INTERVAL_MS or interval not in (None, entry.interval):
            return f"a bar of interval {entry.interval[:20]!r}"
        return entry.contradiction()
    if problem is None and isinstance(entry, Quote) and (entry.bid_size < 0 or entry.ask_size < 0):
        return "a size below nothing"
    if problem is None and isinstance(entry, Book) and not (entry.bids and entry.asks):
        return "a book with an empty side"
    if problem is None and isinstance(entry, Funding) and abs(entry.rate) >= 1:
        return "a rate that is no fraction"
    return problem


def _rules(instrument: Instrument) -> str | None:
    """What of a symbol's rules cannot be."""
    if not 0 <= instrument.funding_interval_minutes <= _LONGEST_MINUTES:
        return f"a funding interval of {instrument.funding_interval_minutes} minutes"
    for name in ("min_quantity", "min_notional", "max_market_quantity", "max_leverage"):
        value = getattr(instrument, name)
        if value is not None and value < 0:
            return f"{name} is negative"
    return None


def _field(name: str, value: Any) -> str | None:
    """Why this value cannot stand in a field of this name."""
    kind = type(value)
    if kind is Decimal:
        if not value.is_finite():
            return f"{name} is not finite"
        digits, exponent = value.as_tuple()[1:]
        if value and not -_DECIMALS <= value.adjusted() < _MAGNITUDE:
            return f"{name} is out of any market's range"
        if len(digits) > _DIGITS or not -_DECIMALS <= int(exponent) <= _MAGNITUDE:
            return f"{name} has more digits than any figure"
        if value <= 0 and name in _POSITIVE:
            return f"{name} is not positive"
    elif kind is int:
        if name == "settled_ms" and value < 0:
            return None  # Before everything.
        if name.endswith("_ms") and not -1 <= value <= LAST_MS:
            return f"{name} is no time in milliseconds"
        if abs(value) > _LARGEST:
            return f"{name} is larger than any number here"
    elif kind is float:
        if not abs(value) < 1e300:
            return f"{name} is not finite"
    elif kind is str:
        if len(value) > _LONGEST_TEXT:
            return f"{name} is longer than any text"
    elif isinstance(value, Struct):
        if isinstance(value, Instrument) and (problem := _rules(value)) is not None:
            return problem
        for inner in value.__struct_fields__:
            if (problem := _field(inner, getattr(value, inner))) is not None:
                return problem
    elif kind is tuple or kind is list:
        for each in value:
            if (problem := _field(name, each)) is not None:
                return problem
    elif kind is dict:
        for key, each in value.items():
            if (problem := _field("key", key) or _field(name, each)) is not None:
                return problem
    return None
