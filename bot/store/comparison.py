"""Whether a database tells the same of a session as its replay does; reads only."""

from typing import Any, Self

from msgspec import Struct

from bot.errors import InputError
from bot.market import utc_text
from bot.store.database import Database
from bot.store.header import Header
from bot.trading.events import Halt, Order, Step

_REPLAYED = "replayed"


class _Table(Struct, frozen=True, kw_only=True):
    """How one table's rows of a session are found and told apart.

    ``original`` and ``replayed`` select them on either side. ``pardon`` gives for a column when two
    values of rows ``o`` and ``r`` may differ. ``signal`` leads from a row to the signal behind it.
    """

    name: str
    key: tuple[str, ...]
    time: str
    original: str
    replayed: str = ""
    pardon: dict[str, str] = {}
    signal: str = "NULL"


# What the session left open, a later one may have filled or cancelled since.
_LATER = "r.status IN ('pending', 'open', 'partially_filled') AND NOT :is_last"
_CHANGING = (
    *("quantity", "limit_price", "stop_price", "reduce_only"),
    *("status", "reason", "updated_ms", "due_ms"),
    *("distance", "anchor", "filled_quantity", "active_ms", "triggered_ms"),
)
_GOES_ON = "NOT :is_last AND r.closed_ms IS NULL"
_GROWING = (
    *("closed_ms", "quantity", "entry_price", "entry_notional", "exit_quantity", "exit_price"),
    *("exit_notional", "realized_pnl", "fees", "bars", "adverse", "favourable", "exit_reason"),
)
_RESUMED_LATER = "r.resumed_ms IS NULL AND NOT :is_last"
_OF_SESSION = "SELECT * FROM main.{} WHERE session_id = :session"
_SIGNALS = "FROM main.signals WHERE session_id = :session"

# In the order in which one bar leads to them.
_TABLES = (
    _Table(
        name="signals",
        key=("id",),
        time="{row}.decided_ms",
        original=_OF_SESSION.format("signals"),
        signal="{row}.id",
    ),
    _Table(
        name="neighbors",
        key=("signal_id", "rank"),
        time="(SELECT decided_ms FROM {base}.signals WHERE id = {row}.signal_id)",
        original="SELECT * FROM main.neighbors "
        f"WHERE signal_id BETWEEN (SELECT min(id) {_SIGNALS}) AND (SELECT max(id) {_SIGNALS})",
        signal="{row}.signal_id",
    ),
    _Table(
        name="orders",
        key=("id",),
        time="{row}.updated_ms",
        original=_OF_SESSION.format("orders")
        + " OR id IN (SELECT id FROM replayed.orders WHERE id < :next_order_id)",
        pardon={"session_id": "o.id < :next_order_id", **dict.fromkeys(_CHANGING, _LATER)},
        signal="{row}.signal_id",
    ),
    _Table(
        name="fills",
        key=("id",),
        time="{row}.time_ms",
        original=_OF_SESSION.format("fills"),
        signal="(SELECT signal_id FROM {base}.orders WHERE id = {row}.order_id)",
    ),
    _Table(
        name="funding",
        key=("symbol", "time_ms"),
        time="{row}.time_ms",
        original=_OF_SESSION.format("funding"),
    ),
    _Table(
        name="transfers",
        key=("id",),
        time="{row}.time_ms",
        original=_OF_SESSION.format("transfers"),
    ),
    _Table(
        name="equity",
        key=("id",),
        time="{row}.time_ms",
        original=_OF_SESSION.format("equity"),
    ),
    _Table(
        name="round_trips",
        key=("id",),
        time="coalesce({row}.closed_ms, {row}.opened_ms)",
        original="SELECT * FROM main.round_trips WHERE :session IN (session_id, closed_session_id) "
        "OR id IN (SELECT id FROM replayed.round_trips)",
        pardon={
            "session_id": "o.id < :next_trip_id",
            **dict.fromkeys(_GROWING, _GOES_ON),
            "closed_session_id": f"o.id < :next_trip_id OR {_GOES_ON}",
            # Late funding may have become known in a later session.
            **dict.fromkeys(("funding", "net"), "NOT :is_last"),
        },
        signal="{row}.signal_id",
    ),
    _Table(
        name="account_state",
        key=("id",),
        time="(SELECT max(time_ms) FROM {base}.equity)",
        original="SELECT * FROM main.account_state WHERE :is_last",
        replayed="SELECT * FROM replayed.account_state WHERE :is_last",
    ),
    _Table(
        name="halts",
        key=("id",),
        time="coalesce({row}.resumed_ms, {row}.time_ms)",
        original=_OF_SESSION.format("halts") + " OR id IN (SELECT id FROM replayed.halts)",
        pardon={
            "session_id": "o.id < :next_halt_id",
            **dict.fromkeys(("resumed_ms", "resumed_equity_id", "note"), _RESUMED_LATER),
        },
    ),
    _Table(
        name="risk_state",
        key=("id",),
        time="(SELECT max(time_ms) FROM {base}.equity)",
        original="SELECT * FROM main.risk_state WHERE :is_last",
        replayed="SELECT * FROM replayed.risk_state WHERE :is_last",
    ),
    _Table(
        name="positions",
        key=("symbol",),
        time="{row}.updated_ms",
        # As they stand now, so only the last session can be held against them.
        original="SELECT * FROM main.positions WHERE :is_last",
        replayed="SELECT * FROM replayed.positions WHERE :is_last",
    ),
)


