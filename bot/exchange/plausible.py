"""What of the exchange's words is believed: how large, how fine, how late, how far from before. Pure.

Every figure, step and time that enters over websocket or REST passes through here, and nowhere else is
it said what is possible. Local times come with the question, in seconds.
"""

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

_SHOWN_CHARACTERS = 60

_MAX_CHARACTERS = 32
"""Of a price, size, rate or step: the product of two is far from what exact arithmetic holds."""
_MAX_LONG_CHARACTERS = 48
"""Of a volume or turnover, which may be such a product itself."""
_HIGHEST_INTEGER = 10**16
# Decimal itself takes spaces, underscores, the digits of every script, NaN, and exponents of a billion.
_is_figure = re.compile(r"-?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,2})?").fullmatch

_LOWEST_PRICE, _HIGHEST_PRICE = Decimal("1e-12"), Decimal("1e12")
_LOWEST_SIZE, _HIGHEST_SIZE = Decimal("1e-18"), Decimal("1e16")
_HIGHEST_VOLUME = Decimal("1e24")
_LOWEST_STEP, _HIGHEST_STEP = Decimal("1e-12"), Decimal("1e9")
_HIGHEST_AMOUNT = Decimal("1e16")
_HIGHEST_LEVERAGE = 1_000
_HIGHEST_RATE = 1

_LATEST_MS = 4_102_444_800_000
"""The year 2100."""
_MAX_TIME_DIGITS = 13
_LONGEST_FUNDING_MINUTES = 7 * 24 * 60
_LONGEST_NAME = 60

_REAL_MS = 3_600_000
"""An exchange whose time is so near the local clock's is one of this world, and its market no faster."""
_REAL_PACE = 1.5
_FAST_BARS = 2.0
_FAST_PACE = 3.0
_FASTEST_BARS_A_SECOND = 200.0
"""What a market of its own time may do before its pace has been measured."""
_PACE_SECONDS = 0.25


class MalformedFrame(Exception):
    """A frame, row or figure that cannot be what it claims to be; the text says why."""

    kind = "refused"
    """What the event of it is called."""


class FarTime(MalformedFrame):
    """A time that is not believed; another source may show that it is right."""


class Doubted(MalformedFrame):
    """A price so far from the last one believed that nothing is priced by it until something else agrees."""

    kind = "doubted"


def shown(value: Any) -> str:
    """What was said, short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


# Figures. Raise MalformedFrame for what is none.


def _figure(value: Any, characters: int = _MAX_CHARACTERS) -> Decimal:
    """The exact decimal of Bybit's text, finite. Floats are not Bybit's and would not be exact."""
    if type(value) is str and len(value) <= characters and _is_figure(value):
        return Decimal(value)
    if type(value) is int and abs(value) <= _HIGHEST_INTEGER:
        return Decimal(value)
    raise MalformedFrame(f"{shown(value)} is not a figure")


def price(value: Any) -> Decimal:
    """What something may be booked at."""
    found = _figure(value)
    if not _LOWEST_PRICE <= found <= _HIGHEST_PRICE:
        raise MalformedFrame(f"{value} is no price")
    return found


def size(value: Any) -> Decimal:
    """How much is offered, 0 for nothing any more."""
    found = _figure(value)
    if found and not _LOWEST_SIZE <= found <= _HIGHEST_SIZE:
        raise MalformedFrame(f"{value} is no size")
    return found


def volume(value: Any) -> Decimal:
    """A bar's volume or turnover."""
    found = _figure(value, _MAX_LONG_CHARACTERS)
    if not 0 <= found <= _HIGHEST_VOLUME:
        raise MalformedFrame(f"{value} is no volume")
    return found


def rate(value: Any) -> Decimal:
    """A fraction between -1 and 1."""
    found = _figure(value)
    if not -_HIGHEST_RATE < found < _HIGHEST_RATE:
        raise MalformedFrame(f"{value} is no rate")
    return found


def share(value: Any) -> Decimal:
    """A part of a whole, 1 for all of it."""
    found = _figure(value)
    if not 0 <= found <= 1:
        raise MalformedFrame(f"{value} is no share")
    return found


