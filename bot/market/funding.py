"""Settled funding rates, and their place among bars: when each enters the core, and at which mark price."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from msgspec import Struct

from bot.market.bars import Bar


class Funding(Struct, frozen=True, kw_only=True, gc=False):
    """A settled funding rate: at ``time_ms`` longs paid ``rate`` of their value at ``mark_price``."""

    symbol: str
    time_ms: int
    rate: Decimal
    mark_price: Decimal


class FundingRate(Struct, frozen=True, kw_only=True, gc=False):
    """What was settled at ``time_ms``, as files and the exchange tell it: a fraction, without any mark price."""

    symbol: str
    time_ms: int
    rate: Decimal


class Settlements:
    """Known rates as the events that the core takes, in their place among bars of one interval.

    A rate enters once all bars that began before its time were handed on, as live, where it becomes known
    only afterwards: what was filled ahead of it is then booked, and what is filled at its very time is
    not. The mark is the symbol's last close known at that time; a rate before any is left out.
    """

    def __init__(self, rates: Iterable[FundingRate]) -> None:
        self._rates = sorted(rates, key=lambda rate: (rate.time_ms, rate.symbol))
        self._next = 0
        self._bars: dict[str, tuple[Bar, ...]] = {}
        self._end_ms = 0

    def before(self, bar: Bar) -> list[Funding]:
        """What enters ahead of ``bar``, the next by start and symbol."""
        due = self._until(bar.start_ms)
        # The last one may span a settlement, whose mark is then the close before it.
        self._bars[bar.symbol] = (*self._bars.get(bar.symbol, ())[-1:], bar)
        self._end_ms = bar.close_ms
        return due

    def rest(self) -> list[Funding]:
        """What enters behind the last bar: nothing later than its close."""
        return self._until(self._end_ms)

    def _until(self, time_ms: int) -> list[Funding]:
        due = []
        while self._next < len(self._rates) and self._rates[self._next].time_ms <= time_ms:
            settled = self._rates[self._next]
            self._next += 1
            bars = self._bars.get(settled.symbol, ())
            known = [bar.close for bar in bars if bar.close_ms <= settled.time_ms]
            if known:
                due.append(
                    Funding(
                        symbol=settled.symbol,
                        time_ms=settled.time_ms,
                        rate=settled.rate,
                        mark_price=known[-1],
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
