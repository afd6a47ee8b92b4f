"""The bot's own process against the embedded exchange: what it does with bars that it missed, or slept through."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.demo.exchange import DemoExchange
from bot.market import Bar
from bot.synthetic import PRESETS, SyntheticMarket
from tests.books import audit, rows
from tests.bot_process import ROOT, environment

MARKET = SyntheticMarket(PRESETS["demo"], 7, "15")
LIVE_INDEX = 3_000
LIVE_MS = MARKET.start_ms(LIVE_INDEX)
STEP_MS = 15 * 60_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
BAR_SECONDS = 0.1
CONFIG = """
[run]
database = "live.db"

[memory]
warmup_bars = {warmup}
neighbors = 8

[strategy]
name = "tests.live.steady:Steady"
horizon_bars = 4
"""

JUST_BOOTED = """
import time

began = {number: time.clock_gettime(number) - 5.0 for number in (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME)}
tell = time.clock_gettime
time.clock_gettime = lambda number: tell(number) - began.get(number, 0.0)
time.monotonic = lambda: tell(time.CLOCK_MONOTONIC) - began[time.CLOCK_MONOTONIC]
"""
"""Local clocks as on a machine that was started five seconds before."""

Deed = Callable[[DemoExchange, Process, Path], Awaitable[None]]


async def lived(
    folder: Path,
    deed: Deed,
    *,
    warmup: int = 300,
    listed: tuple[str, ...] = SYMBOLS,
    live_ms: int = LIVE_MS,
    market: SyntheticMarket | dict[str, list[Bar]] = MARKET,
    **settings: str,
) -> int:
    """The bot's exit code, after ``deed(exchange, process, database)`` and a SIGTERM."""
    (folder / "config.toml").write_text(CONFIG.format(warmup=warmup))
    async with DemoExchange(
        market, "linear", listed, "15", live_from_ms=live_ms, bar_seconds=BAR_SECONDS, pause_when_alone=False
    ) as exchange:
        env = environment(
            BOT__EXCHANGE__REST_URL=exchange.rest_url, BOT__EXCHANGE__WS_URL=exchange.ws_url, **settings
        )
        command = (str(ROOT / "run_bot.py"), "--testnet", "--symbols", ",".join(listed))
        with (folder / "log").open("w") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, cwd=folder, env=env, stdout=PIPE, stderr=log
            )
            try:
                await deed(exchange, process, folder / "live.db")
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(20):
                    await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    assert process.returncode is not None
    return process.returncode


