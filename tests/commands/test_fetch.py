import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.commands.fetch import Options, fetch
from bot.config import Config, RunConfig
from bot.demo.exchange import DemoExchange
from bot.errors import ConfigError, FeedError, InputError
from bot.exchange.config import ExchangeConfig
from bot.market import INTERVAL_MS, Bar
from bot.store.database import Database, Identity
from bot.store.history.market import Market, load_rules
from bot.store.history.schema import HISTORY
from tests.factories import START_MS, a_bar

STEP = INTERVAL_MS["15"]
LATER = 400 * STEP
"""From START_MS to START_MS + LATER the exchange has bars, but for those that a test leaves out."""


def some_bars(*, without: range = range(0), count: int = 400, symbol: str = "BTCUSDT") -> list[Bar]:
    return [
        a_bar(n, close=100 + n, open=100 + n, turnover=Decimal(7), symbol=symbol)
        for n in range(count)
        if n not in without
    ]


class Asked:
    """The command, asked of an exchange that has these bars."""

    def __init__(self, folder: Path, exchange: DemoExchange, symbols: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.folder = folder
        self.symbols = symbols

    async def __call__(self, *, since: int = START_MS, until: int | None = None, **options: Any) -> int:
        config = Config(
            run=RunConfig(
                symbols=options.pop("symbols", self.symbols),
                interval=options.pop("interval", "15"),
                database=str(self.folder / "{mode}.db"),
                history=str(self.folder / "history.db"),
            ),
            exchange=ExchangeConfig(rest_url=self.exchange.rest_url),
        )
        return await fetch(Options(since=since, until=until, **options), config)


def against(folder: Path, bars: list[Bar], use: Callable[[Asked], Awaitable[None]]) -> None:
    source: dict[str, list[Bar]] = {}
    for bar in bars:
        source.setdefault(bar.symbol, []).append(bar)

    async def main() -> None:
        symbols = tuple(source)
        async with DemoExchange(
            source, "linear", symbols, "15", live_from_ms=START_MS + LATER, bar_seconds=1
        ) as exchange:
            await use(Asked(folder, exchange, symbols))

    asyncio.run(main())


def stored(folder: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "history.db") as other:
        rows = other.execute("SELECT symbol, start_ms, close, source FROM bars ORDER BY symbol, start_ms")
        return rows.fetchall()


def rows_of(bars: list[Bar]) -> list[tuple[Any, ...]]:
    return [(bar.symbol, bar.start_ms, str(bar.close), "history") for bar in bars]


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_a_range_is_fetched_of_every_symbol_and_nothing_beyond_it(tmp_path: Path, capsys) -> None:
    bars = some_bars() + some_bars(symbol="ETHUSDT")

    async def use(asked: Asked) -> None:
        # A start inside a bar asks for the next one.
        assert await asked(since=START_MS + 10 * STEP - 1, until=START_MS + 20 * STEP) == 0

    against(tmp_path, bars, use)
    assert stored(tmp_path) == rows_of(bars[10:20] + bars[410:420])
    assert (
        f"BTCUSDT 15: 10 new bars, 10 in all in {tmp_path}/history.db (2023-11-15 02:30 to 2023-11-15 04:45 UTC)"
    ) in capsys.readouterr().out.splitlines()


def test_without_an_end_all_is_fetched_that_has_closed_and_the_rules_are_kept(tmp_path: Path) -> None:
    async def use(asked: Asked) -> None:
        assert await asked() == 0

    async def rules() -> set[str]:
        async with Database.open(tmp_path / "history.db", kind=HISTORY, readonly=True) as history:
            return set(await load_rules(history, Market("bybit", "linear"), ("BTCUSDT", "ETHUSDT")))

    against(tmp_path, some_bars(), use)
    assert stored(tmp_path) == rows_of(some_bars())
    assert asyncio.run(rules()) == {"BTCUSDT"}


def test_what_is_stored_is_not_asked_for_again(tmp_path: Path, capsys) -> None:
    async def use(asked: Asked) -> None:
        await asked()
        before = asked.exchange.requests["kline"]
        capsys.readouterr()
        await asked(json=True)
        # One request tells where the exchange's bars end.
        assert asked.exchange.requests["kline"] == before + 1

    against(tmp_path, some_bars(), use)
    (one,) = told(capsys)
    assert (one["added"], one["stored"], one["gaps"]) == (0, 400, [])


def test_holes_inside_and_ends_are_filled_each_by_its_own_request(tmp_path: Path, capsys) -> None:
    async def use(asked: Asked) -> None:
        await asked()
        with sqlite3.connect(tmp_path / "history.db") as other:
            lost = [*range(3), 50, *range(100, 120), *range(390, 400)]
            other.executemany("DELETE FROM bars WHERE start_ms = ?", [(START_MS + n * STEP,) for n in lost])
        before = asked.exchange.requests["kline"]
        capsys.readouterr()
        await asked(json=True)
        assert asked.exchange.requests["kline"] == before + 1 + 4

    against(tmp_path, some_bars(), use)
    assert stored(tmp_path) == rows_of(some_bars())
    assert told(capsys)[0]["added"] == 34


def test_bars_that_the_exchange_does_not_have_are_reported_as_gaps(tmp_path: Path, capsys) -> None:
    bars = [bar for bar in some_bars(without=range(100, 103)) if bar.start_ms != START_MS + 7 * STEP]

    async def use(asked: Asked) -> None:
        await asked(since=START_MS - 5 * STEP, json=True)
        (one,) = told(capsys)
        assert (one["first_start_ms"], one["stored"]) == (START_MS, 396)
        assert one["gaps"] == [
            {"first_start_ms": START_MS + 7 * STEP, "last_start_ms": START_MS + 7 * STEP, "bars": 1},
            {"first_start_ms": START_MS + 100 * STEP, "last_start_ms": START_MS + 102 * STEP, "bars": 3},
        ]
        await asked(since=START_MS - 5 * STEP)

    against(tmp_path, bars, use)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "  the exchange's bars begin at 2023-11-15 00:00",
        "  4 bars in 2 gaps are not on the exchange:",
        "    2023-11-15 01:45 to 2023-11-15 01:45: 1",
        "    2023-11-16 01:00 to 2023-11-16 01:30: 3",
        "  0 new funding rates, 12 in all (2023-11-15 08:00 to 2023-11-19 00:00 UTC)",
    ]


