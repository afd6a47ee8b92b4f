"""What streams beside bars: quotes, books, and notices of what happened to the stream."""

from decimal import Decimal

from msgspec import Struct


class Quote(Struct, frozen=True, kw_only=True, gc=False):
    """Best bid and ask, with their sizes in base coin, and on linear the mark price if known."""

    symbol: str
    time_ms: int
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    mark: Decimal | None = None


class Level(Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """So much is offered at one price; the size in base coin."""

    price: Decimal
    size: Decimal


class Book(Struct, frozen=True, kw_only=True, gc=False):
    """The order book's depth at ``time_ms``: bids descending, asks ascending; neither side is empty."""

    symbol: str
    time_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Mark(Struct, frozen=True, kw_only=True, gc=False):
    """What a symbol was last valued at, in quote currency, and as of when (0: not known when)."""

    symbol: str
    price: Decimal
    time_ms: int


class Notice(Struct, frozen=True, kw_only=True, gc=False):
    """Something worth a row in ``events``: a reconnect, a gap, a refused bar, a halt."""

    kind: str
    time_ms: int
    symbol: str | None = None
    detail: str = ""
