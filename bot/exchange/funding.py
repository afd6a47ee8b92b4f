"""Funding as the exchange settles it: asks what a schedule wants to know, and hands its news on."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from bot.errors import FeedError
from bot.exchange.funding_schedule import FundingSchedule
from bot.exchange.rest import BybitRest
from bot.exchange.symbol_funding import Ask, News, PriceWanted
from bot.market import Bar
from bot.trading.held import LookBack


class FundingWatch:
    """Asks what a :class:`FundingSchedule` wants to know, and hands its news on."""

    def __init__(
        self,
        rest: BybitRest,
        interval: str,
        schedule: FundingSchedule,
        *,
        emit: Callable[[News], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._rest = rest
        self._interval = interval
        self._schedule = schedule
        self._emit = emit
        self._spawn = spawn
        self._clock_ms = clock_ms
        self._look = asyncio.Event()

    def add(self, symbol: str, every_ms: int, look_back: LookBack) -> None:
        """Ask for this symbol's settlements too."""
        self._schedule.add(symbol, every_ms, look_back)
        self._look.set()

    def bar(self, bar: Bar) -> None:
        """A bar was handed on."""
        self._schedule.bar(bar)
        self._look.set()

    def announce(self, symbol: str, time_ms: int | None, at_ms: int) -> None:
        """The exchange's ticker says when it settles next."""
        if time_ms is not None and self._schedule.announce(symbol, time_ms, at_ms):
            self._look.set()

    async def run(self) -> None:
        """Ask for ever, as often as is wanted."""
        while True:
            self._look.clear()
            for ask in self._schedule.asks(time.monotonic()):
                self._spawn(self._answered(ask))
            wake = self._schedule.wake()
            try:
                async with asyncio.timeout(None if wake is None else max(0.002, wake - time.monotonic())):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _answered(self, ask: Ask) -> None:
        schedule = self._schedule
        try:
            if isinstance(ask, PriceWanted):
                price = await self._price(ask)
                news = schedule.price(ask, price, time.monotonic(), self._clock_ms())
            else:
                rates = await self._rest.funding(ask.symbol, ask.since_ms, ask.until_ms)
                news = schedule.rates(ask, rates, time.monotonic(), self._clock_ms())
        except FeedError as error:
            news = schedule.failed(ask, str(error), time.monotonic(), self._clock_ms())
        for one in news:
            self._emit(one)
        self._look.set()

    async def _price(self, ask: PriceWanted) -> Decimal | None:
        if ask.source == "close":
            return await self._rest.close_before(ask.symbol, self._interval, ask.time_ms)
        return await self._rest.minute_price(ask.symbol, ask.source, ask.time_ms)
