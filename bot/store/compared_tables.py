"""Which stored rows a session and its replay have in common, table by table."""

from msgspec import Struct

REPLAYED = "replayed"
"""The name under which a replay's database is attached."""


class Table(Struct, frozen=True, kw_only=True):
    """How one table's rows of a session are found and told apart.

    ``original`` and ``replayed`` select them on either side. ``pardon`` gives for a column when two
    values of rows ``o`` and ``r`` may differ. ``signal`` leads from a row to the signal behind it.
    ``columns`` are those compared where they are not all of the table's.
    """

    name: str
    key: tuple[str, ...]
    time: str
    original: str
    replayed: str = ""
    pardon: dict[str, str] = {}
    signal: str = "NULL"
    columns: tuple[str, ...] = ()


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
_PAUSE_ENDED_LATER = "r.resumed_ms IS NULL AND NOT :is_last"


def _as_they_stand(name: str, key: str, time: str) -> Table:
    """What the last session left of a table that says how things stand now, as far as the replay says it too."""
    known = f"{key} IN (SELECT {key} FROM replayed.{name})"
    return Table(
        name=name,
        key=(key,),
        time=time,
        original=f"SELECT * FROM main.{name} WHERE :is_last AND {known}",
        replayed=f"SELECT * FROM replayed.{name} WHERE :is_last",
    )


TABLES = (
    Table(
        name="sessions",
        key=("id",),
        time="{row}.started_ms * 0",
        original="SELECT * FROM main.sessions WHERE id = :session",
        columns=("start_equity", "start_unit_value"),
    ),
    Table(
        name="signals",
        key=("id",),
        time="{row}.decided_ms",
        original=_OF_SESSION.format("signals"),
        signal="{row}.id",
    ),
    Table(
        name="bars",
        key=("symbol", "interval", "start_ms"),
        time=_OF_BAR.format(column="decided_ms"),
        original=_BARS.format(base="main"),
        replayed=_BARS.format(base=REPLAYED),
        pardon={
            **dict.fromkeys(("open", "high", "low", "close", "volume", "turnover"), _KEPT_FIRST),
            # What was stored before it came stays as it was.
            "source": "o.source IN ('history', 'import')",
        },
        signal=_OF_BAR.format(column="id"),
    ),
    Table(
        name="neighbors",
        key=("signal_id", "rank"),
        time="(SELECT decided_ms FROM {base}.signals WHERE id = {row}.signal_id)",
        original="SELECT * FROM main.neighbors "
        f"WHERE signal_id BETWEEN (SELECT min(id) {_SIGNALS}) AND (SELECT max(id) {_SIGNALS})",
        signal="{row}.signal_id",
    ),
    Table(
        name="orders",
        key=("id",),
        time="{row}.updated_ms",
        original=_OF_SESSION.format("orders")
        + " OR id IN (SELECT id FROM replayed.orders WHERE id < :next_order_id)",
        pardon={"session_id": "o.id < :next_order_id", **dict.fromkeys(_CHANGING, _LATER)},
        signal="{row}.signal_id",
    ),
    Table(
        name="fills",
        key=("id",),
        time="{row}.time_ms",
        original=_OF_SESSION.format("fills"),
        signal="(SELECT signal_id FROM {base}.orders WHERE id = {row}.order_id)",
    ),
    Table(
        name="funding",
        key=("symbol", "time_ms"),
        time="{row}.time_ms",
        original=_OF_SESSION.format("funding"),
    ),
    Table(
        name="transfers",
        key=("id",),
        time="{row}.time_ms",
        original=_OF_SESSION.format("transfers"),
    ),
    Table(
        name="equity",
        key=("id",),
        time="{row}.time_ms",
        original=_OF_SESSION.format("equity"),
    ),
    Table(
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
    Table(
        name="account_state",
        key=("id",),
        time="(SELECT coalesce(max(time_ms), 0) FROM {base}.equity)",
        original="SELECT * FROM main.account_state WHERE :is_last",
        replayed="SELECT * FROM replayed.account_state WHERE :is_last",
    ),
    Table(
        name="halts",
        key=("id",),
        time="coalesce({row}.resumed_ms, {row}.time_ms)",
        original=_OF_SESSION.format("halts") + " OR id IN (SELECT id FROM replayed.halts)",
        pardon={
            "session_id": "o.id < :next_halt_id",
            **dict.fromkeys(("resumed_ms", "resumed_equity_id", "note"), _RESUMED_LATER),
        },
    ),
    Table(
        name="risk_state",
        key=("id",),
        time="(SELECT coalesce(max(time_ms), 0) FROM {base}.equity)",
        original="SELECT * FROM main.risk_state WHERE :is_last",
        replayed="SELECT * FROM replayed.risk_state WHERE :is_last",
    ),
    Table(
        name="positions",
        key=("symbol",),
        time="{row}.updated_ms",
        # As they stand now, so only the last session can be held against them.
        original="SELECT * FROM main.positions WHERE :is_last",
        replayed="SELECT * FROM replayed.positions WHERE :is_last",
    ),
    Table(
        name="pauses",
        key=("id",),
        time="coalesce({row}.resumed_ms, {row}.time_ms)",
        original=_OF_SESSION.format("pauses") + " OR id IN (SELECT id FROM replayed.pauses)",
        pardon={
            "session_id": "o.session_id < :session",
            **dict.fromkeys(("resumed_ms", "note"), _PAUSE_ENDED_LATER),
        },
    ),
    Table(
        name="events",
        key=("place",),
        time="{row}.time_ms",
        original=_EVENTS.format(base="main"),
        replayed=_EVENTS.format(base=REPLAYED),
        columns=("time_ms", "kind", "symbol", "detail"),
    ),
    _as_they_stand("instruments", "symbol", "{row}.known_ms"),
    _as_they_stand("marks", "symbol", "{row}.time_ms"),
    _as_they_stand("watched", "symbol", "{row}.since_ms"),
    _as_they_stand("known_funding", "symbol", "{row}.time_ms"),
)
"""All that is compared, in the order in which one bar leads to it."""

PLACES = {
    ("equity", "id"),
    ("halts", "resumed_equity_id"),
    *((table, "equity_id") for table in ("fills", "funding", "transfers")),
}
"""Columns that count the rows of equity."""
