"""Bybit's JSON to market values and back. Pure: text in, values out, nothing raised but MalformedFrame."""

from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct

from bot.market import Bar, BarSource, Book, Category, Instrument, Level, Quote, RiskTier


class MalformedFrame(Exception):
    """A frame or row that cannot be what it claims to be; the text says why."""


class InverseContract(Exception):
    """A contract that is settled in its own coin; the text is its symbol."""


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

    @property
    def is_pong(self) -> bool:
        return self.op == "pong" or self.ret_msg == "pong"


class KlineEntry(Struct, frozen=True):
    """One entry of ``data`` in a kline message; the figures are read only where ``confirm`` is set.

    https://bybit-exchange.github.io/docs/v5/websocket/public/kline
    """

    start: int
    confirm: bool
    open: Any = None
    high: Any = None
    low: Any = None
    close: Any = None
    volume: Any = None
    turnover: Any = None


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
_decode_ticker = msgspec.json.Decoder(dict[str, Any]).decode


def frame(raw: str | bytes) -> Frame:
    """The envelope of one websocket message."""
    try:
        return _decode_frame(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedFrame(f"not a message of Bybit's: {error}") from error


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
        entries = _decode_entries(data)
    except msgspec.MsgspecError as error:
        yield MalformedFrame(f"kline data: {error}")
        return
    for entry in entries:
        try:
            yield _decode_kline(entry)
        except msgspec.MsgspecError as error:
            yield MalformedFrame(f"kline entry: {error}")


def bar_from_kline(entry: KlineEntry, symbol: str, interval: str) -> Bar:
    """The closed bar of a confirmed kline entry. Raises MalformedFrame where it contradicts itself."""
    row = (entry.open, entry.high, entry.low, entry.close, entry.volume, entry.turnover)
    return _bar(symbol, interval, entry.start, row, "stream")


def bar_from_row(row: Any, symbol: str, interval: str, source: BarSource) -> Bar:
    """A bar from one row of REST klines: [start, open, high, low, close, volume, turnover], all text.

    https://bybit-exchange.github.io/docs/v5/market/kline
    """
    try:
        start_ms = int(row[0])
        figures = tuple(row[1:7])
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise MalformedFrame(f"kline row: {error}") from error
    return _bar(symbol, interval, start_ms, figures, source)


def _bar(symbol: str, interval: str, start_ms: int, figures: Iterable[Any], source: BarSource) -> Bar:
    values = [_decimal(value) for value in figures]
    if len(values) < 6:
        raise MalformedFrame(f"kline row of {len(values)} figures")
    bar = Bar(
        symbol=symbol, interval=interval, start_ms=start_ms,
        open=values[0], high=values[1], low=values[2], close=values[3],
        volume=values[4], turnover=values[5], source=source,
    )  # fmt: skip
    if problem := bar.contradiction():
        raise MalformedFrame(problem)
    return bar


def _decimal(value: Any) -> Decimal:
    """The exact decimal of Bybit's text. Floats are not Bybit's and would not be exact."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise MalformedFrame(f"{value!r} is not a figure")
    try:
        return Decimal(value)
    except InvalidOperation as error:
        raise MalformedFrame(f"{value!r} is not a figure") from error


class TickerState:
    """The merged state of one symbol's best bid and ask: snapshots replace it, deltas change it.

    Linear takes ``tickers`` (bid, ask, mark and funding in one), spot ``orderbook.1``.
    https://bybit-exchange.github.io/docs/v5/websocket/public/ticker
    """

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._fields: dict[str, Any] = {}

    def ticker(self, message: Frame) -> Quote | None:
        """Merge a tickers message; the quote as it stands now, None where a side is missing or crossed."""
        try:
            fields = _decode_ticker(message.data)
        except msgspec.MsgspecError as error:
            raise MalformedFrame(f"ticker: {error}") from error
        if message.type == "snapshot":
            self._fields = {}
        self._fields.update((key, value) for key, value in fields.items() if value != "")
        return self._quote(message.ts)

    def book(self, message: Frame) -> Quote | None:
        """Take the top of an orderbook.1 message."""
        try:
            book = _decode_book(message.data)
        except msgspec.MsgspecError as error:
            raise MalformedFrame(f"orderbook: {error}") from error
        for side, levels in (("bid1", book.b), ("ask1", book.a)):
            for price, size in levels[:1]:
                self._fields[f"{side}Price"], self._fields[f"{side}Size"] = price, size
        return self._quote(message.ts)

    @property
    def next_funding_ms(self) -> int | None:
        """When the exchange says that it funds next; empty on dated futures and spot."""
        try:
            return int(self._fields["nextFundingTime"])
        except (KeyError, TypeError, ValueError):
            return None

    def _quote(self, time_ms: int) -> Quote | None:
        names = ("bid1Price", "bid1Size", "ask1Price", "ask1Size")
        if not all(name in self._fields for name in names):
            return None
        bid, bid_size, ask, ask_size = (_decimal(self._fields[name]) for name in names)
        mark = _decimal(self._fields["markPrice"]) if "markPrice" in self._fields else None
        prices = (bid, ask) if mark is None else (bid, ask, mark)
        if not all(price.is_finite() and price > 0 for price in prices) or bid > ask:
            return None
        return Quote(
            symbol=self._symbol,
            time_ms=time_ms,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            mark=mark,
        )


class BookState:
    """The merged depth of one symbol: a snapshot replaces it, a delta changes, adds or (size 0) deletes levels.

    https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
    """

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}
        self._update = 0

    def message(self, message: Frame) -> Book | None:
        """Merge an orderbook message; the book as it stands now, None where a side is empty or they cross.

        Raises MalformedFrame for what cannot be merged, a delta behind a lost one among it; the book
        is empty then, until a snapshot comes.
        """
        try:
            entry = _decode_book(message.data)
            changes = [
                [(_decimal(price), _decimal(size)) for price, size in side] for side in (entry.b, entry.a)
            ]
        except (msgspec.MsgspecError, MalformedFrame) as error:
            self._forget()
            raise MalformedFrame(f"orderbook: {error}") from error
        # The exchange numbers anew, beginning with 1, when its service restarts.
        if message.type == "snapshot" or entry.u == 1:
            self._forget()
        elif entry.u != self._update + 1:
            last = self._update
            self._forget()
            raise MalformedFrame(f"orderbook of {self._symbol}: update {entry.u} follows {last}")
        self._update = entry.u
        for levels, changed in zip((self._bids, self._asks), changes, strict=True):
            for price, size in changed:
                if size:
                    levels[price] = size
                else:
                    levels.pop(price, None)
        return self._book(message.ts)

    def _forget(self) -> None:
        self._bids, self._asks, self._update = {}, {}, 0

    def _book(self, time_ms: int) -> Book | None:
        if not self._bids or not self._asks or max(self._bids) >= min(self._asks):
            return None
        return Book(
            symbol=self._symbol,
            time_ms=time_ms,
            bids=tuple(
                Level(price=price, size=self._bids[price]) for price in sorted(self._bids, reverse=True)
            ),
            asks=tuple(Level(price=price, size=self._asks[price]) for price in sorted(self._asks)),
        )


def price(text: Any) -> Decimal:
    """A price that something may be booked at."""
    found = _decimal(text)
    if not (found.is_finite() and found > 0):
        raise MalformedFrame(f"{text!r} is no price")
    return found


def risk_tiers(rows: Iterable[Any], symbol: str) -> tuple[RiskTier, ...]:
    """A symbol's risk tiers, ascending, from rows of ``risk-limit``.

    https://bybit-exchange.github.io/docs/v5/market/risk-limit. An empty ``mmDeduction`` is none.
    """
    try:
        tiers = [
            RiskTier(
                limit=_decimal(row["riskLimitValue"]),
                maintenance_rate=_decimal(row["maintenanceMargin"]),
                initial_rate=_decimal(row["initialMargin"]),
                max_leverage=_decimal(row["maxLeverage"]),
                deduction=_decimal(row.get("mmDeduction") or "0"),
            )
            for row in rows
            if row["symbol"] == symbol
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedFrame(f"risk limits of {symbol}: {error!r}") from error
    return tuple(sorted(tiers, key=lambda tier: tier.limit))


def instrument(fields: dict[str, Any], category: Category, known_ms: int = 0) -> Instrument:
    """A symbol's rules from ``instruments-info``.

    https://bybit-exchange.github.io/docs/v5/market/instrument. Spot's step is ``basePrecision`` and
    its limit that counts ``minOrderAmt``; linear gives ``fundingInterval`` in minutes. A dated future is
    delivered and never funded. ``known_ms`` is the answer's time. Raises InverseContract for one that is not linear.
    """
    if str(fields.get("contractType", "")).startswith("Inverse"):
        raise InverseContract(str(fields.get("symbol", "?")))
    try:
        lots, prices = fields["lotSizeFilter"], fields["priceFilter"]
        spot = category == "spot"
        unfunded = spot or fields.get("contractType") == "LinearFutures"
        largest = lots.get("maxMarketOrderQty" if spot else "maxMktOrderQty")
        return Instrument(
            symbol=fields["symbol"],
            category=category,
            tick_size=_decimal(prices["tickSize"]),
            lot_size=_decimal(lots["basePrecision"] if spot else lots["qtyStep"]),
            min_quantity=_decimal(lots.get("minOrderQty", "0")),
            min_notional=_decimal(lots.get("minOrderAmt" if spot else "minNotionalValue", "0")),
            max_market_quantity=_decimal(largest) if largest else None,
            funding_interval_minutes=0 if unfunded else int(fields.get("fundingInterval", 480)),
            max_leverage=_decimal(fields.get("leverageFilter", {}).get("maxLeverage", "1")),
            known_ms=known_ms,
            status=fields.get("status") or "Trading",
            delivery_ms=int(fields.get("deliveryTime") or 0),
            base_coin=fields.get("baseCoin", ""),
            quote_coin=fields.get("quoteCoin", ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedFrame(f"instrument {fields.get('symbol', '?')}: {error!r}") from error
