"""Steps, written whole or not at all; and the sessions and instruments that they belong to."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import chain, islice, repeat

import msgspec

from bot.errors import BrokenInvariant, DatabaseLocked
from bot.exact import ONE
from bot.market import Bar, Instrument, Mark, Notice, plain
from bot.model.similarity import Recollection
from bot.store.account.hand_rows import HandRows
from bot.store.account.signal_rows import SignalRows
from bot.store.account.tables import (
    ACCOUNT_STATE,
    BARS,
    EQUITY,
    EVENTS,
    FILLS,
    FUNDING,
    HALTS,
    INSTRUMENTS,
    KNOWN_FUNDING,
    MARKS,
    NEIGHBORS,
    ORDERS,
    POSITIONS,
    RISK_STATE,
    ROUND_TRIPS,
    SESSIONS,
    SIGNALS,
    STRATEGY_STATES,
    TRANSFERS,
    Session,
    StoredRisk,
)
from bot.store.account.track import track_row, trip_row
from bot.store.bars import BarsDigest, Inserted, insert_bar_rows
from bot.store.columns import Row
from bot.store.database import Database, Mode
from bot.trading.account import TrackState
from bot.trading.events import Equity, RoundTrip, Step
from bot.trading.risk import RiskState

_HISTORY_BATCH = 5_000

_LOCKED = "another program kept the database locked; what was decided meanwhile was written after it"

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

    ``checks`` are those that its strategy declares, name to label, in order; ``start`` is the account then, by
    default what it began with.
    """
    began = (database.identity.starting_cash, ONE) if start is None else (start.equity, start.unit_value)
    async with database.transaction():
        if session_id is None:
            session_id = await database.value("SELECT coalesce(max(id), 0) + 1 FROM sessions")
            assert session_id is not None
        session = Session(
            id=session_id,
            started_ms=started_ms,
            mode=mode,
            checkpoint_sha256=checkpoint_sha256,
            recording=recording,
        )
        row = SESSIONS.row(session, config_json, _encode(checks).decode(), *map(plain, began))
        await database.write(SESSIONS.insert, [row])
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
        await database.write(INSTRUMENTS.replace, [INSTRUMENTS.row(each) for each in instruments])


