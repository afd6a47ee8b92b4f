"""``--funding``: what a backtest pays on positions, to the last digit, and files that are refused."""

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest

from bot.cli import main
from tests.books import audit, rows
from tests.eager import ALLOWED
from tests.factories import START_MS

HOUR_MS = 3_600_000
CLOSES = ("100", "100", "100", "110", "120", "130")

SHARED = Path(__file__).parents[3] / "shared/data"
BARS, FUNDING = (
    next(iter(sorted(SHARED.glob(f"BTCUSDT_binance-perp_{kind}_*.csv.gz"))), None)
    for kind in ("1h", "funding")
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Buys and holds; the first two bars are warm-up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOT__STRATEGY__NAME", "buy_and_hold")
    lines = [f"{START_MS + i * HOUR_MS},{c},{c},{c},{c},1000000," for i, c in enumerate(CLOSES)]
    header = "start_ms,open,high,low,close,volume,turnover"
    (tmp_path / "BTCUSDT_my_1h.csv").write_text("\n".join([header, *lines, ""]))
    return tmp_path


def written(folder: Path, *lines: str, name: str = "BTCUSDT_my_funding.csv") -> str:
    (folder / name).write_bytes(gzip.compress("\n".join(["time_ms,rate", *lines, ""]).encode()))
    return name


def at_close(index: int) -> int:
    return START_MS + (index + 1) * HOUR_MS


def backtest(capsys, *options: str) -> dict:
    arguments = ["--data", "BTCUSDT_my_1h.csv", "--warmup", "2", "--db", "b.db", "--json"]
    assert main(["backtest", *arguments, *options], ALLOWED) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *options: str) -> str:
    arguments = ["--data", "BTCUSDT_my_1h.csv", "--warmup", "2", "--db", "b.db"]
    assert main(["backtest", *arguments, *options], ALLOWED) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not Path("b.db").exists()
    return told


def test_a_backtest_pays_on_what_it_held_just_before_each_settlement(folder, capsys):
    # Decided at the close of bar 2, opened at once: bar 2's settlement is before it, and the last comes too late.
    rates = written(
        folder,
        *(
            f"{at_close(i)},{rate}"
            for i, rate in enumerate(("0.5", "0.5", "0.5", "0.001", "-0.0005", "0.002"))
        ),
        f"{at_close(5) + 60_000},0.5",
    )
    free, charged = backtest(capsys), backtest(capsys, "--funding", rates)
    database = folder / "b.db"
    audit(database)
    (fill,) = rows(database, "SELECT * FROM fills")
    assert fill["time_ms"] == at_close(2)
    quantity = Decimal(fill["quantity"])
    paid = rows(database, "SELECT * FROM funding ORDER BY time_ms")
    assert [(row["time_ms"], row["mark_price"]) for row in paid] == [
        (at_close(3), "110"), (at_close(4), "120"), (at_close(5), "130"),
    ]  # fmt: skip
    expected = [quantity * Decimal(x) for x in ("-0.11", "0.06", "-0.26")]
    assert [Decimal(row["payment"]) for row in paid] == expected
    assert free["funding"] == 0
    assert charged["funding"] == pytest.approx(float(sum(expected)), rel=1e-12)
    assert charged["end_equity"] == pytest.approx(free["end_equity"] + charged["funding"], rel=1e-12)


def test_each_run_of_a_band_pays(folder, capsys):
    rates = written(folder, f"{at_close(3)},0.001")
    told = backtest(capsys, "--funding", f"BTCUSDT={rates}", "--fills", "all")
    assert all(found["funding"] < 0 for found in told["band"].values())
    assert told["band"]["realistic"]["funding"] == told["funding"]


def test_the_summary_and_the_report_tell_what_was_paid(folder, capsys):
    rates = written(folder, f"{at_close(3)},0.001")
    arguments = ["--data", "BTCUSDT_my_1h.csv", "--warmup", "2", "--db", "b.db", "--funding", rates]
    assert main(["backtest", *arguments], ALLOWED) == 0
    (row,) = rows(folder / "b.db", "SELECT * FROM funding")
    amount = f"{float(row['payment']):+,.2f}"
    assert f", funding {amount}" in capsys.readouterr().out
    assert main(["report", "--db", "b.db"], ALLOWED) == 0
    assert amount in capsys.readouterr().out


def test_days_pay_thrice_at_the_last_close_known_each_time(folder, capsys):
    day = 24 * HOUR_MS
    lines = [f"{START_MS + i * day},{c},{c},{c},{c},1000000," for i, c in enumerate(CLOSES)]
    Path("BTCUSDT_my_1h.csv").write_text(
        "\n".join(["start_ms,open,high,low,close,volume,turnover", *lines, ""])
    )
    rates = written(folder, *(f"{START_MS + i * day // 3},0.0001" for i in range(1, 18)))
    backtest(capsys, "--funding", rates, "--symbol", "BTCUSDT", "--interval", "D")
    audit(folder / "b.db")
    paid = rows(folder / "b.db", "SELECT * FROM funding ORDER BY time_ms")
    assert [row["mark_price"] for row in paid] == ["100"] * 2 + ["110"] * 3 + ["120"] * 3


def test_a_file_that_does_not_fit_is_refused_before_anything_runs(folder, capsys, monkeypatch):
    good = written(folder, f"{at_close(3)},0.001")
    bad = written(folder, f"{at_close(3)},0.001", f"{at_close(3)},0.001", name="BTCUSDT_bad_funding.csv")
    assert f"{bad}: 1 bad row(s), nothing was read: line 3: its time does not come" in refused(
        capsys, "--funding", bad
    )
    assert "ETHUSDT is not traded, only BTCUSDT" in refused(capsys, "--funding", f"ETHUSDT={good}")
    assert "BTCUSDT was given already" in refused(capsys, "--funding", good, "--funding", good)
    assert "no.csv" in refused(capsys, "--funding", "BTCUSDT=no.csv")
    monkeypatch.setenv("BOT__RUN__CATEGORY", "spot")
    assert "run.category is spot, where no funding is paid" in refused(capsys, "--funding", good)


def test_generated_markets_take_no_funding(folder, capsys):
    assert main(["evaluate", "--market", "few", "--funding", "x.csv"], ALLOWED) == 2
    assert "leave out --data, --funding and --instrument" in capsys.readouterr().err


@pytest.mark.skipif(
    BARS is None or FUNDING is None, reason="the shared market data are not beside this checkout"
)
def test_a_year_of_real_rates_balances(folder, capsys):
    arguments = ["--data", str(BARS), "--funding", str(FUNDING), "--warmup", "500", "--from", "2021-06-01"]
    arguments += ["--to", "2022-06-01", "--db", "b.db", "--json"]
    assert main(["backtest", *arguments], ALLOWED) == 0
    told = json.loads(capsys.readouterr().out)
    audit(folder / "b.db")
    paid = rows(folder / "b.db", "SELECT * FROM funding")
    assert len(paid) > 100
    assert sum(float(row["payment"]) for row in paid) == pytest.approx(told["funding"], rel=1e-9)
