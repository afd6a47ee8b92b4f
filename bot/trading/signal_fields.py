"""What a Signal's fields may hold: strategies are anybody's, so it is looked at as each one is made."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from numbers import Real
from typing import Any

from msgspec import to_builtins
from msgspec.json import Encoder
from msgspec.structs import force_setattr

from bot.errors import SignalError, shortened
from bot.exact import require_within
from bot.trading.checks import Check, no_checks

_MAX_DISTANCE = 1000
"""No stop or target lies further away, in volatilities: it could as well be left out."""

_MAX_RETURN = 1e6
"""Log return beyond which nothing is priced; squares of it are still numbers."""

_MAX_BARS = 1_000_000

_LONGEST_REASON, _LARGEST_DETAIL = 2_000, 65_536
"""Characters, and bytes as JSON: every decision is stored with both, for months."""

_MIN_SIZE, _MAX_SIZE = 0.0001, 100.0
"""Fractions of equity, and the least part of a position that is worth closing; as ``risk.position_fraction``."""

_MIN_PRICE, _MAX_PRICE = "0.000000000001", "1000000000000"

_ACTIONS = ("long", "short", "hold")
_TIMES_IN_FORCE = ("gtc", "ioc", "post_only")
_FORECAST = (
    ("expected_return", -_MAX_RETURN, _MAX_RETURN),
    ("return_std", 0.0, _MAX_RETURN),
    ("positive_ratio", 0.0, 1.0),
)
_DISTANCES = ("stop_distance", "target_distance", "trail_distance")
_SHOWN = 60
_encode = Encoder().encode


def settle(signal: Any) -> None:
    """Make plain values of NumPy's in a new Signal and copy its detail. SignalError names the field that is none."""
    # One is made at every bar, and most fields of most say nothing: what is absent is not looked at one by one.
    action, reason = signal.action, signal.reason
    if type(action) is not str:
        action = _text("action", action)
        force_setattr(signal, "action", action)
    if action not in _ACTIONS:
        raise SignalError(f"action is {_shown(action)}, none of {', '.join(_ACTIONS)}")
    if type(reason) is not str or not reason.isascii():
        reason = _text("reason", reason)
        force_setattr(signal, "reason", reason)
    if not reason:
        raise SignalError("reason is empty, not a sentence")
    if len(reason) > _LONGEST_REASON:
        raise SignalError(f"reason has {len(reason):,} characters, at most {_LONGEST_REASON:,} are kept")
    if type(signal.confidence) is not float or not 0.0 <= signal.confidence <= 1.0:
        _settle_figure(signal, "confidence", 0.0, 1.0)
    if not (signal.expected_return is signal.return_std is signal.positive_ratio is None):
        for name, low, high in _FORECAST:
            if getattr(signal, name) is not None:
                _settle_figure(signal, name, low, high)
    if not (signal.stop_distance is signal.target_distance is signal.trail_distance is None):
        for name in _DISTANCES:
            if getattr(signal, name) is not None:
                _settle_figure(signal, name, 0.0, _MAX_DISTANCE)
                if not getattr(signal, name):
                    raise SignalError(f"{name} is 0, not a number above 0 and at most {_MAX_DISTANCE}")
    if signal.horizon_bars is not None:
        _settle_bars(signal, "horizon_bars")
    if signal.time_stop_bars is not None:
        _settle_bars(signal, "time_stop_bars")
    if type(signal.close_position) is not bool:
        force_setattr(signal, "close_position", _figure(signal.close_position))
        if type(signal.close_position) is not bool:
            raise SignalError(f"close_position is {_shown(signal.close_position)}, not True or False")
    if (
        not (signal.size is signal.limit_price is signal.limit_distance is signal.valid_bars is None)
        or (type(signal.time_in_force) is not str or signal.time_in_force != "gtc")
        or (type(signal.close_fraction) is not float or signal.close_fraction != 1.0)
    ):
        _settle_order(signal)
    if type(signal.detail) is not dict or signal.detail:
        force_setattr(signal, "detail", _detail(signal.detail))
    checks = signal.checks
    if type(checks) is tuple:
        for check in checks:
            if type(check) is not Check:
                break
        else:
            return
    if (problem := no_checks(checks)) is not None:
        raise SignalError(problem)


