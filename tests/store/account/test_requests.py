"""What a person asks for stands in the database until the bot has taken it."""

import asyncio
import gzip
from decimal import Decimal

import pytest

from bot.errors import InputError
from bot.store.account.requests import ChangeSymbols, Inbox, ask, read_request
from bot.store.account.steps import StepWriter
from bot.store.database import Database, Identity
from bot.trading.events import Answer, Close, Pause, Resume, Step, Transfer
from tests.factories import a_step
from tests.store.account.test_migration import OLD

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000))


def test_a_request_is_made_beside_the_process_that_writes_and_taken_until_it_is_carried_out(tmp_path):
    async def main() -> None:
        async with Database.open(tmp_path / "demo.db", DEMO) as bot:
            inbox = Inbox(bot)
            assert await inbox.take(5) == []
            async with Database.beside(tmp_path / "demo.db") as person:
                assert await ask(person, "resume", 77, note="first") == 1
                # What was not taken yet need not be asked for again.
                assert await ask(person, "resume", 78, note="again") == 1
                assert await inbox.take(5) == [Resume(id=1, time_ms=5, note="first")]
                assert await inbox.take(5) == []
                await StepWriter(bot, 1).append(
                    Step(time_ms=5, answers=(Answer(id=1, time_ms=5, outcome="so"),))
                )
                done = await read_request(person, 1)
                assert (done.done_ms, done.outcome, done.error) == (5, "so", "")
                assert await ask(person, "transfer", 78, amount=Decimal("-1.50"), note="rent") == 2
                assert await ask(person, "close", 78, symbols="BTCUSDT", note="enough") == 3
                assert await ask(person, "pause", 79) == 4
                assert await ask(person, "pause", 79, symbols="ETHUSDT") == 5
                assert await ask(person, "symbols", 80, symbols="+SOLUSDT") == 6
                assert await ask(person, "resume", 81, symbols="ETHUSDT", note="second") == 7
            asked = [
                Transfer(id=2, time_ms=6, amount=Decimal("-1.50"), reason="rent"),
                Close(id=3, time_ms=6, symbol="BTCUSDT", note="enough"),
                Pause(id=4, time_ms=6),
                Pause(id=5, time_ms=6, symbol="ETHUSDT"),
                ChangeSymbols(id=6, symbol="SOLUSDT", add=True, note=""),
                Resume(id=7, time_ms=6, note="second", symbol="ETHUSDT"),
            ]
            # A session that ended before it could commit them takes them once more.
            for _ in range(2):
                assert await Inbox(bot).take(6) == asked
            await StepWriter(bot, 1).append(Step(time_ms=6, answers=(Answer(id=3, time_ms=6, error="no"),)))
            assert [one.id for one in await Inbox(bot).take(6)] == [2, 4, 5, 6, 7]

    asyncio.run(main())


def test_a_number_is_never_given_twice(tmp_path):
    async def main() -> None:
        async with Database.open(tmp_path / "demo.db", DEMO) as database:
            await ask(database, "resume", 1)
            async with database.transaction():
                await database.write("DELETE FROM requests", [()])
            assert await ask(database, "resume", 2) == 2

    asyncio.run(main())


def test_who_reads_a_long_account_keeps_nobody_from_writing(tmp_path):
    async def main() -> None:
        async with Database.open(tmp_path / "demo.db", DEMO) as bot:
            async with (
                Database.beside(tmp_path / "demo.db") as person,
                person.transaction(reads=True),
            ):
                assert await person.value("SELECT count(*) FROM fills") == 0
                await StepWriter(bot, 1).append(a_step(0))
                assert await person.value("SELECT count(*) FROM signals") == 0
            assert await bot.value("SELECT count(*) FROM signals") == 1

    asyncio.run(main())


def test_a_database_of_an_older_schema_or_none_at_all_is_refused_in_one_line(tmp_path):
    async def beside(name: str) -> None:
        async with Database.beside(tmp_path / name):
            pass

    (tmp_path / "old.db").write_bytes(gzip.decompress(OLD[1].read_bytes()))
    (tmp_path / "empty.db").touch()
    before = (tmp_path / "old.db").read_bytes()
    for name, reason in (
        ("old.db", "to migrate it"),
        ("none.db", "no database at"),
        ("empty.db", "is empty"),
    ):
        with pytest.raises(InputError, match=reason):
            asyncio.run(beside(name))
    assert (tmp_path / "old.db").read_bytes() == before
