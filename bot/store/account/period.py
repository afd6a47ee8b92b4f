"""One period of the account, a session or all of it: its rows, and figures of them; reads only."""

from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.errors import InputError
from bot.market import INTERVAL_MS
from bot.performance.calibration_report import Claim
from bot.store.account.sessions import RunSettings, SessionSettings, read_settings
from bot.store.account.tables import EQUITY, FILLS, FUNDING, ROUND_TRIPS, SESSIONS, Session
from bot.store.database import Database
from bot.store.rows import decimal_of, read
from bot.trading.brier_guard import likelier
from bot.trading.events import Equity, RoundTrip
from bot.trading.performance import EquityCurve, Performance, performance_of


class Period(Struct, frozen=True, kw_only=True):
    """One session's part of the account's life, or all of it.

    ``opening`` is the account's equity before: the last row of the sessions before, or the
    starting cash at the start of the first bar. ``last_ms`` is the latest time of the period's rows;
    its fills and bars lie between the two. ``settings`` are the last session's.
    """

    sessions: tuple[Session, ...]
    settings: SessionSettings
    opening: Equity
    last_ms: int


async def load_period(database: Database, session_id: int | None, *, whole: bool = False) -> Period:
    """The period of one session, by default the last that has any equity, or of the ``whole`` account.

    Raises InputError where there is no such session, or nothing has happened in it.
    """
    sessions = await read(database, SESSIONS, "ORDER BY id")
    if not whole and session_id is None:
        session_id = await database.value("SELECT session_id FROM equity ORDER BY id DESC LIMIT 1")
    elif session_id is not None and session_id not in {session.id for session in sessions}:
        last = f"the last is {sessions[-1].id}" if sessions else "it holds none yet"
        raise InputError(f"--session: {database.path} holds no session {session_id}; {last}")
    # Ids of equity and of sessions ascend together.
    first_id, last_id, last_ms = (
        await database.fetch(
            "SELECT min(id), max(id), max(time_ms) FROM equity WHERE ?1 IS NULL OR session_id = ?1",
            (session_id,),
        )
    )[0]
    if first_id is None:
        which = f"session {session_id} of {database.path}" if session_id else str(database.path)
        raise InputError(f"{which} has no closed bar to report on yet; let the bot run until a bar closes")
    covered = tuple(session for session in sessions if session_id in (None, session.id))
    last_session = await database.value("SELECT session_id FROM equity WHERE id = ?", (last_id,))
    settings = await read_settings(database, last_session)
    return Period(
        sessions=covered,
        settings=settings,
        opening=await _opening(database, first_id, INTERVAL_MS[settings.run.interval]),
        last_ms=last_ms,
    )


async def stream_equity(
    database: Database, session_id: int | None
) -> AsyncIterator[tuple[int, float, float]]:
    """Time, equity and unit value of one session's rows, or of all, in the order in which they were written."""
    async for time_ms, equity, value in database.stream(
        "SELECT time_ms, CAST(equity AS REAL), CAST(unit_value AS REAL) FROM equity "
        "WHERE ?1 IS NULL OR session_id = ?1 ORDER BY id",
        (session_id,),
    ):
        yield time_ms, equity, value


async def stream_closes(
    database: Database, run: RunSettings, after_ms: int, until_ms: int
) -> AsyncIterator[tuple[int, str, float]]:
    """Close time, symbol and close of the bars that closed in (after_ms, until_ms], by close and symbol."""
    interval_ms = INTERVAL_MS[run.interval]
    marks = ", ".join("?" * len(run.symbols))
    async for start_ms, symbol, close in database.stream(
        f"SELECT start_ms, symbol, CAST(close AS REAL) FROM bars WHERE interval = ? AND symbol IN ({marks}) "
        "AND start_ms > ? AND start_ms <= ? ORDER BY start_ms, symbol",
        (run.interval, *run.symbols, after_ms - interval_ms, until_ms - interval_ms),
    ):
        yield start_ms + interval_ms, symbol, close


