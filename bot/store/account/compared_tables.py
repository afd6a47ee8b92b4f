"""Which stored rows a session and its replay have in common, table by table."""

from typing import Any

from msgspec import Struct

from bot.store.account import tables
from bot.store.columns import Table

REPLAYED = "replayed"
"""The name under which a replay's database is attached."""


class Compared(Struct, frozen=True, kw_only=True):
    """How one table's rows of a session are found and told apart.

    ``original`` and ``replayed`` select them on either side. ``pardon`` gives for a column when two
    values of rows ``o`` and ``r`` may differ. ``signal`` leads from a row to the signal behind it.
    ``only`` are the columns compared, where they are not all, and ``place`` what tells rows apart in place of
    the table's key.
    """

    table: Table[Any]
    time: str
    original: str
    replayed: str = ""
    pardon: dict[str, str] = {}
    signal: str = "NULL"
    only: tuple[str, ...] = ()
    place: str = ""

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which the rows of both sides find each other."""
        return (self.place,) if self.place else self.table.key

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are compared."""
        return self.only or tuple(name for name in self.table.written if name not in self.key)


# What the session left open, a later one may have filled or cancelled since.
_LATER = "r.status IN ('pending', 'open', 'partially_filled') AND NOT :is_last"
_GOES_ON = "NOT :is_last AND r.closed_ms IS NULL"
_RESUMED_LATER = "r.resumed_ms IS NULL AND NOT :is_last"
_OF_SESSION = "SELECT * FROM main.{} WHERE session_id = :session"
_SIGNALS = "FROM main.signals WHERE session_id = :session"
# The bars decided on.
_BARS = (
    "SELECT bars.* FROM {base}.bars JOIN {base}.signals ON signals.symbol = bars.symbol "
    "AND signals.interval = bars.interval AND bar_start_ms = start_ms WHERE signals.session_id = :session"
)
_OF_BAR = (
    "(SELECT {column} FROM {{base}}.signals s WHERE s.symbol = {{row}}.symbol "
    "AND s.interval = {{row}}.interval AND s.bar_start_ms = {{row}}.start_ms)"
)
# The first of two bars stands on the disk, and an event says how the other differed.
_KEPT_FIRST = (
    "EXISTS (SELECT 1 FROM main.events e WHERE e.kind = 'bar_differs' AND e.symbol = o.symbol "
    "AND e.time_ms = o.start_ms)"
)
# Events in their order; what the store itself says of bars depends on what it had before.
_EVENTS = (
    "SELECT row_number() OVER (ORDER BY id) AS place, * FROM {base}.events "
    "WHERE session_id = :session AND kind <> 'bar_differs'"
)


def _of_session(table: Table[Any], time: str, *, signal: str = "NULL") -> Compared:
    """Rows that say themselves which session they are of."""
    original = _OF_SESSION.format(table.name)
    return Compared(table=table, time=time, original=original, signal=signal)


def _last_known(table: Table[Any], time: str) -> Compared:
    """How things stand at the end: only the last session's can be compared."""
    original, replayed = (f"SELECT * FROM {base}.{table.name} WHERE :is_last" for base in ("main", REPLAYED))
    return Compared(table=table, time=time, original=original, replayed=replayed)


def _as_they_stand(table: Table[Any], time: str) -> Compared:
    """What the last session left of a table that says how things stand now, as far as the replay says it too."""
    name, (key,) = table.name, table.key
    known = f"{key} IN (SELECT {key} FROM replayed.{name})"
    return Compared(
        table=table,
        time=time,
        original=f"SELECT * FROM main.{name} WHERE :is_last AND {known}",
        replayed=f"SELECT * FROM replayed.{name} WHERE :is_last",
    )


_LAST_EQUITY = "(SELECT coalesce(max(time_ms), 0) FROM {base}.equity)"

