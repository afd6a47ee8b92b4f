"""Settled funding rates: which settlement each belongs to, their place among bars, and what is missing of them."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from statistics import median_high
from typing import Literal

from msgspec import Struct

from bot.market.bars import Bar
from bot.market.times import INTERVAL_MS

MarkSource = Literal["mark", "index", "close"]
"""What a settlement is charged at: the mark price, or for want of one the index price, or the last close."""

_MINUTE_MS = INTERVAL_MS["1"]
LONGEST_MS = 8 * INTERVAL_MS["60"]
"""The longest interval of Bybit and Binance: two settlements further apart have one between them."""
_NEIGHBOURS = 3
"""So many intervals on either side say how long one should be."""


def settlement_ms(time_ms: int) -> int:
    """The scheduled time of the settlement that a stamp belongs to: the nearest full minute.

    A settlement is identified by its symbol and this time. Venues and files stamp some of them a few
    milliseconds past the hour.
    """
    return (time_ms + _MINUTE_MS // 2) // _MINUTE_MS * _MINUTE_MS


class Funding(Struct, frozen=True, kw_only=True, gc=False):
    """A settled funding rate: at ``time_ms`` longs paid ``rate`` of their value at ``mark_price``.

    ``mark_source`` says what that price is. With ``shorts_only`` no long takes part: it is what borrowing
    shares costs, at a rate below 0.
    """

    symbol: str
    time_ms: int
    rate: Decimal
    mark_price: Decimal
    mark_source: MarkSource = "mark"
    shorts_only: bool = False


class FundingRate(Struct, frozen=True, kw_only=True, gc=False):
    """What was settled at ``time_ms``, as files and the exchange tell it: a fraction, without any mark price."""

    symbol: str
    time_ms: int
    rate: Decimal


class KnownFunding(Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a symbol's funding after its settlement at ``time_ms``: what a restart goes on from.

    ``every_ms`` is the interval that settlements keep, ``longer_ms`` the longer one that came once.
    """

    symbol: str
    time_ms: int
    rate: Decimal
    every_ms: int
    longer_ms: int = 0


class UnknownFunding(Struct, frozen=True, kw_only=True):
    """Settlements of a symbol in a row whose rate is not known, all between the two times.

    ``times_ms`` are those at which they would have been at the interval around them.
    """

    symbol: str
    from_ms: int
    to_ms: int
    times_ms: tuple[int, ...]

    @property
    def settlements(self) -> int:
        return len(self.times_ms)


class Pace:
    """The interval between a symbol's settlements, followed from the settlements themselves.

    A shorter one holds at once. A longer one may only be a settlement that is not known, so it holds
    when it comes a second time. ``every_ms`` is 0 where there is no funding.
    """

    def __init__(self, every_ms: int, known: KnownFunding | None = None) -> None:
        self.every_ms = every_ms if known is None else known.every_ms
        self.newest_ms = None if known is None else known.time_ms
        self.longer_ms = 0 if known is None else known.longer_ms

    def settled(self, time_ms: int) -> bool:
        """Take note of a settlement; whether it is the newest. One that became known late says nothing of now."""
        before, time_ms = self.newest_ms, settlement_ms(time_ms)
        if before is not None and time_ms <= before:
            return False
        self.newest_ms = time_ms
        if before is not None:
            interval_ms = time_ms - before
            if interval_ms <= self.every_ms or interval_ms == self.longer_ms or not self.every_ms:
                self.every_ms = interval_ms
            self.longer_ms = interval_ms
        return True


class Settlements:
    """Known rates as the events that the core takes, in their place among bars of one interval.

    A rate enters once all bars that began before its time were handed on, as live, where it becomes known
    only afterwards: what was filled ahead of it is then booked, and what is filled at its very time is
    not. The mark is the symbol's last close known at that time; a rate before any is left out. Of two
    rates of one settlement the first stands.
    """

    def __init__(self, rates: Iterable[FundingRate]) -> None:
        known: dict[tuple[int, str], Decimal] = {}
        for rate in rates:
            known.setdefault((settlement_ms(rate.time_ms), rate.symbol), rate.rate)
        self._rates = sorted((time_ms, symbol, rate) for (time_ms, symbol), rate in known.items())
        self._next = 0
        self._bars: dict[str, tuple[Bar, ...]] = {}
        self._end_ms = 0

    def before(self, bar: Bar) -> list[Funding]:
        """What enters ahead of ``bar``, the next by start and symbol."""
        if self._next == len(self._rates):
            return []
        due = self._until(bar.start_ms)
        # The last one may span a settlement, whose mark is then the close before it.
        self._bars[bar.symbol] = (*self._bars.get(bar.symbol, ())[-1:], bar)
        self._end_ms = bar.close_ms
        return due

    def rest(self) -> list[Funding]:
        """What enters behind the last bar: nothing later than its close."""
        return self._until(self._end_ms)

    def _until(self, until_ms: int) -> list[Funding]:
        due = []
        while self._next < len(self._rates) and self._rates[self._next][0] <= until_ms:
            time_ms, symbol, rate = self._rates[self._next]
            self._next += 1
            known = [bar.close for bar in self._bars.get(symbol, ()) if bar.close_ms <= time_ms]
            if known:
                due.append(
                    Funding(
                        symbol=symbol, time_ms=time_ms, rate=rate, mark_price=known[-1], mark_source="close"
                    )
                )
        return due


def among(bars: Iterable[Bar], rates: Iterable[FundingRate]) -> Iterator[Bar | Funding]:
    """Bars by start and symbol, and between them the rates as events; see :class:`Settlements`."""
    settlements = Settlements(rates)
    for bar in bars:
        yield from settlements.before(bar)
        yield bar
    yield from settlements.rest()


def unknown_funding(
    symbol: str, times_ms: Iterable[int], first_ms: int, last_ms: int
) -> list[UnknownFunding]:
    """Where rates are missing after ``first_ms`` and up to ``last_ms``, if any at all are known there.

    What an interval should be is what it is around: the longer of the middle ones of a few before and a few
    after, so that a change from 4 to 8 hours is no hole, and a settlement that is not known is one.
    """
    times = sorted({settlement_ms(time_ms) for time_ms in times_ms})
    times = [time_ms for time_ms in times if first_ms < time_ms <= last_ms]
    if not times:
        return []
    intervals = [later - sooner for sooner, later in pairwise(times)]
    found = []
    # At either end the one interval beside it speaks alone, and it may have been cut short.
    spans = [(first_ms, times[0], 0), *zip(times, times[1:], range(len(times)), strict=False)]
    spans.append((times[-1], last_ms + 1, len(intervals)))
    for place, (begin_ms, end_ms, index) in enumerate(spans):
        before = intervals[max(0, index - _NEIGHBOURS) : index] if place else []
        after = intervals[index + 1 if place else 0 :][:_NEIGHBOURS]
        every_ms = _prevailing(before, after)
        missing = range(begin_ms + every_ms, end_ms, every_ms)
        if not place:
            missing = range(end_ms - every_ms, begin_ms, -every_ms)[::-1]
        if missing:
            found.append(
                UnknownFunding(
                    symbol=symbol, from_ms=begin_ms, to_ms=min(end_ms, last_ms), times_ms=tuple(missing)
                )
            )
    return found


def _prevailing(before: Sequence[int], after: Sequence[int]) -> int:
    """How long an interval may be between those before it and those after."""
    middles = [median_high(intervals) for intervals in (before, after) if intervals]
    return min(LONGEST_MS, max(middles, default=LONGEST_MS))