def step(value: Any) -> Decimal:
    """A tick or a lot: positive."""
    found = _figure(value)
    if not _LOWEST_STEP <= found <= _HIGHEST_STEP:
        raise MalformedFrame(f"{value} is no step")
    return found


def amount(value: Any) -> Decimal:
    """A limit in base or quote currency, 0 for none."""
    found = _figure(value)
    if not 0 <= found <= _HIGHEST_AMOUNT:
        raise MalformedFrame(f"{value} is no amount")
    return found


def leverage(value: Any) -> Decimal:
    """How often a position's margin goes into its value."""
    found = _figure(value)
    if not 1 <= found <= _HIGHEST_LEVERAGE:
        raise MalformedFrame(f"{value} is no leverage")
    return found


def funding_minutes(value: Any) -> int:
    """Minutes between two settlements."""
    found = _figure(value)
    if not 1 <= found <= _LONGEST_FUNDING_MINUTES or found != int(found):
        raise MalformedFrame(f"{shown(value)} is no funding interval")
    return int(found)


def name(value: Any) -> str:
    """A symbol, a coin or a status."""
    if type(value) is not str or len(value) > _LONGEST_NAME or not value.isprintable():
        raise MalformedFrame(f"{shown(value)} is no name")
    return value


def time_ms(value: Any) -> int:
    """A time in UTC milliseconds, as a number or its digits, before the year 2100."""
    if type(value) is str and len(value) <= _MAX_TIME_DIGITS and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or not 0 < value < _LATEST_MS:
        raise MalformedFrame(f"{shown(value)} is no time")
    return value


# Prices against what was believed before.


class PriceJumps:
    """One symbol's last believed prices by name (bid, ask, mark, close), and those that are in doubt.

    A price within ``factor`` of its own last one or of another's is believed. One that is further is
    doubted; it is believed once the next message says something like it, or another source does. While
    nothing is believed yet, the first price is in doubt too.
    """

    __slots__ = ("_believed", "_doubted", "factor")

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self._believed: dict[str, float] = {}
        self._doubted: dict[str, float] = {}

    @property
    def far_text(self) -> str:
        """What a price is that is in doubt."""
        return (
            f" is more than {self.factor:g} times the last believed price, or less than its {self.factor:g}th"
        )

    @property
    def is_sure(self) -> bool:
        """Whether any price is believed yet."""
        return bool(self._believed)

    def is_near(self, name: str, price: float, *others: float) -> bool:
        """Whether a price is near one that is believed, or one of some others."""
        own = self._believed.get(name)
        if own is not None and self._agree(own, price):
            return True
        return any(self._agree(other, price) for other in (*others, *self._believed.values()))

    def believe(self, name: str, price: float) -> None:
        """Take a price for granted, as that of a bar which the exchange has confirmed."""
        self._believed[name] = price
        self._doubted.pop(name, None)

    def accept(self, prices: Iterable[tuple[str, float]]) -> bool:
        """Whether one message's prices are believed, all of them; else those that are far are in doubt."""
        prices = tuple(prices)
        far = [one for one in prices if not self.is_near(*one)]
        if all(any(self._agree(doubted, price) for doubted in self._doubted.values()) for _, price in far):
            for one in prices:
                self.believe(*one)
            if far:
                self._doubted.clear()
            return True
        for name, _ in prices:
            self._doubted.pop(name, None)
        self._doubted.update(far)
        return False

    def _agree(self, one: float, other: float) -> bool:
        return one <= other * self.factor and other <= one * self.factor


# Times.


