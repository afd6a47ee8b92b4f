import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from msgspec.structs import replace

from bot.errors import BrokenInvariant, InputError, StoreError
from bot.store.account.schema import ACCOUNT, SCHEMA_VERSION
from bot.store.database import Database, Identity, discard
from bot.store.kinds import Kind
from bot.store.lock import holder

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal("10000"))


async def opened(path: Path, identity: Identity | None = DEMO, **options: Any) -> Identity:
    async with Database.open(path, identity, **options) as database:
        return database.identity


_COLUMNS = "(id, time_ms, amount, reason)"
_INSERT = f"INSERT INTO transfers {_COLUMNS} VALUES (?, ?, ?, ?)"


def refused(path: Path, identity: Identity | None = DEMO, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        asyncio.run(opened(path, identity, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions mean nothing to root; for a moment, be somebody else."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def readonly_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield folder
        folder.chmod(0o700)


def test_a_new_database_gets_its_folders_schema_version_and_wal(tmp_path: Path) -> None:
    path = tmp_path / "var" / "deep" / "demo.db"
    asyncio.run(opened(path))
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = {name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables >= {
            *("sessions", "instruments", "bars", "signals", "neighbors", "orders"),
            *("fills", "funding", "transfers", "positions", "equity", "events"),
        }


def test_a_database_is_made_whole_or_not_at_all_wherever_its_making_is_cancelled(tmp_path: Path) -> None:
    execute = aiosqlite.Connection._execute

    async def cancelled_at(statement: int) -> bool:
        """Whether the making came as far as this statement, and was cancelled there."""
        seen = 0

        async def counted(connection: aiosqlite.Connection, *given: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == statement and (task := asyncio.current_task()):
                task.cancel()
            return await execute(connection, *given, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aiosqlite.Connection, "_execute", counted)
            with suppress(asyncio.CancelledError):
                await asyncio.create_task(opened(tmp_path / f"{statement}.db"))
        return seen > statement

    statement = 1
    while asyncio.run(cancelled_at(statement)):
        # The last of them are the statements of a database that is closed again.
        made = tmp_path / f"{statement}.db"
        if made.exists():
            with sqlite3.connect(made) as plain:
                assert plain.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
                assert plain.execute("SELECT count(*) FROM meta").fetchone() == (3,)
        assert not list(tmp_path.glob(f"{statement}.db-*"))
        statement += 1
    assert statement > 50
    assert not (tmp_path / "20.db").exists()


@pytest.mark.parametrize("left", [b"", None])
def test_what_a_kill_left_of_a_database_without_content_is_begun_again(
    tmp_path: Path, left: bytes | None
) -> None:
    path = tmp_path / "demo.db"
    if left is None:
        with closing(sqlite3.connect(path)) as plain:
            plain.execute("PRAGMA journal_mode = WAL")
        assert path.stat().st_size
    else:
        path.write_bytes(left)
    asyncio.run(discard(path, "demo"))
    assert asyncio.run(opened(path)) == DEMO


def test_a_live_database_syncs_every_commit_and_a_new_offline_one_none(tmp_path: Path) -> None:
    async def synchronous(path: Path, durable: bool) -> int:
        async with Database.open(path, DEMO, durable=durable) as database:
            level: int = await database.value("PRAGMA synchronous")
            return level

    assert asyncio.run(synchronous(tmp_path / "live.db", True)) == 2
    assert asyncio.run(synchronous(tmp_path / "offline.db", False)) == 0
    assert asyncio.run(synchronous(tmp_path / "offline.db", False)) == 1


def test_the_starting_cash_is_the_one_of_the_first_day(tmp_path: Path) -> None:
    richer = Identity(mode="demo", category="linear", starting_cash=Decimal("99999"))
    asyncio.run(opened(tmp_path / "a.db"))
    assert asyncio.run(opened(tmp_path / "a.db", richer)) == DEMO


@pytest.mark.parametrize(("mode", "category"), [("mainnet", "linear"), ("demo", "spot")])
def test_a_database_of_another_venue_or_category_is_refused(tmp_path: Path, mode, category) -> None:
    asyncio.run(opened(tmp_path / "a.db"))
    other = Identity(mode=mode, category=category, starting_cash=Decimal("10000"))
    message = refused(tmp_path / "a.db", other)
    assert "demo linear" in message
    assert f"{mode} {category}" in message
    assert "--db" in message


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    asyncio.run(opened(path))
    with sqlite3.connect(path) as plain:
        plain.execute("PRAGMA user_version = 7")
    assert "schema version 7, newer" in refused(path)
    assert "schema version 7, newer" in refused(path, None, readonly=True)


def next_version(*statements: str) -> Kind:
    """The schema with one version more, which these lead to."""
    return replace(ACCOUNT, migrations=(*ACCOUNT.migrations, statements))


def test_an_older_schema_is_migrated_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    asyncio.run(opened(path))
    with sqlite3.connect(path) as plain:
        plain.execute(f"INSERT INTO transfers {_COLUMNS} VALUES (1, 2, '3', 'gift')")
    later = next_version("ALTER TABLE transfers ADD COLUMN sender TEXT")
    assert "to migrate it" in refused(path, None, readonly=True, kind=later)
    assert asyncio.run(opened(path, kind=later)) == DEMO
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT id, amount, sender FROM transfers").fetchall() == [(1, "3", None)]
        assert plain.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    asyncio.run(opened(path))
    broken = next_version(
        "ALTER TABLE transfers ADD COLUMN sender TEXT", "ALTER TABLE nowhere ADD COLUMN x TEXT"
    )
    assert "no such table: nowhere" in refused(path, kind=broken)
    with sqlite3.connect(path) as plain:
        assert "sender" not in [row[1] for row in plain.execute("PRAGMA table_info(transfers)")]
        assert plain.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as plain:
        plain.execute("CREATE TABLE photos (name TEXT)")
    before = path.read_bytes()
    assert "not a database of this bot" in refused(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    text, folder = tmp_path / "notes.db", tmp_path / "folder.db"
    text.write_bytes(b"dear diary, " * 1000)
    folder.mkdir()
    assert "is not a database" in refused(text)
    assert "is not a database" in refused(text, None, readonly=True)
    assert "is a folder" in refused(folder)
    assert "no database at" in refused(tmp_path / "missing.db", None, readonly=True)
    assert "File exists" in refused(text / "inside.db")
    assert sorted(tmp_path.iterdir()) == [folder, text]


def test_a_readonly_folder_or_file_is_refused_in_one_line(readonly_folder: Path) -> None:
    path = readonly_folder / "a.db"
    asyncio.run(opened(path))
    path.chmod(0o444)
    readonly_folder.chmod(0o555)
    with as_nobody():
        assert "Permission denied" in refused(readonly_folder / "new.db")
        assert "Permission denied" in refused(readonly_folder / "new" / "deeper.db")
        assert "Permission denied" in refused(path)
        assert asyncio.run(opened(path, None, readonly=True)) == DEMO


def test_a_readonly_file_in_a_writable_folder_is_refused_in_one_line(readonly_folder: Path) -> None:
    path = readonly_folder / "a.db"
    asyncio.run(opened(path))
    path.chmod(0o444)
    readonly_folder.chmod(0o777)
    with as_nobody():
        assert "check its permissions" in refused(path)


def test_a_second_process_is_refused_and_told_which_one_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    program = f"""
import asyncio, sys
from decimal import Decimal
from bot.store.database import Database, Identity, discard
async def main():
    identity = Identity(mode="demo", category="linear", starting_cash=Decimal("10000"))
    async with Database.open({str(path)!r}, identity) as database:
        async with database.transaction():
            await database.write(
                "INSERT INTO transfers (id, time_ms, amount, reason) VALUES (?, 2, '3', 'gift')", [(1,)]
            )
        print("open", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    assert holder(path) is None
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        message = refused(path)
        assert f"in use by process {other.pid} since 20" in message
        found = holder(path)
        assert found is not None
        assert found.pid == other.pid
        # Readers are welcome all the same.
        assert asyncio.run(opened(path, None, readonly=True)) == DEMO
        other.send_signal(signal.SIGKILL)
    # A killed process holds nothing, and what it committed is there.
    assert holder(path) is None
    assert asyncio.run(opened(path, None, readonly=True)) == DEMO

    async def transfers() -> list[tuple[object, ...]]:
        async with Database.open(path, DEMO) as database:
            return await database.fetch("SELECT id, amount FROM transfers")

    assert asyncio.run(transfers()) == [(1, "3")]
    assert holder(path) is None
    assert list(tmp_path.iterdir()) == [path]


def test_a_transaction_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    async def main() -> list[tuple[object, ...]]:
        async with Database.open(tmp_path / "a.db", DEMO) as database:
            row = (1, 2, "3", "gift")
            with pytest.raises(BrokenInvariant, match="UNIQUE constraint failed: transfers"):
                async with database.transaction():
                    await database.write(_INSERT, [row, row])
            async with database.transaction():
                await database.write(_INSERT, [(2, *row[1:])])
            return await database.fetch("SELECT id FROM transfers")

    assert asyncio.run(main()) == [(2,)]


def test_a_transaction_that_returns_is_committed_and_one_that_raises_is_not(tmp_path: Path) -> None:
    """Cancelled at every turn of the loop, also while the commit itself is on its way."""

    async def cancelled_at(turn: int, path: Path) -> tuple[bool, bool]:
        """Whether it returned although it was cancelled, and whether it had ended before that."""
        returned = False

        async with Database.open(path, DEMO) as database:

            async def write() -> None:
                nonlocal returned
                async with database.transaction():
                    await database.write(_INSERT, [(1, 1, "5", "deposit")])
                returned = True
                await asyncio.sleep(60)

            task = asyncio.create_task(write())
            for _ in range(turn):
                await asyncio.sleep(0)
            over = returned
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()
            assert bool(await database.value("SELECT count(*) FROM transfers")) is returned
        return returned, over

    met_the_commit, turn = False, 0
    while True:
        returned, over = asyncio.run(cancelled_at(turn, tmp_path / f"{turn}.db"))
        if over:
            break
        met_the_commit |= returned
        turn += 1
    assert met_the_commit


def test_a_cancelled_transaction_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    async def writing(database: Database, number: int, pause: float) -> None:
        async with database.transaction():
            await database.write(f"INSERT INTO transfers {_COLUMNS} VALUES (?, 2, '3', 'gift')", [(number,)])
            await asyncio.sleep(pause)

    async def main() -> list[tuple[object, ...]]:
        async with Database.open(tmp_path / "a.db", DEMO) as database:
            for number, wait in enumerate((0.0, 0.0001, 0.001, 0.02)):
                task = asyncio.create_task(writing(database, number, 10))
                await asyncio.sleep(wait)
                task.cancel()
                await asyncio.wait([task])
            await writing(database, 9, 0)
            return await database.fetch("SELECT id FROM transfers")

    assert asyncio.run(main()) == [(9,)]


def test_a_readers_transaction_is_one_snapshot_and_blocks_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def main() -> tuple[int, int, int]:
        async with Database.open(path, DEMO) as writer, Database.open(path, readonly=True) as reader:
            async with reader.transaction():
                before: int = await reader.value("SELECT count(*) FROM transfers")
                async with writer.transaction():
                    await writer.write(
                        f"INSERT INTO transfers {_COLUMNS} VALUES (?, 2, '3', 'gift')",
                        [(1,)],
                    )
                during: int = await reader.value("SELECT count(*) FROM transfers")
            after: int = await reader.value("SELECT count(*) FROM transfers")
            return before, during, after

    assert asyncio.run(main()) == (0, 0, 1)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    asyncio.run(opened(tmp_path / "a.db"))

    async def main() -> None:
        async with Database.open(tmp_path / "a.db", readonly=True) as reader, reader.transaction():
            await reader.write(f"INSERT INTO transfers {_COLUMNS} VALUES (?, 2, '3', 'gift')", [(1,)])

    with pytest.raises(StoreError, match="readonly"):
        asyncio.run(main())


def test_a_database_locked_by_another_program_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def main() -> None:
        async with Database.open(path, DEMO) as database:
            await database.fetch("PRAGMA busy_timeout = 30")
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            try:
                async with database.transaction():
                    pass
            finally:
                other.close()

    with pytest.raises(StoreError) as caught:
        asyncio.run(main())
    assert str(caught.value).startswith(f"{path} is locked by another program")
