"""What an account watches, the last mark of what is held, and what a person has asked of it."""

from msgspec import Struct

from bot.market import INTERVAL_MS, Mark
from bot.store.account.tables import MARKS, REQUESTS, WATCHED, StoredRequest
from bot.store.database import Database
from bot.store.rows import decimal_of, json_of, read
from bot.trading.events import Watched, WatchState


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
    stored = {mark.symbol: mark for mark in await read(database, MARKS, "")}
    marks = []
    for symbol in held:
        if symbol in stored:
            marks.append(stored[symbol])
            continue
        closes = await database.fetch(
            "SELECT start_ms, interval, close FROM bars WHERE symbol = ? ORDER BY start_ms DESC LIMIT 1",
            (symbol,),
        )
        for start_ms, interval, close in closes:
            price = decimal_of(database, close, "bars.close")
            marks.append(Mark(symbol=symbol, price=price, time_ms=start_ms + INTERVAL_MS.get(interval, 0)))
    return tuple(marks)


async def read_watched(database: Database) -> tuple[Watched, ...]:
    """What is known of each symbol that was ever watched, by symbol."""
    return await read(database, WATCHED, "ORDER BY symbol")


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
            f"{WATCHED.insert} ON CONFLICT (symbol) DO UPDATE SET "
            "state = 'trading', reason = '', since_ms = iif(state = 'trading', since_ms, excluded.since_ms)",
            [
                WATCHED.row(Watched(symbol=symbol, state="trading", since_ms=now_ms, reason=""))
                for symbol in traded
            ],
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
    return await read(database, REQUESTS, f"WHERE {where} ORDER BY id", parameters)
