"""What a restart goes on from: the account, its open orders, and how far its bars have come; reads only."""

from decimal import Decimal

from msgspec import Struct

from bot.market import Instrument, Mark
from bot.market.funding import KnownFunding
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
    STRATEGY_STATES,
    TRANSFERS,
    BooksAtStart,
)
from bot.store.account.track import read_track
from bot.store.account.watching import read_marks
from bot.store.database import Database
from bot.store.rows import read, structs
from bot.trading.account import TrackState
from bot.trading.events import RESTING, Equity, Fill, FundingPayment, Order, Position, StrategyState, Transfer
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
    strategy_states: tuple[StrategyState, ...] = ()
    opening: BooksAtStart | None = None
    """What a replay's account began with; None where it began with cash alone."""

    @property
    def worth(self) -> Decimal:
        """The equity last written, before any what the account began with."""
        return self.starting_cash if self.equity is None else self.equity.equity


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
        open_orders=await read_open_orders(database),
        positions=await read_positions(database),
        equity=await read_last_equity(database),
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
        strategy_states=await read(database, STRATEGY_STATES, "ORDER BY symbol"),
    )


async def read_risk(database: Database) -> RiskState:
    """What the risk review goes on from, the halt in force included."""
    stored = await read(database, RISK_STATE, "")
    return stored[0].state if stored else NOTHING_YET


async def load_instruments(database: Database) -> dict[str, Instrument]:
    """The trading rules last in force, by symbol."""
    return {each.symbol: each for each in await read(database, INSTRUMENTS, "ORDER BY symbol")}


async def read_open_orders(database: Database) -> tuple[Order, ...]:
    """Those that may still fill, by id."""
    marks = ", ".join("?" * len(RESTING))
    return await read(database, ORDERS, f"WHERE status IN ({marks}) ORDER BY id", RESTING)


async def read_positions(database: Database) -> tuple[Position, ...]:
    """All positions ever held, flat ones included, by symbol."""
    return await read(database, POSITIONS, "ORDER BY symbol")


async def read_last_equity(database: Database) -> Equity | None:
    """The row of equity last written; None before the first."""
    rows = await read(database, EQUITY, "ORDER BY id DESC LIMIT 1")
    return rows[0] if rows else None


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
