"""One symbol's quotes and depth on the connection that stands now."""

from bot.exchange import wire
from bot.market import Book, Quote

_QUOTE_EVERY_MS = 1_000
_BOOK_EVERY_MS = 200
"""Depth changes fifty times a second and is worth a hundred quotes; so often it is handed on."""


class SymbolQuotes:
    """The merged state of a symbol's messages, and the times of those that were handed on last."""

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._book_ms = 0
        self.begin()

    def begin(self) -> None:
        """A missing field of a delta is unchanged since a snapshot of this connection only."""
        self.ticker = wire.TickerState(self._symbol)
        self.book = wire.BookState(self._symbol)
        self._quoted_ms = 0

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
