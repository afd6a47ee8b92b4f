"""Whether an account's rows agree with each other: every figure is computed anew from those before it."""

from collections.abc import AsyncIterator, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import asdict

from bot.errors import BrokenInvariant
from bot.exact import EXACT, ZERO
from bot.market import ALWAYS_OPEN, Bar, Calendar, plain, utc_text
from bot.store.account.opening import read_opening
from bot.store.account.tables import ACCOUNT_STATE, POSITIONS, ROUND_TRIPS, STRATEGY_STATES
from bot.store.account.track import Fold, FoldedRow, track_row
from bot.store.columns import Row, Table
from bot.store.database import Database
from bot.store.rows import read
from bot.trading.account import TrackState
from bot.trading.events import RoundTrip

_MAX_REPORTED = 5
"""More differences than these are counted and not reported."""


async def audit(database: Database, calendar: Calendar = ALWAYS_OPEN) -> tuple[str, ...]:
    """What does not agree in an account's rows, a line each; nothing where the books are whole.

    Compared with a fold over fills, funding, transfers and closed bars: cash, equity, unit values and sessions of
    every row of ``equity``, what each session began with, all ``round_trips`` and ``positions``, and the stored
    ``account_state``. What a strategy keeps must be readable, and left by a decision.
    ``calendar`` is the market's. Inside the caller's transaction. Raises InputError for a row that nobody has
    written.
    """
    reported: list[str] = []
    left_out = 0
    try:
        async for difference in _differences(database, calendar):
            if len(reported) < _MAX_REPORTED:
                reported.append(difference)
            else:
                left_out += 1
    except BrokenInvariant as error:
        # From here on nothing can be said to follow.
        reported.append(str(error))
    return (*reported, *([f"and {left_out} more"] if left_out else []))


async def _differences(database: Database, calendar: Calendar) -> AsyncIterator[str]:
    fold = Fold(database, calendar)
    opening = await read_opening(database)
    trips = _Trips()
    if opening is not None:
        # What a replay began with is written down as of its own session.
        trips.begin_with(opening.track.trips, await database.value("SELECT min(id) FROM sessions"))
    ends: dict[int, tuple[str, str]] = {}
    last_session = 0
    async for row in fold.rows():
        for difference in _row_differences(row, last_session):
            yield difference
        last_session = row.session_id
        ends[row.session_id] = plain(row.stored.equity), plain(row.stored.unit_value)
        trips.follow(row)
    async for difference in _session_differences(database, ends):
        yield difference
    for table, found in (
        (ROUND_TRIPS, trips.rows()),
        (POSITIONS, {one.symbol: POSITIONS.row(one) for one in fold.positions}),
    ):
        async for difference in _table_differences(database, table, found):
            yield difference
    if ends:
        for difference in await _state_differences(database, fold.state):
            yield difference
    async for difference in _strategy_state_differences(database):
        yield difference


def _row_differences(row: FoldedRow, last_session: int) -> Iterator[str]:
    stored, cause = row.stored, row.cause
    name = f"equity row {row.id} ({utc_text(stored.time_ms)} UTC)"
    time_ms = cause.close_ms if isinstance(cause, Bar) else cause.time_ms
    compared: tuple[tuple[str, object, object], ...] = (
        ("time", stored.time_ms, time_ms),
        ("cash", stored.cash, row.cash),
        ("equity", stored.equity, EXACT.add(stored.cash, stored.unrealized_pnl)),
        ("unrealized PnL", stored.unrealized_pnl, ZERO if row.flat else stored.unrealized_pnl),
        ("unit value", stored.unit_value, row.unit_value),
        ("session", row.session_id, row.cause_session_id),
    )
    for what, kept, found in compared:
        if kept != found:
            yield f"{name}: {what} is stored as {_text(kept)}, what led to it gives {_text(found)}"
    if row.session_id < last_session:
        yield f"{name} is of session {row.session_id}, but the one before it of {last_session}"


