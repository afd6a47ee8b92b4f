"""What a figure, a time or a text may be in a file that anybody may have written: a recording or a database.

Types are msgspec's to check. Beyond them every value is within what any market and any session of this bot can
have written, so that nothing behind a reader meets a number that it cannot book, a time that no calendar has, or
digits that fill the memory.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import Struct

from bot.market.instruments import Instrument

LAST_MS = 253_402_300_799_999
"""The end of the year 9999, in milliseconds."""

_MAGNITUDE, _DIGITS, _DECIMALS = 24, 90, 60
_LARGEST = 2**53
_LONGEST_TEXT = 100_000
_LONGEST_MINUTES = 10_000_000
_POSITIVE = frozenset(
    ("bid", "ask", "mark", "mark_price", "price", "open", "high", "low", "close", "tick_size", "lot_size")
)


def field_problem(name: str, value: Any) -> str | None:
    """Why this value, or one within it, cannot stand in a field of this name; None where it can."""
    kind = type(value)
    if kind is Decimal:
        return _figure_problem(name, value)
    if kind is int:
        if name == "settled_ms" and value < 0:
            return None  # Before everything.
        if name == "funding_interval_minutes" and not 0 <= value <= _LONGEST_MINUTES:
            return f"{name} is longer than any"
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
        for inner in value.__struct_fields__:
            if (problem := field_problem(inner, getattr(value, inner))) is not None:
                return problem
        # What is compared is known to be a figure by now: a signalling NaN raises.
        return _rules_problem(value) if isinstance(value, Instrument) else None
    elif kind is tuple or kind is list:
        for each in value:
            if (problem := field_problem(name, each)) is not None:
                return problem
    elif kind is dict:
        for key, each in value.items():
            if (problem := field_problem("key", key) or field_problem(name, each)) is not None:
                return problem
    return None


def figure(text: Any, name: str) -> Decimal:
    """The decimal that a column of this name holds as text. ValueError that names it where it holds none."""
    try:
        value = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"{name} is no number: {str(text)[:40]!r}") from None
    if (problem := _figure_problem(name, value)) is not None:
        raise ValueError(problem)
    return value


def _figure_problem(name: str, value: Decimal) -> str | None:
    if not value.is_finite():
        return f"{name} is not finite"
    if value and not -_DECIMALS <= value.adjusted() < _MAGNITUDE:
        return f"{name} is out of any market's range"
    digits, exponent = value.as_tuple()[1:]
    if len(digits) > _DIGITS or not -_DECIMALS <= int(exponent) <= _MAGNITUDE:
        return f"{name} has more digits than any figure"
    if value <= 0 and name in _POSITIVE:
        return f"{name} is not positive"
    return None


def _rules_problem(instrument: Instrument) -> str | None:
    """What of a symbol's rules cannot be."""
    for name in ("min_quantity", "min_notional", "max_market_quantity", "max_leverage"):
        value = getattr(instrument, name)
        if value is not None and value < 0:
            return f"{name} is negative"
    return None
