"""A backtest's fills lie on the tick of its market, and the summary says whose rules it went by."""

import json
import random
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from bot.cli import main
from strategies import STRATEGIES
from tests.bot_process import run
from tests.eager import Eager

HOUR_MS = 3_600_000
START_MS = 1_704_067_200_000
DOGE = Path(__file__).parents[2].parent / "shared/data/DOGEUSDT_binance-spot_1h_20190705_20240229.csv.gz"


class Turning(Eager):
    """Trades all the time, and at once: nothing is remembered."""

    needs_memory = False


CONFIG = """
[strategy]
name = "tests.commands.test_rules:Turning"

[model]
checkpoint = ""

[risk]
max_daily_loss = 0
max_drawdown = 0
"""


def a_walk(folder: Path, first: str, places: int, *, symbol: str = "NOBODYUSDT", bars: int = 700) -> str:
    """A file of hourly bars around a price of so many decimals, which moves by some of its last digits."""
    draws = random.Random(f"{first}/{places}")
    price = begin = int(Decimal(first).scaleb(places))
    rows = []
    for number in range(bars):
        close = max(begin // 2, price + draws.randint(-9, 9) * max(1, begin // 2000))
        high, low = max(price, close) + draws.randint(0, 2), min(price, close) - draws.randint(0, 2)
        prices = (f"{Decimal(each).scaleb(-places):f}" for each in (price, high, low, close))
        rows.append(f"{START_MS + number * HOUR_MS},{','.join(prices)},90000000000,")
        price = close
    file = folder / f"{symbol}_walk_1h.csv"
    file.write_text("\n".join(["start_ms,open,high,low,close,volume,turnover", *rows, ""]))
    return str(file)


def backtest(folder: Path, *options: str) -> tuple[list[tuple[Decimal, ...]], Decimal]:
    """Price, reference and share of the volume of each fill, and the tick that was kept."""
    (folder / "config.toml").write_text(CONFIG)
    db = folder / "b.db"
    arguments = ["backtest", "--config", str(folder / "config.toml"), "--db", str(db), "--json", *options]
    assert main(arguments, STRATEGIES) == 0
    with sqlite3.connect(db) as database:
        sql = (
            "SELECT price, reference_price, quantity, volume FROM fills JOIN bars ON start_ms = reference_ms"
        )
        rows = [[Decimal(text) for text in row] for row in database.execute(sql)]
        (tick,) = database.execute("SELECT tick_size FROM instruments").fetchone()
    fills = [(price, reference, quantity / volume) for price, reference, quantity, volume in rows]
    return fills, Decimal(tick)


def assert_no_fill_is_off(fills: list[tuple[Decimal, ...]], tick: Decimal) -> None:
    """None is further off than half a spread, slippage and its share of the impact, and one tick."""
    assert len(fills) > 50
    for price, reference, share in fills:
        stated = Decimal("0.0002") + Decimal("0.005") * share
        assert abs(price - reference) < reference * stated + tick


@pytest.mark.parametrize(("first", "places"), [("0.000012", 6), ("0.000012", 9), ("0.0012", 7), ("31.5", 2)])
def test_fills_of_a_symbol_that_nobody_knows_lie_on_the_finest_decimal_of_its_file(
    tmp_path, first, places, capsys
):
    file = a_walk(tmp_path, first, places)
    fills, tick = backtest(tmp_path, "--data", file)
    assert tick == Decimal(1).scaleb(-places)
    assert_no_fill_is_off(fills, tick)
    summary = json.loads(capsys.readouterr().out)
    assert "(inferred from the prices of its bars)" in summary["rules"][0]
    with sqlite3.connect(tmp_path / "b.db") as database:
        assert database.execute("SELECT symbol, source FROM instruments").fetchall() == [
            ("NOBODYUSDT", "inferred")
        ]


@pytest.mark.parametrize("first", ["0.000012", "0.0012"])
def test_a_run_may_be_told_the_rules(tmp_path, first, capsys):
    file = a_walk(tmp_path, first, 7)
    fills, tick = backtest(tmp_path, "--data", file, "--instrument", "NOBODYUSDT:tick_size=0.0000002")
    assert tick == Decimal("0.0000002")
    assert all(price % tick == 0 for price, *_ in fills)
    assert_no_fill_is_off(fills, tick)
    assert "(the options of the run)" in json.loads(capsys.readouterr().out)["rules"][0]


def test_rules_that_cannot_be_are_refused_in_one_line_and_nothing_is_traded(tmp_path, capsys):
    file = a_walk(tmp_path, "0.0012", 7)
    options = ["backtest", "--data", file, "--db", str(tmp_path / "b.db")]
    for told in ("NOBODYUSDT:tick_size=0.01", "SOLUSDT:tick_size=1", "NOBODYUSDT:ticks=1", "nofile.toml"):
        assert main([*options, "--instrument", told], STRATEGIES) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1


@pytest.mark.skipif(not DOGE.exists(), reason=f"{DOGE} is not on this machine")
def test_no_fill_of_dogeusdt_is_further_off_than_it_states_and_one_tick(tmp_path, capsys):
    fills, tick = backtest(tmp_path, "--data", str(DOGE), "--to", "2020-03-01")
    assert tick == Decimal("0.0000001")
    assert len(fills) > 1_000
    assert_no_fill_is_off(fills, tick)
    assert "theirs counts" in json.loads(capsys.readouterr().out)["rules"][0]


@pytest.mark.parametrize("given", [(), ("--instrument", "BTCUSDT:tick_size=0.5,lot_size=0.002")])
def test_a_demo_on_a_file_goes_by_the_rules_that_a_backtest_of_it_would(tmp_path, given):
    (tmp_path / "config.toml").write_text(CONFIG)
    file = a_walk(tmp_path, "40000.5", 1, symbol="BTCUSDT")
    demo = run(tmp_path, "--demo", "--data", file, *given, "--max-bars", "20")
    assert demo.code == 0, demo.err
    assert run(tmp_path, "backtest", "--data", file, *given, "--name", "b").code == 0
    told = []
    for name in ("demo", "runs/b"):
        with sqlite3.connect(tmp_path / f"var/{name}.db") as database:
            told.append(
                database.execute("SELECT tick_size, lot_size, min_quantity FROM instruments").fetchall()
            )
            prices = [Decimal(price) for (price,) in database.execute("SELECT price FROM fills")]
        assert prices
        assert all(price % Decimal(told[-1][0][0]) == 0 for price in prices)
    assert told[0] == told[1]
    assert told[0][0][:2] == (("0.5", "0.002") if given else ("0.1", "0.001"))


def test_an_exchange_tells_its_own_rules(tmp_path):
    refused = run(
        tmp_path, "--demo", "--instrument", "BTCUSDT:tick_size=0.5,lot_size=0.002", "--max-bars", "2"
    )
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--instrument goes with --data" in refused.err
