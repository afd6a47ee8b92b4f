import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from bot.demo.exchange import DemoExchange
from bot.synthetic import PRESETS, SyntheticMarket
from tests.books import audit, rows
from tests.bot_process import QUICK, ROOT, Ended, environment, on_terminal, run, start, wait_for

MARKET = SyntheticMarket(PRESETS["demo"], 7, "15")
HEADER = "start_ms,open,high,low,close,volume,turnover\n"
GOOD_ROW = "1704067200000,10,12,9,11,5,50\n"


def is_one_line(ended: Ended, code: int, *told: str) -> None:
    """The process ended as it should, and said why in one line without a traceback."""
    assert ended.code == code, ended
    (line,) = ended.err.splitlines()
    assert line.startswith("error: "), line
    for text in told:
        assert text in line


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with the database of a short demo session that is over."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "config.toml").write_text(QUICK)
    assert run(folder, "--demo", "--max-bars", "12").code == 0
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of it that a test may spoil."""
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("command", ["report", "status", "explain", "trades", "doctor"])
def test_what_people_read_fits_their_terminal(finished, columns, command):
    shown = on_terminal(finished, columns, command, "--demo")
    assert len(shown) > 4
    too_long = [line for line in shown if len(line) > columns]
    assert not too_long


def test_without_a_mode_or_a_command_help_is_shown(tmp_path):
    ended = run(tmp_path)
    assert ended.code == 2
    assert "--testnet" in ended.out
    assert "examples:" in ended.out
    assert not ended.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--demo", "--max-bars", "none"], "'none' is not a whole number"),
        (["--demo", "--run-for", "soon"], "not a duration such as 90s"),
        (["--demo", "--testnet"], "not allowed with"),
        (["dance"], "invalid choice"),
        (["backtest", "--from", "yesterday"], "not a time such as 2024-01-31"),
    ],
)
def test_wrong_arguments_are_told_with_what_would_be_right(tmp_path, arguments, told):
    ended = run(tmp_path, *arguments)
    assert ended.code == 2
    assert told in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[memory]\nsizee = 5\n", ["config.toml", "unknown key memory.sizee", "size"]),
        ("[memroy]\nsize = 5\n", ["config.toml", "unknown key memroy", "memory"]),
        ("[memory]\nsize = 'big'\n", ["config.toml", "memory.size = big", "int"]),
        ("[memory]\nsize = 0\n", ["config.toml", "memory.size = 0", ">= 1"]),
        ("[broker]\ntaker_fee = 2\n", ["config.toml", "taker_fee must be between 0 and 0.1"]),
        ("[run]\ninterval = '7'\n", ["config.toml", "run.interval", "15"]),
        ("[run]\nsymbols = ['btcusdt']\n", ["config.toml", "run.symbols", "'btcusdt'"]),
        ("[exchange]\nrest_url = 'localhost'\n", ["config.toml", "exchange.rest_url", "http://"]),
        ("[memory\nsize = 5\n", ["config.toml", "not valid TOML", "line 1"]),
        ("memory = 5\n", ["config.toml", "memory"]),
    ],
)
def test_a_wrong_configuration_is_one_line_that_names_file_and_key(tmp_path, text, told):
    (tmp_path / "config.toml").write_text(text)
    is_one_line(run(tmp_path, "show-config"), 2, *told)


def test_a_wrong_environment_variable_is_named(tmp_path):
    wrong = run(tmp_path, "show-config", BOT__MEMORY__SIZE="many")
    is_one_line(wrong, 2, "environment variable BOT__MEMORY__SIZE", "memory.size = many")
    unknown = run(tmp_path, "show-config", BOT__MEMORY__SIZEE="5")
    is_one_line(unknown, 2, "environment variable BOT__MEMORY__SIZEE", "unknown key memory.sizee")
    is_one_line(run(tmp_path, "show-config", BOT__MEMORY="5"), 2, "BOT__MEMORY", "BOT__SECTION__KEY")


def test_a_missing_configuration_file_is_named(tmp_path):
    is_one_line(run(tmp_path, "show-config", "--config", "mine.toml"), 2, "mine.toml: no such")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("clairvoyance", ["'clairvoyance' is none of", "historical_similarity"]),
        ("nowhere.to.be:Found", ["no module 'nowhere'"]),
        ("mine:Absent", ["mine has no class 'Absent'"]),
        ("mine:NoDecide", ["mine:NoDecide has no decide"]),
        ("mine:NoSettings", ["mine:NoSettings", "takes 1 positional argument"]),
        ("broken:Any", ["broken cannot be imported", "line 1"]),
        ("mine:Nonsense", ["Nonsense.decide: 5 is not a Signal"]),
        ("mine:Buyer", ["Buyer.decide: action is 'buy', none of long, short, hold"]),
        ("mine:NoText", ["NoText.decide: detail holds what is no JSON"]),
        (
            "mine:Divides",
            ["Divides.decide: ZeroDivisionError", "mine.py, line 17", "BTCUSDT bar of 2024-01-"],
        ),
        ("mine:Leaves", ["Leaves.decide: SystemExit: 3"]),
    ],
)
def test_a_strategy_that_is_none_is_one_line(tmp_path, name, told):
    (tmp_path / "broken.py").write_text("def oh dear\n")
    (tmp_path / "mine.py").write_text(
        "from bot.trading.events import Signal\n"
        "class NoDecide:\n    needs_memory = False\n    def __init__(self, config): pass\n"
        "class NoSettings:\n    needs_memory = False\n    def decide(self, situation): pass\n"
        "    def __init__(self): pass\n"
        "class Nonsense(NoDecide):\n    def decide(self, situation): return 5\n"
        "class Buyer(NoDecide):\n    def decide(self, situation): return Signal(action='buy', reason='x')\n"
        "class NoText(NoDecide):\n    def decide(self, situation):\n"
        "        return Signal(action='hold', reason='x', detail={'x': object()})\n"
        "class Divides(NoDecide):\n    def decide(self, situation): return 1 / 0\n"
        "class Leaves(NoDecide):\n    def decide(self, situation): raise SystemExit(3)\n"
    )
    (tmp_path / "BTCUSDT_my_15m.csv").write_text(HEADER + GOOD_ROW)
    ended = run(
        tmp_path, "backtest", "--data", "BTCUSDT_my_15m.csv", "--warmup", "0", "--db", "b.db",
        BOT__STRATEGY__NAME=name, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    is_one_line(ended, 2, *told)


@pytest.mark.parametrize("command", ["import", "backtest"])
@pytest.mark.parametrize(
    ("rows_", "told"),
    [
        (GOOD_ROW + "1704068100000,10,8,9,11,5,50\n", ["line 3", "high is below another price"]),
        (GOOD_ROW + "1704068100000,10,nan,9,11,5,\n", ["line 3", "not finite"]),
        (GOOD_ROW + "1704068100000,10,12,9,11\n", ["line 3", "columns"]),
        (GOOD_ROW + GOOD_ROW, ["line 3", "does not come after"]),
        (GOOD_ROW + "1704068100001,10,12,9,11,5,\n", ["line 3", "grid"]),
        (GOOD_ROW + "tomorrow,10,12,9,11,5,\n", ["line 3", "start_ms"]),
    ],
)
def test_a_bad_row_is_named_by_file_and_line_and_nothing_is_half_imported(tmp_path, command, rows_, told):
    (tmp_path / "BTCUSDT_my_15m.csv").write_text(HEADER + rows_)
    arguments = {
        "import": ["import", "BTCUSDT_my_15m.csv"],
        "backtest": ["backtest", "--data", "BTCUSDT_my_15m.csv", "--warmup", "0"],
    }
    ended = run(tmp_path, *arguments[command], "--db", "b.db")
    is_one_line(ended, 2, "BTCUSDT_my_15m.csv", *told)
    if (tmp_path / "b.db").exists():
        assert rows(tmp_path / "b.db", "SELECT * FROM bars") == []


def test_a_file_that_is_not_there_is_named(tmp_path):
    is_one_line(run(tmp_path, "import", "BTCUSDT_my_15m.csv"), 2, "BTCUSDT_my_15m.csv", "No such file")
    assert list(tmp_path.iterdir()) == []


def test_a_question_to_a_database_that_is_not_there_says_how_to_get_one(tmp_path):
    for command in ("trades", "status", "explain"):
        is_one_line(run(tmp_path, command, "--db", "no.db"), 2, "no.db", "run_bot.py --demo")
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_mode_is_refused(folder):
    before = (folder / "demo.db").read_bytes()
    is_one_line(
        run(folder, "--testnet", "--db", "demo.db"), 2, "demo.db belongs to demo linear", "testnet", "--db"
    )
    ended = run(folder, "--demo", BOT__RUN__CATEGORY="spot")
    is_one_line(ended, 2, "demo.db belongs to demo linear, not to demo spot", "--db")
    assert (folder / "demo.db").read_bytes() == before


def test_another_starting_cash_is_refused_with_the_figure_that_stands(folder):
    ended = run(folder, "--demo", BOT__BROKER__STARTING_CASH="5000")
    is_one_line(ended, 2, "broker.starting_cash is 5000", "began with 10000", "--db")


def test_a_database_of_a_newer_bot_is_refused(folder):
    with closing(sqlite3.connect(folder / "demo.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    is_one_line(run(folder, "--demo"), 2, "demo.db has schema version 99", "update the bot")
    is_one_line(run(folder, "status", "--demo"), 2, "demo.db has schema version 99", "update the bot")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "notes.db").write_text("remember the milk\n" * 100)
    bars = tmp_path / "BTCUSDT_a_1h.csv"
    rows = [f"{n * 3_600_000},1,1,1,1,1," for n in range(4)]
    bars.write_text("\n".join(["start_ms,open,high,low,close,volume,turnover", *rows, ""]))
    for arguments in (["--demo"], ["status"], ["backtest", "--data", bars.name], ["import", bars.name]):
        is_one_line(run(tmp_path, *arguments, "--db", "notes.db"), 2, "notes.db", "--db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE notes (text)")
    is_one_line(run(tmp_path, "--demo", "--db", "other.db"), 2, "other.db is not a database of this bot")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    is_one_line(run(tmp_path, "--demo", "--db", "file/demo.db"), 2, "file", "check the path")
    # Not even root may make a file there.
    is_one_line(run(tmp_path, "--demo", "--db", "/proc/demo.db"), 2, "/proc/demo.db", "check the path")
    is_one_line(run(tmp_path, "--demo", "--db", "."), 2, "is a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_may_only_be_read_is_refused(folder):
    folder.chmod(0o500)
    is_one_line(run(folder, "--demo"), 2, "demo.db", "permissions")
    folder.chmod(0o700)


def test_a_second_process_is_told_which_one_holds_the_database(folder, tmp_path):
    log = tmp_path / "log"
    with start(folder, "--demo", log=log) as process:
        wait_for(log, '"bar_decided"')
        is_one_line(run(folder, "--demo"), 2, f"demo.db is in use by process {process.pid}", "--db")
        status = run(folder, "status", "--demo", "--json")
        assert json.loads(status.out)["running"]["pid"] == process.pid
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    audit(folder / "demo.db")


def test_a_database_that_another_program_has_locked_ends_a_start_in_one_line(folder):
    with closing(sqlite3.connect(folder / "demo.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        refused = run(folder, "--demo", BOT__RUN__LOCK_SECONDS="2")
    said, error = refused.err.splitlines()
    assert "waits for 2 s at most" in said
    assert error.startswith("error: ")
    assert "demo.db is locked by another program" in error
    assert refused.code == 1


def test_a_database_that_another_program_locks_ends_a_session_in_one_line_and_loses_nothing(folder, tmp_path):
    log = tmp_path / "log"
    with start(folder, "--demo", log=log, BOT__RUN__LOCK_SECONDS="3") as process:
        wait_for(log, '"bar_decided"', 20)
        with closing(sqlite3.connect(folder / "demo.db", isolation_level=None, timeout=5)) as other:
            other.execute("BEGIN EXCLUSIVE")
            process.communicate(timeout=30)
    assert process.returncode == 1
    last = log.read_text().splitlines()[-1]
    assert last.startswith("error: ")
    assert "demo.db is locked by another program" in last
    assert "Traceback" not in log.read_text()
    audit(folder / "demo.db")
    assert run(folder, "--demo", "--max-bars", "3").code == 0
    audit(folder / "demo.db")


def in_a_small_disk(tmp_path: Path, *arguments: str) -> Ended:
    """Run on a file system of one megabyte of its own, and bring the database back."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=1m disk {disk} && cp config.toml {disk} && cd {disk} && "
        f"{sys.executable} {ROOT / 'run_bot.py'} {' '.join(arguments)}; code=$?; "
        f"rm -f *.rec.zst; cp demo.db* {tmp_path}; exit $code"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(mount, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount a small disk")
def test_a_full_disk_ends_a_session_in_one_line_and_everything_up_to_the_last_commit_is_there(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK)
    ended = in_a_small_disk(tmp_path, "--demo", "--max-bars", "5000")
    assert ended.code == 1
    last = ended.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "no room left" in last
    assert "Traceback" not in ended.err
    assert len(audit(tmp_path / "demo.db").decided["BTCUSDT"]) > 5


def test_a_disk_that_fails_ends_a_session_in_one_line(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK)
    # A file may not grow beyond so many blocks of 1024 bytes.
    limited = f"ulimit -f 600; exec {sys.executable} {ROOT / 'run_bot.py'} --demo --max-bars 5000"
    done = subprocess.run(
        ["bash", "-c", limited],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the disk failed under demo.db")
    assert "Traceback" not in done.stderr
    audit(tmp_path / "demo.db")


def test_results_are_json_where_that_is_asked_for(folder):
    for command in ("trades", "status", "explain", "show-config", "doctor"):
        ended = run(folder, command, "--demo", "--json")
        assert ended.code == 0, ended
        assert json.loads(ended.out), command
        assert not ended.err
    assert json.loads(run(folder, "show-config", "--json").out)["broker"]["taker_fee"] == "0.00055"
    summary = json.loads(run(folder, "--demo", "--max-bars", "2", "--json").out)
    assert summary["exit_reason"] == "2 bars"
    imported = folder / "BTCUSDT_my_15m.csv"
    imported.write_text(HEADER + GOOD_ROW)
    assert json.loads(run(folder, "import", str(imported), "--json").out)[0]["added"] == 1
    backtest = run(folder, "backtest", "--data", str(imported), "--warmup", "0", "--json")
    assert json.loads(backtest.out)["bars"] == 1


def test_the_doctor_says_what_fails_when_the_exchange_cannot_be_reached(tmp_path):
    nowhere = {"BOT__EXCHANGE__REST_URL": "http://127.0.0.1:9", "BOT__EXCHANGE__WS_URL": "ws://127.0.0.1:9"}
    ended = run(tmp_path, "doctor", "--json", **nowhere)
    assert ended.code == 1
    checks = {check["name"]: check for check in json.loads(ended.out)}
    assert checks["exchange mainnet"]["ok"] is False
    assert "127.0.0.1:9" in checks["exchange mainnet"]["detail"]
    assert all(check["ok"] for name, check in checks.items() if not name.endswith("mainnet"))
    assert checks["model"]["detail"].endswith("memory of 100000 moments, searched by faiss")
    assert "Traceback" not in ended.err


async def beside_an_exchange(exchange: DemoExchange, folder: Path, *arguments: str) -> Ended:
    """Run the bot against an exchange of this process."""
    async with exchange:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "run_bot.py"), *arguments,
            cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=environment(BOT__EXCHANGE__REST_URL=exchange.rest_url, BOT__EXCHANGE__WS_URL=exchange.ws_url),
        )  # fmt: skip
        async with asyncio.timeout(40):
            out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