async def until(met: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 - it is another process that brings it about
            await asyncio.sleep(0.02)


def decided(database: Path, symbol: str = "BTCUSDT") -> list[dict]:
    if not database.exists() or not rows(database, "SELECT 1 FROM sqlite_master WHERE name = 'signals'"):
        return []
    return rows(database, f"SELECT * FROM signals WHERE symbol = '{symbol}' ORDER BY bar_start_ms")


def told(folder: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event or line.get("kind") == event]


def nothing_overtook(database: Path) -> None:
    """Every bar once and in order, each fill of a fresh decision behind the bars that had closed by then."""
    audit(database)
    for symbol in SYMBOLS:
        starts = [row["bar_start_ms"] for row in decided(database, symbol)]
        assert starts == list(range(starts[0], starts[-1] + 1, STEP_MS))
        late = {row["bar_start_ms"] for row in decided(database, symbol) if row["late"]}
        ids = {row["bar_start_ms"]: row["id"] for row in decided(database, symbol)}
        for fill in rows(database, f"SELECT * FROM fills WHERE symbol = '{symbol}' AND NOT late"):
            behind = fill["time_ms"] // STEP_MS * STEP_MS - STEP_MS
            # What is filled by a quote was filled once the bar before that quote had been decided.
            signal_id = rows(database, f"SELECT signal_id FROM orders WHERE id = {fill['order_id']}")[0][
                "signal_id"
            ]
            assert behind not in ids or ids[behind] >= signal_id
            assert behind not in late


def test_a_process_that_slept_for_a_hundred_bars_decides_none_of_them_as_fresh(tmp_path):
    slept: list[int] = []

    async def sleep(exchange: DemoExchange, process: Process, database: Path) -> None:
        await until(lambda: len([row for row in decided(database) if not row["late"]]) >= 10)
        slept.append(exchange.clock_ms)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(100 * BAR_SECONDS)
        process.send_signal(signal.SIGCONT)
        slept.append(exchange.clock_ms)
        await until(lambda: decided(database)[-1]["bar_start_ms"] > slept[1] + 10 * STEP_MS)

    assert asyncio.run(lived(tmp_path, sleep)) == 0
    database = tmp_path / "live.db"
    fell_asleep, woke = slept
    assert woke - fell_asleep > 90 * STEP_MS
    for symbol in SYMBOLS:
        inner = [
            row for row in decided(database, symbol)
            if fell_asleep + STEP_MS < row["bar_start_ms"] and row["bar_start_ms"] + 2 * STEP_MS < woke
        ]  # fmt: skip
        assert len(inner) > 90
        assert all(row["late"] and row["action"] == "hold" for row in inner)
    # What rested as it fell asleep is settled by the first bar that was missed; nothing else is filled in the past.
    first_ms, last_ms = fell_asleep + 2 * STEP_MS, woke - STEP_MS
    assert rows(database, f"SELECT * FROM fills WHERE time_ms > {first_ms} AND time_ms < {last_ms}") == []
    (event,) = rows(database, "SELECT * FROM events WHERE kind = 'woke'")
    assert "went on by" in event["detail"]
    seconds = float(event["detail"].partition("went on by ")[2].split()[0])
    assert 0.9 * 100 * BAR_SECONDS < seconds < 1.5 * 100 * BAR_SECONDS
    assert told(tmp_path, "woke")
    nothing_overtook(database)


@pytest.mark.parametrize("warmup", [0, 300])
def test_rest_that_fails_five_times_at_the_start_lets_nothing_overtake(tmp_path, warmup):
    async def restart(exchange: DemoExchange, process: Process, database: Path) -> None:
        await until(lambda: len(decided(database)) >= 5)

    async def fail(exchange: DemoExchange, process: Process, database: Path) -> None:
        before = len(decided(database))
        await until(lambda: '"connected"' in (tmp_path / "log").read_text())
        exchange.fail_rest("http500", 5 * 4 * 2, "kline")
        await until(lambda: len([row for row in decided(database) if not row["late"]]) >= before + 10)

    assert asyncio.run(lived(tmp_path, restart, warmup=warmup)) == 0
    assert asyncio.run(lived(tmp_path, fail, warmup=warmup)) == 0
    nothing_overtook(tmp_path / "live.db")


def test_without_any_history_bars_are_decided_from_the_first_that_closes(tmp_path):
    async def watch(exchange: DemoExchange, process: Process, database: Path) -> None:
        await until(lambda: min(len(decided(database, symbol)) for symbol in SYMBOLS) >= 10)

    assert asyncio.run(lived(tmp_path, watch, warmup=0)) == 0
    nothing_overtook(tmp_path / "live.db")
    assert len([row for row in decided(tmp_path / "live.db") if row["late"]]) < 5


def test_a_bot_that_starts_within_a_bar_of_its_machine_lets_nothing_overtake(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(JUST_BOOTED)

    async def watch(exchange: DemoExchange, process: Process, database: Path) -> None:
        seen = len(decided(database))
        await until(lambda: len(decided(database)) >= seen + 15)

    assert asyncio.run(lived(tmp_path, watch, PYTHONPATH=str(tmp_path))) == 0
    # Again, with bars that closed while it was down.
    missed_ms = max(row["bar_start_ms"] for row in decided(tmp_path / "live.db")) + 6 * STEP_MS
    assert asyncio.run(lived(tmp_path, watch, live_ms=missed_ms, PYTHONPATH=str(tmp_path))) == 0
    nothing_overtook(tmp_path / "live.db")
    assert [row for row in decided(tmp_path / "live.db") if row["late"]]
    assert [row for row in decided(tmp_path / "live.db") if not row["late"]]


def test_a_symbol_that_is_listed_without_a_bar_holds_up_nobody(tmp_path):
    bars = {symbol: MARKET.bars(symbol, LIVE_INDEX - 400, 1_000) for symbol in SYMBOLS}
    # Its first bar comes long after.
    bars["NEWUSDT"] = MARKET.bars("NEWUSDT", LIVE_INDEX + 400, 600)

    async def watch(exchange: DemoExchange, process: Process, database: Path) -> None:
        await until(lambda: min(len(decided(database, symbol)) for symbol in SYMBOLS) >= 40)
        assert decided(database, "NEWUSDT") == []
        # Its history is looked for a few seconds long; from then on a machine that is busy may be late, and no more.
        assert sum(row["late"] for row in decided(database)[-30:]) < 10

    listed = (*SYMBOLS, "NEWUSDT")
    assert asyncio.run(lived(tmp_path, watch, listed=listed, market=bars)) == 0
    assert told(tmp_path, "history_unavailable")
    nothing_overtook(tmp_path / "live.db")
