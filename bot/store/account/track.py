"""The account's track on the disk: what a restart goes on from, and the same as a fold over all rows."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from bot.errors import BrokenInvariant
from bot.exact import EXACT, ONE
from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar, plain
from bot.store.account.opening import read_opening
from bot.store.account.tables import (
    ACCOUNT_STATE,
    BARS,
    EQUITY,
    FILLS,
    FUNDING,
    ORDERS,
    ROUND_TRIPS,
    TRANSFERS,
    StoredTrack,
)
from bot.store.columns import Row, Table
from bot.store.database import Database
from bot.store.rows import decimal_of, read, stream
from bot.trading.account import AccountTrack, TrackState, began_with
from bot.trading.events import Equity, Fill, FundingPayment, Position, RoundTrip, Transfer
from bot.trading.ledger import Booked, Ledger

Cause = Fill | FundingPayment | Transfer | Bar
"""What a row of equity is due to."""


class FoldedRow(Struct, frozen=True):
    """One row of equity as it is stored, beside what all rows up to it come to.

    ``cause_session_id`` is the session that the fill, payment, transfer or closed bar says it is of. ``flat`` is
    whether nothing is held after it; ``trips`` are the round trips that changed with it.
    """

    id: int
    session_id: int
    stored: Equity
    cause: Cause
    cause_session_id: int
    cash: Decimal
    flat: bool
    unit_value: Decimal
    trips: tuple[RoundTrip, ...]


class _Caused(Struct, frozen=True):
    cause: Cause
    session_id: int
    name: str


async def read_track(database: Database) -> TrackState:
    """What the account's track goes on from. Inside the caller's transaction."""
    stored = await read(database, ACCOUNT_STATE, "")
    if not stored:
        return began_with(database.identity.starting_cash)
    state = stored[0].state
    value = await database.value("SELECT unit_value FROM equity ORDER BY id DESC LIMIT 1")
    kept = [
        trip
        for trip in await read(database, ROUND_TRIPS, "ORDER BY id")
        if trip.closed_ms is None or trip.id > _counted(state, trip.symbol)
    ]
    if value is not None:
        state = replace(state, value=decimal_of(database, value, "equity.unit_value"))
    return replace(state, trips=tuple(kept))


def track_row(state: TrackState) -> Row:
    """What the account's track goes on from, but for what other rows say: the last unit value, and the trips."""
    return ACCOUNT_STATE.row(StoredTrack(state=replace(state, value=ONE, trips=())), 1)


def trip_row(trip: RoundTrip, session_id: int) -> Row:
    """A round trip as this session leaves it; where it has ended, it was this session that ended it."""
    return ROUND_TRIPS.row(trip, session_id, None if trip.closed_ms is None else session_id)


def _counted(state: TrackState, symbol: str) -> int:
    """The number of the symbol's last trip that is only counted."""
    run = state.losing.get(symbol)
    return 0 if run is None else run.trip_id


