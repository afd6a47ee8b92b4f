"""``replay --verify`` compares all that a session has written: whatever row or figure differs is told."""

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from bot.cli import main
from bot.market import Bar, Funding, Notice, RuleChange
from bot.store.account.compared_tables import COMPARED
from bot.store.account.comparison import StoredSession
from bot.store.database import Database
from bot.store.recording.header import Header
from bot.store.recording.reader import Recording
from bot.trading.events import Close, Pause, Resume, Transfer, Watch
from tests.eager import ALLOWED
from tests.factories import an_instrument
from tests.lives import feed, session, settings
from tests.store.recording.test_recording import recorded

NOT_COMPARED = {
    "meta": "whose account it is; a replay's is its own",
    "opening": "what a replay alone keeps, of the header",
    "requests": "a person's, as made; what came of them are transfers, orders, pauses, halts and events",
    "funding_rates": "what a backtest charged by",
    "trials": "evaluations counted before the catalogue of runs",
    "sqlite_sequence": "SQLite's own",
}

MINUTE = 60_000


class Life(NamedTuple):
    database: Path
    replayed: Path
    recording: Path
    header: Header


def eventful() -> list:
    """A market with all that people and the exchange may say in between; a halt among it."""
    events = feed(3_000, 160)
    closes = [place for place, event in enumerate(events) if isinstance(event, Bar)]

    def at(share: float) -> tuple[int, int]:
        place = closes[int(len(closes) * share)] + 1
        return place, events[place - 1].close_ms

    solana = an_instrument("SOLUSDT", tick_size="0.01")
    told = [
        (0.1, lambda ms: Transfer(id=1, time_ms=ms, amount=Decimal("250.5"), reason="saved")),
        (0.15, lambda ms: Notice(kind="reconnected", time_ms=ms, detail="after a second")),
        (0.2, lambda ms: Pause(id=2, time_ms=ms, symbol="BTCUSDT", note="news")),
        (0.3, lambda ms: Resume(id=3, time_ms=ms, note="over")),
        (0.4, lambda ms: Close(id=4, time_ms=ms, symbol="ETHUSDT")),
        (0.5, lambda ms: Watch(id=5, time_ms=ms, add=(solana,), drop=("BTCUSDT",), note="by hand")),
        (
            0.6,
            lambda ms: RuleChange(time_ms=ms, rules=an_instrument("ETHUSDT", tick_size="0.05", known_ms=ms)),
        ),
        (0.7, lambda ms: Pause(id=6, time_ms=ms, note="for good")),
    ]
    for share, made in reversed(told):
        place, ms = at(share)
        events.insert(place, made(ms))
    return events


@pytest.fixture(scope="module")
def life(tmp_path_factory) -> Life:
    """A first session, and a second one with its recording and its replay."""
    folder = tmp_path_factory.mktemp("verify")
    events, database = eventful(), folder / "demo.db"
    config = settings("counting_eager", risk={"max_daily_loss": "0.007"})
    first = feed(2_960, 40)
    asyncio.run(session(database, config, first, ends="stopped"))
    recording = asyncio.run(session(database, config, events, recordings=folder, ends="stopped"))
    replayed = folder / "replay.db"
    verify = ["replay", str(recording), "--db", str(replayed), "--verify", str(database)]
    assert main(verify, ALLOWED) == 0
    return Life(database, replayed, recording, Recording.read(recording).header)


def difference(life: Life, folder: Path, sql: str):
    """The difference that is found once the database was changed."""
    changed = folder / "changed.db"
    with sqlite3.connect(life.database) as source, sqlite3.connect(changed) as copy:
        source.backup(copy)
        before = copy.total_changes
        copy.executescript(sql)
        assert copy.total_changes > before, "nothing was changed"
    source.close()
    copy.close()

    async def compared():
        async with Database.open(changed, readonly=True) as database:
            original = await StoredSession.find(database, life.header)
            await database.attach(life.replayed, "replayed")
            return (await original.compare())[0]

    return asyncio.run(compared())


def the_rows(life: Life, table: str) -> list[dict]:
    """A table's rows in the replay, which the session has as well."""
    with sqlite3.connect(life.replayed) as connection:
        connection.row_factory = sqlite3.Row
        order = "rowid" if table not in ("neighbors", "bars", "funding") else "1, 2"
        found = [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")]
    connection.close()
    return found


def the_same(table: str, row: dict) -> str:
    """Where the session has the replay's last row: what counts all sessions' rows has another number there."""
    if table in ("equity", "events"):
        return f"id = (SELECT max(id) FROM {table})"
    key = next(one.key for one in COMPARED if one.name == table)
    return " AND ".join(f"{name} = {row[name]!r}" for name in key)


def test_every_table_is_compared_or_is_no_sessions_matter(life):
    with sqlite3.connect(life.database) as connection:
        stored = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    connection.close()
    compared = {table.name for table in COMPARED}
    assert stored == compared | set(NOT_COMPARED)
    assert not compared & set(NOT_COMPARED)


@pytest.mark.parametrize("table", [table.name for table in COMPARED if table.name != "sessions"])
def test_a_row_that_only_one_side_has_is_told(life, tmp_path, table):
    row = the_rows(life, table)[-1]
    found = difference(life, tmp_path, f"DELETE FROM {table} WHERE {the_same(table, row)}")
    assert found is not None
    assert (found.table, found.in_database, found.in_replay) == (table, None, "a row")


@pytest.mark.parametrize("table", [table.name for table in COMPARED])
def test_a_figure_that_differs_is_told(life, tmp_path, table):
    compared = next(one for one in COMPARED if one.name == table)
    row = the_rows(life, table)[-1]
    keys = ("id", *compared.key)
    untold = set()
    for column in compared.columns or row:
        if column in keys or row[column] is None:
            continue
        value = f"{column} + 1" if isinstance(row[column], int | float) else f"{column} || ' '"
        changed = f"UPDATE {table} SET {column} = {value} WHERE {the_same(table, row)}"
        found = difference(life, tmp_path, changed)
        # A row of another session is one that this one has not.
        told = "session_id" if found is not None and found.column is None else column
        if found is None or (found.table, told) != (table, column):
            untold.add(column)
    assert not untold


def test_a_payment_that_the_replay_does_not_come_to_is_told(life, tmp_path, capsys):
    """The session has it, by its own number, whatever the replay was fed."""
    entries = [entry for entry in Recording.read(life.recording) if not isinstance(entry, Funding)]
    unfunded = recorded(tmp_path, entries, header=life.header)
    verify = ["replay", str(unfunded), "--db", str(tmp_path / "r.db"), "--verify", str(life.database)]
    capsys.readouterr()
    assert main(verify, ALLOWED) == 1
    told = capsys.readouterr().out
    assert "funding symbol BTCUSDT" in told or "funding symbol ETHUSDT" in told
    assert "a row in the database, nothing in the replay" in told
