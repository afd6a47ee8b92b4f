"""Backtests are runs of their own: kept apart, listed, compared, made again, deleted, cut short."""

import json
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from bot.cli import main
from strategies import STRATEGIES
from tests.books import audit
from tests.bot_process import run, start, wait_for
from tests.model.walks import walk

HEADER = "start_ms,open,high,low,close,volume,turnover"
STARTS = 1_704_067_200_000
HOUR_MS = 3_600_000
TABLES = ("signals", "neighbors", "orders", "fills", "funding", "positions", "equity", "round_trips", "bars")


def a_file(folder: Path, name: str, *, bars: int = 600, factor: int = 1, first: int = 0) -> str:
    rows = [
        f"{STARTS + (first + i) * HOUR_MS},{factor * bar.open},{factor * bar.high},"
        f"{factor * bar.low},{factor * bar.close},100,"
        for i, bar in enumerate(walk(bars))
    ]
    path = folder / name
    path.write_text("\n".join([HEADER, *rows, ""]))
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOT__STRATEGY__NAME", "moving_average_cross")
    return tmp_path


def ran(*arguments: str) -> int:
    return main(["backtest", *arguments], STRATEGIES)


def shown(capsys, *arguments: str):
    capsys.readouterr()
    assert main([*arguments, "--json"], STRATEGIES) == 0
    return json.loads(capsys.readouterr().out)