COMPARED = (
    Compared(
        table=tables.SESSIONS,
        time="{row}.started_ms * 0",
        original="SELECT * FROM main.sessions WHERE id = :session",
        only=("start_equity", "start_unit_value"),
    ),
    _of_session(tables.SIGNALS, "{row}.decided_ms", signal="{row}.id"),
    Compared(
        table=tables.BARS,
        time=_OF_BAR.format(column="decided_ms"),
        original=_BARS.format(base="main"),
        replayed=_BARS.format(base=REPLAYED),
        pardon={
            **dict.fromkeys(tables.BARS.changing, _KEPT_FIRST),
            # What was stored before it came stays as it was.
            "source": "o.source IN ('history', 'import')",
        },
        signal=_OF_BAR.format(column="id"),
    ),
    Compared(
        table=tables.NEIGHBORS,
        time="(SELECT decided_ms FROM {base}.signals WHERE id = {row}.signal_id)",
        original="SELECT * FROM main.neighbors "
        f"WHERE signal_id BETWEEN (SELECT min(id) {_SIGNALS}) AND (SELECT max(id) {_SIGNALS})",
        signal="{row}.signal_id",
    ),
    Compared(
        table=tables.ORDERS,
        time="{row}.updated_ms",
        original=_OF_SESSION.format("orders")
        + " OR id IN (SELECT id FROM replayed.orders WHERE id < :next_order_id)",
        pardon={"session_id": "o.id < :next_order_id", **dict.fromkeys(tables.ORDERS.changing, _LATER)},
        signal="{row}.signal_id",
    ),
    _of_session(
        tables.FILLS,
        "{row}.time_ms",
        signal="(SELECT signal_id FROM {base}.orders WHERE id = {row}.order_id)",
    ),
    _of_session(tables.FUNDING, "{row}.time_ms"),
    _of_session(tables.TRANSFERS, "{row}.time_ms"),
    _of_session(tables.EQUITY, "{row}.time_ms"),
    Compared(
        table=tables.ROUND_TRIPS,
        time="coalesce({row}.closed_ms, {row}.opened_ms)",
        original="SELECT * FROM main.round_trips WHERE :session IN (session_id, closed_session_id) "
        "OR id IN (SELECT id FROM replayed.round_trips)",
        pardon={
            "session_id": "o.id < :next_trip_id",
            **dict.fromkeys(tables.ROUND_TRIPS.changing, _GOES_ON),
            "closed_session_id": f"o.id < :next_trip_id OR {_GOES_ON}",
            # Late funding may have become known in a later session.
            **dict.fromkeys(("funding", "net"), "NOT :is_last"),
        },
        signal="{row}.signal_id",
    ),
    _last_known(tables.ACCOUNT_STATE, _LAST_EQUITY),
    Compared(
        table=tables.HALTS,
        time="coalesce({row}.resumed_ms, {row}.time_ms)",
        original=_OF_SESSION.format("halts") + " OR id IN (SELECT id FROM replayed.halts)",
        pardon={
            "session_id": "o.id < :next_halt_id",
            **dict.fromkeys(tables.HALTS.changing, _RESUMED_LATER),
        },
    ),
    _last_known(tables.RISK_STATE, _LAST_EQUITY),
    _last_known(tables.POSITIONS, "{row}.updated_ms"),
    Compared(
        table=tables.PAUSES,
        time="coalesce({row}.resumed_ms, {row}.time_ms)",
        original=_OF_SESSION.format("pauses") + " OR id IN (SELECT id FROM replayed.pauses)",
        pardon={
            "session_id": "o.session_id < :session",
            **dict.fromkeys(("resumed_ms", "note"), _RESUMED_LATER),
        },
    ),
    Compared(
        table=tables.EVENTS,
        time="{row}.time_ms",
        original=_EVENTS.format(base="main"),
        replayed=_EVENTS.format(base=REPLAYED),
        only=("time_ms", "kind", "symbol", "detail"),
        place="place",
    ),
    _as_they_stand(tables.INSTRUMENTS, "{row}.known_ms"),
    _as_they_stand(tables.MARKS, "{row}.time_ms"),
    _as_they_stand(tables.WATCHED, "{row}.since_ms"),
    _as_they_stand(tables.KNOWN_FUNDING, "{row}.time_ms"),
    _as_they_stand(tables.STRATEGY_STATES, "{row}.updated_ms"),
)
"""All that is compared, in the order in which one bar leads to it."""

PLACES = {
    ("equity", "id"),
    *(
        (one.name, column)
        for one in COMPARED
        for column in one.columns
        if column in ("equity_id", "resumed_equity_id")
    ),
}
"""Columns that count the rows of equity."""
