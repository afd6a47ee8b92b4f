"""Asks REST what the policy wants to know, and tells it what was answered."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from bot.errors import FeedError
from bot.exchange.clock import local_seconds
from bot.exchange.repair import Ask, Findings, RepairPolicy
from bot.exchange.rest import BybitRest, RequestRefused
from bot.exchange.symbol_quotes import SymbolQuotes

_ASK_TIME_SECONDS = 5.0
"""How often REST is asked for the time, where the stream's is not believed."""


class Repairs:
    """Asks for ever, as often as anything needs it; ``look`` is set where something has changed.

    ``beat`` gives the local time, ``tell`` takes kind, text and symbol of what a person will want to know, and
    ``suspect`` a symbol that may be traded no longer. The bars that REST brings are one more source of the prices
    in ``quotes``. ``rebuild`` asks for another connection, and ``passes`` says that something may pass now.
    """

    def __init__(
        self,
        rest: BybitRest,
        interval: str,
        policy: RepairPolicy,
        *,
        beat: Callable[[], float],
        tell: Callable[[str, str, str], None],
        suspect: Callable[[str], None],
        quotes: Mapping[str, SymbolQuotes],
        rebuild: Callable[[], None],
        passes: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._rest = rest
        self._interval = interval
        self._policy = policy
        self._beat = beat
        self._tell = tell
        self._suspect = suspect
        self._quotes = quotes
        self._rebuild = rebuild
        self._passes = passes
        self._spawn = spawn
        self._ask_time_at = 0.0
        self.look = asyncio.Event()

    async def run(self) -> None:
        """Ask what is due, and let pass what waited long enough."""
        while True:
            now = self._beat()
            self.look.clear()
            for ask in self._policy.asks(now):
                self._spawn(self._repair(ask))
            if self._policy.next_bar(now) is not None:
                self._passes()
            try:
                async with asyncio.timeout(max(0.002, self._policy.wake(now) - local_seconds())):
                    await self.look.wait()
            except TimeoutError:
                continue

    def doubt_time(self, now: float) -> None:
        """The stream's time is not believed: ask the other source, whose answer the bounds of time hear."""
        if now >= self._ask_time_at:
            self._ask_time_at = now + _ASK_TIME_SECONDS
            self._spawn(self._ask_time())

    async def _ask_time(self) -> None:
        with suppress(FeedError):
            await self._rest.time_ms()

    async def _repair(self, ask: Ask) -> None:
        try:
            if ask.first_ms is None:
                closed_ms = await self._rest.newest_closed(ask.symbol, self._interval)
                findings = self._policy.newest(ask, closed_ms, self._beat())
            else:
                bars, refused, newest_ms = await self._rest.bars(
                    ask.symbol, self._interval, ask.first_ms, ask.last_ms, "backfill"
                )
                if bars and (quotes := self._quotes.get(ask.symbol)) is not None:
                    quotes.jumps.believe("close", float(bars[-1].close))
                findings = self._policy.page(ask, bars, refused, newest_ms, self._beat())
        except FeedError as error:
            findings = self._failed(ask, error)
        self._heed(ask.symbol, findings)
        self._passes()
        self.look.set()

    def _failed(self, ask: Ask, error: FeedError) -> Findings:
        is_refused = isinstance(error, RequestRefused)
        if is_refused:
            self._suspect(ask.symbol)
        self._tell("rest_failed", f"{error}{'; put aside' if is_refused else ''}", ask.symbol)
        return self._policy.failed(ask, self._beat(), random.uniform(0.5, 1.0), refused=is_refused)

    def _heed(self, symbol: str, findings: Findings) -> None:
        for found in findings.told:
            self._tell(found.kind, found.detail, symbol)
        if findings.rebuild:
            self._rebuild()
        if findings.doubtful:
            self._suspect(symbol)
