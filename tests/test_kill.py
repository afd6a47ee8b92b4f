import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bot.synthetic import PRESETS, SyntheticMarket
from tests.books import Audit, audit, rows, unpaid
from tests.bot_process import QUICK, start, wait_for

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MARKET = SyntheticMarket(PRESETS["demo"], 7, "15")
STEP = 15 * 60_000
FUNDING_MS = 8 * 3_600_000
FIGURES = ("open", "high", "low", "close", "volume", "turnover")


def bars_equal_the_market(database: Path, found: Audit) -> None:
    for symbol, starts in found.decided.items():
        first = MARKET.index_of(starts[0])
        truth = MARKET.bars(symbol, first, len(starts))
        stored = rows(
            database,
            f"SELECT * FROM bars WHERE symbol = '{symbol}' AND start_ms >= {starts[0]} ORDER BY start_ms",
        )
        assert [tuple(row[name] for name in ("start_ms", *FIGURES)) for row in stored] == [
            (bar.start_ms, *(format(getattr(bar, name), "f") for name in FIGURES)) for bar in truth
        ]


def until_an_order_waits(database: Path) -> None:
    """Orders wait some milliseconds here; a few hundred bars always have one."""
    deadline = time.monotonic() + 10
    while not rows(database, "SELECT 1 FROM orders WHERE status = 'open'"):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_bot_killed_at_twenty_random_moments_loses_nothing_and_does_nothing_twice(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK)
    database, log = tmp_path / "demo.db", tmp_path / "log"
    moments = random.Random(20)
    seen: list[list[dict[str, Any]]] = []
    for round in range(20):
        with start(tmp_path, "--demo", log=log) as process:
            if round % 4 == 0:
                # While it starts, warms up, or catches up.
                time.sleep(moments.uniform(0.05, 1.2))
            else:
                wait_for(log, '"bar_decided"', moments.randrange(1, 60))
                time.sleep(moments.uniform(0.0, 0.05))
            if round % 4 == 2:
                until_an_order_waits(database)
            assert process.poll() is None, log.read_text()[-2000:]
            process.kill()
        if not database.exists() or not rows(database, "SELECT 1 FROM sqlite_master WHERE name = 'signals'"):
            continue
        found = audit(database)
        bars_equal_the_market(database, found)
        # What was once committed stays as it is.
        kept = rows(database, "SELECT id, symbol, bar_start_ms, action, detail_json FROM signals ORDER BY id")
        kept_fills = rows(database, "SELECT * FROM fills ORDER BY id")
        for before, after in zip(seen, (kept, kept_fills), strict=bool(seen)):
            assert after[: len(before)] == before
        seen = [kept, kept_fills]

    with start(tmp_path, "--demo", log=log) as process:
        wait_for(log, '"bar_decided"', 60)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "ended: SIGINT" in out
    found = audit(database)
    bars_equal_the_market(database, found)
    # The feed of every symbol goes through without a hole to the same bar, or the one before it.
    assert abs(found.decided["BTCUSDT"][-1] - found.decided["ETHUSDT"][-1]) <= STEP
    assert len(found.decided["BTCUSDT"]) > 120
    # The run has met what it is about: late bars, fills at the open of a missed one, funding, recalls.
    assert found.late > 20
    assert found.fills > 50
    assert found.late_fills > 0
    assert found.funding > 3
    assert found.neighbors > 1000
    assert unpaid(database, FUNDING_MS, min(map(max, found.decided.values())) - 10 * STEP) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_live_session_cleanly(tmp_path, number):
    (tmp_path / "config.toml").write_text(QUICK)
    log = tmp_path / "log"
    with start(tmp_path, "--demo", "--json", log=log) as process:
        wait_for(log, '"bar_decided"', 6)
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert sorted(path.name for path in tmp_path.glob("demo.db*")) == ["demo.db"]
    summary = json.loads(out)
    assert summary["exit_reason"] == number.name
    found = audit(tmp_path / "demo.db")
    assert summary["bars"] == sum(map(len, found.decided.values()))
    (session,) = rows(tmp_path / "demo.db", "SELECT * FROM sessions")
    assert session["exit_reason"] == number.name
    assert session["ended_ms"] >= session["started_ms"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_session_that_is_still_starting(tmp_path, number):
    (tmp_path / "config.toml").write_text(QUICK)
    log = tmp_path / "log"
    for seconds in (0.25, 0.5, 0.75, 1.0):
        with start(tmp_path, "--demo", log=log) as process:
            time.sleep(seconds)
            process.send_signal(number)
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        assert process.returncode == 0, (seconds, log.read_text())
        assert "Traceback" not in log.read_text()
    # On a slow machine none of them came as far as a database.
    database = tmp_path / "demo.db"
    sessions = rows(database, "SELECT * FROM sessions") if database.exists() else []
    assert {row["exit_reason"] for row in sessions} <= {number.name}
