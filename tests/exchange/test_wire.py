import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.exchange import wire
from bot.market import Bar, Book

FIXTURES = Path(__file__).parents[3] / "shared/data/bybit_fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the shared sample messages are not here")

START = 1_672_324_800_000


def kline(**changes: Any) -> dict[str, Any]:
    entry = {
        "start": START, "end": START + 299_999, "interval": "5", "open": "16649.5", "close": "16677",
        "high": "16677.10", "low": "16608", "volume": "2.081", "turnover": "34666.4005",
        "confirm": True, "timestamp": START + 188_882,
    }  # fmt: skip
    return entry | changes


def bar_of(entry: dict[str, Any]) -> Bar:
    frame = wire.frame(json.dumps({"topic": "kline.5.BTCUSDT", "ts": START, "data": [entry]}))
    (parsed,) = wire.kline_entries(frame.data)
    if isinstance(parsed, wire.MalformedFrame):
        raise parsed
    return wire.bar_from_kline(parsed, "BTCUSDT", "5")


def test_a_confirmed_kline_becomes_a_bar_with_the_exchanges_digits():
    bar = bar_of(kline())
    assert (bar.start_ms, bar.close_ms) == (START, START + 300_000)
    assert str(bar.high) == "16677.10"
    assert bar.turnover == Decimal("34666.4005")


@pytest.mark.parametrize(
    "changes",
    [
        {"high": "16000"},
        {"low": "17000"},
        {"close": "NaN"},
        {"close": "Infinity"},
        {"close": ""},
        {"close": None},
        {"close": "sixteen"},
        {"close": 16677.0},
        {"close": True},
        {"close": "-16677"},
        {"open": "0", "low": "0"},
        {"volume": "-1"},
        {"volume": "1e999999"},
        {"start": START + 1},
    ],
)
def test_a_kline_that_contradicts_itself_is_no_bar(changes: dict[str, Any]):
    with pytest.raises(wire.MalformedFrame):
        bar_of(kline(**changes))


@pytest.mark.parametrize("changes", [{"start": "soon"}, {"start": None}, {"confirm": "yes"}])
def test_a_kline_of_wrong_types_is_malformed(changes: dict[str, Any]):
    with pytest.raises(wire.MalformedFrame):
        bar_of(kline(**changes))


def test_a_broken_entry_does_not_hide_its_neighbours():
    frame = wire.frame(
        json.dumps(
            {"topic": "kline.5.BTCUSDT", "data": [kline(), {"start": "x"}, kline(start=START + 300_000)]}
        )
    )
    kinds = [type(entry) for entry in wire.kline_entries(frame.data)]
    assert kinds == [wire.KlineEntry, wire.MalformedFrame, wire.KlineEntry]


@pytest.mark.parametrize(
    "raw",
    ["", "no json", "[]", "42", "null", '"text"', '{"topic": 3}', b"\xff\xfe", '{"ts": "now"}', "{" * 50],
)
def test_a_frame_of_another_shape_is_malformed(raw: str | bytes):
    with pytest.raises(wire.MalformedFrame):
        wire.frame(raw)


@pytest.mark.parametrize("data", ["null", "{}", '"x"', "7"])
def test_kline_data_of_another_shape_is_malformed(data: str):
    frame = wire.frame('{"topic":"kline.5.BTCUSDT","data":' + data + "}")
    assert [type(entry) for entry in wire.kline_entries(frame.data)] == [wire.MalformedFrame]


def ticker(kind: str, ts: int, **fields: str) -> wire.Frame:
    return wire.frame(json.dumps({"topic": "tickers.BTCUSDT", "type": kind, "ts": ts, "data": fields}))


FULL = {
    "symbol": "BTCUSDT", "bid1Price": "17215.50", "bid1Size": "84.489", "ask1Price": "17216.00",
    "ask1Size": "83.020", "markPrice": "17217.33", "nextFundingTime": "1673280000000",
}  # fmt: skip


def test_a_delta_changes_only_what_it_carries():
    state = wire.TickerState("BTCUSDT")
    state.ticker(ticker("snapshot", 1, **FULL))
    quote = state.ticker(ticker("delta", 2, symbol="BTCUSDT", ask1Price="17216.50"))
    assert quote is not None
    assert (str(quote.bid), str(quote.ask), str(quote.mark)) == ("17215.50", "17216.50", "17217.33")
    assert quote.time_ms == 2
    assert state.next_funding_ms == 1_673_280_000_000


