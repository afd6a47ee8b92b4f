"""The account's track on the disk: what a restart goes on from, and the same as a fold over all rows."""

from collections.abc import AsyncIterator
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from bot.market import INTERVAL_MS, Bar
from bot.store.database import Database
from bot.store.rows import decimal_of, json_of, structs
from bot.trading.account import AccountTrack, TrackState, began_with
from bot.trading.events import Equity, Fill, FundingPayment, Order, RoundTrip, Transfer
from bot.trading.ledger import Booked, Ledger

Cause = Fill | FundingPayment | Transfer | Bar
"""What a row of equity is due to."""


class FoldedRow(Struct, frozen=True):
    """One row of equity: its unit value, and the round trips that changed with it."""

    id: int
    session_id: int
    unit_value: Decimal
    trips: tuple[RoundTrip, ...]


class Folded(Struct, frozen=True):
    """What an account's rows come to."""

    state: TrackState
    rows: tuple[FoldedRow, ...]

    @property
    def trips(self) -> dict[int, RoundTrip]:
        """All round trips, by number."""
        return {trip.id: trip for row in self.rows for trip in row.trips}


async def read_track(database: Database) -> TrackState:
    """What the account's track goes on from. Inside the caller's transaction."""
    text = await database.value("SELECT state_json FROM account_state")
    if text is None:
        return began_with(database.identity.starting_cash)
    state = json_of(database, text, TrackState, "account_state.state_json")
    value = await database.value("SELECT unit_value FROM equity ORDER BY id DESC LIMIT 1")
    kept = [
        trip
        for trip in await structs(database, RoundTrip, "FROM round_trips ORDER BY id")
        if trip.closed_ms is None or trip.id > _counted(state, trip.symbol)
    ]
    if value is not None:
        state = replace(state, value=decimal_of(database, value, "equity.unit_value"))
    return replace(state, trips=tuple(kept))


def _counted(state: TrackState, symbol: str) -> int:
    """The number of the symbol's last trip that is only counted."""
    run = state.losing.get(symbol)
    return 0 if run is None else run.trip_id


async def fold(database: Database) -> Folded:
    """The account's track as its rows lead to it, from the first on. Inside the caller's transaction.

    Raises BrokenInvariant where they contradict themselves.
    """
    interval = await database.value("SELECT interval FROM signals ORDER BY id DESC LIMIT 1")
    ledger = Ledger(database.identity.starting_cash)
    track = AccountTrack(began_with(database.identity.starting_cash), INTERVAL_MS[interval or "1"])
    orders = {order.id: order for order in await structs(database, Order, "FROM orders ORDER BY id")}
    resumed = {
        id
        for (id,) in await database.fetch(
            "SELECT resumed_equity_id FROM halts WHERE resumed_equity_id IS NOT NULL"
        )
    }
    rows: list[FoldedRow] = []
    async for id, session_id, row, cause in _events(database):
        if isinstance(cause, Fill):
            booked = ledger.post((cause,))
            booked = Booked(fills=booked.fills, positions=booked.positions, equity=(row,))
            track.book(booked, [orders[cause.order_id]] if cause.order_id in orders else [])
        elif isinstance(cause, Transfer):
            track.move(cause.amount, row)
        elif isinstance(cause, FundingPayment):
            track.pay(cause, row)
        else:
            track.close(cause, row)
        value = track.value
        if id in resumed:
            track.restart_limits()
        rows.append(FoldedRow(id, session_id, value, track.news()[0]))
    return Folded(track.snapshot(), tuple(rows))


async def _events(database: Database) -> AsyncIterator[tuple[int, int, Equity, Cause]]:
    """The rows of equity in their order, each with what led to it: where nothing else did, the next closed bar."""
    causes: dict[int, Cause] = {}
    kinds: dict[str, type[Cause]] = {"fills": Fill, "funding": FundingPayment, "transfers": Transfer}
    for table, kind in kinds.items():
        order = f"FROM {table} WHERE equity_id > 0 ORDER BY equity_id"
        ids = await database.fetch(f"SELECT equity_id {order}")
        found: tuple[Cause, ...] = await structs(database, kind, order)
        causes.update((id, cause) for (id,), cause in zip(ids, found, strict=True))
    closes = iter(await _closed_bars(database))
    ids = await database.fetch("SELECT id, session_id FROM equity ORDER BY id")
    rows = await structs(database, Equity, "FROM equity ORDER BY id")
    for (id, session_id), row in zip(ids, rows, strict=True):
        yield id, session_id, row, causes.get(id) or next(closes)


async def _closed_bars(database: Database) -> tuple[Bar, ...]:
    """The bars decided on, in that order."""
    return await structs(
        database,
        Bar,
        "FROM (SELECT signals.id, bars.*, late FROM signals JOIN bars ON bars.symbol = signals.symbol "
        "AND bars.interval = signals.interval AND bars.start_ms = bar_start_ms) ORDER BY id",
    )
