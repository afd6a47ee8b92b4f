"""A held symbol belongs to the ledger: processes are started, stopped and asked by hand, and a replay agrees."""

import json

import pytest

from bot.cli import main
from strategies import STRATEGIES
from tests.books import audit, rows
from tests.bot_process import run, start, wait_for

HOLDS = """
[run]
database = "{mode}.db"
[memory]
warmup_bars = 300
[strategy]
name = "buy_and_hold"
"""


def replays_equal(folder):
    for recording in sorted((folder / "var" / "recordings").iterdir()):
        out = ["--db", str(folder / "replay.db"), "--verify", str(folder / "demo.db")]
        assert main(["replay", str(recording), *out], STRATEGIES) == 0


def test_a_held_symbol_that_was_taken_off_is_valued_and_charged_until_it_is_closed(tmp_path):
    (tmp_path / "config.toml").write_text(HOLDS)
    database = tmp_path / "demo.db"
    assert run(tmp_path, "--demo", "--max-bars", "10").code == 0
    last = rows(database, "SELECT * FROM equity ORDER BY id DESC LIMIT 1")[0]
    ended = run(tmp_path, "--demo", "--max-bars", "10", "--symbols", "BTCUSDT")
    assert ended.code == 0
    assert ended.err.count('"event": "watch"') == 1
    assert "ETHUSDT" in ended.err
    # Its bars are decided on, its open profit stays in equity, and no row is older than the one before the session.
    decided = rows(database, "SELECT DISTINCT symbol FROM signals WHERE session_id = 2 ORDER BY symbol")
    assert [row["symbol"] for row in decided] == ["BTCUSDT", "ETHUSDT"]
    later = rows(database, "SELECT * FROM equity WHERE session_id = 2 ORDER BY id")
    assert later[0]["time_ms"] > last["time_ms"]
    assert all(float(row["unrealized_pnl"]) != 0 for row in later)
    told = json.loads(run(tmp_path, "status", "--demo", "--json").out)
    assert [mark["symbol"] for mark in told["marks"]] == ["BTCUSDT", "ETHUSDT"]
    assert "ETHUSDT is only closed" in run(tmp_path, "status", "--demo").out
    # Asked while it is stopped, closed as it runs again; a third start knows nothing of it.
    asked = run(tmp_path, "close", "--demo", "ETHUSDT", "--note", "enough")
    assert "the next start takes it" in asked.out
    assert run(tmp_path, "--demo", "--max-bars", "10", "--symbols", "BTCUSDT").code == 0
    held = rows(database, "SELECT symbol FROM positions WHERE quantity <> '0'")
    assert [row["symbol"] for row in held] == ["BTCUSDT"]
    assert rows(database, "SELECT state FROM watched WHERE symbol = 'ETHUSDT'") == [{"state": "let_go"}]
    assert run(tmp_path, "--demo", "--max-bars", "4", "--symbols", "BTCUSDT").code == 0
    assert rows(database, "SELECT 1 FROM signals WHERE session_id = 4 AND symbol = 'ETHUSDT'") == []
    audit(database)
    replays_equal(tmp_path)


def test_a_running_bot_takes_each_request_once_and_a_replay_agrees(tmp_path):
    (tmp_path / "config.toml").write_text(HOLDS)
    log, database = tmp_path / "log", tmp_path / "demo.db"
    with start(tmp_path, "--demo", log=log) as process:
        wait_for(log, '"filled"', 2)
        assert "is paused" in run(tmp_path, "pause", "--demo", "--note", "news").out
        assert "at market" in run(tmp_path, "close", "--demo", "BTCUSDT").out
        assert "is traded" in run(tmp_path, "symbols", "--demo", "--add", "SOLUSDT", "--drop", "ETHUSDT").out
        wait_for(log, '"symbol": "SOLUSDT", "close_ms"', 3)
        wait_for(log, '"rule": "paused"')
        explained = run(tmp_path, "explain", "--demo").out
        assert "paused: everything since" in explained
        process.kill()
    assert run(tmp_path, "--demo", "--max-bars", "6").code == 0
    done = rows(database, "SELECT kind, symbols, error FROM requests ORDER BY id")
    assert [(row["kind"], row["symbols"], row["error"]) for row in done] == [
        ("pause", "", ""),
        ("close", "BTCUSDT", ""),
        ("symbols", "+SOLUSDT", ""),
        ("symbols", "-ETHUSDT", ""),
    ]
    # What a person has changed holds over a kill: the pause, and the symbols.
    assert len(rows(database, "SELECT 1 FROM orders WHERE reason = 'closed by hand'")) == 1
    assert rows(database, "SELECT DISTINCT symbol FROM signals WHERE session_id = 2 AND late = 0") != []
    traded = rows(database, "SELECT symbol, state FROM watched ORDER BY symbol")
    assert {row["symbol"]: row["state"] for row in traded} == {
        "BTCUSDT": "trading", "ETHUSDT": "closing_only", "SOLUSDT": "trading",
    }  # fmt: skip
    assert rows(database, "SELECT resumed_ms FROM pauses") == [{"resumed_ms": None}]
    audit(database)
    replays_equal(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["close", "XRPUSDT"], "nothing of XRPUSDT is held"),
        (["pause", "XRPUSDT"], "XRPUSDT is not traded"),
        (["resume"], "neither a halt nor a pause is in force"),
        (["resume", "BTCUSDT"], "BTCUSDT is not paused"),
        (["symbols"], "name symbols with --add"),
        (["symbols", "--add", "btc"], "written in capitals"),
        (["symbols", "--add", "BTCUSDT"], "is traded already"),
        (["symbols", "--drop", "XRPUSDT"], "is not traded"),
        (["symbols", "--drop", "BTCUSDT,ETHUSDT"], "nothing would be traded any more"),
    ],
)
def test_what_cannot_be_asked_for_is_told_in_one_line(arguments, told, tmp_path_factory, capsys):
    folder = tmp_path_factory.getbasetemp() / "asked"
    if not folder.exists():
        folder.mkdir()
        (folder / "config.toml").write_text(HOLDS)
        assert run(folder, "--demo", "--max-bars", "3").code == 0
    database = folder / "demo.db"
    before = rows(database, "SELECT count(*) FROM requests")
    assert main([*arguments, "--db", str(database)], STRATEGIES) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
    assert rows(database, "SELECT count(*) FROM requests") == before