_PLACES = {
    ("equity", "id"),
    ("halts", "resumed_equity_id"),
    *((table, "equity_id") for table in ("fills", "funding", "transfers")),
}
"""Columns that count the rows of equity."""


class Difference(Struct, frozen=True, kw_only=True):
    """A row that differs. Where only one side has it, ``column`` is None, and so is the other's value.

    ``symbol`` and ``bar_start_ms`` name the bar whose decision led to it, None where none did.
    """

    table: str
    key: dict[str, Any]
    column: str | None
    in_database: Any
    in_replay: Any
    time_ms: int
    symbol: str | None
    bar_start_ms: int | None


class StoredSession:
    """A session as a database tells it, as of the transaction that it is looked at in.

    Made by :meth:`find`. ``config_json`` is the configuration that the database has for it.
    """

    def __init__(
        self, database: Database, header: Header, config_json: str, *, is_last: bool, ended: bool, equity: int
    ) -> None:
        self.config_json = config_json
        self._database = database
        self._header = header
        self._is_last = is_last
        self._ended = ended
        self._equity_left = equity

    @classmethod
    async def find(cls, database: Database, header: Header) -> Self:
        """The recorded session's rows. InputError where the database does not have that session."""
        session_id = header.session_id
        rows = await database.fetch(
            "SELECT config_json, ended_ms, exit_reason, (SELECT max(id) FROM sessions) FROM sessions "
            "WHERE (id, started_ms, mode) = (?, ?, ?)",
            (session_id, header.started_ms, header.mode),
        )
        if not rows or database.identity.category != header.category:
            raise InputError(
                f"{database.path} has no {header.mode} {header.category} session {session_id} that began at "
                f"{utc_text(header.started_ms)} UTC; name the database that was recorded"
            )
        config_json, ended_ms, reason, last = rows[0]
        return cls(
            database,
            header,
            config_json,
            is_last=last == session_id,
            ended=ended_ms is not None and reason != "failed",
            equity=await database.value("SELECT count(*) FROM equity WHERE session_id = ?", (session_id,)),
        )

    async def reaches(self, step: Step) -> bool:
        """Whether the session's commits reach this far; asked of each replayed Step in order.

        A killed or running session's recording is ahead of its database. Whatever moves the account
        or closes a bar writes equity, so its rows say how far the database has come.
        """
        if self._ended:
            return True
        if step.equity:
            self._equity_left -= len(step.equity)
            return self._equity_left >= 0
        if self._equity_left > 0:
            return True
        held = [await self._has(order) for order in step.orders]
        return all([*held, *[await self._has_halt(halt) for halt in step.halts]])

    async def _has(self, order: Order) -> bool:
        found = await self._database.fetch(
            "SELECT status, updated_ms FROM main.orders WHERE id = ?", (order.id,)
        )
        return found == [(order.status, order.updated_ms)]

    async def _has_halt(self, halt: Halt) -> bool:
        found = await self._database.fetch("SELECT resumed_ms FROM main.halts WHERE id = ?", (halt.id,))
        return found == [(halt.resumed_ms,)]

    async def compare(self) -> tuple[Difference | None, dict[str, int]]:
        """The earliest difference from the database attached as ``replayed``, and the rows compared."""
        parameters = {
            "session": self._header.session_id,
            "is_last": self._is_last,
            "next_order_id": self._header.opening.next_order_id,
            "next_trip_id": self._header.opening.track.next_trip_id,
            "next_halt_id": self._header.opening.risk.next_halt_id,
            "earlier_equity": await self._earlier_equity(),
        }
        found: list[Difference] = []
        counts: dict[str, int] = {}
        for table in _TABLES:
            replayed = table.replayed or await self._rows(table)
            counts[table.name] = await self._database.value(f"SELECT count(*) FROM ({replayed})", parameters)
            found += await self._differences(table, replayed, parameters)
        return min(found, key=lambda difference: difference.time_ms, default=None), counts

    async def _rows(self, table: _Table) -> str:
        """A table's replayed rows; the rows of equity of earlier sessions are not there to be counted."""
        named = [
            f"{name} + :earlier_equity AS {name}" if (table.name, name) in _PLACES else name
            for name in await self._database.columns(table.name)
        ]
        return f"SELECT {', '.join(named)} FROM replayed.{table.name}"

    async def _earlier_equity(self) -> int:
        first: int | None = await self._database.value(
            "SELECT min(id) FROM main.equity WHERE session_id = ?", (self._header.session_id,)
        )
        return 0 if first is None else first - 1

    async def _differences(
        self, table: _Table, replayed: str, parameters: dict[str, Any]
    ) -> list[Difference]:
        """The earliest row that both sides have and that differs, and the earliest that only one has."""
        columns = [name for name in await self._database.columns(table.name) if name not in table.key]
        unlike = [f"(o.{name} IS NOT r.{name} AND NOT ({table.pardon.get(name, '0')}))" for name in columns]
        values = ", ".join(f"{test}, o.{name}, r.{name}" for test, name in zip(unlike, columns, strict=True))
        same_key = " AND ".join(f"o.{name} = r.{name}" for name in table.key)
        original, first_key = table.original, table.key[0]
        queries = (
            f"SELECT {_head(table, 'o')}, {values} FROM ({original}) o JOIN ({replayed}) r ON {same_key} "
            f"WHERE {' OR '.join(unlike)}",
            f"SELECT {_head(table, 'o')} FROM ({original}) o LEFT JOIN ({replayed}) r ON {same_key} "
            f"WHERE r.{first_key} IS NULL",
            f"SELECT {_head(table, 'r')} FROM ({replayed}) r LEFT JOIN ({original}) o ON {same_key} "
            f"WHERE o.{first_key} IS NULL",
        )
        found = []
        for query, absent in zip(queries, (None, "the replay", "the database"), strict=True):
            for row in await self._database.fetch(f"{query} ORDER BY at_ms, 1, 2 LIMIT 1", parameters):
                found.append(await self._difference(table, columns, row, absent))
        return found

    async def _difference(
        self, table: _Table, columns: list[str], row: tuple[Any, ...], absent: str | None
    ) -> Difference:
        key = dict(zip(table.key, row, strict=False))
        time_ms, signal_id, *compared = row[len(table.key) :]
        column = None
        in_database, in_replay = (
            None if absent == side else "a row" for side in ("the database", "the replay")
        )
        if absent is None:
            triples = zip(columns, compared[::3], compared[1::3], compared[2::3], strict=True)
            column, in_database, in_replay = next(
                (name, old, new) for name, differs, old, new in triples if differs
            )
        bar = await self._database.fetch(
            "SELECT symbol, bar_start_ms FROM main.signals WHERE id = ?1 UNION ALL "
            "SELECT symbol, bar_start_ms FROM replayed.signals WHERE id = ?1 LIMIT 1",
            (signal_id,),
        )
        symbol, bar_start_ms = bar[0] if bar else (None, None)
        return Difference(
            table=table.name,
            key=key,
            column=column,
            in_database=in_database,
            in_replay=in_replay,
            time_ms=time_ms,
            symbol=symbol,
            bar_start_ms=bar_start_ms,
        )


def _head(table: _Table, row: str) -> str:
    """What is selected of a row in any case: its key, its time and the signal behind it."""
    base = "main" if row == "o" else _REPLAYED
    names = [f"{row}.{name}" for name in table.key]
    time, signal = (text.format(row=row, base=base) for text in (table.time, table.signal))
    return ", ".join([*names, f"{time} AS at_ms", signal])