def an_exchange(**changes) -> DemoExchange:
    settings = {
        "category": "linear", "symbols": ("BTCUSDT", "ETHUSDT"), "interval": "15",
        "live_from_ms": MARKET.start_ms(400), "bar_seconds": 0.05,
    }  # fmt: skip
    return DemoExchange(MARKET, **(settings | changes))


def test_a_symbol_that_the_exchange_does_not_trade_is_named(tmp_path):
    ended = asyncio.run(
        beside_an_exchange(an_exchange(), tmp_path, "--testnet", "--symbols", "BTCUSDT,NOPEUSDT")
    )
    is_one_line(ended, 2, "run.symbols", "'NOPEUSDT'", "BTCUSDT")


def test_a_session_on_testnet_writes_what_the_demo_of_the_same_market_does(finished, tmp_path):
    (tmp_path / "config.toml").write_text(QUICK)
    ended = asyncio.run(
        beside_an_exchange(an_exchange(bar_seconds=0.25), tmp_path, "--testnet", "--max-bars", "12")
    )
    assert ended.code == 0
    assert ended.err.count("testnet_prices") == 1
    assert "python run_bot.py --mainnet" in ended.err
    audit(tmp_path / "testnet.db")
    for query in (
        "SELECT * FROM bars ORDER BY symbol, start_ms",
        "SELECT * FROM signals ORDER BY id",
        "SELECT * FROM neighbors ORDER BY signal_id, rank",
        "SELECT * FROM orders ORDER BY id",
        "SELECT * FROM fills ORDER BY id",
        "SELECT * FROM instruments ORDER BY symbol",
    ):
        on_testnet = rows(tmp_path / "testnet.db", query)
        assert on_testnet, query
        assert on_testnet == rows(finished / "demo.db", query)


def test_run_for_ends_a_session_after_that_time(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK)
    began = time.monotonic()
    # It counts from the start of the command, and a slow machine takes its time until there is a session.
    ended = run(tmp_path, "--demo", "--run-for", "6s", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["exit_reason"] == "run time over"
    assert time.monotonic() - began < 20


def test_money_in_the_summary_is_the_money_in_the_books(folder):
    summary = json.loads(run(folder, "--demo", "--max-bars", "30", "--json").out)
    fees = sum(Decimal(row["fee"]) for row in rows(folder / "demo.db", "SELECT fee FROM fills WHERE order_id IN "
        "(SELECT id FROM orders)"))  # fmt: skip
    last = rows(folder / "demo.db", "SELECT equity FROM equity ORDER BY id DESC LIMIT 1")[0]["equity"]
    assert summary["end_equity"] == pytest.approx(float(last))
    assert 0 < summary["fees"] < float(fees)
