"""Steps, written whole or not at all; and the sessions and instruments that they belong to."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import chain, islice, repeat
from typing import Any

import msgspec

from bot.errors import BrokenInvariant, DatabaseLocked
from bot.market import Bar, Instrument, Mark, plain
from bot.model.similarity import Recollection
from bot.store.account_rows import (
    ACCOUNT_STATE,
    EQUITY,
    FILL,
    FUNDING,
    MARK,
    POSITION,
    ROUND_TRIP,
    TRANSFER,
    account_state_row,
    equity_row,
    fill_row,
    funding_row,
    mark_row,
    position_row,
    round_trip_row,
    transfer_row,
)
from bot.store.bars import BarRow, BarsDigest, Inserted, bar_row, insert_bar_rows
from bot.store.database import Database, Mode
from bot.store.hand_rows import HandRows
from bot.store.order_rows import INSTRUMENT, ORDER, instrument_row, order_row
from bot.store.signal_rows import INSERT_NEIGHBOR, INSERT_SIGNAL, SignalRows, neighbor_rows
from bot.trading.account import TrackState
from bot.trading.events import Equity, RoundTrip, Step
from bot.trading.risk import RiskState

_Row = tuple[Any, ...]

_HISTORY_BATCH = 5_000

_SESSION = """
INSERT INTO sessions (
    id, started_ms, mode, config_json, checkpoint_sha256, recording, checks_json, start_equity, start_unit_value
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_EVENT = "INSERT INTO events (session_id, time_ms, kind, symbol, detail) VALUES (?, ?, ?, ?, ?)"
_HALT = """
INSERT INTO halts VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET resumed_ms = excluded.resumed_ms, note = excluded.note,
    resumed_equity_id = excluded.resumed_equity_id
"""
_LOCKED = "another program kept the database locked; what was decided meanwhile was written after it"
_KNOWN_FUNDING = "INSERT OR REPLACE INTO known_funding VALUES (?, ?, ?, ?, ?)"
_RISK_STATE = "INSERT OR REPLACE INTO risk_state VALUES (1, ?)"


_encode = msgspec.json.Encoder(decimal_format="string").encode


async def begin_session(
    database: Database,
    mode: Mode,
    config_json: str,
    started_ms: int,
    *,
    checkpoint_sha256: str | None = None,
    recording: str | None = None,
    session_id: int | None = None,
    checks: Mapping[str, str] = {},
    start: Equity | None = None,
) -> int:
    """Write down that a session begins; its id, one more than the last one's where none is given.

    ``checks`` are those that its strategy declares, name to label, in order; ``start`` is what the account is
    worth, by default what it began with.
    """
    worth = (
        ("1", database.identity.starting_cash) if start is None else (plain(start.unit_value), start.equity)
    )
    async with database.transaction():
        if session_id is None:
            session_id = await database.value("SELECT coalesce(max(id), 0) + 1 FROM sessions")
            assert session_id is not None
        row = (session_id, started_ms, mode, config_json, checkpoint_sha256, recording)
        await database.write(_SESSION, [(*row, _encode(checks).decode(), plain(worth[1]), worth[0])])
    return session_id


async def name_recording(database: Database, session_id: int, path: str) -> None:
    """Write down where a session is being recorded."""
    async with database.transaction():
        await database.write("UPDATE sessions SET recording = ? WHERE id = ?", [(path, session_id)])


async def end_session(database: Database, session_id: int, ended_ms: int, reason: str) -> None:
    """Write down when and why a session ended. A session without an end was killed."""
    async with database.transaction():
        await database.write(
            "UPDATE sessions SET ended_ms = ?, exit_reason = ? WHERE id = ?", [(ended_ms, reason, session_id)]
        )


async def save_instruments(database: Database, instruments: Iterable[Instrument]) -> None:
    """Keep the trading rules in force, in place of earlier ones of the same symbols."""
    async with database.transaction():
        await database.write(INSTRUMENT, [instrument_row(instrument) for instrument in instruments])


class StepWriter:
    """Writes one session's Steps in their order.

    With ``batch_bars`` 1 each Step is a transaction of its own, committed when :meth:`append` returns, unless
    another program keeps the database locked: then Steps are gathered, and committed together as soon as it is
    free. With more, whole Steps are gathered and committed together in any case. What is gathered when the
    process dies is lost as a whole, so call :meth:`flush` at the end. After an error nothing gathered is kept,
    and the session must not go on. ``before_commit`` is awaited before anything is committed: a recording
    leads, the database follows. ``digest`` is told of all bars that were written.
    """

    def __init__(
        self,
        database: Database,
        session_id: int,
        *,
        batch_bars: int = 1,
        before_commit: Callable[[], Awaitable[None]] | None = None,
        digest: BarsDigest | None = None,
    ) -> None:
        self._database = database
        self._digest = digest
        self._before_commit = before_commit
        self._session_id = session_id
        self._batch = batch_bars
        self._gathered = 0
        self._newest_ms = 0
        self._late: asyncio.Task[None] | None = None
        self._bars: list[BarRow] = []
        self._signal_rows = SignalRows(session_id)
        # In the order in which the tables are written.
        self._signals: list[_Row] = []
        self._neighbors: list[_Row] = []
        self._orders: list[_Row] = []
        self._fills: list[_Row] = []
        self._funding: list[_Row] = []
        self._transfers: list[_Row] = []
        self._positions: list[_Row] = []
        self._equity: list[_Row] = []
        self._events: list[_Row] = []
        self._halts: list[_Row] = []
        self._known_funding: list[_Row] = []
        self._rules: list[_Row] = []
        # As they stand at the end of a batch.
        self._trips: dict[int, RoundTrip] = {}
        self._marks: dict[str, Mark] = {}
        self._account: TrackState | None = None
        self._next_equity_id = 0
        self._risk: RiskState | None = None
        self._hands = HandRows(session_id)
        self._tables = (
            (INSERT_SIGNAL, self._signals),
            (INSERT_NEIGHBOR, self._neighbors),
            (ORDER, self._orders),
            (FILL, self._fills),
            (FUNDING, self._funding),
            (TRANSFER, self._transfers),
            (POSITION, self._positions),
            (EQUITY, self._equity),
            (_EVENT, self._events),
            (_HALT, self._halts),
            (_KNOWN_FUNDING, self._known_funding),
            (INSTRUMENT, self._rules),
            *self._hands.tables,
        )

    async def append(self, step: Step) -> bool:
        """Write a Step whole or not at all; whether it is written, with all before it, or waits in its batch.

        False while another program keeps the database locked. Raises StoreError where the disk fails or the lock
        is kept for longer than the database is waited for, BrokenInvariant where the Step repeats something that
        may exist once (a bar's signal, a fill, a funding payment).
        """
        if not step.is_empty or step.known_funding is not None:
            if not self._next_equity_id:
                newest = await self._database.value("SELECT max(id) FROM equity")
                self._next_equity_id = (newest or 0) + 1
            self._gather(step)
            self._gathered += 1
        if self._late is not None:
            if not self._late.done():
                return False
            await self._no_longer_late()
        if self._gathered >= self._batch:
            await self._commit_or_go_on()
        return self._late is None

    async def flush(self) -> None:
        """Commit what has been gathered, once the database is free."""
        await self._no_longer_late()
        await self._commit()

    def give_up(self) -> None:
        """Wait for the database no longer: what is gathered is lost."""
        if self._late is not None:
            self._late.cancel()

    async def _commit_or_go_on(self) -> None:
        """Commit or, where another program keeps the database locked, leave that to a task of its own."""
        if self._batch > 1:
            await self._commit()
            return
        try:
            if self._database.waits_for_lock:
                raise DatabaseLocked("somebody else waits for it already")
            await self._commit(patient=False)
        except DatabaseLocked:
            self._late = asyncio.create_task(self._commit())

    async def _no_longer_late(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            # Whoever is stopped here leaves it waiting no longer; what it failed with is raised here.
            await late
            self._events.append((self._session_id, self._newest_ms, "database_locked", None, _LOCKED))
            self._gathered += 1

    async def _commit(self, *, patient: bool = True) -> None:
        if not self._gathered:
            return
        try:
            if self._before_commit is not None:
                await self._before_commit()
            async with self._database.transaction(patient=patient):
                # Taken out at once: while this is written, more may be gathered.
                bars, tables = self._take()
                if self._before_commit is not None:
                    await self._before_commit()
                if bars:
                    await insert_bar_rows(self._database, bars, self._session_id)
                for statement, rows in tables:
                    await self._database.write(statement, rows)
            if self._digest is not None:
                self._digest.add(bars)
        except DatabaseLocked:
            raise
        except BaseException:
            self._take()
            raise

    def _take(self) -> tuple[list[BarRow], list[tuple[str, list[_Row]]]]:
        """What has been gathered: bars, and statements with their rows. Nothing is gathered any more after it."""
        bars = self._bars.copy()
        tables = [(statement, rows.copy()) for statement, rows in self._tables if rows]
        if self._trips:
            trips = [round_trip_row(trip, self._session_id) for trip in self._trips.values()]
            tables.append((ROUND_TRIP, trips))
        if self._marks:
            tables.append((MARK, [mark_row(mark) for mark in self._marks.values()]))
        if self._account is not None:
            tables.append((ACCOUNT_STATE, [account_state_row(self._account)]))
        if self._risk is not None:
            tables.append((_RISK_STATE, [(_encode(self._risk).decode(),)]))
        self._gathered = 0
        self._risk = self._account = None
        self._trips.clear()
        self._marks.clear()
        self._bars.clear()
        for _, rows in self._tables:
            rows.clear()
        return bars, tables

    async def insert_history(self, bars: Iterable[Bar]) -> Inserted:
        """Store bars that are not decided on, a few thousand a transaction, and say what became of them."""
        rest = iter(bars)
        added = known = differing = 0
        while rows := [bar_row(bar) for bar in islice(rest, _HISTORY_BATCH)]:
            async with self._database.transaction():
                done = await insert_bar_rows(self._database, rows, self._session_id)
            if self._digest is not None:
                self._digest.add(rows)
            added, known, differing = added + done.added, known + done.known, differing + done.differing
        return Inserted(added=added, known=known, differing=differing)

    def _gather(self, step: Step) -> None:
        session_id, bar, signal = self._session_id, step.bar, step.signal
        self._newest_ms = step.time_ms
        if signal is not None:
            if bar is None or step.signal_id is None:
                raise BrokenInvariant("a signal came without its bar or its number; nothing was written")
            recollection: Recollection | None = step.recollection
            self._signals.append(self._signal_rows.row(step.signal_id, bar, signal, step))
            if recollection is not None:
                self._neighbors.extend(neighbor_rows(step.signal_id, recollection))
        if bar is not None:
            self._bars.append(bar_row(bar))
        first_equity_id = self._next_equity_id
        for row in step.equity:
            self._equity.append(equity_row(row, session_id, self._next_equity_id))
            self._next_equity_id += 1
        if step.orders:
            self._orders.extend(order_row(order, session_id) for order in step.orders)
        if step.fills or step.funding or step.transfers:
            # Each of them has a row of equity of its own, ahead of that of a closed bar.
            places = chain(range(first_equity_id, self._next_equity_id), repeat(0))
            self._fills.extend(fill_row(fill, session_id, next(places)) for fill in step.fills)
            self._funding.extend(funding_row(paid, session_id, next(places)) for paid in step.funding)
            self._transfers.extend(transfer_row(moved, session_id, next(places)) for moved in step.transfers)
        if step.positions:
            self._positions.extend(position_row(position) for position in step.positions)
        for trip in step.round_trips:
            self._trips[trip.id] = trip
        for mark in step.marks:
            self._marks[mark.symbol] = mark
        self._account = step.account or self._account
        self._risk = step.risk or self._risk
        if (known := step.known_funding) is not None:
            learned = known.symbol, known.time_ms, plain(known.rate), known.every_ms, known.longer_ms
            self._known_funding.append(learned)
        if step.notices or step.rejections or step.halts or step.rules:
            self._gather_rarities(step)
        if step.watched or step.pauses or step.answers:
            self._hands.gather(step)

    def _gather_rarities(self, step: Step) -> None:
        session_id = self._session_id
        for notice in step.notices:
            self._events.append((session_id, notice.time_ms, notice.kind, notice.symbol, notice.detail))
        for halt in step.halts:
            told = (halt.time_ms, halt.rule, halt.reason, halt.resumed_ms, halt.note)
            newest_id = None if halt.resumed_ms is None else self._next_equity_id - 1
            self._halts.append((halt.id, session_id, *told, newest_id))
        self._rules.extend(instrument_row(rules) for rules in step.rules)
        for rejection in step.rejections:
            order = rejection.order
            detail = f"order {order.id}: {rejection.rule}: {rejection.reason}"
            self._events.append((session_id, order.updated_ms, "rejection", order.symbol, detail))
