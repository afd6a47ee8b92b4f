"""What a person asks for stands in the database until the bot has taken it."""

import asyncio
import gzip
from decimal import Decimal

import pytest

from bot.errors import InputError
from bot.store.database import Database, Identity
from bot.store.requests import Inbox, ask_to_resume, ask_to_transfer
from bot.store.steps import StepWriter
from bot.trading.events import Resume, Step, Transfer
from bot.trading.risk import RiskState
from tests.store.test_migration import OLD

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000))


def test_a_request_is_made_beside_the_process_that_writes(tmp_path):
    async def main() -> None:
        async with Database.open(tmp_path / "demo.db", DEMO) as bot:
            inbox = Inbox(bot, last_resume_id=0, last_transfer_id=0)
            assert await inbox.take(5) == []
            async with Database.beside(tmp_path / "demo.db") as person:
                assert await ask_to_resume(person, 77, "first") == 1
                # What was not taken yet need not be asked for again.
                assert await ask_to_resume(person, 78, "again") == 1
                assert await inbox.take(5) == [Resume(id=1, time_ms=5, note="first")]
                assert await inbox.take(5) == []
                await StepWriter(bot, 1).append(Step(time_ms=5, risk=RiskState(last_resume_id=1)))
                assert await ask_to_transfer(person, 78, Decimal("-1.50"), "rent") == 2
                assert await ask_to_transfer(person, 78, Decimal(3), "") == 3
                assert await ask_to_resume(person, 79, "second") == 4
            rent = Transfer(id=2, time_ms=6, amount=Decimal("-1.50"), reason="rent")
            gift = Transfer(id=3, time_ms=6, amount=Decimal(3), reason="")
            again = Resume(id=4, time_ms=6, note="second")
            # A session that ended before it could commit them takes them once more.
            for _ in range(2):
                inbox = Inbox(bot, last_resume_id=1, last_transfer_id=0)
                assert await inbox.take(6) == [again, rent, gift]
            assert await Inbox(bot, last_resume_id=4, last_transfer_id=2).take(6) == [gift]

    asyncio.run(main())


def test_a_number_is_never_given_twice(tmp_path):
    async def main() -> None:
        async with Database.open(tmp_path / "demo.db", DEMO) as database:
            await ask_to_resume(database, 1, "")
            async with database.transaction():
                await database.write("DELETE FROM requests", [()])
            assert await ask_to_resume(database, 2, "") == 2

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
