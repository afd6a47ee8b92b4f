"""Rows of a table as the Structs that they were."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from bot.store.database import Database

T = TypeVar("T", bound=Struct)


async def structs(
    database: Database, kind: type[T], source: str, parameters: Sequence[Any] = ()
) -> tuple[T, ...]:
    """Rows as values: the table's columns are named like the struct's fields."""
    fields = msgspec.structs.fields(kind)
    columns = ", ".join(field.encode_name for field in fields)
    rows = await database.fetch(f"SELECT {columns} {source}", parameters)
    names = [field.name for field in fields]
    # Not strict: SQLite keeps truth as 0 and 1.
    return tuple(msgspec.convert(dict(zip(names, row, strict=True)), kind, strict=False) for row in rows)