async def _session_differences(database: Database, ends: Mapping[int, tuple[str, str]]) -> AsyncIterator[str]:
    """What sessions began with is what the ones before them left; what a replay begins with, only it says."""
    opening = await read_opening(database)
    began: tuple[str | None, str] = plain(database.identity.starting_cash), "1"
    if opening is not None:
        began = None, plain(opening.track.value)
    sessions = await database.fetch("SELECT id, start_equity, start_unit_value FROM sessions ORDER BY id")
    for id, *stored in sessions:
        for what, kept, left in zip(("equity", "unit value"), stored, began, strict=True):
            if left is not None and kept != left:
                yield f"session {id} is stored to begin with {what} {kept}, the rows before it leave {left}"
        began = ends.get(id, began)
    if unknown := sorted(set(ends) - {id for id, *_ in sessions}):
        yield f"there are rows of session {unknown[0]}, which is not stored"


async def _state_differences(database: Database, folded: TrackState) -> list[str]:
    """What a restart would go on from, but for what other rows say: the last unit value, and the trips."""
    stored = await read(database, ACCOUNT_STATE, "")
    if not stored:
        return ["account_state is empty, although the account has rows"]
    found = ACCOUNT_STATE.build(track_row(folded)).state
    return [
        f"account_state: {name} is stored as {_text(kept)}, the rows give {_text(getattr(found, name))}"
        for name, kept in asdict(stored[0].state).items()
        if kept != getattr(found, name)
    ]


async def _strategy_state_differences(database: Database) -> AsyncIterator[str]:
    """What a strategy keeps is an object, left by a decision on a bar of its symbol."""
    for kept in await read(database, STRATEGY_STATES, "ORDER BY symbol"):
        name = f"strategy_states {kept.symbol}"
        try:
            msgspec.json.decode(kept.state, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            yield f"{name}: its state cannot be read: {error}"
        decided = "SELECT max(decided_ms) FROM signals WHERE symbol = ?"
        newest_ms = await database.value(decided, (kept.symbol,))
        if newest_ms is None or newest_ms < kept.updated_ms:
            time = utc_text(kept.updated_ms)
            yield f"{name} is of {time} UTC, after the last decision on the symbol"


class _Trips:
    """Round trips as the rows of equity lead to them: each with the session that began and the one that ended it."""

    def __init__(self) -> None:
        self._trips: dict[int, tuple[RoundTrip, int, int | None]] = {}

    def begin_with(self, trips: tuple[RoundTrip, ...], session_id: int) -> None:
        for trip in trips:
            if trip.closed_ms is None:
                self._trips[trip.id] = trip, session_id, None

    def follow(self, row: FoldedRow) -> None:
        for trip in row.trips:
            _, began, ended = self._trips.get(trip.id, (trip, row.session_id, None))
            closed = None if trip.closed_ms is None else row.session_id
            self._trips[trip.id] = trip, began, ended or closed

    def rows(self) -> dict[int, Row]:
        return {id: ROUND_TRIPS.row(*trip) for id, trip in self._trips.items()}


async def _table_differences(
    database: Database, table: Table[Any], found: Mapping[Any, Row]
) -> AsyncIterator[str]:
    """Stored rows against those that the account's rows lead to, by their key."""
    name, (key_name,) = table.name, table.key
    rows = await database.fetch(f"SELECT {key_name}, {', '.join(table.written)} FROM {name} ORDER BY 1")
    stored = {key: row for key, *row in rows}
    for key in sorted(stored.keys() | found.keys()):
        if key not in stored:
            yield f"{name} {key} is not stored, but its fills are"
        elif key not in found:
            yield f"{name} {key} is stored, but no fills lead to it"
        else:
            for column, kept, led in zip(table.written, stored[key], found[key], strict=True):
                if kept != led:
                    yield f"{name} {key}: {column} is stored as {kept}, the rows give {led}"


def _text(value: object) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)