async def stream_claims(
    database: Database, run: RunSettings, after_ms: int, until_ms: int, *, acted_on: bool
) -> AsyncIterator[Claim]:
    """The directions called at closes in (after_ms, until_ms] whose horizon's close is stored, by time.

    A long calls a rise and a short a fall; with ``acted_on`` these are all. Otherwise a hold counts
    too: it leans to the side that its moments end on more often than the memory as a whole does, and calls
    the side that is likelier by it.
    """
    interval_ms = INTERVAL_MS[run.interval]
    marks = ", ".join("?" * len(run.symbols))
    actions = (
        "action IN ('long', 'short')" if acted_on else "(action <> 'hold' OR positive_ratio IS NOT NULL)"
    )
    async for symbol, start_ms, end_ms, action, confidence, rises, rose, fell in database.stream(
        f"""SELECT signals.symbol, bar_start_ms + ?1, after.start_ms + ?1, action, confidence,
            CASE action WHEN 'long' THEN 1 WHEN 'short' THEN 0 ELSE positive_ratio >
                coalesce(json_extract(detail_json, '$.recollection.forecast.base_ratio'), 0.5) END,
            CAST(after.close AS REAL) > CAST(before.close AS REAL),
            CAST(after.close AS REAL) < CAST(before.close AS REAL)
        FROM signals
        JOIN bars AS before ON before.symbol = signals.symbol AND before.interval = signals.interval
            AND before.start_ms = bar_start_ms
        JOIN bars AS after ON after.symbol = signals.symbol AND after.interval = signals.interval
            AND after.start_ms = bar_start_ms + horizon_bars * ?1
        WHERE signals.interval = ?2 AND bar_start_ms > ?3 AND bar_start_ms <= ?4
            AND signals.symbol IN ({marks}) AND horizon_bars IS NOT NULL AND confidence > 0 AND {actions}
        ORDER BY bar_start_ms, signals.symbol""",
        (interval_ms, run.interval, after_ms - interval_ms, until_ms - interval_ms, *run.symbols),
    ):
        if action == "hold":
            rises, confidence = likelier(bool(rises), confidence)
        yield Claim(
            symbol=symbol,
            start_ms=start_ms,
            end_ms=end_ms,
            confidence=confidence,
            right=bool(rose if rises else fell),
        )


async def _opening(database: Database, first_id: int, interval_ms: int) -> Equity:
    """The account before this row of equity."""
    before = await read(database, EQUITY, "WHERE id < ? ORDER BY id DESC LIMIT 1", (first_id,))
    if before:
        # What became known late may carry an earlier time than what was written before it.
        latest = await database.value("SELECT max(time_ms) FROM equity WHERE id < ?", (first_id,))
        return msgspec.structs.replace(before[0], time_ms=latest)
    first_ms, equity, value = (
        await database.fetch(
            "SELECT time_ms, start_equity, start_unit_value FROM equity JOIN sessions "
            "ON sessions.id = session_id WHERE equity.id = ?",
            (first_id,),
        )
    )[0]
    start = decimal_of(database, equity, "sessions.start_equity")
    return Equity(
        time_ms=first_ms - interval_ms,
        cash=start,
        unrealized_pnl=Decimal(0),
        equity=start,
        unit_value=decimal_of(database, value, "sessions.start_unit_value"),
    )


async def period_performance(database: Database, curve: EquityCurve, session_id: int | None) -> Performance:
    """The performance over a curve of one session's equity, or of all. Inside the caller's transaction."""
    of_session = "WHERE ?1 IS NULL OR session_id = ?1"
    moved = await database.fetch(f"SELECT amount FROM transfers {of_session}", (session_id,))
    return performance_of(
        curve,
        await read(database, FILLS, f"{of_session} ORDER BY id", (session_id,)),
        await read(database, FUNDING, of_session, (session_id,)),
        await _trips(database, session_id),
        float(sum(decimal_of(database, amount, "transfers.amount") for (amount,) in moved)),
    )


async def _trips(database: Database, session_id: int | None) -> tuple[RoundTrip, ...]:
    """The round trips that ended in the session, and those that were open at its end."""
    if session_id is None:
        return await read(database, ROUND_TRIPS, "ORDER BY id")
    ended = await read(database, ROUND_TRIPS, "WHERE closed_session_id = ?", (session_id,))
    later = await read(
        database,
        ROUND_TRIPS,
        "WHERE session_id <= ?1 AND coalesce(closed_session_id > ?1, 1)",
        (session_id,),
    )
    return (*ended, *(replace(trip, closed_ms=None) for trip in later))
