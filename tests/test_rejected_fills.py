"""What the account could not back when it was to be filled is seen wherever a person looks, and so is a liquidation."""

import json
from pathlib import Path

import pytest

from bot.cli import main
from strategies import STRATEGIES
from tests.books import audit, rows
from tests.factories import START_MS

STEP_MS = 900_000


def backtest(folder: Path, closes: list[str]) -> Path:
    """A backtest of buying and holding over bars that open a bar's close after the one before."""
    lines = [
        f"{START_MS + index * STEP_MS},{close},{close},{close},{close},1000000,"
        for index, close in enumerate(closes)
    ]
    data, database = folder / "bars.csv", folder / "backtest.db"
    data.write_text("\n".join(["start_ms,open,high,low,close,volume,turnover", *lines]) + "\n")
    arguments = ["--data", f"BTCUSDT={data}", "--interval", "15", "--warmup", "2", "--db", str(database)]
    assert main(["backtest", *arguments], STRATEGIES) == 0
    return database


@pytest.fixture
def whole_account(monkeypatch, tmp_path):
    """Entries take nearly all of the account."""
    monkeypatch.chdir(tmp_path)
    for key in ("POSITION_FRACTION", "MAX_POSITION_FRACTION"):
        monkeypatch.setenv(f"BOT__RISK__{key}", "0.99")
    monkeypatch.setenv("BOT__STRATEGY__NAME", "buy_and_hold")
    return monkeypatch


def told(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments), STRATEGIES) == 0
    return capsys.readouterr().out


def test_an_entry_is_cut_to_what_the_account_backs_at_its_fill_and_all_who_ask_are_told(
    whole_account, tmp_path, capsys
):
    database = backtest(tmp_path, ["100", "100", "100", "120", "120"])
    audit(database)
    order = rows(database, "SELECT * FROM orders WHERE filled_quantity > '0' ORDER BY id")[0]
    assert (order["status"], order["quantity"]) == ("rejected", "99.000")
    assert order["reason"].startswith("insufficient_margin: at 120.")
    (fill,) = rows(database, f"SELECT * FROM fills WHERE order_id = {order['id']}")
    # 10,000 at 120, a spread, a slippage and an impact worse, and its fees.
    assert 82 < float(fill["quantity"]) < 83.4
    events = [row["detail"] for row in rows(database, "SELECT * FROM events WHERE kind = 'rejection'")]
    assert f"order {order['id']}: {order['reason']}" in events
    status = told(capsys, "status", "--db", str(database))
    assert "insufficient_margin" in status.partition("rejected orders")[2]
    explained = told(capsys, "explain", str(order["signal_id"]), "--db", str(database))
    assert "insufficient_margin: at 120." in explained.replace("\n", " ")


def test_a_liquidation_is_an_event_and_counted_in_the_report(whole_account, tmp_path, capsys):
    whole_account.setenv("BOT__BROKER__LEVERAGE", "10")
    for key in ("MAX_DAILY_LOSS", "MAX_DRAWDOWN"):
        whole_account.setenv(f"BOT__RISK__{key}", "0")
    database = backtest(tmp_path, ["100", "100", "100", "100", "90", "90"])
    audit(database)
    fills = rows(database, "SELECT * FROM fills WHERE rule = 'liquidation'")
    assert len(fills) == 1
    (event,) = rows(database, "SELECT * FROM events WHERE kind = 'liquidation'")
    assert (event["symbol"], event["time_ms"]) == ("BTCUSDT", fills[0]["time_ms"])
    assert f"which realized {fills[0]['realized_pnl']}" in event["detail"]
    assert "liquidations" in told(capsys, "report", "--db", str(database))
    performance = json.loads(told(capsys, "report", "--json", "--db", str(database)))["performance"]
    assert performance["liquidations"] == 1
    assert "liquidation 1" in told(capsys, "status", "--db", str(database))
