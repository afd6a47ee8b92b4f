"""The doctor computes an account's books anew from its rows: whatever figure was changed, it says so in a line."""

import asyncio
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from bot.cli import main
from bot.market import Bar
from bot.trading.events import Transfer
from tests.books import audit
from tests.eager import ALLOWED
from tests.lives import after_a_bar, feed, session, settings


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """An account of three sessions with round trips, funding and transfers, one of them while nothing ran."""
    path = tmp_path_factory.mktemp("audit") / "demo.db"
    events, config = feed(3_000, 120), settings("eager")
    first, second = after_a_bar(events, 40), after_a_bar(events, 80) + 2
    moved = [
        Transfer(id=id, time_ms=events[place].close_ms, amount=Decimal(amount), reason="test")
        for id, place, amount in ((1, 0, "500.5"), (2, first - 1, "-99"))
        if isinstance(events[place], Bar)
    ]
    assert len(moved) == 2
    asyncio.run(session(path, config, [*events[:1], moved[0], *events[1:first]]))
    asyncio.run(session(path, config, [moved[1], *events[first:second]]))
    asyncio.run(session(path, config, events[second:]))
    audit(path)
    return path


def examined(path: Path, capsys) -> tuple[int, str]:
    """The doctor's exit code, and what it says of the database."""
    capsys.readouterr()
    code = main(["doctor", "--demo", "--db", str(path), "--json"], ALLOWED)
    (told,) = [each for each in json.loads(capsys.readouterr().out) if each["name"] == f"database {path}"]
    assert told["ok"] == (code == 0)
    return code, told["detail"]


def changed(kept: Path, folder: Path, sql: str) -> Path:
    path = folder / "demo.db"
    with sqlite3.connect(kept) as source, sqlite3.connect(path) as copy:
        source.backup(copy)
        before = copy.total_changes
        copy.executescript(sql)
        assert copy.total_changes > before, "nothing was changed"
    source.close()
    copy.close()
    return path


def test_the_books_of_a_life_are_whole(kept, capsys):
    code, detail = examined(kept, capsys)
    assert "books balance at cash" in detail
    assert code == 0


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE equity SET unit_value = '1.5' WHERE id = 30", "equity row 30 (2024"),
        ("UPDATE equity SET unit_value = '1.5' WHERE id = 30", "unit value is stored as 1.5"),
        ("UPDATE equity SET session_id = 1 WHERE id = (SELECT max(id) FROM equity)", "is of session 1, but"),
        ("UPDATE round_trips SET net = '1' WHERE id = 2", "round_trips 2: net is stored as 1, the rows give"),
        ("DELETE FROM round_trips WHERE id = 2", "round_trips 2 is not stored"),
        (
            "INSERT INTO round_trips SELECT 9999, session_id, closed_session_id, symbol, side, signal_id, opened_ms, "
            "closed_ms, quantity, entry_price, entry_notional, exit_quantity, exit_price, exit_notional, "
            "realized_pnl, fees, funding, net, bars, adverse, favourable, exit_reason FROM round_trips LIMIT 1",
            "round_trips 9999 is stored, but no fills lead to it",
        ),
        (
            "UPDATE account_state SET state_json = json_set(state_json, '$.units', '1')",
            "units is stored as 1",
        ),
        ("UPDATE account_state SET state_json = json_set(state_json, '$.peak', '9')", "peak is stored as 9"),
        ("DELETE FROM account_state", "account_state is empty"),
        ("UPDATE fills SET session_id = 3 WHERE id = 1", "session is stored as 1, what led to it gives 3"),
        ("UPDATE fills SET equity_id = 0 WHERE id = 1", "fill 1 has no row in equity"),
        ("UPDATE transfers SET equity_id = (SELECT min(equity_id) FROM fills)", "both claim equity row"),
        ("DELETE FROM equity WHERE id = 5", "has no row in equity"),
        ("DELETE FROM equity WHERE id = 5", "time is stored as"),
        (
            "INSERT INTO equity SELECT id + 1, session_id, time_ms, cash, unrealized_pnl, equity, unit_value "
            "FROM equity ORDER BY id DESC LIMIT 1",
            "follows no fill, payment, transfer or closed bar",
        ),
        ("DELETE FROM bars WHERE start_ms = (SELECT max(start_ms) FROM bars)", "is not stored"),
        ("UPDATE sessions SET start_equity = '7' WHERE id = 2", "session 2 is stored to begin with equity 7"),
        ("UPDATE positions SET cost = cost || '1' WHERE symbol = 'BTCUSDT'", "position of BTCUSDT"),
        ("UPDATE equity SET cash = 'much' WHERE id = 3", "equity"),
    ],
)
def test_what_does_not_agree_is_told_and_the_books_are_not_whole(kept, tmp_path, capsys, sql, told):
    code, detail = examined(changed(kept, tmp_path, sql), capsys)
    assert code == 1
    assert told in detail
    assert "\n" not in detail


NOT_OF_THE_BOOKS = {
    # How a fill came about: no figure of the account follows from it.
    "fills": {"rule", "liquidity", "reference_price", "reference_ms", "slippage", "preset", "late"},
    # Where the mark price came from, and what a person had to say.
    "funding": {"mark_source"},
    "transfers": {"id", "reason"},
    "positions": set(),
    "equity": set(),
    "round_trips": set(),
}


def columns(kept: Path, table: str) -> list[str]:
    with sqlite3.connect(kept) as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


OTHER = {
    "buy": "sell",
    "sell": "buy",
    "long": "short",
    "short": "long",
    "taker": "maker",
    "mark": "index",
    "BTCUSDT": "ETHUSDT",
    "ETHUSDT": "BTCUSDT",
}


def another(value: object) -> object:
    """A value that the column could hold as well."""
    if isinstance(value, int):
        return value + 1
    assert isinstance(value, str)
    if value in OTHER or not value.strip("-0123456789."):
        return OTHER.get(value) or value + ("1" if "." in value else ".1")
    return f"{value}!"


@pytest.mark.parametrize("table", NOT_OF_THE_BOOKS)
def test_no_figure_of_the_account_can_be_changed_unnoticed(kept, tmp_path, capsys, table):
    with sqlite3.connect(kept) as connection:
        connection.row_factory = sqlite3.Row
        stored = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
    connection.close()
    unnoticed = set()
    for column in stored[0]:
        row = [row for row in stored if row[column] is not None][1]
        key = "symbol, time_ms" if table == "funding" else "symbol" if table == "positions" else "id"
        chosen = ", ".join(repr(row[name]) for name in key.split(", "))
        sql = f"UPDATE OR REPLACE {table} SET {column} = {another(row[column])!r} WHERE ({key}) = ({chosen})"
        code, _ = examined(changed(kept, tmp_path, sql), capsys)
        if code == 0:
            unnoticed.add(column)
    assert unnoticed == NOT_OF_THE_BOOKS[table]
