"""Configurations tried on bars are counted across runs, whatever becomes of the runs."""

import asyncio

import pytest
from msgspec.structs import replace

from bot.store.database import Database
from bot.store.runs.schema import INDEX
from bot.store.runs.trials import EvaluatedBars, count_tried, note_trial, tried

ON = EvaluatedBars(symbols=("BTCUSDT", "ETHUSDT"), interval="60", first_ms=1000, last_ms=2000)


def names(path, on, *configurations):
    """What was tried on these bars once these configurations were judged by ``ON``."""

    async def noted():
        async with Database.open(path, kind=INDEX) as index:
            for name in configurations:
                await note_trial(index, ON, created_ms=1, command="backtest", configuration=name, sharpe=None)
            return await tried(index, on)

    return asyncio.run(noted())


def test_a_configuration_counts_once_however_often_it_was_judged(tmp_path):
    assert names(tmp_path / "index.db", ON, "a", "b", "a") == {"a", "b"}


def test_it_is_still_counted_when_the_index_is_opened_again(tmp_path):
    names(tmp_path / "index.db", ON, "a", "b")
    assert names(tmp_path / "index.db", ON, "c") == {"a", "b", "c"}
    assert asyncio.run(count_tried(tmp_path / "index.db", ON)) == 3


def test_without_an_index_nothing_was_tried(tmp_path):
    assert asyncio.run(count_tried(tmp_path / "index.db", ON)) == 0
    assert not list(tmp_path.iterdir())


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
        ({"sha256": "another venue's"}, True),
    ],
    ids=str,
)
def test_bars_are_the_same_where_symbol_interval_and_time_meet(tmp_path, changes, counts):
    assert bool(names(tmp_path / "index.db", replace(ON, **changes), "a")) == counts
