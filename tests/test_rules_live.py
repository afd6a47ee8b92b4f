"""A live session goes by the exchange's new rules from when it reads them, and its replay agrees."""

import asyncio
import sqlite3
import sys
from decimal import Decimal
from pathlib import Path

from bot.cli import main
from bot.demo.exchange import DemoExchange
from bot.store.recording.reader import Recording
from bot.synthetic import PRESETS, SyntheticMarket
from strategies import STRATEGIES
from tests.bot_process import QUICK, ROOT, environment

HOUR_MS = 3_600_000
CONFIG = QUICK.replace("[run]", '[run]\nsymbols = ["BTCUSDT"]\ninterval = "60"\nrecordings = "recordings"')


async def session(folder: Path) -> tuple[int, int]:
    """A session of 90 hourly bars whose exchange changes its rules; the exit code, and when they changed."""
    (folder / "config.toml").write_text(CONFIG)
    market = SyntheticMarket(PRESETS["demo"], 3, "60")
    live_from = market.start_ms(600)
    async with DemoExchange(
        market, "linear", ("BTCUSDT",), "60", live_from_ms=live_from, bar_seconds=0.1
    ) as exchange:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "run_bot.py"), "--testnet", "--max-bars", "90"),
            cwd=folder,
            env=environment(BOT__EXCHANGE__REST_URL=exchange.rest_url, BOT__EXCHANGE__WS_URL=exchange.ws_url),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        while exchange.clock_ms < live_from + 30 * HOUR_MS:  # noqa: ASYNC110 - a test's patience
            await asyncio.sleep(0.01)
        changed_ms = exchange.clock_ms
        exchange.change_rules(
            "BTCUSDT", tick_size=Decimal(5), lot_size=Decimal("0.02"), min_quantity=Decimal("0.02")
        )
        return await asyncio.wait_for(process.wait(), 60), changed_ms


def test_new_rules_hold_from_when_they_are_read_and_the_replay_agrees(tmp_path):
    code, changed_ms = asyncio.run(session(tmp_path))
    assert code == 0
    with sqlite3.connect(tmp_path / "testnet.db") as database:
        rows = database.execute(
            "SELECT time_ms, symbol, detail FROM events WHERE kind = 'rules_changed'"
        ).fetchall()
        ((seen_ms, symbol, detail),) = rows
        fills = database.execute("SELECT time_ms, price, quantity FROM fills").fetchall()
        rules = database.execute("SELECT tick_size, lot_size, source, known_ms FROM instruments").fetchone()
    assert seen_ms >= changed_ms
    assert symbol == "BTCUSDT"
    assert detail.startswith("tick_size 0.1 to 5, lot_size 0.001 to 0.02, min_quantity 0.001 to 0.02")
    assert rules[:3] == ("5", "0.02", "exchange")
    assert rules[3] >= seen_ms - HOUR_MS
    before = [Decimal(price) for time_ms, price, _ in fills if time_ms < seen_ms]
    after = [Decimal(price) for time_ms, price, _ in fills if time_ms > seen_ms]
    assert any(price % 5 for price in before)
    assert after
    assert not any(price % 5 for price in after)

    (path,) = (tmp_path / "recordings").rglob("*.rec.zst")
    assert "RuleChange" in {type(entry).__name__ for entry in Recording.read(path)}
    config = ["--config", str(tmp_path / "config.toml"), "--db", str(tmp_path / "replay.db")]
    assert main(["replay", str(path), "--verify", str(tmp_path / "testnet.db"), *config], STRATEGIES) == 0
    with sqlite3.connect(tmp_path / "replay.db") as database:
        again = database.execute("SELECT tick_size, lot_size, source, known_ms FROM instruments").fetchone()
    assert again == rules