class TimeBounds:
    """Which times of the exchange's are believed: near the last believed one, or near the local clock.

    Near is ``ahead_ms``; to that adds what may have passed since by the local clock, for a market that runs
    faster than this world's (which ``interval_ms`` is told of) at its own pace, and two of its bars. REST's
    time and the stream's are judged by the same last believed one: where one is refused, or lies far behind, the
    other can put it right, and where no stream has been believed yet, two answers of REST in a row with nothing
    else believed between them. ``clock`` gives local seconds that pass evenly, ``wall_ms`` the computer's idea of UTC.
    """

    def __init__(self, ahead_ms: float, clock: Callable[[], float], wall_ms: Callable[[], float]) -> None:
        self.interval_ms = 0
        self._ahead_ms = ahead_ms
        self._clock = clock
        self._wall_ms = wall_ms
        self._believed: tuple[int, float] | None = None
        self._doubted: dict[str, tuple[int, float]] = {}
        self._is_real = False
        self._has_stream = False
        self._pace: float | None = None
        self._measured: tuple[int, float] | None = None

    @property
    def believed_ms(self) -> int | None:
        """The newest time that is believed."""
        return None if self._believed is None else self._believed[0]

    def check(self, told_ms: int, *, source: str = "stream", since_ms: int | None = None) -> None:
        """Believe a time of the exchange's, or raise MalformedFrame."""
        self.believe(told_ms, source=source, anew=self.judge(told_ms, source=source, since_ms=since_ms))

    def judge(self, told_ms: int, *, source: str = "stream", since_ms: int | None = None) -> bool:
        """Raise MalformedFrame for a time that is not believed; whether it is so against the last believed one.

        What is older than the last one may be, and moves nothing; but not before ``since_ms``.
        """
        now, wall_ms = self._clock(), self._wall_ms()
        may_be = self._may_be(told_ms, now, wall_ms) and not self._is_before(told_ms, since_ms)
        if may_be and not self.is_old(told_ms):
            return False
        twice = source == "rest" and not self._has_stream
        others = [doubt for name, doubt in self._doubted.items() if name != source or twice]
        if any(abs(told_ms - self._passed(doubt, now)) <= self._slack_ms(now - doubt[1]) for doubt in others):
            return True
        self._doubted[source] = told_ms, now
        if may_be:
            return False
        raise FarTime(f"the time {told_ms} is far from the exchange's last and from the local clock's")

    def believe(self, told_ms: int, *, source: str = "stream", anew: bool = False) -> None:
        """Take a time for granted, ``anew`` whatever was believed before."""
        if anew:
            self._believed = self._measured = self._pace = None
        self._has_stream = self._has_stream or source == "stream"
        if not self.is_old(told_ms):
            self._doubted.clear()
        now = self._clock()
        if self._believed is None:
            self._is_real = abs(told_ms - self._wall_ms()) <= _REAL_MS
        if self._believed is None or told_ms > self._believed[0]:
            self._believed = told_ms, now
        self._measure(self._believed[0], now)

    def is_old(self, told_ms: int) -> bool:
        """Whether a time lies too far behind the last believed one for a price of now."""
        return self._is_before(told_ms, self.believed_ms)

    def _is_before(self, told_ms: int, since_ms: int | None) -> bool:
        return since_ms is not None and told_ms < since_ms - self._slack_ms(0.0)

    def _may_be(self, told_ms: int, now: float, wall_ms: float) -> bool:
        if abs(told_ms - wall_ms) <= self._ahead_ms:
            return True
        if self._believed is None:
            return False
        believed_ms, at = self._believed
        return told_ms <= believed_ms + self._slack_ms(now - at)

    def _passed(self, doubt: tuple[int, float], now: float) -> float:
        """A doubted time, gone on until now at this world's pace."""
        return doubt[0] + (now - doubt[1]) * 1000

    def _slack_ms(self, seconds: float) -> float:
        if self._is_real:
            return self._ahead_ms + _REAL_PACE * 1000 * seconds
        pace = _FASTEST_BARS_A_SECOND * self.interval_ms if self._pace is None else _FAST_PACE * self._pace
        return max(self._ahead_ms, _FAST_BARS * self.interval_ms) + max(pace, 1000 * _REAL_PACE) * seconds

    def _measure(self, believed_ms: int, now: float) -> None:
        """Milliseconds of the exchange's that pass in a local second."""
        if self._measured is None:
            self._measured = believed_ms, now
            return
        since_ms, since = self._measured
        if now - since >= _PACE_SECONDS:
            pace = (believed_ms - since_ms) / (now - since)
            # A market that stands still for a moment is as fast as before when it goes on.
            self._pace = max(pace, 0.5 * (self._pace or 0.0))
            self._measured = believed_ms, now
