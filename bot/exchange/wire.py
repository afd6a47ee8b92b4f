"""Bybit's messages to market values and back. Pure: text in, values out, nothing raised but MalformedFrame."""

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from bot.exchange import plausible
from bot.exchange.plausible import Doubted, MalformedFrame, PriceJumps, shown
from bot.market import Bar, BarSource, Book, Level, Quote

__all__ = ["BookGap", "Doubted", "MalformedFrame"]

T = TypeVar("T")

_MAX_FRAME_BYTES = 1_000_000
_MAX_BOOK_LEVELS = 500


class BookGap(MalformedFrame):
    """A change of a book's depth was lost; only a new subscription brings the whole book."""


class Frame(Struct, frozen=True):
    """The envelope of every public websocket message; control answers fill the lower half.

    https://bybit-exchange.github.io/docs/v5/ws/connect
    """

    topic: str = ""
    type: str = ""
    ts: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")
    op: str = ""
    success: bool = True
    ret_msg: str = ""
    req_id: str = ""


class KlineEntry(Struct, frozen=True):
    """One entry of ``data`` in a kline message; the figures are read only where ``confirm`` is set.

    https://bybit-exchange.github.io/docs/v5/websocket/public/kline
    """

    start: int
    confirm: bool
    interval: str = ""
    open: Any = None
    high: Any = None
    low: Any = None
    close: Any = None
    volume: Any = None
    turnover: Any = None


class TickerEntry(Struct, frozen=True):
    """``data`` of a tickers message, as far as it is used; what a delta leaves out has not changed."""

    symbol: str = ""
    bid1Price: str = ""
    bid1Size: str = ""
    ask1Price: str = ""
    ask1Size: str = ""
    markPrice: str = ""
    nextFundingTime: str = ""


class BookEntry(Struct, frozen=True):
    """``data`` of an orderbook message: [price, size] pairs, best first, and the update's number."""

    s: str
    b: list[tuple[str, str]] = []
    a: list[tuple[str, str]] = []
    u: int = 0


_decode_frame = msgspec.json.Decoder(Frame).decode
_decode_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_kline = msgspec.json.Decoder(KlineEntry).decode
_decode_book = msgspec.json.Decoder(BookEntry).decode
_decode_ticker = msgspec.json.Decoder(TickerEntry).decode


def _decoded(decode: Callable[[Any], T], raw: Any, what: str) -> T:
    """What msgspec makes of JSON; whatever it makes of other bytes is MalformedFrame."""
    try:
        return decode(raw)
    # Not only its own error: nesting, what is no UTF-8, and integers beyond any.
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
        raise MalformedFrame(f"{what}: {str(error)[:200]}") from error


def frame(raw: str | bytes, max_bytes: int = _MAX_FRAME_BYTES) -> Frame:
    """The envelope of one websocket message of at most so many bytes."""
    if len(raw) > max_bytes:
        raise MalformedFrame(f"a message of {len(raw)} bytes, above {max_bytes} (exchange.max_frame_kb)")
    return _decoded(_decode_frame, raw, "not a message of Bybit's")


def symbol_of(topic: str) -> str:
    """The symbol that a topic is about."""
    return topic.rpartition(".")[2]


def subscribe(topic: str) -> str:
    """A subscription to one topic; the topic is its own request id, so that a refusal names it."""
    return msgspec.json.encode({"op": "subscribe", "req_id": topic, "args": [topic]}).decode()


def unsubscribe(topic: str) -> str:
    """The end of a subscription."""
    return msgspec.json.encode({"op": "unsubscribe", "req_id": topic, "args": [topic]}).decode()


def kline_entries(data: msgspec.Raw) -> Iterator[KlineEntry | MalformedFrame]:
    """Every entry of a kline message's ``data``; one that cannot be read does not hide the others."""
    try:
        entries = _decoded(_decode_entries, data, "kline data")
    except MalformedFrame as error:
        yield error
        return
    for entry in entries:
        try:
            yield _read_kline(entry)
        except MalformedFrame as error:
            yield error


def _read_kline(raw: msgspec.Raw) -> KlineEntry:
    entry = _decoded(_decode_kline, raw, "kline entry")
    plausible.time_ms(entry.start)
    return entry


def bar_from_kline(entry: KlineEntry, symbol: str, interval: str) -> Bar:
    """The closed bar of a confirmed kline entry. Raises MalformedFrame where it contradicts itself."""
    if entry.interval not in ("", interval):
        raise MalformedFrame(f"a bar of interval {shown(entry.interval)} among those of {interval}")
    row = (entry.open, entry.high, entry.low, entry.close, entry.volume, entry.turnover)
    return bar_of(symbol, interval, entry.start, row, "stream")