def as_price(name: str, value: Any) -> Decimal:
    """An exact price: a decimal or text as it is written, a float by the shortest text that gives it back.

    SignalError, which names the field, for what is none.
    """
    if isinstance(value, Decimal):
        price = value
    else:
        plain = value if isinstance(value, str) else _figure(value)
        if isinstance(plain, bool) or not isinstance(plain, str | int | float):
            raise SignalError(f"{name} is {_shown(value)}, not a price")
        try:
            price = Decimal(str(plain) if isinstance(plain, float) else plain)
        except (InvalidOperation, ValueError):
            raise SignalError(f"{name} is {_shown(value)}, not a price") from None
    try:
        require_within(name, price, _MIN_PRICE, _MAX_PRICE)
    except ValueError as error:
        raise SignalError(shortened(str(error))) from None
    return price


def _settle_order(signal: Any) -> None:
    """What only some signals say: the size, limit and validity of an entry, and how much to close."""
    if signal.size is not None:
        _settle_figure(signal, "size", _MIN_SIZE, _MAX_SIZE)
    if signal.limit_price is not None:
        force_setattr(signal, "limit_price", as_price("limit_price", signal.limit_price))
    if signal.limit_distance is not None:
        _settle_figure(signal, "limit_distance", -_MAX_DISTANCE, _MAX_DISTANCE)
        if signal.limit_price is not None:
            raise SignalError("limit_distance stands beside limit_price: a limit is one of them")
    if signal.valid_bars is not None:
        _settle_bars(signal, "valid_bars")
        if not signal.has_limit:
            raise SignalError(f"valid_bars is {signal.valid_bars}, but without a limit no order rests")
    if type(signal.time_in_force) is not str:
        force_setattr(signal, "time_in_force", _text("time_in_force", signal.time_in_force))
    if signal.time_in_force not in _TIMES_IN_FORCE:
        raise SignalError(
            f"time_in_force is {_shown(signal.time_in_force)}, none of {', '.join(_TIMES_IN_FORCE)}"
        )
    if signal.time_in_force != "gtc":
        if not signal.has_limit:
            raise SignalError(f"time_in_force is {signal.time_in_force}, which needs a limit")
        if signal.time_in_force == "ioc" and signal.valid_bars is not None:
            raise SignalError(f"valid_bars is {signal.valid_bars}, but what is ioc never rests")
    if type(signal.close_fraction) is not float or signal.close_fraction != 1.0:
        _settle_figure(signal, "close_fraction", _MIN_SIZE, 1.0)
        if signal.close_fraction != 1.0 and not signal.close_position:
            raise SignalError(f"close_fraction is {signal.close_fraction:g}, but close_position is not set")


def _settle_figure(signal: Any, name: str, low: float, high: float) -> None:
    value = getattr(signal, name)
    if type(value) is not float:
        value = _figure(value)
        force_setattr(signal, name, value)
    # Written so that a NaN fails it.
    if not (type(value) in (int, float) and low <= value <= high):
        raise SignalError(f"{name} is {_shown(value)}, not a number from {low:g} to {high:g}")


def _settle_bars(signal: Any, name: str) -> None:
    value = getattr(signal, name)
    if type(value) is not int:
        value = _figure(value)
        force_setattr(signal, name, value)
    if type(value) is not int or not 1 <= value <= _MAX_BARS:
        raise SignalError(f"{name} is {_shown(value)}, not a number of bars from 1 to {_MAX_BARS}")


def _text(name: str, value: object) -> str:
    """A plain text that can be stored."""
    if not isinstance(value, str):
        raise SignalError(f"{name} is {_shown(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise SignalError(f"{name} holds what is no text: {error}") from None
    return str(value)


def _figure(value: Any) -> Any:
    """NumPy's numbers and truth values as Python's; everything else as it is."""
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        value = value.item()
    # Single numbers of other kinds, as NumPy's long double or a fraction.
    return value if isinstance(value, int) or not isinstance(value, Real) else float(value)


def _detail(value: object) -> dict[str, Any]:
    """A copy, of plain values alone, that is known to be writable as JSON."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise SignalError(f"detail is {_shown(value)}, not a dict")
    try:
        try:
            copied: dict[str, Any] = to_builtins(value)
        except TypeError:
            # Something in it is no plain value by itself.
            copied = to_builtins(value, enc_hook=_as_json)
        size = len(_encode(copied))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SignalError(f"detail holds what is no JSON: {error}") from None
    if size > _LARGEST_DETAIL:
        raise SignalError(f"detail has {size:,} bytes as JSON, at most {_LARGEST_DETAIL:,} are kept")
    return copied


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | int | float):
        return value.item() if hasattr(value, "item") else type(value).__mro__[1](value)
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")


def _shown(value: object) -> str:
    try:
        told = repr(value)
    except Exception:
        # Whole numbers of thousands of digits, and whatever else does not say what it is.
        return f"a {type(value).__name__}"
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]}…"
