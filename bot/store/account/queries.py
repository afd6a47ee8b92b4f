"""What people ask of a database, and what a restart needs from it; reads only."""

from collections.abc import AsyncIterator
from decimal import Decimal
from functools import reduce

import msgspec
from msgspec import Struct

from bot.errors import InputError
from bot.exact import EXACT, ZERO
from bot.market import INTERVAL_MS, Category, Instrument, Mark
from bot.market.calendars import ALWAYS_OPEN, Calendar
from bot.market.funding import KnownFunding
from bot.performance.funnel import DecisionReport
from bot.store.account.funnel import read_decision_report
from bot.store.account.opening import read_opening
from bot.store.account.tables import (
    EQUITY,
    FILLS,
    FUNDING,
    INSTRUMENTS,
    KNOWN_FUNDING,
    ORDERS,
    POSITIONS,
    RISK_STATE,
    SESSIONS,
    TRADE_LOG,
    TRANSFERS,
    BooksAtStart,
    Session,
    StoredRequest,
    Trade,
)
from bot.store.account.track import read_track
from bot.store.account.watching import read_marks, read_requests, read_watched
from bot.store.database import Database, Mode
from bot.store.lock import Holder, holder
from bot.store.rows import decimal_of, json_of, read, structs
from bot.trading.account import TrackState, drawdown
from bot.trading.events import (
    RESTING,
    Equity,
    Fill,
    FundingPayment,
    Halt,
    Order,
    Pause,
    Position,
    Side,
    Transfer,
    Watched,
)
from bot.trading.fills import BrokerConfig
from bot.trading.reliability import Claim, likelier
from bot.trading.risk import NOTHING_YET, RiskState


class Progress(Struct, frozen=True, kw_only=True):
    """How far one symbol and interval has come: starts of its last stored and last decided bar."""

    symbol: str
    interval: str
    last_start_ms: int
    last_decided_ms: int | None

    @property
    def decided(self) -> bool:
        """Whether the last stored bar has been decided on."""
        return self.last_start_ms == self.last_decided_ms


class AccountState(Struct, frozen=True, kw_only=True):
    """All that a session resumes from. Fills and transfers ascend by id, funding in the order of booking.

    ``positions`` are as stored, flat ones included; ``equity`` is the last row written.
    """

    starting_cash: Decimal
    fills: tuple[Fill, ...]
    funding: tuple[FundingPayment, ...]
    transfers: tuple[Transfer, ...]
    open_orders: tuple[Order, ...]
    positions: tuple[Position, ...]
    equity: Equity | None
    progress: tuple[Progress, ...]
    marks: tuple[Mark, ...] = ()
    next_signal_id: int
    next_order_id: int
    next_fill_id: int
    next_transfer_id: int
    track: TrackState
    risk: RiskState = NOTHING_YET
    known_funding: tuple[KnownFunding, ...] = ()
    opening: BooksAtStart | None = None
    """What a replay's account began with; None where it began with cash alone."""

    @property
    def worth(self) -> Decimal:
        """The equity last written, before any what the account began with."""
        return self.starting_cash if self.equity is None else self.equity.equity


class FeedQuality(Struct, frozen=True, kw_only=True):
    """What is stored of one symbol and interval. ``missing`` counts the holes between first and last."""

    symbol: str
    interval: str
    bars: int
    first_start_ms: int
    last_start_ms: int
    missing: int
    by_source: dict[str, int]
    decided: int
    late: int


class StoredRejection(Struct, frozen=True, kw_only=True):
    """A rejected order: ``rule`` is the risk or exchange rule that stopped it."""

    order_id: int
    signal_id: int
    time_ms: int
    symbol: str
    side: Side
    quantity: Decimal
    rule: str
    reason: str