class Fold:
    """The account's track as its rows lead to it, from the first on: iterate, then look at its attributes.

    ``calendar`` is the market's. Inside the caller's transaction. Raises BrokenInvariant where the rows
    contradict each other so that none can be said to follow.
    """

    def __init__(self, database: Database, calendar: Calendar = ALWAYS_OPEN) -> None:
        self._database = database
        self._calendar = calendar
        self.state = began_with(database.identity.starting_cash)
        """What the track has come to, its trips included."""
        self.positions: tuple[Position, ...] = ()
        """All positions ever held, as the fills leave them."""

    async def rows(self) -> AsyncIterator[FoldedRow]:
        """The rows of equity in their order."""
        database, cash = self._database, self._database.identity.starting_cash
        opening = await read_opening(database)
        ledger = Ledger(cash)
        if opening is not None:
            ledger, self.state = Ledger.from_state(opening.ledger), opening.track
        intervals = {
            id: INTERVAL_MS[interval or "1"]
            for id, interval in await database.fetch(
                """SELECT id, coalesce(json_extract(config_json, '$.run.interval'), (
                    SELECT interval FROM signals WHERE session_id = sessions.id LIMIT 1
                )) FROM sessions"""
            )
        }
        orders = {order.id: order for order in await read(database, ORDERS, "ORDER BY id")}
        resumed = {
            id
            for (id,) in await database.fetch(
                "SELECT resumed_equity_id FROM halts WHERE resumed_equity_id IS NOT NULL"
            )
        }
        track, of_session = AccountTrack(self.state, 1, self._calendar), None
        async for id, session_id, row, caused in _events(database):
            if session_id != of_session:
                # As a session takes it up: bars are as long as that one says.
                track = AccountTrack(track.snapshot(), intervals.get(session_id, 1), self._calendar)
                of_session = session_id
            cause = caused.cause
            if isinstance(cause, Fill):
                booked = ledger.post((cause,))
                (fill,) = booked.fills
                if fill.realized_pnl != cause.realized_pnl:
                    raise BrokenInvariant(
                        f"{caused.name} is stored with realized PnL {plain(cause.realized_pnl)}, its history "
                        f"gives {plain(fill.realized_pnl)}"
                    )
                cash = EXACT.add(cash, EXACT.subtract(fill.realized_pnl, fill.fee))
                booked = Booked(fills=booked.fills, positions=booked.positions, equity=(row,))
                track.book(booked, [orders[cause.order_id]] if cause.order_id in orders else [])
            elif isinstance(cause, Transfer):
                cash = EXACT.add(cash, cause.amount)
                track.move(cause.amount, row)
            elif isinstance(cause, FundingPayment):
                cash = EXACT.add(cash, cause.payment)
                track.pay(cause, row)
            else:
                track.close(cause)
                track.mark(row)
            value = track.value
            if id in resumed:
                track.restart_limits()
            yield FoldedRow(
                id=id,
                session_id=session_id,
                stored=row,
                cause=cause,
                cause_session_id=caused.session_id,
                cash=cash,
                flat=not ledger.open_positions,
                unit_value=value,
                trips=track.news()[0],
            )
        self.state, self.positions = track.snapshot(), ledger.positions


async def _events(database: Database) -> AsyncIterator[tuple[int, int, Equity, _Caused]]:
    """The rows of equity in their order, each with what led to it: where nothing else did, the next closed bar."""
    causes = await _causes(database)
    closes = _closed_bars(database)
    async for id, session_id, row in stream(database, EQUITY, ("id", "session_id"), "ORDER BY id"):
        caused = causes.pop(id, None) or await anext(closes, None)
        if caused is None:
            raise BrokenInvariant(f"equity row {id} follows no fill, payment, transfer or closed bar")
        yield id, session_id, row, caused
    left = next(iter(causes.values()), None) or await anext(closes, None)
    if left is not None:
        raise BrokenInvariant(f"{left.name} has no row in equity")


async def _causes(database: Database) -> dict[int, _Caused]:
    """Fills, payments and transfers by the row of equity that each led to."""
    kinds: tuple[tuple[Table[Any], str], ...] = (
        (FILLS, "'fill ' || id"),
        (FUNDING, "'the funding of ' || symbol || ' at ' || time_ms"),
        (TRANSFERS, "'transfer ' || id"),
    )
    causes: dict[int, _Caused] = {}
    for table, name in kinds:
        beside = ("equity_id", "session_id", name)
        async for id, session_id, named, cause in stream(database, table, beside, "ORDER BY equity_id"):
            if not id:
                raise BrokenInvariant(f"{named} has no row in equity")
            if id in causes:
                raise BrokenInvariant(f"{causes[id].name} and {named} both claim equity row {id}")
            causes[id] = _Caused(cause, session_id, named)
    return causes


async def _closed_bars(database: Database) -> AsyncIterator[_Caused]:
    """The bars decided on, in that order."""
    joined = (
        "bars.symbol = signals.symbol AND bars.interval = signals.interval AND bars.start_ms = bar_start_ms"
    )
    lost = f"SELECT min(id) FROM signals LEFT JOIN bars ON {joined} WHERE bars.symbol IS NULL"
    if (id := await database.value(lost)) is not None:
        raise BrokenInvariant(f"the bar of signal {id} is not stored")
    decisions = (
        "(SELECT id AS signal_id, session_id, late, symbol AS of_symbol, interval AS of_interval, bar_start_ms "
        "FROM signals)"
    )
    async for id, session_id, late, bar in stream(
        database,
        BARS,
        ("signal_id", "session_id", "late"),
        f"JOIN {decisions} ON symbol = of_symbol AND interval = of_interval AND start_ms = bar_start_ms "
        "ORDER BY signal_id",
    ):
        yield _Caused(replace(bar, late=bool(late)), session_id, f"the bar of signal {id}")
