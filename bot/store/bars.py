"""A table of bars: put bars in once, take them out in the order of their closes.

An account's database holds one market's bars; the history store (:mod:`bot.store.history`) those of several, told
apart by a ``scope``: SQL that holds for one of them, with an ``AND`` behind it.
"""

import hashlib
from array import array
from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import InvalidOperation
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
from msgspec import Struct

from bot.market import INTERVAL_MS, Bar, PriceGrid, PriceGridCounter
from bot.market.bounds import LAST_MS
from bot.store.account.tables import BARS
from bot.store.columns import Row
from bot.store.database import Database
from bot.store.rows import decimal_of, wrong_row

_encode_lines = msgspec.json.Encoder().encode_lines
_symbol = itemgetter(0)

# How many bars of all symbols together are read at once.
_CHUNK_BARS = 4_096

# Trailing zeros are no difference, so figures are compared as numbers.
_NOTE_DIFFERENCE = """
INSERT INTO events (session_id, time_ms, kind, symbol, detail)
SELECT ?11, start_ms, 'bar_differs', symbol,
       printf('%s bar at %s: kept %s %s %s %s volume %s, refused %s %s %s %s volume %s', interval,
              strftime('%Y-%m-%d %H:%M', start_ms / 1000, 'unixepoch'),
              open, high, low, close, volume, ?4, ?5, ?6, ?7, ?8)
FROM bars
WHERE symbol = ?1 AND interval = ?2 AND start_ms = ?3 AND NOT (
    CAST(open AS REAL) = CAST(?4 AS REAL) AND CAST(high AS REAL) = CAST(?5 AS REAL)
    AND CAST(low AS REAL) = CAST(?6 AS REAL) AND CAST(close AS REAL) = CAST(?7 AS REAL)
    AND CAST(volume AS REAL) = CAST(?8 AS REAL)
)
"""


class Inserted(Struct, frozen=True, kw_only=True):
    """What became of bars handed in: new ones, and stored ones whose figures differ and stand."""

    added: int
    known: int
    differing: int


