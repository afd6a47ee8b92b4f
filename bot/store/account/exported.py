"""What a database holds for people to read: the names of its tables, and their rows as stored."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bot.errors import InputError

if TYPE_CHECKING:
    from bot.store.database import Database

TABLES = (
    *("sessions", "instruments", "bars", "signals", "neighbors", "orders", "fills"),
    *("funding", "transfers", "positions", "equity", "events", "halts", "requests", "round_trips"),
    *("funding_rates", "strategy_states", "trials", "trade_log"),
)
"""Every table of the schema but its bookkeeping, and the view ``trade_log``."""


async def read_table(
    database: "Database", table: str, tail: str = "", parameters: Sequence[Any] = ()
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The names of a table's columns and its rows; ``tail`` is SQL behind the table's name.

    Raises InputError for a table that there is none of.
    """
    if table not in TABLES:
        raise InputError(f"there is no table {table!r}; there are {', '.join(TABLES)}")
    return await database.columns(table), await database.fetch(f"SELECT * FROM {table} {tail}", parameters)
