"""Where an account stands, and what is stored of each symbol; reads only."""

from decimal import Decimal
from functools import reduce

from msgspec import Struct

from bot.exact import EXACT, ZERO
from bot.market import INTERVAL_MS, Category, Mark
from bot.market.calendars import ALWAYS_OPEN, Calendar
from bot.performance.funnel import DecisionReport
from bot.store.account.funnel import read_decision_report
from bot.store.account.state import read_last_equity, read_open_orders, read_positions, read_risk
from bot.store.account.tables import SESSIONS, Session, StoredRequest
from bot.store.account.track import read_track
from bot.store.account.watching import read_marks, read_requests, read_watched
from bot.store.database import Database, Mode
from bot.store.lock import Holder, holder
from bot.store.rows import decimal_of, read, structs
from bot.trading.account import drawdown
from bot.trading.events import Equity, Halt, Order, Pause, Position, Side, Watched


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
            equity=await read_last_equity(database),
            drawdown=drawdown(track.value, track.peak),
            positions=await read_positions(database),
            open_orders=await read_open_orders(database),
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


async def _last_session(database: Database) -> Session | None:
    rows = await read(database, SESSIONS, "ORDER BY id DESC LIMIT 1")
    return rows[0] if rows else None


async def _transferred(database: Database) -> Decimal:
    amounts = await database.fetch("SELECT amount FROM transfers")
    return reduce(
        EXACT.add, (decimal_of(database, amount, "transfers.amount") for (amount,) in amounts), ZERO
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