class Status(Struct, frozen=True, kw_only=True):
    """Where a database stands. Actions, rejections and events are counted over its last session.

    ``transferred`` is what was deposited since the start, less what was withdrawn; ``drawdown`` how far a unit's
    value lies below its highest, as a fraction.

    ``marks`` are what open positions are valued at. ``requests`` are a person's that were not carried out yet,
    and the last few. ``halt`` and ``pauses`` are those in force, ``resume_asked`` whether a person
    has asked for their end since.
    ``rejections`` counts rejected orders by rule, ``last_rejections`` are the newest, of each rule one first.
    """

    database: str
    mode: Mode
    category: Category
    starting_cash: Decimal
    transferred: Decimal
    running: Holder | None
    session: Session | None
    equity: Equity | None
    drawdown: Decimal
    positions: tuple[Position, ...]
    open_orders: tuple[Order, ...]
    actions: dict[str, int]
    events: dict[str, int]
    rejections: dict[str, int]
    last_rejections: tuple[StoredRejection, ...]
    halt: Halt | None
    resume_asked: bool
    pauses: tuple[Pause, ...]
    marks: tuple[Mark, ...]
    watched: tuple[Watched, ...]
    requests: tuple[StoredRequest, ...]
    feeds: tuple[FeedQuality, ...]
    decisions: DecisionReport


class RunSettings(Struct, frozen=True, kw_only=True):
    """``[run]`` of a session's configuration, as far as reports need it."""

    symbols: tuple[str, ...]
    interval: str


class SessionSettings(Struct, frozen=True, kw_only=True):
    """What a session ran with, as far as reports need it."""

    run: RunSettings
    broker: BrokerConfig


class Stretch(Struct, frozen=True, kw_only=True):
    """One session's part of the account's life, or all of it.

    ``opening`` is what the account was worth before: the last row of the sessions before, or the
    starting cash at the start of the first bar. ``last_ms`` is the latest time of the stretch's rows;
    its fills and bars lie between the two. ``settings`` are the last session's.
    """

    sessions: tuple[Session, ...]
    settings: SessionSettings
    opening: Equity
    last_ms: int


async def load_account(database: Database) -> AccountState:
    """The account and how far its bars have come, as of one commit."""
    async with database.transaction():
        return await read_account(database)


async def read_account(database: Database) -> AccountState:
    """As :func:`load_account`, inside the caller's transaction."""
    return AccountState(
        starting_cash=database.identity.starting_cash,
        fills=await read(database, FILLS, "ORDER BY id"),
        funding=await read(database, FUNDING, "ORDER BY equity_id"),
        transfers=await read(database, TRANSFERS, "ORDER BY id"),
        open_orders=await _open_orders(database),
        positions=await _positions(database),
        equity=await _last_equity(database),
        progress=await _progress(database),
        marks=await read_marks(database),
        next_signal_id=await _next_id(database, "signals"),
        next_order_id=await _next_id(database, "orders"),
        next_fill_id=await _next_id(database, "fills"),
        next_transfer_id=await _next_id(database, "transfers"),
        track=await read_track(database),
        opening=await read_opening(database),
        risk=await read_risk(database),
        known_funding=await read(database, KNOWN_FUNDING, "ORDER BY symbol"),
    )


async def read_risk(database: Database) -> RiskState:
    """What the risk review goes on from, the halt in force included."""
    stored = await read(database, RISK_STATE, "")
    return stored[0].state if stored else NOTHING_YET


async def load_instruments(database: Database) -> dict[str, Instrument]:
    """The trading rules last in force, by symbol."""
    return {each.symbol: each for each in await read(database, INSTRUMENTS, "ORDER BY symbol")}


async def load_trades(database: Database, *, limit: int | None = None) -> tuple[Trade, ...]:
    """The trade log, oldest first; ``limit`` keeps the newest so many."""
    newest = "ORDER BY fill_id DESC LIMIT ?"
    return (await read(database, TRADE_LOG, newest, (-1 if limit is None else limit,)))[::-1]


