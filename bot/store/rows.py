"""Rows of a table as the Structs that they were; what is none is one line that names table, row and column."""

from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from bot.errors import InputError, shortened
from bot.market.bounds import field_problem, figure
from bot.store.columns import Table
from bot.store.database import Database

T = TypeVar("T", bound=Struct)
V = TypeVar("V")


async def read(
    database: Database, table: Table[T], rest: str, parameters: Sequence[Any] = ()
) -> tuple[T, ...]:
    """A table's rows as values; ``rest`` is what stands behind the table in the query.

    Raises InputError, as do all functions here, for a row that holds what nobody has written.
    """
    rows = await database.fetch(f"SELECT {table.selected} FROM {table.name} {rest}", parameters)
    return tuple(value_of(database, table, row) for row in rows)


async def stream(
    database: Database, table: Table[T], beside: Sequence[str], rest: str
) -> AsyncIterator[tuple[Any, ...]]:
    """Rows as tuples: what SQL says ``beside`` each, and the value, a few hundred in memory at a time."""
    count = len(beside)
    sql = f"SELECT {', '.join((*beside, table.selected))} FROM {table.name} {rest}"
    async for row in database.stream(sql):
        yield (*row[:count], value_of(database, table, row[count:]))


def value_of(database: Database, table: Table[T], row: Sequence[Any]) -> T:
    """The value of a row that was selected by ``table.selected``."""
    fields = {
        column.encoded: json_of(database, kept, column.annotation, f"{table.name}.{column.name}")
        if column.type is object and kept is not None
        else kept
        for column, kept in zip(table.fields, row, strict=True)
    }
    return struct_of(database, table.struct, fields, table.name)


async def structs(
    database: Database, kind: type[T], source: str, parameters: Sequence[Any] = ()
) -> tuple[T, ...]:
    """Rows of a query as values: its columns are named like the struct's fields."""
    names = kind.__struct_fields__
    rows = await database.fetch(f"SELECT {', '.join(names)} {source}", parameters)
    return tuple(struct_of(database, kind, dict(zip(names, row, strict=True)), kind.__name__) for row in rows)


def struct_of(database: Database, kind: type[T], fields: Mapping[str, Any], table: str) -> T:
    """The Struct of these fields, which stood in a row of ``table``."""
    try:
        # Not strict: SQLite keeps truth as 0 and 1.
        value = msgspec.convert(fields, kind, strict=False)
    except (ValueError, RecursionError) as error:
        raise _wrong(database, table, fields, str(error)) from error
    if (problem := field_problem(table, value)) is not None:
        raise _wrong(database, table, fields, problem)
    return value


def json_of(database: Database, text: str | None, kind: type[V], column: str) -> V:
    """What a column keeps as JSON."""
    try:
        value = msgspec.json.decode(text or "", type=kind)
    except (ValueError, TypeError, RecursionError) as error:
        raise wrong_row(database, f"{column} holds what it never does ({error})") from error
    if (problem := field_problem(column, value)) is not None:
        raise wrong_row(database, f"{column}: {problem}")
    return value


def decimal_of(database: Database, text: Any, column: str) -> Decimal:
    """What a column keeps as a decimal's text."""
    try:
        return figure(text, column.rpartition(".")[2])
    except ValueError as error:
        raise wrong_row(database, f"{column}: {error}") from error


def wrong_row(database: Database, what: str) -> InputError:
    """The line for a file whose row holds what nobody has written."""
    return InputError(
        f"{database.path} holds what no session has written: {shortened(what)}; use a copy of before, or another --db"
    )


def _wrong(database: Database, table: str, fields: Mapping[str, Any], problem: str) -> InputError:
    key, value = next(iter(fields.items()))
    return wrong_row(database, f"{table}, {key} {str(value)[:40]}: {problem}")
