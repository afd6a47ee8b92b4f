"""One symbol's quotes and depth on the connection that stands now."""

from contextlib import suppress

from bot.exchange import plausible, wire
from bot.exchange.config import ExchangeConfig
from bot.exchange.plausible import PriceJumps
from bot.market import Bar, Book, Quote

_QUOTE_EVERY_MS = 1_000
_BOOK_EVERY_MS = 200
"""Depth changes fifty times a second and is worth a hundred quotes; so often it is handed on."""


class SymbolQuotes:
    """The merged state of a symbol's messages, and the times of those that were handed on last."""

    def __init__(self, symbol: str, config: ExchangeConfig) -> None:
        self._symbol = symbol
        self._max_levels = config.max_book_levels
        self.jumps = PriceJumps(config.max_jump)
        """What is believed of its prices, whatever connection they came over."""
        self._book_ms = 0
        self.begin()

    def begin(self) -> None:
        """A missing field of a delta is unchanged since a snapshot of this connection only."""
        self.ticker = wire.TickerState(self._symbol, self.jumps)
        self.book = wire.BookState(self._symbol, self.jumps, self._max_levels)
        self._quoted_ms = 0

    def check_bar(self, bar: Bar) -> None:
        """Take a confirmed bar for one more source of the price; Doubted where nothing agrees with it."""
        close = float(bar.close)
        if self.jumps.is_sure:
            for name, price in (("open", bar.open), ("high", bar.high), ("low", bar.low)):
                if not self.jumps.is_near(name, float(price), close):
                    raise wire.Doubted(f"{name} {price}{self.jumps.far_text}")
            if not self.jumps.accept([("close", close)]):
                raise wire.Doubted(f"close {bar.close}{self.jumps.far_text}")
        self.jumps.believe("close", close)

    def hear_running(self, entry: wire.KlineEntry) -> None:
        """Take a bar that is open for one more source of the price."""
        with suppress(wire.MalformedFrame):
            self.jumps.accept([("close", float(plausible.price(entry.close)))])

    def is_due(self, quote: Quote, *, waited_for: bool) -> bool:
        """Whether a quote is handed on: none older than the last, and without an order that waits one a second."""
        if quote.time_ms - self._quoted_ms < (0 if waited_for else _QUOTE_EVERY_MS):
            return False
        self._quoted_ms = quote.time_ms
        return True

    def is_book_due(self, book: Book) -> bool:
        """Whether depth is handed on: at most five times a second."""
        if book.time_ms - self._book_ms < _BOOK_EVERY_MS:
            return False
        self._book_ms = book.time_ms
        return True
