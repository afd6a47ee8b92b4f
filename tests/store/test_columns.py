import asyncio
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import asdict, fields, replace

from bot.store.account import tables
from bot.store.account.exported import TABLES as EXPORTED
from bot.store.account.schema import ACCOUNT
from bot.store.columns import Table
from bot.store.database import Database, Identity
from bot.store.history import tables as history
from bot.store.history.schema import HISTORY
from bot.store.kinds import Kind, exact_distance
from bot.store.rows import read
from bot.store.runs.catalogue import RUNS
from bot.store.runs.schema import INDEX
from bot.store.runs.trials import TRIALS
from bot.trading.events import Fill, Order, RoundTrip, Signal
from tests.factories import a_bar, a_fill, a_neighbor, a_tier, an_instrument, an_order

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal("10000"))

# Whose books they are, what was brought over once, and what older versions counted: no Struct's rows.
OTHERS = {"account": {"meta", "trials"}, "history": {"meta", "copied"}, "index": {"meta"}}
FILES: dict[str, tuple[Kind, tuple[Table[Any], ...]]] = {
    "account": (ACCOUNT, tables.TABLES),
    "history": (HISTORY, history.TABLES),
    "index": (INDEX, (RUNS, TRIALS)),
}


def made(kind: Kind) -> sqlite3.Connection:
    """The tables as the migrations make them."""
    connection = sqlite3.connect(":memory:")
    connection.create_function("exact_distance", 2, exact_distance)
    for migration in kind.migrations:
        for statement in migration:
            connection.execute(statement)
    return connection


def said(table: Table[Any]) -> dict[str, tuple[str, bool, bool]]:
    """Type, whether it is always there, and whether it belongs to the key, of each column."""
    return {
        column.name: (column.sql, not column.nullable, column.name in table.key) for column in table.columns
    }


def stored(connection: sqlite3.Connection, name: str) -> dict[str, tuple[str, bool, bool]]:
    """The same as SQLite has it."""
    rows = connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,))
    return {column: (kind, bool(notnull or key), bool(key)) for column, kind, notnull, key in rows}


@pytest.mark.parametrize("file", FILES)
def test_each_table_is_made_as_its_struct_says(file: str) -> None:
    kind, said_tables = FILES[file]
    with closing(made(kind)) as connection:
        for table in said_tables:
            if table is not tables.TRADE_LOG:
                assert said(table) == stored(connection, table.name), table.name
        found = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    named = {table.name for table in said_tables if table is not tables.TRADE_LOG}
    assert found - {"sqlite_sequence"} == named | OTHERS[file] & found


def test_the_trade_log_shows_what_a_trade_is_read_from() -> None:
    with closing(made(ACCOUNT)) as connection:
        assert list(stored(connection, "trade_log")) == [column.name for column in tables.TRADE_LOG.columns]


def test_a_field_without_a_column_and_a_column_without_a_field_are_found() -> None:
    class Wider(Fill, frozen=True, kw_only=True):
        venue: str = ""

    class Narrower(Struct):
        id: int

    booked = {"session_id": int, "equity_id": int}
    with closing(made(ACCOUNT)) as connection:
        for struct in (Wider, Narrower):
            assert said(Table("fills", struct, beside=booked)) != stored(connection, "fills")


def test_a_person_can_export_every_table_that_is_not_bookkeeping() -> None:
    bookkeeping = {"pauses", "marks", "watched", "known_funding", "opening", "account_state", "risk_state"}
    assert set(EXPORTED) == {table.name for table in tables.TABLES} - bookkeeping | {"trials"}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    values: list[tuple[Table[Any], Struct, tuple[Any, ...]]] = [
        (tables.BARS, a_bar(3, turnover=None), ()),
        (
            tables.INSTRUMENTS,
            an_instrument(max_market_quantity="0.00000001", tiers=(a_tier("1E+6", "0.01", "50"),)),
            (),
        ),
        (tables.ORDERS, an_order(type="trailing_stop", stop_price=Decimal("1E-7"), reduce_only=True), (4,)),
        (tables.FILLS, a_fill(late=True, realized_pnl=Decimal("-0.10")), (4, 7)),
    ]

    async def main() -> list[tuple[Any, ...]]:
        async with Database.open(tmp_path / "a.db", DEMO) as database, database.transaction():
            for table, value, given in values:
                await database.write(table.insert, [table.row(value, *given)])
            return [await read(database, table, "") for table, _, _ in values]

    assert asyncio.run(main()) == [(value,) for _, value, _ in values]


def test_a_row_is_built_as_it_was_made() -> None:
    order = an_order(distance=Decimal("1.50"), parent_id=3)
    row = dict(zip(tables.ORDERS.written, tables.ORDERS.row(order, 9), strict=True))
    assert row["session_id"] == 9
    assert row["distance"] == "1.50"
    assert tables.ORDERS.build(tuple(row[column.name] for column in tables.ORDERS.fields)) == order


def test_an_order_written_again_keeps_its_session_and_takes_on_what_has_changed(tmp_path: Path) -> None:
    order = an_order(quantity=Decimal(2))
    later = replace(order, status="filled", filled_quantity=Decimal(2), updated_ms=order.updated_ms + 1)

    async def main() -> tuple[tuple[Order, ...], int]:
        async with Database.open(tmp_path / "a.db", DEMO) as database, database.transaction():
            rows = [tables.ORDERS.row(order, 1), tables.ORDERS.row(later, 2)]
            await database.write(tables.ORDERS.upsert, rows)
            session = await database.value("SELECT session_id FROM orders")
            return await read(database, tables.ORDERS, ""), session

    assert asyncio.run(main()) == ((later,), 1)


def test_a_round_trip_keeps_the_session_that_first_ended_it(tmp_path: Path) -> None:
    trip = RoundTrip(id=1, symbol="BTCUSDT", side="long", opened_ms=0, quantity=Decimal(1))

    async def main() -> list[tuple[Any, ...]]:
        async with Database.open(tmp_path / "a.db", DEMO) as database, database.transaction():
            found = []
            for session, closed in ((1, None), (2, 2), (3, 3)):
                row = tables.ROUND_TRIPS.row(trip, session, closed)
                await database.write(tables.ROUND_TRIPS.upsert, [row])
                found += await database.fetch("SELECT session_id, closed_session_id FROM round_trips")
            return found

    assert asyncio.run(main()) == [(1, None), (1, 2), (1, 2)]


def test_a_decision_says_by_itself_what_its_row_is_not_given() -> None:
    given = {column.field for column in tables.SIGNALS.fields if column.given}
    assert {field.name for field in fields(tables.StoredSignal)} - given <= set(Signal.__struct_fields__)


def test_a_neighbor_is_stored_but_for_its_volatility() -> None:
    neighbor = a_neighbor()
    row = dict(zip(tables.NEIGHBORS.written, tables.NEIGHBORS.row(neighbor, 1, 5), strict=True))
    said_of_it = asdict(neighbor)
    del said_of_it["volatility"]
    assert row == {"rank": 1, "signal_id": 5, **said_of_it}
