import asyncio
import gzip
from decimal import Decimal

import pytest
from msgspec.structs import replace

from bot.store.database import Database, Identity
from bot.store.steps import forget_runs
from bot.store.trials import Judged, keeping_trials, note_trial, tried
from tests.store.test_migration import OLD

BACKTEST = Identity(mode="backtest", category="linear", starting_cash=Decimal(1000))
ON = Judged(symbols=("BTCUSDT", "ETHUSDT"), interval="60", first_ms=1000, last_ms=2000)


def names(path, on, *configurations, forget=False):
    """What was tried on these bars once these configurations were judged by ``ON``."""

    async def noted():
        async with Database.open(path, BACKTEST) as database:
            for name in configurations:
                await note_trial(database, ON, made_ms=1, command="backtest", configuration=name, sharpe=None)
            if forget:
                await forget_runs(database, Decimal(1000))
            return await tried(database, on)

    return asyncio.run(noted())


def test_a_configuration_counts_once_however_often_it_was_judged(tmp_path):
    assert names(tmp_path / "b.db", ON, "a", "b", "a") == {"a", "b"}


def test_a_backtest_that_begins_anew_forgets_no_trial(tmp_path):
    assert names(tmp_path / "b.db", ON, "a", "b", forget=True) == {"a", "b"}


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"symbols": ("ETHUSDT", "XRPUSDT")}, True),
        ({"symbols": ("XRPUSDT",)}, False),
        ({"interval": "15"}, False),
        ({"first_ms": 2000, "last_ms": 3000}, True),
        ({"first_ms": 2001, "last_ms": 3000}, False),
        ({"first_ms": 1, "last_ms": 1000}, True),
        ({"first_ms": 1, "last_ms": 999}, False),
    ],
    ids=str,
)
def test_bars_are_the_same_where_symbol_interval_and_time_meet(tmp_path, changes, counts):
    assert bool(names(tmp_path / "b.db", replace(ON, **changes), "a")) == counts


def test_a_database_of_an_older_bot_keeps_them_too(tmp_path):
    path = tmp_path / "b.db"
    path.write_bytes(gzip.decompress(OLD[1].read_bytes()))

    async def noted() -> set[str]:
        async with keeping_trials(path, BACKTEST) as database:
            await note_trial(database, ON, made_ms=1, command="evaluate", configuration="a", sharpe=None)
            return await tried(database, ON)

    assert asyncio.run(noted()) == {"a"}
