"""The doctor finds the books of every database whole that any command makes, in whatever state it is left.

An auditor who knows nothing of the bot's code goes over each of them as well.
"""

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from bot.cli import main
from bot.market import CLOSED, GONE, Bar, Funding, Listing
from bot.store.database import Database
from tests.books import audit, rows
from tests.bot_process import QUICK, start, wait_for
from tests.commands.test_runs import HOUR_MS, STARTS, a_file
from tests.eager import ALLOWED
from tests.lives import DEMO, feed, session, settings
from tests.stocks import a_year, stock_bars
from tests.store.account.test_migration import OLD, unpacked
from tests.test_held_symbols import HOLDS
from tests.test_verify import eventful

State = tuple[str, Path]


def ran(*arguments: str) -> None:
    assert main(arguments, ALLOWED) == 0, arguments


def carried_out(database: Path, requests: int) -> None:
    """Wait until a running bot has carried out so many requests."""
    deadline = time.monotonic() + 30
    while len(rows(database, "SELECT 1 FROM requests WHERE done_ms IS NOT NULL")) < requests:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def replayed(folder: Path, database: Path) -> Iterator[State]:
    """Each recording of the account, replayed: from flat, and from what an earlier session has left."""
    for recording in sorted(
        (folder / "var" / "recordings").iterdir(), key=lambda path: int(path.name[17:-8])
    ):
        path = folder / "replay.db"
        ran("replay", str(recording), "--db", str(path), "--verify", str(database))
        books = json.loads(rows(path, "SELECT ledger_json FROM opening")[0]["ledger_json"])
        held = any(Decimal(position["quantity"]) for position in books["positions"])
        yield f"replayed from {'an open position' if held else 'flat'}", path


def a_demo(folder: Path) -> Iterator[State]:
    (folder / "config.toml").write_text(QUICK)
    log, database = folder / "log", folder / "demo.db"
    with start(folder, "--demo", log=log) as process:
        wait_for(log, '"bar_decided"', 10)
        yield "running", database
        ran("transfer", "--db", "demo.db", "250.50")
        carried_out(database, 1)
        yield "running, transferred", database
        ran("pause", "BTCUSDT", "--demo")
        carried_out(database, 2)
        yield "running, paused", database
        process.send_signal(signal.SIGKILL)
    yield "killed", database
    ran("transfer", "--db", "demo.db", "--", "-99")
    yield "killed, a transfer asked for", database
    ran("--demo", "--max-bars", "8")
    yield "resumed and ended", database
    ran("resume", "--demo")
    ran("close", "--demo", "--all", "--note", "enough")
    ran("--demo", "--max-bars", "4")
    yield "closed by hand", database
    yield from replayed(folder, database)


def symbols_that_come_and_go(folder: Path) -> Iterator[State]:
    (folder / "config.toml").write_text(HOLDS)
    database, one = folder / "demo.db", ("--symbols", "BTCUSDT")
    ran("--demo", "--max-bars", "6")
    yield "ended", database
    ran("--demo", "--max-bars", "6", *one)
    yield "dropped while held", database
    ran("close", "--demo", "ETHUSDT")
    ran("--demo", "--max-bars", "6", *one)
    yield "let go", database
    ran("--demo", "--max-bars", "4", *one)
    yield "gone", database
    ran("--demo", "--max-bars", "6")
    decided = rows(database, "SELECT bar_start_ms FROM signals WHERE symbol = 'ETHUSDT' ORDER BY id")
    steps = {two["bar_start_ms"] - one["bar_start_ms"] for one, two in pairwise(decided)}
    assert len(steps) == 2
    yield "rejoined", database
    yield from replayed(folder, database)


def by_hand_and_by_the_exchange(folder: Path) -> Iterator[State]:
    database, recordings = folder / "demo.db", folder / "var" / "recordings"

    def lived(config, events, ends: str | None) -> None:
        asyncio.run(session(database, config, events, recordings=recordings, ends=ends))

    first = feed(2_940, 60)
    lived(settings("eager"), [event for event in first if not isinstance(event, Funding)], None)
    yield "killed while funding was due", database
    # What was settled meanwhile becomes known late, of positions that are no longer the same.
    late = [event for event in first if isinstance(event, Funding)]
    lived(settings("eager", risk={"max_daily_loss": "0.007"}), [*late, *eventful()], "stopped")
    ended = "(SELECT max(time_ms) FROM equity WHERE session_id = 1)"
    assert rows(database, f"SELECT 1 FROM funding WHERE session_id = 2 AND time_ms < {ended}")
    assert rows(database, "SELECT 1 FROM halts")
    yield "halted, paused, dropped and closed by hand", database
    events = feed(3_160, 80)
    closes = [place for place, event in enumerate(events) if isinstance(event, Bar)]
    ended = Listing(
        symbol="ETHUSDT", time_ms=events[closes[-20]].close_ms, status=CLOSED, price=Decimal(3000)
    )
    gone = Listing(symbol="BTCUSDT", time_ms=events[closes[-10]].close_ms, status=GONE)
    events.insert(closes[-10] + 1, gone)
    events.insert(closes[-20] + 1, ended)
    account = folder / "held.db"
    asyncio.run(
        session(account, settings("buy_and_hold"), events, recordings=folder / "held", ends="stopped")
    )
    assert rows(account, "SELECT rule FROM fills ORDER BY id DESC LIMIT 1") == [{"rule": "settlement"}]
    assert rows(account, "SELECT 1 FROM positions WHERE quantity <> '0'")
    yield "settled and delisted", account
    yield from replayed(folder, database)


