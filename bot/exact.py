"""Exact arithmetic on decimals: what would have to be rounded raises instead."""

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Adds and multiplies money. The plain operators round to 28 digits without a word; this one never does."""

ZERO = Decimal(0)
ONE = Decimal(1)
_MOST_DIGITS = 30
BASIS_POINT = Decimal("0.0001")


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of ``step`` that is not above ``value``; both are positive or ``value`` is 0."""
    return EXACT.multiply(EXACT.divide_int(value, step), step)


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of ``step`` that is not below ``value``; both are positive or ``value`` is 0."""
    whole, rest = EXACT.divmod(value, step)
    return EXACT.multiply(EXACT.add(whole, 1) if rest else whole, step)


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether ``value`` is a whole number of ``step``."""
    return not EXACT.remainder(value, step)


def to_tick(price: Decimal, over: Decimal, tick_size: Decimal, *, up: bool) -> Decimal:
    """``price / over`` on the tick grid, never below one tick; exact, for nothing is ever divided."""
    ticks, rest = EXACT.divmod(price, EXACT.multiply(over, tick_size))
    if up and rest > 0:
        ticks = EXACT.add(ticks, 1)
    return max(EXACT.multiply(ticks, tick_size), tick_size)


def require_within(key: str, value: Decimal, low: str, high: str) -> None:
    """ValueError that names ``key`` unless low ≤ value ≤ high: bounds for decimals in settings.

    (msgspec's own bounds are for ints and floats only.)
    """
    if not value.is_finite() or not Decimal(low) <= value <= Decimal(high):
        raise ValueError(f"{key} must be between {low} and {high}, not {value}")
    digits, exponent = value.as_tuple()[1:]
    if len(digits) > _MOST_DIGITS or -int(exponent) > _MOST_DIGITS:
        # Products with prices and sizes keep every digit.
        raise ValueError(f"{key} has more than {_MOST_DIGITS} digits")


def plain(value: Decimal) -> str:
    """Exact text of a decimal in plain notation: no exponent, no negative zero."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    return text[1:] if text[0] == "-" and not value else text
