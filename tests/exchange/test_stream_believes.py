"""What a hostile exchange says to a stream: it is told of and prices nothing, and the true messages go on."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from bot.demo.exchange import DemoExchange
from tests.exchange.test_stream import BTC, STEP, TWO, Heard, listen

TICKERS, DEPTH, KLINE = "tickers.BTCUSDT", "orderbook.50.BTCUSDT", "kline.1.BTCUSDT"
DAY_MS = 86_400_000
YEAR_10000_MS = 253_402_300_800_000
ALL = ("bid1Price", "ask1Price", "markPrice")


def say(exchange: DemoExchange, topic: str, message: dict[str, Any]) -> None:
    """Send a message of any content to whoever listens to a topic."""
    exchange.publish(topic, msgspec.json.encode(message))


def ticker(exchange: DemoExchange, ahead_ms: int = 0, **fields: Any) -> dict[str, Any]:
    data = {"symbol": "BTCUSDT", **fields}
    return {"topic": TICKERS, "type": "delta", "ts": exchange.clock_ms + ahead_ms, "data": data}


def kline(exchange: DemoExchange, ahead_ms: int, confirm: bool) -> dict[str, Any]:
    start = exchange.clock_ms - exchange.clock_ms % STEP + ahead_ms
    entry = {
        "start": start, "end": start + STEP - 1, "interval": "1", "open": "60000", "close": "60000", "high": "60000",
        "low": "60000", "volume": "1", "turnover": "60000", "confirm": confirm, "timestamp": start,
    }  # fmt: skip
    return {"topic": KLINE, "type": "snapshot", "ts": exchange.clock_ms + ahead_ms, "data": [entry]}


HOSTILE: dict[str, Any] = {
    "a ticker of tomorrow": lambda exchange: ticker(exchange, DAY_MS, bid1Size="1"),
    "a ticker of the year 10000": lambda exchange: ticker(exchange, YEAR_10000_MS, bid1Size="1"),
    "a ticker beyond 2^64": lambda exchange: ticker(exchange, bid1Size="1") | {"ts": 2**64 - 1},
    "prices of 1e23": lambda exchange: ticker(exchange, **dict.fromkeys(ALL, "1e23")),
    "a mark of 1e-30": lambda exchange: ticker(exchange, markPrice="1e-30"),
    "a mark of a millionth": lambda exchange: ticker(exchange, markPrice="0.06"),
    "a bid of NaN": lambda exchange: ticker(exchange, bid1Price="NaN"),
    "prices ten times as high": lambda exchange: ticker(exchange, **dict.fromkeys(ALL, "650000")),
    "a running bar of tomorrow": lambda exchange: kline(exchange, DAY_MS, confirm=False),
    "a closed bar of tomorrow": lambda exchange: kline(exchange, DAY_MS, confirm=True),
    "a closed bar of the year 10000": lambda exchange: kline(
        exchange, YEAR_10000_MS - YEAR_10000_MS % STEP, confirm=True
    ),
    "a book at 1e23": lambda exchange: {
        "topic": DEPTH, "type": "delta", "ts": exchange.clock_ms,
        "data": {"s": "BTCUSDT", "b": [], "a": [["1e23", "1"]], "u": 10**6},
    },
    "a book of tomorrow": lambda exchange: {
        "topic": DEPTH, "type": "snapshot", "ts": exchange.clock_ms + DAY_MS,
        "data": {"s": "BTCUSDT", "b": [["60000", "1"]], "a": [["60001", "1"]], "u": 10**6},
    },
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_cannot_be_is_told_once_and_the_symbol_goes_on_as_if_it_had_not_come(what: str):
    async def mislead(exchange: DemoExchange, heard: Heard) -> None:
        for after in (6, 9, 12):
            await heard.reach("BTCUSDT", after)
            say(exchange, HOSTILE[what](exchange)["topic"], HOSTILE[what](exchange))

    heard = asyncio.run(
        listen(
            symbols=TWO, bars=24, depth=True, waits=lambda symbol: True, meanwhile=mislead, bar_seconds=0.06
        )
    )
    assert heard.notices["refused"] + heard.notices["doubted"] == 1, heard.notices
    assert heard.notices["connected"] == 1
    last_ms = heard.bars["BTCUSDT"][-1].close_ms
    prices = [float(bar.close) for bar in heard.bars["BTCUSDT"]]
    low, high = 0.5 * min(prices), 2 * max(prices)
    quotes = [quote for quote in heard.quotes if quote.symbol == "BTCUSDT"]
    assert max(quote.time_ms for quote in quotes) <= last_ms + STEP
    assert all(low < price < high for quote in quotes for price in (quote.bid, quote.ask, quote.mark))
    assert all(low < level.price < high for book in heard.books for side in (book.bids, book.asks) for level in side
               if book.symbol == "BTCUSDT")  # fmt: skip
    # Quotes and books of the hit symbol go on to the end.
    assert last_ms - max(quote.time_ms for quote in quotes) < 2 * STEP
    assert last_ms - max(book.time_ms for book in heard.books if book.symbol == "BTCUSDT") < 2 * STEP


def test_a_flood_of_broken_messages_is_one_event():
    async def flood(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 6)
        for _ in range(2_000):
            say(exchange, TICKERS, ticker(exchange, bid1Price="x"))
            say(exchange, KLINE, {"topic": KLINE, "ts": exchange.clock_ms, "data": [{"start": "x"}]})

    heard = asyncio.run(listen(bars=24, meanwhile=flood))
    assert heard.notices["refused"] == 1


def test_a_symbol_whose_messages_are_all_refused_says_so_and_is_subscribed_anew():
    async def poison(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 6)

        def poisoned(topic: str, message: bytes) -> bytes:
            return message.replace(b'"ts":', b'"ts":9') if topic == TICKERS else message

        exchange.alter(poisoned)
        await heard.reach("BTCUSDT", 30)
        exchange.alter(None)

    heard = asyncio.run(listen(symbols=TWO, bars=70, meanwhile=poison, silence_seconds=1.0))
    assert heard.notices["silent"] >= 1
    assert heard.notices["connected"] == 1
    quoted = [quote.time_ms for quote in heard.quotes if quote.symbol == "BTCUSDT"]
    assert heard.bars["BTCUSDT"][-1].close_ms - max(quoted) < 2 * STEP


def test_a_real_jump_is_believed_with_the_next_message():
    async def jump(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 6)
        for _ in range(2):
            say(
                exchange,
                TICKERS,
                ticker(exchange, bid1Price="900000", ask1Price="900001", markPrice="900000"),
            )

    heard = asyncio.run(listen(symbols=BTC, bars=16, waits=lambda symbol: True, meanwhile=jump))
    assert any(quote.bid == Decimal(900_000) for quote in heard.quotes)
    assert heard.notices["doubted"] == 1