async def load_status(database: Database, calendar: Calendar = ALWAYS_OPEN) -> Status:
    """Where the database stands, as of one commit; ``calendar`` says which bars there should be."""
    async with database.transaction():
        session = await _last_session(database)
        session_id = (0 if session is None else session.id,)
        risk = await read_risk(database)
        track = await read_track(database)
        return Status(
            database=str(database.path),
            mode=database.identity.mode,
            category=database.identity.category,
            starting_cash=database.identity.starting_cash,
            transferred=await _transferred(database),
            running=holder(database.path),
            session=session,
            equity=await _last_equity(database),
            drawdown=drawdown(track.value, track.peak),
            positions=await _positions(database),
            open_orders=await _open_orders(database),
            actions=dict(
                await database.fetch(
                    "SELECT action, count(*) FROM signals WHERE session_id = ? GROUP BY action", session_id
                )
            ),
            events=dict(
                await database.fetch(
                    "SELECT kind, count(*) FROM events WHERE session_id = ? GROUP BY kind", session_id
                )
            ),
            rejections=dict(
                await database.fetch(
                    "SELECT substr(reason, 1, instr(reason, ':') - 1) AS rule, count(*) FROM orders "
                    "WHERE session_id = ? AND status = 'rejected' GROUP BY rule ORDER BY rule",
                    session_id,
                )
            ),
            last_rejections=await _last_rejections(database, session_id[0]),
            halt=risk.halt,
            resume_asked=bool(await read_requests(database, "kind = 'resume' AND done_ms IS NULL")),
            pauses=risk.pauses,
            marks=await read_marks(database),
            watched=await read_watched(database),
            requests=await read_requests(
                database, "done_ms IS NULL OR id > (SELECT max(id) - 3 FROM requests)"
            ),
            feeds=await _feeds(database, calendar),
            decisions=await read_decision_report(database, session_id[0]),
        )


