"""What an account watches, the last mark of what is held, and what a person has asked of it."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from bot.market import INTERVAL_MS, Mark
from bot.store.database import Database
from bot.store.rows import json_of, struct_of
from bot.trading.events import Watched, WatchState

Kind = Literal["resume", "transfer", "close", "pause", "symbols"]


class StoredRequest(Struct, frozen=True, kw_only=True):
    """One row of ``requests``.

    ``symbols`` is the symbol that is meant, empty for all; in ``symbols`` requests with a ``+`` or ``-``
    before it. ``done_ms`` is when the core took it (the exchange's time), None before that; ``outcome`` says
    what was done then, ``error`` what was not and why.
    """

    id: int
    made_ms: int
    kind: Kind
    amount: Decimal
    symbols: str
    note: str
    done_ms: int | None
    outcome: str | None
    error: str | None


class _Run(Struct, frozen=True):
    symbols: tuple[str, ...]


class _Settings(Struct, frozen=True):
    run: _Run


_NO_LONGER_TOLD = "not among run.symbols any more"


async def read_marks(database: Database) -> tuple[Mark, ...]:
    """The last mark of each open position; older databases knew only the last stored close."""
    held = [
        symbol for (symbol,) in await database.fetch("SELECT symbol FROM positions WHERE quantity <> '0'")
    ]
    told = {row[0]: row for row in await database.fetch("SELECT symbol, price, time_ms FROM marks")}
    marks = []
    for symbol in held:
        if symbol in told:
            marks.append(_mark(database, *told[symbol]))
            continue
        closes = await database.fetch(
            "SELECT start_ms, interval, close FROM bars WHERE symbol = ? ORDER BY start_ms DESC LIMIT 1",
            (symbol,),
        )
        for start_ms, interval, close in closes:
            marks.append(_mark(database, symbol, close, start_ms + INTERVAL_MS.get(interval, 0)))
    return tuple(marks)


def _mark(database: Database, symbol: str, price: str, time_ms: int) -> Mark:
    return struct_of(database, Mark, {"symbol": symbol, "price": price, "time_ms": time_ms}, "marks")


async def read_watched(database: Database) -> tuple[Watched, ...]:
    """What is known of each symbol that was ever watched, by symbol."""
    rows = await database.fetch("SELECT symbol, state, since_ms, reason FROM watched ORDER BY symbol")
    names = ("symbol", "state", "since_ms", "reason")
    return tuple(struct_of(database, Watched, dict(zip(names, row, strict=True)), "watched") for row in rows)


async def read_trading(database: Database) -> tuple[str, ...]:
    """The symbols that the account trades now, or traded when it last ran."""
    watched = await read_watched(database)
    if watched:
        return tuple(one.symbol for one in watched if one.state == "trading")
    return await _last_configured(database) or ()


async def _last_configured(database: Database) -> tuple[str, ...] | None:
    """The symbols that the last session was configured with."""
    last = await database.value("SELECT config_json FROM sessions ORDER BY id DESC LIMIT 1")
    return None if last is None else json_of(database, last, _Settings, "sessions.config_json").run.symbols


async def traded_by_hand(database: Database, configured: tuple[str, ...]) -> tuple[str, ...]:
    """The symbols to trade: as configured, but for what a person has added and dropped since that was last changed."""
    if await _last_configured(database) != configured:
        return configured
    states: dict[str, WatchState] = {one.symbol: one.state for one in await read_watched(database)}
    kept = tuple(symbol for symbol in configured if states.get(symbol, "trading") == "trading")
    added = tuple(symbol for symbol, state in states.items() if state == "trading" and symbol not in kept)
    return kept + added


async def keep_watched(database: Database, traded: tuple[str, ...], now_ms: int) -> None:
    """Write down at a session's start which symbols it trades; what it only closes, the core says."""
    async with database.transaction():
        await database.write(
            "INSERT INTO watched VALUES (?, 'trading', ?, '') ON CONFLICT (symbol) DO UPDATE SET "
            "state = 'trading', reason = '', since_ms = iif(state = 'trading', since_ms, excluded.since_ms)",
            [(symbol, now_ms) for symbol in traded],
        )
        await database.write(
            "UPDATE watched SET state = 'let_go', since_ms = ?, reason = ? "
            "WHERE state = 'trading' AND symbol = ?",
            [
                (now_ms, _NO_LONGER_TOLD, one.symbol)
                for one in await read_watched(database)
                if one.symbol not in traded
            ],
        )


async def read_requests(database: Database, where: str, *parameters: object) -> tuple[StoredRequest, ...]:
    """Requests as they stand, in order."""
    names = StoredRequest.__struct_fields__
    rows = await database.fetch(
        f"SELECT {', '.join(names)} FROM requests WHERE {where} ORDER BY id", parameters
    )
    return tuple(
        struct_of(database, StoredRequest, dict(zip(names, row, strict=True)), "requests") for row in rows
    )