def backtests(folder: Path) -> Iterator[State]:
    file, runs = a_file(folder, "BTCUSDT_one_1h.csv"), folder / "var" / "runs"
    rates = folder / "rates.csv"
    settled = [f"{STARTS + i * 8 * HOUR_MS},0.000{i % 7 + 1}" for i in range(70)]
    rates.write_text("\n".join(["time_ms,rate", *settled, ""]))
    trades = ("--strategy", "moving_average_cross")
    ran("backtest", "--data", file, "--name", "plain", *trades)
    yield "backtest finished", runs / "plain.db"
    ran("backtest", "--again", "plain")
    yield "backtest made again", runs / "plain-again.db"
    some = ("--from", "2024-01-10", "--funding", f"BTCUSDT={rates}")
    ran("backtest", "--data", file, "--name", "funded", *some, "--strategy", "buy_and_hold")
    assert rows(runs / "funded.db", "SELECT 1 FROM funding")
    yield "backtest with funding", runs / "funded.db"
    ran("backtest", "--data", file, "--name", "spot", "--category", "spot", *trades)
    yield "backtest on spot", runs / "spot.db"
    ran("import", file)
    ran("backtest", "--symbols", "BTCUSDT", "--interval", "60", "--name", "stored", *trades)
    yield "backtest of stored history", runs / "stored.db"
    bars = stock_bars(a_year(days=200))
    shares = folder / "AAPL_here_1h.csv"
    lines = [f"{bar.start_ms},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume}," for bar in bars]
    shares.write_text("\n".join(["start_ms,open,high,low,close,volume,turnover", *lines, ""]))
    equity = ("--category", "equity", *trades)
    ran("backtest", "--data", str(shares), "--name", "shares", *equity)
    assert rows(runs / "shares.db", "SELECT 1 FROM round_trips WHERE closed_ms IS NOT NULL")
    yield "backtest of shares", runs / "shares.db"


def a_backtest_cut_short(folder: Path) -> Iterator[State]:
    file, log = a_file(folder, "BTCUSDT_one_1h.csv", bars=12_000), folder / "log"
    with start(folder, "backtest", "--data", file, "--name", "one", "--warmup", "400", log=log) as process:
        wait_for(log, "backtest: ", seconds=60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    yield "backtest interrupted", folder / "var" / "runs" / "one.db"


def older_versions(folder: Path) -> Iterator[State]:
    (folder / "config.toml").write_text(QUICK)

    async def migrated(path: Path) -> None:
        async with Database.open(path, DEMO):
            pass

    for version in OLD:
        path = unpacked(version, folder)
        asyncio.run(migrated(path))
        yield f"version {version} migrated", path
        ran("--demo", "--max-bars", "3")
        yield f"version {version} resumed", path
        for left in folder.glob("demo.db*"):
            left.unlink()


def beginnings(folder: Path) -> Iterator[State]:
    async def made(path: Path) -> None:
        async with Database.open(path, DEMO):
            pass

    (folder / "config.toml").write_text(QUICK)
    asyncio.run(made(folder / "unbegun.db"))
    yield "nothing has begun", folder / "unbegun.db"
    ran("--demo", "--max-bars", "4", "--category", "spot", "--db", "spot.db")
    yield "a demo of spot", folder / "spot.db"
    file = a_file(folder, "BTCUSDT_one_1h.csv", bars=430)
    ran("--demo", "--data", file, "--db", "file.db")
    yield "a demo of a file, to its end", folder / "file.db"


LIVES: dict[Callable[[Path], Iterator[State]], int] = {
    a_demo: 10,
    symbols_that_come_and_go: 10,
    by_hand_and_by_the_exchange: 5,
    backtests: 6,
    a_backtest_cut_short: 1,
    older_versions: 2 * len(OLD),
    beginnings: 3,
}
"""Each with the number of its states."""


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_the_books_are_whole_in_every_state(life, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    states = []
    for state, path in life(tmp_path):
        states.append(state)
        capsys.readouterr()
        code = main(["doctor", "--demo", "--db", str(path), "--json"], ALLOWED)
        told = json.loads(capsys.readouterr().out)
        assert code == 0, (state, [check["detail"] for check in told if not check["ok"]])
        assert any(check["name"] == f"database {path}" for check in told)
        if not state.startswith(("replayed", "nothing")):
            snapshot = tmp_path / "snapshot.db"
            with sqlite3.connect(path) as source, sqlite3.connect(snapshot) as copy:
                source.backup(copy)
            source.close()
            copy.close()
            audit(snapshot)
    assert len(states) == LIVES[life], states
    if life in (a_demo, symbols_that_come_and_go, by_hand_and_by_the_exchange):
        assert {"replayed from flat", "replayed from an open position"} <= set(states)
