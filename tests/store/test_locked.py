"""While another program keeps a session's database locked, Steps are taken; they are written as soon as it is free."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from bot.errors import DatabaseLocked
from bot.sessions import loop
from bot.store.account.steps import StepWriter, begin_session, end_session
from bot.store.database import Database, Identity
from bot.store.patience import BUSY_SECONDS, Patience
from tests.core import a_trader
from tests.factories import START_MS, a_bar

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal("10000"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def decided(path: Path) -> int:
    other = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (found,) = other.execute("SELECT count(*) FROM signals").fetchone()
        return int(found)
    finally:
        other.close()


def test_steps_are_taken_while_it_is_locked_and_reported_once_they_are_written(tmp_path):
    path, told, reported = tmp_path / "a.db", [], []
    taken: list[float] = []

    async def bars(unlock: asyncio.Event):
        for number in range(40):
            taken.append(time.monotonic())
            yield a_bar(number)
            await asyncio.sleep(0.01 if number else 0)
        # Nothing may be written, nor told, before the lock is given back.
        assert decided(path) == 0
        assert not reported
        unlock.set()
        await asyncio.sleep(0.6)
        yield a_bar(40)
        assert decided(path) == 41
        assert len(reported) == 41

    async def main() -> None:
        unlock = asyncio.Event()
        async with Database.open(path, DEMO, patience=Patience(60, told.append)) as database:
            session = await begin_session(database, "demo", "{}", START_MS)
            steps = StepWriter(database, session)
            with locked(path):
                running = asyncio.create_task(loop.run(bars(unlock), a_trader(), steps, reported.append))
                await asyncio.wait(
                    {running, asyncio.create_task(unlock.wait())}, return_when="FIRST_COMPLETED"
                )
            await running
            await end_session(database, session, START_MS, "stopped")
            events = await database.fetch("SELECT kind FROM events WHERE kind <> 'rejection'")
            assert events == [("database_locked",)]

    asyncio.run(main())
    assert [step.signal_id for step in reported] == list(range(1, 42))
    # The first one finds out, the others do not wait for it.
    assert taken[1] - taken[0] < BUSY_SECONDS + 1
    assert taken[-1] - taken[1] < BUSY_SECONDS
    assert "for 60 s at most" in told[0]
    assert told[1].startswith("no longer locked")


def test_a_lock_that_is_kept_for_longer_ends_it_with_nothing_half_written(tmp_path):
    path, told, reported = tmp_path / "a.db", [], []

    async def bars():
        for number in range(1_000):
            yield a_bar(number)
            await asyncio.sleep(0.02)

    async def main() -> float:
        async with Database.open(path, DEMO, patience=Patience(3, told.append)) as database:
            session = await begin_session(database, "demo", "{}", START_MS)
            steps = StepWriter(database, session)
            began = time.monotonic()
            with locked(path), pytest.raises(DatabaseLocked, match="locked by another program"):
                await loop.run(bars(), a_trader(), steps, reported.append)
            took = time.monotonic() - began
            # Whoever writes down the end does not wait for all that time again.
            with locked(path), pytest.raises(DatabaseLocked):
                await end_session(database, session, START_MS, "failed")
            assert time.monotonic() - began - took < BUSY_SECONDS + 1
            return took

    assert 2.5 < asyncio.run(main()) < 8
    assert decided(path) == 0
    assert not reported


def test_whoever_stops_meanwhile_does_not_wait_for_the_lock(tmp_path):
    path = tmp_path / "a.db"

    async def bars():
        yield a_bar(0)
        await asyncio.sleep(60)

    async def main() -> float:
        async with Database.open(path, DEMO, patience=Patience(60)) as database:
            session = await begin_session(database, "demo", "{}", START_MS)
            steps = StepWriter(database, session)
            with locked(path):
                running = asyncio.create_task(loop.run(bars(), a_trader(), steps, lambda step: None))
                await asyncio.sleep(BUSY_SECONDS + 0.5)
                began = time.monotonic()
                running.cancel()
                await asyncio.wait({running})
        return time.monotonic() - began

    assert asyncio.run(main()) < BUSY_SECONDS + 1.5
