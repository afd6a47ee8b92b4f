"""Steps, written whole or not at all; and the sessions and instruments that they belong to."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import chain, islice, repeat
from typing import Any

import msgspec

from bot.errors import BrokenInvariant
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
from bot.store.signal_rows import INSERT_NEIGHBOR, INSERT_SIGNAL, neighbor_rows, signal_row
from bot.trading.account import TrackState
from bot.trading.events import Equity, Order, RoundTrip, Step
from bot.trading.risk import RiskState

_Row = tuple[Any, ...]

_HISTORY_BATCH = 5_000

_SESSION = """
INSERT INTO sessions (
    id, started_ms, mode, config_json, checkpoint_sha256, recording, checks_json, start_equity, start_unit_value
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ORDER = """
INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    quantity = excluded.quantity, limit_price = excluded.limit_price, stop_price = excluded.stop_price,
    reduce_only = excluded.reduce_only, status = excluded.status, reason = excluded.reason,
    updated_ms = excluded.updated_ms, due_ms = excluded.due_ms, distance = excluded.distance,
    anchor = excluded.anchor, filled_quantity = excluded.filled_quantity,
    active_ms = excluded.active_ms, triggered_ms = excluded.triggered_ms
"""
_EVENT = "INSERT INTO events (session_id, time_ms, kind, symbol, detail) VALUES (?, ?, ?, ?, ?)"
_HALT = """
INSERT INTO halts VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET resumed_ms = excluded.resumed_ms, note = excluded.note,
    resumed_equity_id = excluded.resumed_equity_id
"""
_KNOWN_FUNDING = "INSERT OR REPLACE INTO known_funding VALUES (?, ?, ?, ?, ?)"
_RISK_STATE = "INSERT OR REPLACE INTO risk_state VALUES (1, ?)"
_INSTRUMENT = "INSERT OR REPLACE INTO instruments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


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
        await database.write(_INSTRUMENT, [_instrument_row(instrument) for instrument in instruments])


class StepWriter:
    """Writes one session's Steps in their order.

    With ``batch_bars`` 1 each Step is a transaction of its own, committed when :meth:`append` returns.
    With more, whole Steps are gathered and committed together; what is gathered when the process dies
    is lost as a whole, so call :meth:`flush` at the end. After an error nothing gathered is kept, and
    the session must not go on. ``before_commit`` is awaited before anything is committed: a recording
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
        self._bars: list[BarRow] = []
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
            (_ORDER, self._orders),
            (FILL, self._fills),
            (FUNDING, self._funding),
            (TRANSFER, self._transfers),
            (POSITION, self._positions),
            (EQUITY, self._equity),
            (_EVENT, self._events),
            (_HALT, self._halts),
            (_KNOWN_FUNDING, self._known_funding),
            (_INSTRUMENT, self._rules),
            *self._hands.tables,
        )

    async def append(self, step: Step) -> None:
        """Write a Step whole or not at all.

        Raises StoreError where the disk fails, BrokenInvariant where the Step repeats something that
        may exist once (a bar's signal, a fill, a funding payment).
        """
        if step.is_empty and step.known_funding is None:
            return
        if not self._next_equity_id:
            newest = await self._database.value("SELECT max(id) FROM equity")
            self._next_equity_id = (newest or 0) + 1
        self._gather(step)
        self._gathered += 1
        if self._gathered >= self._batch:
            await self.flush()

    async def flush(self) -> None:
        """Commit what has been gathered."""
        if not self._gathered:
            return
        try:
            if self._before_commit is not None:
                await self._before_commit()
            async with self._database.transaction():
                if self._bars:
                    await insert_bar_rows(self._database, self._bars, self._session_id)
                for statement, rows in self._tables:
                    if rows:
                        await self._database.write(statement, rows)
                if self._trips:
                    rows = [round_trip_row(trip, self._session_id) for trip in self._trips.values()]
                    await self._database.write(ROUND_TRIP, rows)
                if self._marks:
                    await self._database.write(MARK, map(mark_row, self._marks.values()))
                if self._account is not None:
                    await self._database.write(ACCOUNT_STATE, [account_state_row(self._account)])
                if self._risk is not None:
                    await self._database.write(_RISK_STATE, [(_encode(self._risk).decode(),)])
            if self._digest is not None:
                self._digest.add(self._bars)
        finally:
            self._gathered = 0
            self._risk = self._account = None
            self._trips.clear()
            self._marks.clear()
            self._bars.clear()
            for _, rows in self._tables:
                rows.clear()

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
        if signal is not None:
            if bar is None or step.signal_id is None:
                raise BrokenInvariant("a signal came without its bar or its number; nothing was written")
            recollection: Recollection | None = step.recollection
            self._signals.append(signal_row(step.signal_id, session_id, bar, signal, step))
            if recollection is not None:
                self._neighbors.extend(neighbor_rows(step.signal_id, recollection))
        if bar is not None:
            self._bars.append(bar_row(bar))
        first_equity_id = self._next_equity_id
        for row in step.equity:
            self._equity.append(equity_row(row, session_id, self._next_equity_id))
            self._next_equity_id += 1
        if step.orders:
            self._orders.extend(_order_row(order, session_id) for order in step.orders)
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
        self._rules.extend(_instrument_row(rules) for rules in step.rules)
        for rejection in step.rejections:
            order = rejection.order
            detail = f"order {order.id}: {rejection.rule}: {rejection.reason}"
            self._events.append((session_id, order.updated_ms, "rejection", order.symbol, detail))


def _order_row(order: Order, session_id: int) -> _Row:
    return (
        order.id,
        session_id,
        order.signal_id,
        order.symbol,
        order.side,
        order.type,
        plain(order.quantity),
        None if order.limit_price is None else plain(order.limit_price),
        None if order.stop_price is None else plain(order.stop_price),
        order.reduce_only,
        order.status,
        order.reason,
        order.created_ms,
        order.updated_ms,
        order.due_ms,
        order.time_in_force,
        None if order.distance is None else plain(order.distance),
        None if order.anchor is None else plain(order.anchor),
        order.parent_id,
        plain(order.filled_quantity),
        order.active_ms,
        order.triggered_ms,
    )


def _instrument_row(rules: Instrument) -> _Row:
    return (
        rules.symbol,
        rules.category,
        plain(rules.tick_size),
        plain(rules.lot_size),
        plain(rules.min_quantity),
        plain(rules.min_notional),
        None if rules.max_market_quantity is None else plain(rules.max_market_quantity),
        rules.funding_interval_minutes,
        plain(rules.max_leverage),
        _encode(rules.tiers).decode(),
        rules.source,
        rules.known_ms,
        rules.status,
        rules.delivery_ms,
        rules.base_coin,
        rules.quote_coin,
    )