def bar_of(symbol: str, interval: str, start_ms: int, figures: Iterable[Any], source: BarSource) -> Bar:
    """A bar of open, high, low, close, volume and turnover as Bybit writes them."""
    first, high, low, last, volume, turnover = figures
    bar = Bar(
        symbol=symbol,
        interval=interval,
        start_ms=start_ms,
        open=plausible.price(first),
        high=plausible.price(high),
        low=plausible.price(low),
        close=plausible.price(last),
        volume=plausible.volume(volume),
        turnover=plausible.volume(turnover),
        source=source,
    )
    if problem := bar.contradiction():
        raise MalformedFrame(problem)
    return bar


class TickerState:
    """The merged state of one symbol's best bid and ask: snapshots replace it, deltas change it.

    Linear takes ``tickers`` (bid, ask, mark and funding in one), spot ``orderbook.1``.
    https://bybit-exchange.github.io/docs/v5/websocket/public/ticker

    A message is examined as a whole before any of it is merged. One whose prices are in doubt by ``jumps`` is
    kept aside, raises :class:`Doubted`, and is merged once they are believed; without ``jumps`` all are believed.
    """

    def __init__(self, symbol: str, jumps: PriceJumps | None = None) -> None:
        self._symbol = symbol
        self._jumps = jumps
        self._fields: dict[str, Decimal] = {}
        self._aside: dict[str, Decimal] = {}
        self._time_ms = 0
        self.next_funding_ms: int | None = None
        """When the exchange says that it funds next; None on dated futures and spot."""

    def ticker(self, message: Frame) -> Quote | None:
        """Merge a tickers message; the quote as it stands now, None where a side is missing or crossed."""
        if message.type not in ("snapshot", "delta"):
            raise MalformedFrame(f"ticker of an unknown type {shown(message.type)}")
        entry = _decoded(_decode_ticker, message.data, "ticker")
        if entry.symbol not in ("", self._symbol):
            raise MalformedFrame(f"ticker of {shown(entry.symbol)} as that of {self._symbol}")
        fields = {}
        if entry.bid1Price:
            fields["bid"] = plausible.price(entry.bid1Price)
        if entry.ask1Price:
            fields["ask"] = plausible.price(entry.ask1Price)
        if entry.bid1Size:
            fields["bid_size"] = plausible.size(entry.bid1Size)
        if entry.ask1Size:
            fields["ask_size"] = plausible.size(entry.ask1Size)
        if entry.markPrice:
            fields["mark"] = plausible.price(entry.markPrice)
        # 0 on what is never funded.
        funding_ms = plausible.time_ms(entry.nextFundingTime) if entry.nextFundingTime.strip("0") else None
        quote = self._merge(fields, message, whole=message.type == "snapshot")
        if funding_ms is not None or message.type == "snapshot":
            self.next_funding_ms = funding_ms
        return quote

    def book(self, message: Frame) -> Quote | None:
        """Take the top of an orderbook.1 message."""
        entry = _book_entry(message, self._symbol)
        fields = {}
        for side, levels in (("bid", entry.b), ("ask", entry.a)):
            for price, size in levels[:1]:
                fields[side], fields[f"{side}_size"] = plausible.price(price), plausible.size(size)
        return self._merge(fields, message, whole=False)

    def _merge(self, fields: dict[str, Decimal], message: Frame, *, whole: bool) -> Quote | None:
        if message.ts < self._time_ms:
            raise MalformedFrame(f"a message of {message.ts} behind one of {self._time_ms}")
        jumps = self._jumps
        if jumps is not None:
            prices = _prices(fields)
            was_sure = jumps.is_sure
            if prices and not jumps.accept(prices):
                self._aside = fields if whole else self._aside | fields
                if was_sure:
                    raise Doubted(", ".join(f"{name} {price:g}" for name, price in prices) + jumps.far_text)
                # There is nothing yet that it could be far from: another message will say the same.
                return None
        known = {} if whole else self._fields
        if self._aside and jumps is not None:
            doubted = _prices(self._aside)
            # What was in doubt is merged once it is believed, and forgotten where the exchange says otherwise.
            if all(jumps.is_near(*one) for one in doubted):
                known, self._aside = known | self._aside, {}
            elif any(name in fields for name, _ in doubted):
                self._aside = {}
        self._fields, self._time_ms = known | fields, message.ts
        return self._quote(message.ts)

    def _quote(self, time_ms: int) -> Quote | None:
        fields = self._fields
        try:
            bid, bid_size, ask, ask_size = (fields[name] for name in ("bid", "bid_size", "ask", "ask_size"))
        except KeyError:
            return None
        if bid > ask:
            return None
        return Quote(
            symbol=self._symbol,
            time_ms=time_ms,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            mark=fields.get("mark"),
        )