def test_the_years_before_a_symbol_was_listed_cost_a_few_requests(tmp_path: Path) -> None:
    async def use(asked: Asked) -> None:
        await asked(since=0)
        assert asked.exchange.requests["kline"] < 10

    against(tmp_path, some_bars(), use)
    assert stored(tmp_path) == rows_of(some_bars())


@pytest.mark.parametrize("fault", ["http502", "empty", "missing_bar", "broken_row", "slow", "broken_json"])
def test_what_the_weather_spoils_is_asked_for_again(tmp_path: Path, fault: Any, capsys) -> None:
    async def use(asked: Asked) -> None:
        asked.exchange.fail_rest(fault, 2, "kline")
        await asked(until=START_MS + 50 * STEP, json=True)

    against(tmp_path, some_bars(), use)
    assert stored(tmp_path) == rows_of(some_bars()[:50])
    assert told(capsys)[0]["gaps"] == []


def test_an_interruption_keeps_what_was_fetched_and_the_next_run_goes_on(tmp_path: Path, capsys) -> None:
    bars = some_bars() + some_bars(symbol="ETHUSDT")

    async def use(asked: Asked) -> None:
        async def interrupt() -> None:
            while len(stored(tmp_path)) < 400:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        async with Database.open(tmp_path / "history.db", kind=HISTORY):
            pass
        # Slow enough for the first symbol to be seen complete while the second one is still asked for.
        asked.exchange.fail_rest("slow", 100, "kline")
        interrupting = asyncio.create_task(interrupt())
        assert await asked() == 130
        await interrupting
        assert stored(tmp_path) == rows_of(bars[:400])
        assert "the same command continues from there" in capsys.readouterr().err

    against(tmp_path, bars, use)
    against(tmp_path, bars, lambda asked: asked())
    assert stored(tmp_path) == rows_of(bars)


def test_a_refusal_ends_the_command_at_once(tmp_path: Path) -> None:
    async def use(asked: Asked) -> None:
        with pytest.raises(FeedError, match="Invalid period"):
            await asked(interval="60")

    against(tmp_path, some_bars(), use)


def test_mistakes_are_told_before_a_database_is_made(tmp_path: Path) -> None:
    async def use(asked: Asked) -> None:
        with pytest.raises(ConfigError, match="does not trade 'NOPEUSDT'"):
            await asked(symbols=("NOPEUSDT",))
        with pytest.raises(ConfigError, match="the demo brings its own market"):
            await asked(mode="demo")

    against(tmp_path, some_bars(), use)
    assert list(tmp_path.iterdir()) == []


def test_a_range_without_closed_bars_is_refused(tmp_path: Path) -> None:
    async def use(asked: Asked) -> None:
        with pytest.raises(InputError, match="--since 2023-11-19 04:00: no closed bar of BTCUSDT 15"):
            await asked(since=START_MS + LATER)
        with pytest.raises(InputError, match="before --until 2023-11-15 00:00"):
            await asked(until=START_MS)

    against(tmp_path, some_bars(), use)


def test_bars_never_enter_the_database_of_an_account(tmp_path: Path) -> None:
    async def use(asked: Asked) -> None:
        live = Identity(mode="mainnet", category="linear", starting_cash=Decimal(10000))
        async with Database.open(tmp_path / "live.db", live):
            pass
        with pytest.raises(InputError, match="is not a history store"):
            await asked(db=str(tmp_path / "live.db"))


def test_what_testnet_says_is_kept_apart(tmp_path: Path) -> None:
    async def use(asked: Asked) -> None:
        await asked(until=START_MS + 5 * STEP)
        await asked(until=START_MS + 3 * STEP, mode="testnet")

    against(tmp_path, some_bars(), use)
    with sqlite3.connect(tmp_path / "history.db") as other:
        counts = other.execute("SELECT venue, count(*) FROM bars GROUP BY venue").fetchall()
    assert counts == [("bybit", 5), ("bybit-testnet", 3)]

    against(tmp_path, some_bars(), use)
