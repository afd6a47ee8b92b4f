"""What a pretend exchange pushes on its topics, as Bybit's JSON: klines, tickers, order books."""

from decimal import Decimal
from typing import Any

import msgspec

from bot.demo.symbol_state import OpenBar, SymbolState
from bot.market import INTERVAL_MS, plain


def kline_topic(interval: str, symbol: str) -> str:
    return f"kline.{interval}.{symbol}"


def kline_entry(bar: OpenBar, interval: str, clock_ms: int, *, confirm: bool) -> dict[str, Any]:
    """A bar as a kline message has it; the x."""
    end_ms = bar.start_ms + INTERVAL_MS[interval] - 1
    return {
        "start": bar.start_ms,
        "end": end_ms,
        "interval": interval,
        "open": plain(bar.open),
        "close": plain(bar.close),
        "high": plain(bar.high),
        "low": plain(bar.low),
        "volume": plain(bar.volume),
        "turnover": plain(bar.turnover),
        "confirm": confirm,
        "timestamp": max(bar.start_ms, min(clock_ms, end_ms) - 23),
    }


def kline_message(topic: str, entry: dict[str, Any], clock_ms: int) -> bytes:
    return msgspec.json.encode({"topic": topic, "data": [entry], "ts": clock_ms, "type": "snapshot"})


def ticker_push(state: SymbolState, clock_ms: int) -> bytes:
    """On linear a delta of what changed since the last push, on spot every field."""
    fields = state.ticker(clock_ms)
    pushed, state.pushed_ticker = state.pushed_ticker, fields
    if state.instrument.category == "spot":
        return _ticker_message(state, "snapshot", fields, clock_ms)
    changed = {name: value for name, value in fields.items() if name == "symbol" or pushed.get(name) != value}
    return _ticker_message(state, "delta", changed, clock_ms)


def ticker_snapshot(state: SymbolState, clock_ms: int) -> bytes:
    """The ticker as last pushed: the next delta builds on it."""
    return _ticker_message(state, "snapshot", state.pushed_ticker, clock_ms)


def _ticker_message(state: SymbolState, kind: str, fields: dict[str, str], clock_ms: int) -> bytes:
    message = {"topic": f"tickers.{state.instrument.symbol}", "type": kind, "data": fields}
    return msgspec.json.encode(message | {"cs": 24_000_000_000 + state.updates, "ts": clock_ms})


def quote_message(state: SymbolState, clock_ms: int) -> bytes:
    """The best bid and ask."""
    assert state.bar is not None
    bid, bid_size, ask, ask_size = state.quote(state.open_bar(state.bar, clock_ms).close)
    return _book_message(state, 1, "snapshot", {"b": {bid: bid_size}, "a": {ask: ask_size}}, clock_ms)


def book_push(state: SymbolState, clock_ms: int) -> bytes:
    """A delta of the levels that changed since the last push, those that are gone with size 0."""
    assert state.bar is not None
    pushed, state.pushed_levels = (
        state.pushed_levels,
        state.levels(state.open_bar(state.bar, clock_ms).close),
    )
    changed = {
        side: {price: Decimal(0) for price in pushed[side] if price not in levels}
        | {price: size for price, size in levels.items() if pushed[side].get(price) != size}
        for side, levels in state.pushed_levels.items()
    }
    return _book_message(state, 50, "delta", changed, clock_ms)


def book_snapshot(state: SymbolState, clock_ms: int) -> bytes:
    """The levels as last pushed: the next delta builds on them."""
    return _book_message(state, 50, "snapshot", state.pushed_levels, clock_ms)


def _book_message(
    state: SymbolState, depth: int, kind: str, levels: dict[str, dict[Decimal, Decimal]], clock_ms: int
) -> bytes:
    symbol = state.instrument.symbol
    data = {
        "s": symbol,
        "b": [[plain(price), plain(size)] for price, size in sorted(levels["b"].items(), reverse=True)],
        "a": [[plain(price), plain(size)] for price, size in sorted(levels["a"].items())],
        "u": 1_000 + state.updates,
        "seq": 70_000_000_000 + state.updates,
    }
    message = {"topic": f"orderbook.{depth}.{symbol}", "type": kind, "ts": clock_ms, "data": data}
    return msgspec.json.encode(message | {"cts": clock_ms - 3})
