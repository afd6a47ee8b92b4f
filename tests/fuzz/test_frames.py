"""Any bytes as websocket frames, and real ones damaged: a value or MalformedFrame, which changes nothing."""

import json
import random
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from bot.exchange import wire
from bot.exchange.plausible import MalformedFrame, PriceJumps
from bot.market import Book, Quote

START_MS = 1_790_000_100_000
ABSURD = [
    None, True, -1, 0, 2**63, 2**64 + 1, 10**400, 1.5, 1e300, "", "NaN", "sNaN", "Infinity", "-Infinity", "1e23",
    "1e-30", "1e999999999", "1e99999999999999999999", "1" * 400, "1" * 100_000, "١٢٣", "1_0", " 1", "\ud800", "\0",
    [], {}, [[]],
    [["1"]], [["1", "1", "1"]], {"a": {"b": []}}, "SOLUSDT", "snapshot", "delta", 253_402_300_800_000, "0",
    "-0", "soon",
]  # fmt: skip


def messages(draws: random.Random) -> list[dict[str, Any]]:
    """What the exchange sends of one symbol, in order."""
    price = 60_000 + draws.random()
    bid, ask = f"{price:.2f}", f"{price + 1:.2f}"
    entry = {
        "start": START_MS - START_MS % 60_000, "end": START_MS + 59_999, "interval": "1", "open": bid, "close": ask,
        "high": ask, "low": bid, "volume": "2.081", "turnover": "34666.4005", "confirm": True, "timestamp": START_MS,
    }  # fmt: skip
    fields = {
        "symbol": "BTCUSDT", "bid1Price": bid, "bid1Size": "1.5", "ask1Price": ask, "ask1Size": "2.5", "markPrice": bid,
        "nextFundingTime": "1790006400000", "fundingRate": "0.0001",
    }  # fmt: skip
    update = draws.randrange(10, 1_000)
    book = {"s": "BTCUSDT", "b": [[bid, "1"], ["59000", "2"]], "a": [[ask, "3"]], "u": update, "seq": 1}
    return [
        {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": START_MS, "data": [entry]},
        {"topic": "tickers.BTCUSDT", "type": "snapshot", "ts": START_MS, "data": fields},
        {
            "topic": "tickers.BTCUSDT",
            "type": "delta",
            "ts": START_MS,
            "data": {"symbol": "BTCUSDT", "bid1Price": bid},
        },
        {"topic": "orderbook.50.BTCUSDT", "type": "snapshot", "ts": START_MS, "data": book},
        {"topic": "orderbook.50.BTCUSDT", "type": "delta", "ts": START_MS, "data": book | {"u": update + 1}},
        {"topic": "orderbook.1.BTCUSDT", "type": "snapshot", "ts": START_MS, "data": book},
        {"success": True, "ret_msg": "", "op": "subscribe", "req_id": "kline.1.BTCUSDT"},
    ]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a JSON value there are values."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def hostile(draws: random.Random) -> bytes:
    """A frame that may be anything."""
    kind = draws.randrange(6)
    if kind == 0:
        return draws.randbytes(draws.randrange(200))
    if kind == 1:
        nested = draws.choice([b"[", b'{"data":', b'{"topic":"kline.1.BTCUSDT","data":[', b'[[{"a":'])
        return nested * draws.choice([10, 1_000, 100_000])
    message = draws.choice(messages(draws))
    if kind == 2:
        for _ in range(draws.randrange(1, 4)):
            message = changed(message, draws.choice(list(places(message))), draws.choice(ABSURD))
            if not isinstance(message, dict):
                break
    raw = json.dumps(message).encode()
    if kind == 3:
        raw = raw.replace(b'"60', draws.choice([b"NaN,", b"-Infinity,", b"\xff", b'"6' + b"0" * 500]), 1)
    if kind == 4:
        damaged = bytearray(raw)
        for _ in range(draws.randrange(1, 8)):
            damaged[draws.randrange(len(damaged))] = draws.randrange(256)
        raw = bytes(damaged)
    if kind == 5:
        place = draws.randrange(len(raw))
        raw = raw[:place] if draws.random() < 0.5 else raw[:place] + raw
    return raw


class Reader:
    """One symbol's state, as a session keeps it."""

    def __init__(self) -> None:
        self.jumps = PriceJumps(5.0)
        self.jumps.believe("close", 60_000.0)
        self.ticker = wire.TickerState("BTCUSDT", self.jumps)
        self.top = wire.TickerState("BTCUSDT", self.jumps)
        self.book = wire.BookState("BTCUSDT", self.jumps)

    def read(self, raw: str | bytes) -> Any:
        message = wire.frame(raw)
        if message.topic.startswith("kline."):
            entries = list(wire.kline_entries(message.data))
            for entry in entries:
                if isinstance(entry, MalformedFrame):
                    raise entry
            return [wire.bar_from_kline(entry, "BTCUSDT", "1") for entry in entries if entry.confirm]  # type: ignore[union-attr]
        if message.topic.startswith("tickers."):
            return self.ticker.ticker(message)
        if message.topic.startswith("orderbook.50."):
            return self.book.message(message)
        if message.topic.startswith("orderbook."):
            return self.top.book(message)
        return None

    def state(self) -> Any:
        """All that a message may change but what is in doubt."""
        return (
            self.ticker._fields, self.ticker.next_funding_ms, self.top._fields, self.book._bids, self.book._asks,
            dict(self.jumps._believed),
        )  # fmt: skip


def sound(value: Any) -> None:
    """What was read is a value that may enter the books."""
    if isinstance(value, Quote):
        assert Decimal("1e-12") <= value.bid <= value.ask <= Decimal("1e12")
        assert all(0 <= one <= Decimal("1e16") for one in (value.bid_size, value.ask_size))
        assert value.mark is None or 12_000 <= value.mark <= 300_000 * 5
    elif isinstance(value, Book):
        assert value.bids[0].price < value.asks[0].price
        assert all(
            12 < level.price < 10**8 and level.size > 0 for side in (value.bids, value.asks) for level in side
        )
    elif isinstance(value, list):
        assert all(bar.contradiction() is None and bar.close <= Decimal("1e12") for bar in value)


def test_any_bytes_are_a_value_or_malformed_and_what_is_refused_changes_nothing(seed, seconds):
    draws = random.Random(seed)
    end, tried, refused = time.monotonic() + seconds, 0, 0
    reader = Reader()
    while time.monotonic() < end:
        if tried % 500 == 0:
            reader = Reader()
            for message in messages(draws):
                reader.read(json.dumps(message))
        raw = hostile(draws)
        before = reader.state()
        tried += 1
        try:
            value = reader.read(raw)
        except wire.BookGap:
            refused += 1
            continue
        except MalformedFrame as error:
            refused += 1
            told = str(error)
        else:
            sound(value)
            continue
        assert reader.state() == before, raw[:500]
        assert len(told) < 500
    print(f"{tried:,} frames, {refused:,} refused")
    assert refused > tried / 4
