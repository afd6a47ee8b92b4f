"""The tables of an account, each with the Struct that its rows are; what is on the disk alone is defined here."""

from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from bot.exact import EXACT, ZERO
from bot.market import Bar, FundingRate, Instrument, Mark, Notice
from bot.market.funding import KnownFunding
from bot.store.columns import Table
from bot.store.database import Mode
from bot.trading.account import TrackState
from bot.trading.asked import Asked
from bot.trading.checks import Check
from bot.trading.events import (
    Action,
    Equity,
    Fill,
    FundingPayment,
    Halt,
    Order,
    Pause,
    Position,
    RoundTrip,
    Side,
    StrategyState,
    Transfer,
    Watched,
)
from bot.trading.ledger import LedgerState
from bot.trading.position import quotient
from bot.trading.risk import RiskState


class Session(Struct, frozen=True, kw_only=True):
    """One row of ``sessions``, without its configuration."""

    id: int
    started_ms: int
    ended_ms: int | None = None
    mode: Mode
    checkpoint_sha256: str | None = None
    recording: str | None = None
    exit_reason: str | None = None


class StoredSignal(Struct, frozen=True, kw_only=True):
    """One row of ``signals``; ``detail`` is what its ``detail_json`` holds."""

    id: int
    session_id: int
    symbol: str
    interval: str
    bar_start_ms: int
    action: Action
    confidence: float
    expected_return: float | None
    return_std: float | None
    positive_ratio: float | None
    regime: str | None
    horizon_bars: int | None
    reason: str
    late: bool
    decided_ms: int
    detail: dict[str, Any]
    asked: Asked | None
    no_order: str
    checks: tuple[Check, ...]


class StoredNeighbor(Struct, frozen=True, kw_only=True):
    """One row of ``neighbors``: a recalled moment. ``rank`` 1 is the most similar."""

    rank: int
    symbol: str
    bar_start_ms: int
    similarity: float
    weight: float
    forward_return: float
    regime: str


RequestKind = Literal["resume", "transfer", "close", "pause", "symbols"]


class StoredRequest(Struct, frozen=True, kw_only=True):
    """One row of ``requests``.

    ``symbols`` is the symbol that is meant, empty for all; in ``symbols`` requests with a ``+`` or ``-``
    before it. ``done_ms`` is when the core took it (the exchange's time), None before that; ``outcome`` says
    what was done then, ``error`` what was not and why.
    """

    id: int = 0
    made_ms: int
    kind: RequestKind
    amount: Decimal
    symbols: str
    note: str
    done_ms: int | None = None
    outcome: str | None = None
    error: str | None = None


class BooksAtStart(Struct, frozen=True, kw_only=True):
    """The books that a replay begins with, and the account's track."""

    ledger: LedgerState
    track: TrackState


class StoredTrack(Struct, frozen=True, kw_only=True):
    """What the account's track goes on from."""

    state: TrackState


class StoredRisk(Struct, frozen=True, kw_only=True):
    """What the risk review goes on from."""

    state: RiskState


class Trade(Struct, frozen=True, kw_only=True):
    """One row of the view ``trade_log``: a fill, why it came about, and the moments it looked like."""

    fill_id: int
    order_id: int
    signal_id: int | None
    time_ms: int
    time_utc: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    notional: Decimal
    fee: Decimal
    realized_pnl: Decimal
    rule: str
    reference_price: Decimal
    late: bool
    action: Action | None
    confidence: float | None
    expected_return: float | None
    reason: str | None
    closest_moments: str | None


def _entry_price(position: Position) -> Decimal:
    """For people alone: the exact figures are quantity and cost."""
    return position.cost / position.quantity if position.quantity else ZERO


def _trip_entry_price(trip: RoundTrip) -> Decimal:
    """A mean for people; the exact figures are notionals and quantities."""
    return EXACT.normalize(quotient(trip.entry_notional, trip.quantity))


def _trip_exit_price(trip: RoundTrip) -> Decimal | None:
    if not trip.exit_quantity:
        return None
    return EXACT.normalize(quotient(trip.exit_notional, trip.exit_quantity))


def _net(trip: RoundTrip) -> Decimal:
    return trip.net


# The session, and the row of equity right after it (0 where none was noted).
_BOOKED: dict[str, Any] = {"session_id": int, "equity_id": int}

