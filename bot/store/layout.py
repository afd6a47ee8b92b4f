"""Whether a database's tables are those that this bot makes: what SQLite itself says of both, side by side."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from typing import Any

from bot.store.kinds import Kind, exact_distance

LAYOUT = """
SELECT m.type, m.name, iif(m.type = 'view', m.sql, NULL), t.strict, t.wr, i.name,
    i.type, i."notnull", i.dflt_value, i.pk, i.hidden
FROM sqlite_master AS m
LEFT JOIN pragma_table_list AS t ON t.schema = 'main' AND t.name = m.name
LEFT JOIN pragma_table_xinfo(m.name) AS i
WHERE m.type IN ('table', 'view', 'trigger') ORDER BY m.name, i.cid
"""
"""Asks for each table with its columns, each view with its text, and triggers."""

_Row = tuple[Any, ...]


def layout_problem(kind: Kind, version: int, found: Iterable[_Row]) -> str | None:
    """What is not as the migrations to this version make it, by the rows of :data:`LAYOUT`; None where all is.

    Further tables, views and indexes are their owner's matter. A trigger is not: it changes what is written.
    """
    parts: dict[str, list[_Row]] = {}
    for row in found:
        if row[0] == "trigger":
            return f"a trigger {row[1][:40]!r} changes what is written to it"
        parts.setdefault(row[1], []).append(row)
    for name, rows in _expected(kind, version).items():
        what = rows[0][0]
        if name not in parts:
            return f"it has no {what} {name}"
        if parts[name] != rows:
            if what == "view":
                return f"its view {name} is another"
            return f"its table {name} is another: {_difference(parts[name], rows)}"
    return None


def _difference(found: list[_Row], expected: list[_Row]) -> str:
    columns, wanted = ({row[5]: row for row in rows} for rows in (found, expected))
    for name, row in wanted.items():
        if name not in columns:
            return f"column {name} is missing"
        if columns[name] != row:
            return f"column {name} is of another kind"
    return f"{len(found)} columns where {len(expected)} are expected"


@cache
def _expected(kind: Kind, version: int) -> dict[str, list[_Row]]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.create_function("exact_distance", 2, exact_distance, deterministic=True)
        for migration in kind.migrations[:version]:
            for statement in migration:
                fresh.execute(statement)
        parts: dict[str, list[_Row]] = {}
        for row in fresh.execute(LAYOUT):
            parts.setdefault(row[1], []).append(row)
        return parts