class BarsDigest:
    """Names bars by their figures: the same for the same bars, however symbols took turns and wherever from."""

    def __init__(self) -> None:
        self._by_symbol: dict[str, hashlib._Hash] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows into account, ascending in each symbol."""
        for symbol, of_symbol in groupby(sorted(rows, key=_symbol), _symbol):
            digest = self._by_symbol.setdefault(symbol, hashlib.sha256())
            digest.update(_encode_lines([row[:-1] for row in of_symbol]))

    def hexdigest(self) -> str:
        """The name."""
        named = [(symbol, digest.hexdigest()) for symbol, digest in sorted(self._by_symbol.items())]
        return hashlib.sha256(_encode_lines(named)).hexdigest()


async def insert_bar_rows(database: Database, rows: Sequence[Row], session_id: int | None = None) -> Inserted:
    """Store bars inside the caller's transaction.

    The first of two bars with one identity stands; where a later one differs, an event says so.
    """
    added = await database.write(BARS.insert_missing, rows)
    differing = 0
    if added < len(rows):
        differing = await database.write(_NOTE_DIFFERENCE, [(*row, session_id) for row in rows])
    return Inserted(added=added, known=len(rows) - added, differing=differing)


async def load_bars(
    database: Database,
    symbols: Sequence[str],
    interval: str,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    limit: int | None = None,
    scope: str = "",
) -> AsyncIterator[Bar]:
    """Stored bars by close, then symbol; a few thousand of them in memory at a time.

    ``since_ms`` and ``until_ms`` bound the starts (the end is excluded); ``limit`` keeps that
    many of each symbol's newest within them.
    """
    bounds = (since_ms or 0, (1 << 63) - 1 if until_ms is None else until_ms)
    firsts: dict[str, int] = {}
    for symbol in symbols:
        first = await _first_within(database, symbol, interval, bounds, limit, scope)
        if first is not None:
            firsts[symbol] = first
    # A window in time, not a count of rows: every read is a short walk along the table's own order.
    window_ms = max(1, _CHUNK_BARS // max(1, len(firsts))) * INTERVAL_MS[interval]
    marks = ", ".join("?" * len(firsts))
    start: int | None = min(firsts.values(), default=None)
    while start is not None:
        end = min(start + window_ms, bounds[1])
        rows = await database.fetch(
            f"SELECT {BARS.selected} FROM bars WHERE {scope}interval = ? AND symbol IN ({marks}) "
            "AND start_ms >= ? AND start_ms < ? ORDER BY start_ms, symbol",
            (interval, *firsts, start, end),
        )
        for row in rows:
            if row[2] >= firsts[row[0]]:
                yield _bar(database, row)
        start = await _next_start(database, firsts, interval, (end, bounds[1]), scope)


async def stored_grid(database: Database, symbol: str, interval: str, scope: str = "") -> PriceGrid | None:
    """What the prices of all stored bars of a symbol lie on; None without any."""
    prices = PriceGridCounter()
    sql = f"SELECT open, high, low, close FROM bars WHERE {scope}symbol = ? AND interval = ?"
    async for row in database.stream(sql, (symbol, interval)):
        prices.add(*[decimal_of(database, price, "bars.close") for price in row])
    return prices.grid()


async def load_starts(database: Database, symbol: str, interval: str, scope: str = "") -> Sequence[int]:
    """The starts of all stored bars of a symbol, ascending."""
    rows = await database.fetch(
        f"SELECT start_ms FROM bars WHERE {scope}symbol = ? AND interval = ? ORDER BY start_ms",
        (symbol, interval),
    )
    return array("q", (start for (start,) in rows))


async def first_start(database: Database, symbol: str, interval: str, scope: str = "") -> int | None:
    """Start of the oldest stored bar, or None."""
    return await _edge(database, "min", symbol, interval, scope)


async def last_start(database: Database, symbol: str, interval: str, scope: str = "") -> int | None:
    """Start of the newest stored bar, or None."""
    return await _edge(database, "max", symbol, interval, scope)


async def missing_ranges(
    database: Database, symbol: str, interval: str, first_ms: int, last_ms: int, scope: str = ""
) -> list[tuple[int, int]]:
    """The holes among the starts in [first_ms, last_ms], both on the grid, as first and last missing start."""
    interval_ms = INTERVAL_MS[interval]
    stored = f"FROM bars WHERE {scope}symbol = ?1 AND interval = ?2 AND start_ms BETWEEN ?3 AND ?4"
    return [
        (before + interval_ms, after - interval_ms)
        for before, after in await database.fetch(
            f"""SELECT before, after FROM (
                SELECT start_ms AS after, lag(start_ms, 1, ?3 - ?5) OVER (ORDER BY start_ms) AS before
                FROM (SELECT start_ms {stored} UNION ALL SELECT ?4 + ?5)
            ) WHERE after - before > ?5""",
            (symbol, interval, first_ms, last_ms, interval_ms),
        )
    ]


async def last_decided(database: Database, symbol: str, interval: str) -> int | None:
    """Start of the newest bar that has been decided on, or None."""
    found: int | None = await database.value(
        "SELECT max(bar_start_ms) FROM signals WHERE symbol = ? AND interval = ?", (symbol, interval)
    )
    return found


async def _edge(database: Database, edge: str, symbol: str, interval: str, scope: str) -> int | None:
    found: int | None = await database.value(
        f"SELECT {edge}(start_ms) FROM bars WHERE {scope}symbol = ? AND interval = ?", (symbol, interval)
    )
    return found


async def _first_within(
    database: Database,
    symbol: str,
    interval: str,
    bounds: tuple[int, int],
    limit: int | None = None,
    scope: str = "",
) -> int | None:
    within = f"FROM bars WHERE {scope}symbol = ? AND interval = ? AND start_ms >= ? AND start_ms < ?"
    oldest: int | None
    if limit is None:
        oldest = await database.value(f"SELECT min(start_ms) {within}", (symbol, interval, *bounds))
    else:
        newest = f"SELECT start_ms {within} ORDER BY start_ms DESC LIMIT ?"
        oldest = await database.value(
            f"SELECT min(start_ms) FROM ({newest})", (symbol, interval, *bounds, limit)
        )
    return oldest


async def _next_start(
    database: Database, symbols: dict[str, int], interval: str, bounds: tuple[int, int], scope: str
) -> int | None:
    starts = [await _first_within(database, symbol, interval, bounds, None, scope) for symbol in symbols]
    return min((start for start in starts if start is not None), default=None)


def _bar(database: Database, row: tuple[Any, ...]) -> Bar:
    symbol, interval, start_ms = row[:3]
    try:
        bar = BARS.build(row)
        problem = bar.contradiction() if 0 <= start_ms <= LAST_MS else "start_ms is no time in milliseconds"
    except (InvalidOperation, TypeError, ValueError):
        problem = "a figure is no number"
    if problem is not None:
        raise wrong_row(database, f"bars, {symbol} {interval} at {start_ms}: {problem}")
    return bar