SESSIONS = Table(
    "sessions",
    Session,
    beside={"config_json": str, "checks_json": str, "start_equity": Decimal, "start_unit_value": Decimal},
)
INSTRUMENTS = Table("instruments", Instrument, key=("symbol",))
BARS = Table("bars", Bar, key=("symbol", "interval", "start_ms"), left_out=("late",))
SIGNALS = Table(
    "signals",
    StoredSignal,
    named={"detail": "detail_json", "checks": "checks_json"},
    # The others are the strategy's own Signal's.
    given=(
        *("id", "session_id", "symbol", "interval", "bar_start_ms", "regime", "late", "decided_ms"),
        *("detail", "asked", "no_order", "checks"),
    ),
    beside={"failed_check": str | None},
)
NEIGHBORS = Table(
    "neighbors", StoredNeighbor, key=("signal_id", "rank"), given=("rank",), beside={"signal_id": int}
)
ORDERS = Table(
    "orders",
    Order,
    beside={"session_id": int},
    kept=(
        *("session_id", "signal_id", "symbol", "side", "type", "created_ms", "time_in_force", "parent_id"),
    ),
)
FILLS = Table("fills", Fill, beside=_BOOKED)
FUNDING = Table("funding", FundingPayment, key=("symbol", "time_ms"), beside=_BOOKED)
TRANSFERS = Table("transfers", Transfer, beside=_BOOKED)
POSITIONS = Table("positions", Position, key=("symbol",), derived={"entry_price": (Decimal, _entry_price)})
EQUITY = Table("equity", Equity, beside={"id": int, "session_id": int})
EVENTS = Table("events", Notice, numbered="id", beside={"session_id": int | None})
HALTS = Table(
    "halts",
    Halt,
    beside={"session_id": int, "resumed_equity_id": int | None},
    kept=("session_id", "time_ms", "rule", "reason"),
)
PAUSES = Table("pauses", Pause, beside={"session_id": int}, kept=("session_id", "symbol", "time_ms", "note"))
REQUESTS = Table("requests", StoredRequest, numbered="id")
ROUND_TRIPS = Table(
    "round_trips",
    RoundTrip,
    derived={
        "entry_price": (Decimal, _trip_entry_price),
        "exit_price": (Decimal | None, _trip_exit_price),
        "net": (Decimal, _net),
    },
    beside={"session_id": int, "closed_session_id": int | None},
    # Who began or ended a trip is said once: late funding may come in a later session.
    kept=("session_id", "closed_session_id", "symbol", "side", "signal_id", "opened_ms"),
)
FUNDING_RATES = Table("funding_rates", FundingRate, key=("symbol", "time_ms"))
KNOWN_FUNDING = Table("known_funding", KnownFunding, key=("symbol",))
MARKS = Table("marks", Mark, key=("symbol",))
WATCHED = Table("watched", Watched, key=("symbol",))
STRATEGY_STATES = Table("strategy_states", StrategyState, key=("symbol",), named={"state": "state_json"})

# Of these there is one row.
OPENING = Table(
    "opening", BooksAtStart, named={"ledger": "ledger_json", "track": "track_json"}, beside={"id": int}
)
ACCOUNT_STATE = Table("account_state", StoredTrack, named={"state": "state_json"}, beside={"id": int})
RISK_STATE = Table("risk_state", StoredRisk, named={"state": "state_json"}, beside={"id": int})

TRADE_LOG = Table("trade_log", Trade, key=("fill_id",))

TABLES: tuple[Table[Any], ...] = (
    *(SESSIONS, INSTRUMENTS, BARS, SIGNALS, NEIGHBORS, ORDERS, FILLS, FUNDING, TRANSFERS, POSITIONS, EQUITY),
    *(
        EVENTS,
        HALTS,
        PAUSES,
        REQUESTS,
        ROUND_TRIPS,
        FUNDING_RATES,
        KNOWN_FUNDING,
        MARKS,
        WATCHED,
        STRATEGY_STATES,
    ),
    *(OPENING, ACCOUNT_STATE, RISK_STATE, TRADE_LOG),
)
"""All that an account's database holds, but for ``meta`` (whose it is) and ``trials`` of earlier versions."""