def _prices(fields: dict[str, Decimal]) -> list[tuple[str, float]]:
    return [(name, float(fields[name])) for name in ("bid", "ask", "mark") if name in fields]


def _book_entry(message: Frame, symbol: str) -> BookEntry:
    """An orderbook message's own part, of the symbol that its topic names."""
    if message.type not in ("snapshot", "delta"):
        raise MalformedFrame(f"orderbook of an unknown type {shown(message.type)}")
    entry = _decoded(_decode_book, message.data, "orderbook")
    if entry.s != symbol:
        raise MalformedFrame(f"orderbook of {shown(entry.s)} as that of {symbol}")
    if not 0 <= entry.u < 2**63:
        raise MalformedFrame(f"orderbook update {shown(entry.u)}")
    return entry


class BookState:
    """The merged depth of one symbol: a snapshot replaces it, a delta changes, adds or (size 0) deletes levels.

    https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
    """

    def __init__(
        self, symbol: str, jumps: PriceJumps | None = None, max_levels: int = _MAX_BOOK_LEVELS
    ) -> None:
        self._symbol = symbol
        self._jumps = jumps
        self._max_levels = max_levels
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}
        self._update = 0
        self._time_ms = 0

    def message(self, message: Frame) -> Book | None:
        """Merge an orderbook message; the book as it stands now, None where a side is empty or they meet.

        Raises MalformedFrame for what cannot be merged, and nothing of it is; :class:`BookGap` where a delta
        before it was lost: the book is empty then, until a snapshot comes.
        """
        entry = _book_entry(message, self._symbol)
        if max(len(entry.b), len(entry.a)) > self._max_levels:
            raise MalformedFrame(
                f"orderbook of more than {self._max_levels} levels (exchange.max_book_levels)"
            )
        changes = [self._levels(side) for side in (entry.b, entry.a)]
        if message.ts < self._time_ms:
            raise MalformedFrame(f"a message of {message.ts} behind one of {self._time_ms}")
        # The exchange numbers anew, beginning with 1, when its service restarts.
        whole = message.type == "snapshot" or entry.u == 1
        if not whole and entry.u <= self._update:
            raise MalformedFrame(f"orderbook of {self._symbol}: update {entry.u} came again")
        if not whole and entry.u != self._update + 1:
            last = self._update
            self._bids, self._asks, self._update = {}, {}, 0
            raise BookGap(f"orderbook of {self._symbol}: update {entry.u} follows {last}")
        bids, asks = ({}, {}) if whole else (self._bids.copy(), self._asks.copy())
        for levels, changed in zip((bids, asks), changes, strict=True):
            for price, size in changed:
                if size:
                    levels[price] = size
                else:
                    levels.pop(price, None)
        best_bid, best_ask = max(bids, default=None), min(asks, default=None)
        if best_bid is not None and best_ask is not None and best_bid > best_ask:
            raise MalformedFrame(
                f"orderbook of {self._symbol}: a bid of {best_bid} above an ask of {best_ask}"
            )
        if max(len(bids), len(asks)) > self._max_levels:
            raise MalformedFrame(
                f"orderbook of more than {self._max_levels} levels (exchange.max_book_levels)"
            )
        self._bids, self._asks, self._update, self._time_ms = bids, asks, entry.u, message.ts
        if best_bid is None or best_ask is None or best_bid == best_ask:
            return None
        return self._book(message.ts) if self._jumps is None or self._jumps.is_sure else None

    def _levels(self, side: list[tuple[str, str]]) -> list[tuple[Decimal, Decimal]]:
        levels = [(plausible.price(price), plausible.size(size)) for price, size in side]
        if self._jumps is not None and self._jumps.is_sure:
            for price, _ in levels:
                if not self._jumps.is_near("book", float(price)):
                    raise Doubted(f"orderbook level at {price}{self._jumps.far_text}")
        return levels

    def _book(self, time_ms: int) -> Book:
        return Book(
            symbol=self._symbol,
            time_ms=time_ms,
            bids=tuple(
                Level(price=price, size=self._bids[price]) for price in sorted(self._bids, reverse=True)
            ),
            asks=tuple(Level(price=price, size=self._asks[price]) for price in sorted(self._asks)),
        )