def contents(path: str) -> dict[str, list[tuple]]:
    with sqlite3.connect(path) as database:
        return {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


def test_two_backtests_of_the_same_symbol_keep_their_own_bars_and_figures(folder, capsys):
    assert ran("--data", a_file(folder, "BTCUSDT_one_1h.csv"), "--name", "one") == 0
    before = contents("var/runs/one.db")
    assert ran("--data", a_file(folder, "BTCUSDT_two_1h.csv", factor=7), "--name", "two") == 0
    assert contents("var/runs/one.db") == before
    closes = {name: [row[6] for row in contents(f"var/runs/{name}.db")["bars"]] for name in ("one", "two")}
    assert closes["one"] != closes["two"]
    for name in ("one", "two"):
        audit(f"var/runs/{name}.db")
    listed = shown(capsys, "runs")["runs"]
    assert [each["name"] for each in listed] == ["one", "two"]
    assert listed[0]["bars_sha256"] != listed[1]["bars_sha256"]
    for each in listed:
        report = shown(capsys, "report", "--run", each["name"])
        assert report["performance"]["total_return"] == pytest.approx(each["total_return"])
        assert report["trials"] == 1


@pytest.mark.parametrize("more", [(), ("--from", "2024-01-15"), ("--warmup", "150", "--to", "2024-01-20")])
def test_a_run_that_is_made_again_writes_the_same_rows(folder, more, monkeypatch, capsys):
    monkeypatch.setenv("BOT__STRATEGY__NAME", "historical_similarity")
    rates = folder / "rates.csv"
    settled = [f"{STARTS + i * 8 * HOUR_MS},0.000{i % 7}" for i in range(70)]
    rates.write_text("\n".join(["time_ms,rate", *settled, ""]))
    file = a_file(folder, "BTCUSDT_one_1h.csv")
    assert ran("--data", file, "--funding", f"BTCUSDT={rates}", "--name", "one", *more) == 0
    Path(file).unlink()
    monkeypatch.setenv("BOT__STRATEGY__NAME", "buy_and_hold")
    assert ran("--again", "one") == 0
    assert contents("var/runs/one-again.db") == contents("var/runs/one.db")
    assert len({each["bars_sha256"] for each in shown(capsys, "runs")["runs"]}) == 1


@pytest.mark.parametrize(
    ("more", "observed", "decided"),
    [
        ((), 300, 300),
        (("--warmup", "100"), 100, 500),
        (("--from", "2024-01-21"), 480, 120),
        (("--from", "2024-01-21", "--warmup", "50"), 50, 120),
        (("--from", "2024-01-21", "--to", "2024-01-22"), 480, 24),
        (("--to", "2024-01-11"), 120, 120),
    ],
    ids=str,
)
def test_what_lies_before_the_first_decision_warms_up_and_the_rest_is_decided(
    folder, capsys, more, observed, decided
):
    assert ran("--data", a_file(folder, "BTCUSDT_one_1h.csv"), "--name", "one", *more) == 0
    out = capsys.readouterr().out
    assert f"bars observed  BTCUSDT {observed}" in out
    assert f"bars decided   {decided} " in out
    assert len(contents("var/runs/one.db")["signals"]) == decided


def test_no_more_is_observed_than_a_live_session_would_load(folder, capsys, monkeypatch):
    monkeypatch.setenv("BOT__MEMORY__WARMUP_BARS", "70")
    file = a_file(folder, "BTCUSDT_one_1h.csv")
    assert ran("--data", file, "--name", "one") == 0
    assert ran("--data", file, "--name", "two", "--from", "2024-01-21") == 0
    assert capsys.readouterr().out.count("bars observed  BTCUSDT 70,") == 2


def test_a_comparison_shows_figures_and_the_settings_that_differ(folder, capsys):
    file = a_file(folder, "BTCUSDT_one_1h.csv")
    assert ran("--data", file, "--name", "one") == 0
    os.environ["BOT__BROKER__TAKER_FEE"] = "0.01"
    try:
        assert ran("--data", file, "--name", "dear") == 0
    finally:
        del os.environ["BOT__BROKER__TAKER_FEE"]
    capsys.readouterr()
    assert main(["runs", "--compare", "one", "dear"], STRATEGIES) == 0
    out = capsys.readouterr().out
    assert "the same bars" in out
    assert "broker.taker_fee" in out.split("settings that differ")[1]


def test_a_deleted_run_is_gone_but_was_tried(folder, capsys):
    file = a_file(folder, "BTCUSDT_one_1h.csv")
    assert ran("--data", file, "--name", "one") == 0
    assert ran("--data", file, "--name", "two", "--strategy", "buy_and_hold") == 0
    assert main(["runs", "--delete", "one"], STRATEGIES) == 0
    assert not Path("var/runs/one.db").exists()
    assert [each["name"] for each in shown(capsys, "runs")["runs"]] == ["two"]
    assert shown(capsys, "report", "--run", "two")["trials"] == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["backtest", "--data", "nofile.csv"], "nofile.csv: No such file"),
        (["backtest", "--data", "{file}", "--interval", "15"], "give --interval 60"),
        (["backtest", "--data", "{file}", "--interval", "240"], "off the interval's grid"),
        (["backtest", "--data", "{file}", "--symbols", "BTCUSDT,ETHUSDT"], "no file of --data has ETHUSDT"),
        (["backtest", "--data", "{file}", "--data", "{file}"], "BTCUSDT was given already"),
        (["backtest", "--data", "{file}", "--data", "ETHBTC={file}"], "an account keeps one currency"),
        (["backtest", "--data", "{file}", "--from", "2030-01-01"], "no bar from 2030-01-01"),
        (["backtest", "--data", "{file}", "--to", "2020-01-01"], "no bar before 2020-01-01"),
        (["backtest", "--data", "{file}", "--warmup", "600"], "no more than --warmup 600"),
        (["backtest", "--data", "{file}", "--name", "../x"], "a run's name is letters"),
        (["backtest", "--data", "{file}", "--name", "index"], "a run's name is letters"),
        (["backtest", "--data", "{file}", "--strategy", "clairvoyance"], "'clairvoyance' is none of"),
        (["backtest", "--again", "nothing"], "there is no run nothing"),
        (["backtest", "--symbols", "BTCUSDT"], "there is no history at var/history.db yet"),
        (["report", "--run", "nothing"], "there is no run nothing"),
        (["explain", "--run", "nothing"], "there is no run nothing"),
        (["runs", "--delete", "nothing"], "there is no run nothing"),
        (["runs", "--compare", "nothing", "more"], "there is no run nothing"),
        (["status"], "which database? there is none yet"),
        (["import", "{file}", "--symbol", "drop table"], "'drop table' is no symbol"),
        (["import", "{file}", "nofile.csv"], "nofile.csv: No such file"),
        (["import", "{file}", "{other}"], "contradict each other: the BTCUSDT bar of 20"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_nothing_is_written(folder, capsys, arguments, told):
    file = a_file(folder, "BTCUSDT_one_1h.csv")
    (folder / "other").mkdir()
    other = a_file(folder / "other", "BTCUSDT_one_1h.csv", factor=2)
    given = [each.replace("{file}", file).replace("{other}", other) for each in arguments]
    assert main(given, STRATEGIES) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert [path for path in folder.rglob("*") if path.is_file()] == [Path(file), Path(other)]


def test_a_name_that_is_taken_is_refused_and_the_run_stays(folder, capsys):
    file = a_file(folder, "BTCUSDT_one_1h.csv")
    assert ran("--data", file, "--name", "one") == 0
    before = contents("var/runs/one.db")
    assert ran("--data", file, "--name", "one", "--strategy", "buy_and_hold") == 2
    assert "there is such a run already" in capsys.readouterr().err
    assert contents("var/runs/one.db") == before


def test_stored_history_of_two_venues_is_only_read_by_name(folder, capsys):
    for venue, factor in (("here", 1), ("there", 3)):
        assert main(["import", a_file(folder, f"BTCUSDT_{venue}_1h.csv", factor=factor)], STRATEGIES) == 0
    stored = ("--symbols", "BTCUSDT", "--interval", "60")
    assert ran(*stored) == 2
    assert "several venues: here, there; choose one with --venue" in capsys.readouterr().err
    assert ran(*stored, "--venue", "there", "--name", "there") == 0
    assert ran("--data", "BTCUSDT_there_1h.csv", "--name", "file") == 0
    of_store, of_file = contents("var/runs/there.db"), contents("var/runs/file.db")
    assert of_store == of_file


def test_a_backtest_that_is_cut_short_is_marked_so_and_keeps_what_it_decided(tmp_path):
    file = a_file(tmp_path, "BTCUSDT_one_1h.csv", bars=12_000)
    log = tmp_path / "log"
    with start(tmp_path, "backtest", "--data", file, "--name", "one", "--warmup", "400", log=log) as process:
        index = tmp_path / "var" / "runs" / "index.db"
        while not (index.exists() and (tmp_path / "var" / "runs" / "one.db-wal").exists()):
            assert process.poll() is None
        wait_for(log, "backtest: ", seconds=60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert "interrupted: run one: " in log.read_text()
    (row,) = json.loads(run(tmp_path, "runs", "--json").out)["runs"]
    assert row["status"] == "interrupted"
    assert 0 < row["decided"] < 11_600
    audit(tmp_path / "var" / "runs" / "one.db")
    assert ": interrupted" in run(tmp_path, "status", "--run", "one").out
