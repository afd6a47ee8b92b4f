"""The trading rules of the symbols that are watched, read again each day and after a long silence."""

import asyncio
from collections.abc import Callable, Mapping

from bot.errors import ConfigError, FeedError
from bot.exchange.rest import BybitRest
from bot.market import TRADING, Instrument, Notice, RuleChange

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


class RulesWatch:
    """Hands on what the exchange's rules are as of each reading, in the exchange's own time.

    They are read a day after the last reading, and at a reconnect once that is an hour ago. A reading that
    fails is told and made again an hour later; until then the rules last read hold.
    """

    def __init__(
        self,
        rest: BybitRest,
        instruments: Mapping[str, Instrument],
        *,
        emit: Callable[[RuleChange | Notice], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._rest = rest
        self._symbols = {symbol for symbol, rules in instruments.items() if rules.status == TRADING}
        self._emit = emit
        self._clock_ms = clock_ms
        # Rules that do not say when they were read count as read now.
        known = [rules.known_ms for rules in instruments.values() if rules.known_ms]
        self._read_ms = min(known, default=0)
        self._reconnected = False
        self._look = asyncio.Event()

    def add(self, symbol: str) -> None:
        """Read this symbol's rules too."""
        self._symbols.add(symbol)

    def remove(self, symbol: str) -> None:
        """Read this symbol's rules no longer."""
        self._symbols.discard(symbol)

    def bar(self) -> None:
        """Time has passed."""
        self._look.set()

    def connected(self) -> None:
        """The stream has been built, for the first time or again."""
        self._reconnected = True
        self._look.set()

    async def run(self) -> None:
        """Read for ever, as often as is due."""
        while True:
            await self._look.wait()
            self._look.clear()
            now_ms = self._clock_ms()
            self._read_ms = self._read_ms or now_ms
            age_ms = now_ms - self._read_ms
            if age_ms >= _DAY_MS or (self._reconnected and age_ms >= _HOUR_MS):
                await self._read()
            self._reconnected = False

    async def _read(self) -> None:
        read_ms, failed = self._clock_ms(), False
        for symbol in sorted(self._symbols):
            try:
                rules = (await self._rest.instruments((symbol,)))[symbol]
            except (FeedError, ConfigError) as error:
                detail = f"trading rules: {error}"
                self._emit(Notice(kind="rest_failed", time_ms=self._clock_ms(), symbol=symbol, detail=detail))
                failed = True
                continue
            self._emit(RuleChange(time_ms=self._clock_ms(), rules=rules))
        self._read_ms = self._clock_ms() - _DAY_MS + _HOUR_MS if failed else read_ms