class StepWriter:
    """Writes one session's Steps in their order.

    With ``batch_bars`` 1 each Step is a transaction of its own, committed when :meth:`append` returns, unless
    another program keeps the database locked: then Steps are gathered, and committed together as soon as it is
    free. With more, whole Steps are gathered and committed together in any case. What is gathered when the
    process dies is lost as a whole, so call :meth:`flush` at the end. After an error nothing gathered is kept,
    and the session must not go on. ``before_commit`` is awaited before anything is committed: a recording
    leads, the database follows. ``digest`` takes in all bars that were written.
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
        self._bars: list[Row] = []
        self._signal_rows = SignalRows(session_id)
        # In the order in which the tables are written.
        self._signals: list[Row] = []
        self._neighbors: list[Row] = []
        self._orders: list[Row] = []
        self._fills: list[Row] = []
        self._funding: list[Row] = []
        self._transfers: list[Row] = []
        self._positions: list[Row] = []
        self._equity: list[Row] = []
        self._events: list[Row] = []
        self._halts: list[Row] = []
        self._known_funding: list[Row] = []
        self._strategy_states: list[Row] = []
        self._rules: list[Row] = []
        # As they stand at the end of a batch.
        self._trips: dict[int, RoundTrip] = {}
        self._marks: dict[str, Mark] = {}
        self._account: TrackState | None = None
        self._next_equity_id = 0
        self._risk: RiskState | None = None
        self._hands = HandRows(session_id)
        self._tables = (
            (SIGNALS.insert, self._signals),
            (NEIGHBORS.insert, self._neighbors),
            (ORDERS.upsert, self._orders),
            (FILLS.insert, self._fills),
            (FUNDING.insert, self._funding),
            (TRANSFERS.insert, self._transfers),
            (POSITIONS.replace, self._positions),
            (EQUITY.insert, self._equity),
            (EVENTS.insert, self._events),
            (HALTS.upsert, self._halts),
            (KNOWN_FUNDING.replace, self._known_funding),
            (STRATEGY_STATES.replace, self._strategy_states),
            (INSTRUMENTS.replace, self._rules),
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
            notice = Notice(kind="database_locked", time_ms=self._newest_ms, detail=_LOCKED)
            self._events.append(EVENTS.row(notice, self._session_id))
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

    def _take(self) -> tuple[list[Row], list[tuple[str, list[Row]]]]:
        """What has been gathered: bars, and statements with their rows. Nothing is gathered any more after it."""
        bars = self._bars.copy()
        tables = [(statement, rows.copy()) for statement, rows in self._tables if rows]
        if self._trips:
            trips = [trip_row(trip, self._session_id) for trip in self._trips.values()]
            tables.append((ROUND_TRIPS.upsert, trips))
        if self._marks:
            tables.append((MARKS.replace, [MARKS.row(mark) for mark in self._marks.values()]))
        if self._account is not None:
            tables.append((ACCOUNT_STATE.replace, [track_row(self._account)]))
        if self._risk is not None:
            tables.append((RISK_STATE.replace, [RISK_STATE.row(StoredRisk(state=self._risk), 1)]))
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
        while rows := [BARS.row(bar) for bar in islice(rest, _HISTORY_BATCH)]:
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
                signal_id = step.signal_id
                self._neighbors.extend(
                    NEIGHBORS.row(neighbor, rank, signal_id)
                    for rank, neighbor in enumerate(recollection.neighbors, start=1)
                )
        if bar is not None:
            self._bars.append(BARS.row(bar))
        first_equity_id = self._next_equity_id
        for row in step.equity:
            self._equity.append(EQUITY.row(row, self._next_equity_id, session_id))
            self._next_equity_id += 1
        if step.orders:
            self._orders.extend(ORDERS.row(order, session_id) for order in step.orders)
        if step.fills or step.funding or step.transfers:
            # Each of them has a row of equity of its own, ahead of that of a closed bar.
            places = chain(range(first_equity_id, self._next_equity_id), repeat(0))
            self._fills.extend(FILLS.row(fill, session_id, next(places)) for fill in step.fills)
            self._funding.extend(FUNDING.row(paid, session_id, next(places)) for paid in step.funding)
            self._transfers.extend(TRANSFERS.row(moved, session_id, next(places)) for moved in step.transfers)
        if step.positions:
            self._positions.extend(map(POSITIONS.row, step.positions))
        for trip in step.round_trips:
            self._trips[trip.id] = trip
        for mark in step.marks:
            self._marks[mark.symbol] = mark
        self._account = step.account or self._account
        self._risk = step.risk or self._risk
        if step.strategy_states:
            self._strategy_states.extend(map(STRATEGY_STATES.row, step.strategy_states))
        if step.known_funding is not None:
            self._known_funding.append(KNOWN_FUNDING.row(step.known_funding))
        if step.notices or step.rejections or step.halts or step.rules:
            self._gather_rarities(step)
        if step.watched or step.pauses or step.answers:
            self._hands.gather(step)

    def _gather_rarities(self, step: Step) -> None:
        session_id = self._session_id
        self._events.extend(EVENTS.row(notice, session_id) for notice in step.notices)
        for halt in step.halts:
            newest_id = None if halt.resumed_ms is None else self._next_equity_id - 1
            self._halts.append(HALTS.row(halt, session_id, newest_id))
        self._rules.extend(map(INSTRUMENTS.row, step.rules))
        for rejection in step.rejections:
            order = rejection.order
            notice = Notice(
                kind="rejection",
                time_ms=order.updated_ms,
                symbol=order.symbol,
                detail=f"order {order.id}: {rejection.rule}: {rejection.reason}",
            )
            self._events.append(EVENTS.row(notice, session_id))
