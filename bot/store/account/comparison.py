"""Whether a database says the same of a session as its replay does; reads only."""

from typing import Any, Self

from msgspec import Struct

from bot.errors import InputError
from bot.market import utc_text
from bot.market.funding import KnownFunding
from bot.store.account.compared_tables import COMPARED, PLACES, REPLAYED, Compared
from bot.store.database import Database
from bot.store.recording.header import Header
from bot.trading.events import Halt, Order, Step


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
    """A session as a database has it, as of the caller's transaction.

    Made by :meth:`find`. ``config_json`` is the configuration that the database has for it.
    """

    def __init__(
        self,
        database: Database,
        header: Header,
        config_json: str,
        *,
        is_last: bool,
        ended: bool,
        equity: int,
        notices: int,
    ) -> None:
        self.config_json = config_json
        self._database = database
        self._header = header
        self._is_last = is_last
        self._ended = ended
        self._equity_left = equity
        self._notices_left = notices

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
            notices=await database.value(
                "SELECT count(*) FROM events WHERE session_id = ? AND kind <> 'bar_differs'", (session_id,)
            ),
        )

    async def reaches(self, step: Step) -> bool:
        """Whether the session's commits reach this far; asked of each replayed Step in order.

        A killed or running session's recording is ahead of its database. Whatever moves the account
        or closes a bar writes equity, so its rows say how far the database has come; behind the last of them,
        notices, orders and halts do.
        """
        if self._ended:
            return True
        self._notices_left -= len(step.notices) + len(step.rejections)
        if step.equity:
            self._equity_left -= len(step.equity)
            return self._equity_left >= 0
        if self._equity_left > 0:
            return True
        if self._notices_left < 0:
            return False
        known = step.known_funding
        if known is not None and not await self._has_known(known):
            return False
        held = [await self._has(order) for order in step.orders]
        return all([*held, *[await self._has_halt(halt) for halt in step.halts]])

    async def _has_known(self, known: KnownFunding) -> bool:
        newest = await self._database.value(
            "SELECT time_ms FROM main.known_funding WHERE symbol = ?", (known.symbol,)
        )
        return newest is not None and newest >= known.time_ms

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
        for table in COMPARED:
            replayed = table.replayed or self._rows(table)
            counts[table.name] = await self._database.value(f"SELECT count(*) FROM ({replayed})", parameters)
            found += await self._differences(table, replayed, parameters)
        return min(found, key=lambda difference: difference.time_ms, default=None), counts

    def _rows(self, table: Compared) -> str:
        """A table's replayed rows; the rows of equity of earlier sessions are not there to be counted."""
        named = [
            f"{name} + :earlier_equity AS {name}" if (table.name, name) in PLACES else name
            for name in table.table.written
        ]
        return f"SELECT {', '.join(named)} FROM replayed.{table.name}"

    async def _earlier_equity(self) -> int:
        first: int | None = await self._database.value(
            "SELECT min(id) FROM main.equity WHERE session_id = ?", (self._header.session_id,)
        )
        return 0 if first is None else first - 1

    async def _differences(
        self, table: Compared, replayed: str, parameters: dict[str, Any]
    ) -> list[Difference]:
        """The earliest row that both sides have and that differs, and the earliest that only one has."""
        columns = table.columns
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
        self, table: Compared, columns: tuple[str, ...], row: tuple[Any, ...], absent: str | None
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


def _head(table: Compared, row: str) -> str:
    """What is selected of a row in any case: its key, its time and the signal behind it."""
    base = "main" if row == "o" else REPLAYED
    names = [f"{row}.{name}" for name in table.key]
    time, signal = (text.format(row=row, base=base) for text in (table.time, table.signal))
    return ", ".join([*names, f"{time} AS at_ms", signal])