async def load_stretch(database: Database, session_id: int | None, *, whole: bool = False) -> Stretch:
    """The stretch of one session, by default the last that has any equity, or of the ``whole`` account.

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
    return Stretch(
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
    step = INTERVAL_MS[run.interval]
    marks = ", ".join("?" * len(run.symbols))
    async for start_ms, symbol, close in database.stream(
        f"SELECT start_ms, symbol, CAST(close AS REAL) FROM bars WHERE interval = ? AND symbol IN ({marks}) "
        "AND start_ms > ? AND start_ms <= ? ORDER BY start_ms, symbol",
        (run.interval, *run.symbols, after_ms - step, until_ms - step),
    ):
        yield start_ms + step, symbol, close


async def stream_claims(
    database: Database, run: RunSettings, after_ms: int, until_ms: int, *, acted_on: bool
) -> AsyncIterator[Claim]:
    """The directions called at closes in (after_ms, until_ms] whose horizon's close is stored, by time.

    A long calls a rise and a short a fall; with ``acted_on`` these are all. Otherwise a hold counts
    too: it leans to the side that its moments end on more often than the memory as a whole does, and calls
    the side that is likelier by it.
    """
    step = INTERVAL_MS[run.interval]
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
        (step, run.interval, after_ms - step, until_ms - step, *run.symbols),
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


async def read_settings(database: Database, session_id: int) -> SessionSettings:
    """What a session ran with."""
    text = await database.value("SELECT config_json FROM sessions WHERE id = ?", (session_id,))
    return json_of(database, text, SessionSettings, "sessions.config_json")


async def _opening(database: Database, first_id: int, step_ms: int) -> Equity:
    """What the account was worth before this row of equity."""
    before = await read(database, EQUITY, "WHERE id < ? ORDER BY id DESC LIMIT 1", (first_id,))
    if before:
        # What became known late may carry an earlier time than what was written before it.
        latest = await database.value("SELECT max(time_ms) FROM equity WHERE id < ?", (first_id,))
        return msgspec.structs.replace(before[0], time_ms=latest)
    first_ms, worth, value = (
        await database.fetch(
            "SELECT time_ms, start_equity, start_unit_value FROM equity JOIN sessions "
            "ON sessions.id = session_id WHERE equity.id = ?",
            (first_id,),
        )
    )[0]
    start = decimal_of(database, worth, "sessions.start_equity")
    return Equity(
        time_ms=first_ms - step_ms,
        cash=start,
        unrealized_pnl=Decimal(0),
        equity=start,
        unit_value=decimal_of(database, value, "sessions.start_unit_value"),
    )


async def _open_orders(database: Database) -> tuple[Order, ...]:
    marks = ", ".join("?" * len(RESTING))
    return await read(database, ORDERS, f"WHERE status IN ({marks}) ORDER BY id", RESTING)


async def _last_rejections(database: Database, session_id: int) -> tuple[StoredRejection, ...]:
    """The newest three: of each rule one first, so that none is hidden behind another's thousands.

    The rule stands before the colon of their reason.
    """
    return await structs(
        database,
        StoredRejection,
        "FROM (SELECT *, row_number() OVER (PARTITION BY rule ORDER BY order_id DESC) AS place FROM ("
        "SELECT id AS order_id, signal_id, updated_ms AS time_ms, symbol, side, quantity, "
        "substr(reason, 1, instr(reason, ':') - 1) AS rule, substr(reason, instr(reason, ':') + 2) AS reason "
        "FROM orders WHERE status = 'rejected' AND session_id = ?)) ORDER BY place, order_id DESC LIMIT 3",
        (session_id,),
    )


async def _positions(database: Database) -> tuple[Position, ...]:
    return await read(database, POSITIONS, "ORDER BY symbol")


async def _last_equity(database: Database) -> Equity | None:
    rows = await read(database, EQUITY, "ORDER BY id DESC LIMIT 1")
    return rows[0] if rows else None


async def _last_session(database: Database) -> Session | None:
    rows = await read(database, SESSIONS, "ORDER BY id DESC LIMIT 1")
    return rows[0] if rows else None


async def _transferred(database: Database) -> Decimal:
    amounts = await database.fetch("SELECT amount FROM transfers")
    return reduce(
        EXACT.add, (decimal_of(database, amount, "transfers.amount") for (amount,) in amounts), ZERO
    )


async def _next_id(database: Database, table: str) -> int:
    found: int = await database.value(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")
    return found


async def _progress(database: Database) -> tuple[Progress, ...]:
    return await structs(
        database,
        Progress,
        """FROM (
            SELECT symbol, interval, max(start_ms) AS last_start_ms, (
                SELECT max(bar_start_ms) FROM signals
                WHERE signals.symbol = bars.symbol AND signals.interval = bars.interval
            ) AS last_decided_ms
            FROM bars GROUP BY symbol, interval
        ) ORDER BY symbol, interval""",
    )


async def _feeds(database: Database, calendar: Calendar) -> tuple[FeedQuality, ...]:
    sources: dict[tuple[str, str], dict[str, int]] = {}
    for symbol, interval, source, bars in await database.fetch(
        "SELECT symbol, interval, source, count(*) FROM bars GROUP BY symbol, interval, source"
    ):
        sources.setdefault((symbol, interval), {})[source] = bars
    decided = {
        (symbol, interval): (rows, late)
        for symbol, interval, rows, late in await database.fetch(
            "SELECT symbol, interval, count(*), sum(late) FROM signals GROUP BY symbol, interval"
        )
    }
    feeds = []
    for (symbol, interval), by_source in sources.items():
        first, last = (
            await database.fetch(
                "SELECT min(start_ms), max(start_ms) FROM bars WHERE symbol = ? AND interval = ?",
                (symbol, interval),
            )
        )[0]
        bars = sum(by_source.values())
        rows, late = decided.get((symbol, interval), (0, 0))
        feeds.append(
            FeedQuality(
                symbol=symbol,
                interval=interval,
                bars=bars,
                first_start_ms=first,
                last_start_ms=last,
                missing=calendar.bars_between(first, last, INTERVAL_MS[interval]) + 1 - bars,
                by_source=by_source,
                decided=rows,
                late=late,
            )
        )
    return tuple(feeds)
