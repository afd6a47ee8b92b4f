"""Whether watched symbols are still traded: asked where something speaks against it, and now and then."""

import asyncio
import time
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from bot.errors import FeedError
from bot.exchange.rest import BybitRest
from bot.market import GONE, TRADING, Instrument, Listing

_LOOK_SECONDS = 0.5
_ASK_AGAIN_SECONDS = 600.0
"""How often a symbol is asked about that nothing speaks against."""
_SUSPECT_SECONDS = 2.0
"""How soon a symbol is asked about again that something speaks against."""


class ListingWatch:
    """Asks the exchange whether symbols trade, and tells each change once."""

    def __init__(
        self,
        rest: BybitRest,
        instruments: Mapping[str, Instrument],
        tell: Callable[[Listing, Instrument | None], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._rest = rest
        self._tell = tell
        self._clock_ms = clock_ms
        now = time.monotonic()
        self._known = {symbol: (rules.status, rules.delivery_ms) for symbol, rules in instruments.items()}
        self._ask_at = dict.fromkeys(self._known, now + _ASK_AGAIN_SECONDS)
        self._asked = dict.fromkeys(self._known, now - _SUSPECT_SECONDS)
        self._missed: set[str] = set()

    def add(self, rules: Instrument) -> None:
        """Watch this symbol too; it is as these rules say."""
        now = time.monotonic()
        self._known[rules.symbol] = rules.status, rules.delivery_ms
        self._ask_at[rules.symbol] = now + _ASK_AGAIN_SECONDS
        self._asked[rules.symbol] = now - _SUSPECT_SECONDS

    def remove(self, symbol: str) -> None:
        """Nobody needs to know of this symbol any more."""
        self._known.pop(symbol, None)

    def was_watched(self, symbol: str) -> bool:
        """Whether what still comes of this symbol was once asked for."""
        return symbol in self._asked

    def suspect(self, symbol: str) -> None:
        """Something speaks against it that the symbol trades: a refused topic, bars that do not come."""
        if symbol in self._known:
            self._ask_at[symbol] = min(self._ask_at[symbol], self._asked[symbol] + _SUSPECT_SECONDS)

    async def run(self) -> None:
        """Ask for ever, what is due."""
        while True:
            for symbol in [symbol for symbol in self._known if self._is_due(symbol)]:
                self._asked[symbol] = time.monotonic()
                self._ask_at[symbol] = self._asked[symbol] + _ASK_AGAIN_SECONDS
                try:
                    await self._ask(symbol)
                except FeedError:
                    # Asked again soon: bars that do not come are told of where they are missed.
                    self._ask_at[symbol] = self._asked[symbol] + _SUSPECT_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)

    def _is_due(self, symbol: str) -> bool:
        now, (status, delivery_ms) = time.monotonic(), self._known[symbol]
        delivered = status == TRADING and 0 < delivery_ms <= self._clock_ms()
        return now >= self._ask_at[symbol] or (delivered and now >= self._asked[symbol] + _SUSPECT_SECONDS)

    async def _ask(self, symbol: str) -> None:
        rules = await self._rest.instrument(symbol)
        listing = await self._rest.listing(symbol, rules)
        if symbol not in self._known:
            return
        status, _ = self._known[symbol]
        if rules is None and status != GONE and symbol not in self._missed:
            # That it is not shown is believed once it is so twice.
            self._missed.add(symbol)
            self._ask_at[symbol] = self._asked[symbol] + _SUSPECT_SECONDS
            return
        self._missed.discard(symbol)
        self._known[symbol] = listing.status, listing.delivery_ms
        if listing.status != status:
            self._tell(replace(listing, time_ms=max(listing.delivery_ms, self._clock_ms())), rules)