def test_a_delta_without_a_snapshot_is_no_quote_yet():
    assert wire.TickerState("BTCUSDT").ticker(ticker("delta", 1, symbol="BTCUSDT", ask1Price="5")) is None


def test_a_crossed_book_is_no_quote():
    state = wire.TickerState("BTCUSDT")
    assert state.ticker(ticker("snapshot", 1, **(FULL | {"bid1Price": "17217"}))) is None


def test_an_empty_funding_time_is_none_and_not_zero():
    state = wire.TickerState("BTCUSDT")
    state.ticker(ticker("snapshot", 1, **(FULL | {"nextFundingTime": ""})))
    assert state.next_funding_ms is None


def test_spot_takes_its_quote_from_the_top_of_the_book():
    book = {"s": "BTCUSDT", "b": [["9.5", "2"]], "a": [["9.6", "3"]], "u": 1, "seq": 1}
    message = json.dumps({"topic": "orderbook.1.BTCUSDT", "type": "snapshot", "ts": 7, "data": book})
    quote = wire.TickerState("BTCUSDT").book(wire.frame(message))
    assert quote is not None
    assert (quote.bid, quote.ask, quote.mark) == (Decimal("9.5"), Decimal("9.6"), None)


@needs_fixtures
def test_the_sample_messages_of_the_exchange_are_understood():
    frame = wire.frame((FIXTURES / "ws_kline.json").read_bytes())
    (entry,) = wire.kline_entries(frame.data)
    assert isinstance(entry, wire.KlineEntry)
    assert (frame.topic, entry.start, entry.confirm) == ("kline.5.BTCUSDT", START, False)
    quote = wire.TickerState("BTCUSDT").ticker(wire.frame((FIXTURES / "ws_ticker_linear.json").read_bytes()))
    assert quote is not None
    assert (str(quote.bid), str(quote.ask)) == ("17215.50", "17216.00")
    assert wire.frame((FIXTURES / "ws_subscription_ack.json").read_bytes()).success
    assert not wire.frame((FIXTURES / "ws_subscription_failure.json").read_bytes()).success


def depth(kind: str, u: int, bids: list[list[str]], asks: list[list[str]]) -> wire.Frame:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": u, "seq": u}
    return wire.frame(json.dumps({"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": START, "data": data}))


def levels(book: Book | None) -> list[list[tuple[str, str]]]:
    assert book is not None
    return [[(str(level.price), str(level.size)) for level in side] for side in (book.bids, book.asks)]


def test_a_book_is_a_snapshot_and_what_deltas_made_of_it():
    state = wire.BookState("BTCUSDT")
    book = state.message(depth("snapshot", 7, [["99", "1"], ["98.5", "2"]], [["100", "3"], ["101", "4"]]))
    assert levels(book) == [[("99", "1"), ("98.5", "2")], [("100", "3"), ("101", "4")]]
    book = state.message(depth("delta", 8, [["99", "0"], ["98", "5.0"]], [["99.5", "1"], ["101", "6"]]))
    assert levels(book) == [[("98.5", "2"), ("98", "5.0")], [("99.5", "1"), ("100", "3"), ("101", "6")]]
    # The service began anew: nothing of before stands.
    book = state.message(depth("delta", 1, [["90", "1"]], [["91", "1"]]))
    assert levels(book) == [[("90", "1")], [("91", "1")]]


def test_a_lost_delta_empties_the_book_until_a_snapshot():
    state = wire.BookState("BTCUSDT")
    state.message(depth("snapshot", 7, [["99", "1"]], [["100", "3"]]))
    with pytest.raises(wire.MalformedFrame, match="update 9 follows 7"):
        state.message(depth("delta", 9, [["98", "1"]], []))
    with pytest.raises(wire.MalformedFrame):
        state.message(depth("delta", 10, [["98", "1"]], []))
    assert state.message(depth("snapshot", 20, [["99", "1"]], [["100", "3"]])) is not None


def test_a_book_with_an_empty_side_or_crossed_sides_is_none():
    state = wire.BookState("BTCUSDT")
    assert state.message(depth("snapshot", 7, [["99", "1"]], [])) is None
    assert state.message(depth("delta", 8, [], [["99", "1"]])) is None
    assert state.message(depth("delta", 9, [], [["99", "0"], ["99.1", "1"]])) is not None
    with pytest.raises(wire.MalformedFrame):
        state.message(depth("snapshot", 10, [["much", "1"]], [["100", "3"]]))
