"""Order books as the pretend exchange sends them."""

from decimal import Decimal
from typing import Any

import msgspec

from bot.demo.symbol_state import Board
from bot.market import plain


def book_message(board: Board, clock_ms: int) -> bytes:
    """The best bid and ask."""
    assert board.bar is not None
    symbol = board.instrument.symbol
    price = board.running(board.bar, clock_ms).close
    bid, bid_size, ask, ask_size = (plain(figure) for figure in board.quote(price))
    data = {
        "s": symbol,
        "b": [[bid, bid_size]],
        "a": [[ask, ask_size]],
        "u": 1_000 + board.updates,
        "seq": 70_000_000_000 + board.updates,
    }
    message = {"topic": f"orderbook.1.{symbol}", "type": "snapshot", "ts": clock_ms, "data": data}
    return msgspec.json.encode(message | {"cts": clock_ms - 3})


def depth_message(board: Board, clock_ms: int, *, snapshot: bool = False) -> bytes:
    """The levels that changed since the last push, those that are gone with size 0; or all as a snapshot."""
    assert board.bar is not None
    if not snapshot:
        before, board.depth = board.depth, board.levels(board.running(board.bar, clock_ms).close)
        changed = {
            side: {price: Decimal(0) for price in before[side] if price not in levels}
            | {price: size for price, size in levels.items() if before[side].get(price) != size}
            for side, levels in board.depth.items()
        }
    else:
        changed = board.depth
    data: dict[str, Any] = {
        "s": board.instrument.symbol,
        "b": [[plain(price), plain(size)] for price, size in sorted(changed["b"].items(), reverse=True)],
        "a": [[plain(price), plain(size)] for price, size in sorted(changed["a"].items())],
        "u": 1_000 + board.updates,
        "seq": 70_000_000_000 + board.updates,
    }
    message = {
        "topic": f"orderbook.50.{board.instrument.symbol}",
        "type": "snapshot" if snapshot else "delta",
        "ts": clock_ms,
        "data": data,
    }
    return msgspec.json.encode(message | {"cts": clock_ms - 3})
