"""Every name that an exchange lists works from end to end, and hostile ones are refused wherever they are given."""

import json
import sqlite3

import pytest

from bot.cli import main
from strategies import STRATEGIES
from tests.bot_process import QUICK, run
from tests.market.test_symbols import HOSTILE

NAMES = ("1000PEPEUSDT", "BTC-26DEC25", "BTCPERP", "BTCUSDT-26DEC25", "币安人生USDT")


def test_a_session_of_odd_names_is_traded_told_exported_and_replayed(tmp_path):
    symbols = ",".join(NAMES)
    (tmp_path / "config.toml").write_text(QUICK.replace("[run]", '[run]\nrecordings = "recordings"'))
    ended = run(tmp_path, "--demo", "--symbols", symbols, "--max-bars", "40", "--json", seconds=90)
    assert ended.code == 0, ended
    with sqlite3.connect(tmp_path / "demo.db") as database:
        decided = {symbol for (symbol,) in database.execute("SELECT DISTINCT symbol FROM signals")}
        filled = {symbol for (symbol,) in database.execute("SELECT DISTINCT symbol FROM fills")}
        rules = dict(database.execute("SELECT symbol, funding_interval_minutes FROM instruments"))
        quotes = dict(database.execute("SELECT symbol, quote_coin FROM instruments"))
        funded = {symbol for (symbol,) in database.execute("SELECT DISTINCT symbol FROM funding")}
    assert decided == set(NAMES)
    assert filled == set(NAMES)
    # What is delivered is never funded.
    assert {symbol: bool(minutes) for symbol, minutes in rules.items()} == {
        symbol: "-" not in symbol for symbol in NAMES
    }
    assert not any("-" in symbol for symbol in funded)
    assert quotes["BTCPERP"] == quotes["BTC-26DEC25"] == "USDC"
    (recording,) = (tmp_path / "recordings").rglob("*.rec.zst")
    for command in (
        ["status", "--demo"],
        ["trades", "--demo"],
        ["explain", "--demo"],
        ["report", "--demo"],
        ["export", "trade_log", "--demo"],
        ["replay", str(recording), "--verify", "demo.db", "--db", "replay.db"],
    ):
        told = run(tmp_path, *command, seconds=60)
        assert told.code == 0, told
    assert "币安人生USDT" in run(tmp_path, "trades", "--demo").out


@pytest.mark.parametrize("symbol", [symbol for symbol in HOSTILE if "\x00" not in symbol])
def test_a_hostile_name_is_refused_in_one_line_wherever_it_is_given(tmp_path, capsys, monkeypatch, symbol):
    monkeypatch.chdir(tmp_path)
    bars = tmp_path / "bars.csv"
    bars.write_text("start_ms,open,high,low,close,volume,turnover\n0,1,1,1,1,1,1\n")
    rates = tmp_path / "rates.csv"
    rates.write_text("time_ms,rate\n0,0.0001\n")
    config = tmp_path / "odd.toml"
    config.write_text(f"[run]\nsymbols = [{json.dumps(symbol)}]\n")
    file = ["--interval", "60", "--data", f"BTCUSDT={bars}"]
    for arguments in (
        ["--demo", f"--symbols={symbol},"],
        ["status", f"--symbols={symbol},"],
        ["fetch", "--since", "2024-01-01", f"--symbols={symbol},"],
        ["show-config", "--config", str(config)],
        ["import", str(bars), "--interval", "60", f"--symbol={symbol}"],
        ["backtest", "--interval", "60", "--data", str(bars), f"--symbol={symbol}"],
        ["backtest", "--interval", "60", "--data", f"{symbol}={bars}"],
        ["backtest", *file, "--funding", f"{symbol}={rates}"],
        ["backtest", *file, "--instrument", f"{symbol}:tick_size=1,lot_size=1"],
    ):
        # Between commas, spaces and nothing are no names; there a word begins and ends with a letter.
        if "--symbols" in arguments[-1] and (not symbol.strip() or symbol != symbol.strip()):
            continue
        try:
            code = main(arguments, STRATEGIES)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        error = capsys.readouterr().err
        assert code == 2, arguments
        assert error.count("\n") == 1 or "usage:" in error, error
    assert not list(tmp_path.rglob("*.db"))


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        (("BOT__RUN__CATEGORY", "inverse"), "inverse contracts are settled in their own coin"),
        (("BOT__RUN__SYMBOLS", "BTCUSDT,ETHBTC"), "an account keeps one currency"),
    ],
)
def test_what_no_account_here_can_hold_is_refused_in_one_line(
    tmp_path, capsys, monkeypatch, setting, problem
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(*setting)
    assert main(["show-config"], STRATEGIES) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
