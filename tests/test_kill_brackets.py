"""Killed again and again with brackets resting, the account ends as if it had never stopped."""

import asyncio
import multiprocessing
import os
import random
import time
import zlib
from collections.abc import Sequence
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from msgspec.structs import replace

from bot.market import INTERVAL_MS, Bar
from bot.sessions import loop, warm_up
from bot.sessions.assembly import opening_of
from bot.store.account.state import load_account
from bot.store.account.steps import StepWriter, begin_session
from bot.store.database import Database, Identity
from bot.strategy import Situation, StrategyConfig
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.events import RESTING, Action, Signal, Step
from tests.books import audit, rows
from tests.core import a_config, a_trader, merged

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MARKET = SyntheticMarket(PRESETS["demo"], 23, "15")
STEP = INTERVAL_MS["15"]
FIRST = 3_000
WARMUP = 300
"""Enough for a volatility, by which stops and targets are placed."""
ROUNDS = 50
IDENTITY = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000))
CONFIG = a_config(
    "BTCUSDT",
    "ETHUSDT",
    broker={"fill_model": "bar"},
    risk={"cooldown_losses": 2, "cooldown_bars": 3, "max_orders_per_hour": 6},
)
TABLES = {
    "signals": "id", "orders": "id", "fills": "id", "equity": "id", "positions": "symbol",
    "risk_state": "id", "halts": "id",
}  # fmt: skip


class Bracketed:
    """Enters at every third bar or so, always with a stop, and with a target, a trail or a time stop."""

    needs_memory = False

    def __init__(self, config: StrategyConfig) -> None:
        pass

    def decide(self, situation: Situation) -> Signal:
        """A bracket whose kind and side a hash of the bar's time chooses."""
        turn = zlib.crc32(f"{situation.bar.symbol} {situation.bar.start_ms}".encode()) % 12
        action: Action = "hold" if turn > 3 else "long" if turn % 2 else "short"
        return Signal(
            action=action,
            reason=f"bracketed: turn {turn}",
            stop_distance=2.0 if turn % 4 < 2 else None,
            target_distance=3.0,
            trail_distance=2.5 if turn % 4 >= 2 else None,
            time_stop_bars=9,
        )


async def session(path: Path, bars: Sequence[Bar], live: Connection | None = None) -> None:
    """A session as the live command runs one, but for the exchange; ``live`` is told of each bar decided on."""
    async with Database.open(path, IDENTITY) as database:
        account = await load_account(database)
        trader = a_trader(CONFIG, Bracketed(CONFIG.strategy), quotes=True, opening=opening_of(account))
        config_json = msgspec.json.encode(CONFIG).decode()
        id = await begin_session(database, "demo", config_json, 1, start=account.equity)
        steps = StepWriter(database, id)
        if not account.progress:
            for symbol in SYMBOLS:
                warmup = MARKET.bars(symbol, FIRST - WARMUP, WARMUP)
                await steps.insert_history([replace(bar, source="history") for bar in warmup])
        wanted = warm_up.Wanted(symbols=SYMBOLS, interval="15", bars=WARMUP, memory_size=100, horizon_bars=4)
        await warm_up.observe(trader.observe_all, database, wanted, lambda *_: None)

        def tell(step: Step) -> None:
            if live is not None and step.bar is not None:
                live.send_bytes(b"decided")

        async def source():
            for bar in bars:
                yield bar

        await loop.run(source(), trader, steps, tell)


def run_in_child(path: Path, bars: Sequence[Bar], live: Connection) -> None:
    asyncio.run(session(path, bars, live))


def decided(path: Path) -> dict[str, int]:
    """Each symbol's last decided bar, as its index; the one before the first where none was."""
    found = dict.fromkeys(SYMBOLS, FIRST - 1)
    if path.exists() and rows(path, "SELECT 1 FROM sqlite_master WHERE name = 'signals'"):
        for row in rows(path, "SELECT symbol, max(bar_start_ms) AS last FROM signals GROUP BY symbol"):
            found[row["symbol"]] = MARKET.index_of(row["last"])
    return found


def the_market_since(path: Path, missed: int, live: int) -> list[Bar]:
    """What a restart is told: the bars missed meanwhile, late, and then those that close while it runs."""
    last = decided(path)
    newest = max(last.values()) + missed
    return merged(
        *(
            [
                replace(bar, late=MARKET.index_of(bar.start_ms) <= newest)
                for bar in MARKET.bars(symbol, index + 1, newest - index + live)
            ]
            for symbol, index in last.items()
        )
    )


def table(path: Path, name: str) -> list[dict]:
    found = rows(path, f"SELECT * FROM {name} ORDER BY {TABLES[name]}")
    return [{key: value for key, value in row.items() if key != "session_id"} for row in found]


def test_fifty_kills_with_resting_brackets_leave_the_account_as_one_run_would(tmp_path):
    path, moments = tmp_path / "killed.db", random.Random(50)
    # A fork is a process like any other, and spares the imports.
    processes = multiprocessing.get_context("fork")
    resting = 0
    for round in range(ROUNDS):
        missed = moments.randrange(5) if round else 0
        reader, writer = processes.Pipe(duplex=False)
        bars = the_market_since(path, missed, 400)
        process = processes.Process(target=run_in_child, args=(path, bars, writer))
        process.start()
        if round % 5 == 4:
            # While it opens the database, warms up, or is at the missed bars.
            time.sleep(moments.uniform(0.0, 0.3))
        else:
            # However slow the machine is, so many bars further; and then anywhere within one.
            for _ in range(moments.randrange(1, 20)):
                assert reader.poll(20)
                reader.recv_bytes()
            time.sleep(moments.uniform(0.0, 0.02))
        assert process.exitcode is None, "it was not killed"
        os.kill(process.pid or 0, 9)
        process.join()
        reader.close()
        writer.close()
        if path.exists():
            marks = ", ".join(f"'{status}'" for status in RESTING)
            resting += bool(
                rows(path, f"SELECT 1 FROM orders WHERE parent_id IS NOT NULL AND status IN ({marks})")
            )
    asyncio.run(session(path, the_market_since(path, 3, 20)))
    audit(path)

    signals = rows(path, "SELECT symbol, bar_start_ms, late FROM signals ORDER BY id")
    seen = [
        replace(
            MARKET.bars(row["symbol"], MARKET.index_of(row["bar_start_ms"]), 1)[0], late=bool(row["late"])
        )
        for row in signals
    ]
    whole = tmp_path / "whole.db"
    asyncio.run(session(whole, seen))
    for name in TABLES:
        assert table(path, name) == table(whole, name), name

    # The run has met what it is about.
    fills = table(path, "fills")
    assert resting > ROUNDS // 2
    assert sum(row["late"] for row in signals) > 2 * ROUNDS
    assert sum(fill["late"] for fill in fills) > 10
    assert {"next_open", "stop", "target"} <= {fill["rule"] for fill in fills}
    assert any("cooldown" in row["reason"] for row in table(path, "orders"))
