"""Deposits and withdrawals: asked for by a person, booked once, neither gain nor loss, and replayed."""

import json
import signal
from decimal import Decimal

import pytest

from bot.cli import main
from bot.trading.events import Transfer
from strategies import STRATEGIES
from tests.books import audit, rows
from tests.bot_process import QUICK, run, start, wait_for
from tests.core import a_config, a_trader
from tests.factories import START_MS, a_bar


def test_a_transfer_moves_cash_and_equity_and_no_limit_on_losses():
    trader = a_trader(a_config("BTCUSDT", risk={"max_daily_loss": "0.1", "max_drawdown": "0.1"}))
    trader.advance(a_bar(0))
    step = trader.advance(Transfer(id=4, time_ms=START_MS, amount=Decimal("-5000"), reason="rent"))
    assert step.transfers == (Transfer(id=4, time_ms=START_MS, amount=Decimal("-5000"), reason="rent"),)
    assert [(row.cash, row.equity) for row in step.equity] == [(5000, 5000)]
    assert trader.advance(a_bar(1)).halts == ()


def test_a_running_and_a_stopped_bot_book_what_was_asked_for_and_a_replay_agrees(tmp_path, capsys):
    (tmp_path / "config.toml").write_text(QUICK)
    log, database = tmp_path / "log", tmp_path / "demo.db"
    with start(tmp_path, "--demo", log=log) as process:
        wait_for(log, '"bar_decided"', 10)
        asked = run(tmp_path, "transfer", "--db", "demo.db", "250.50", "--note", "saved", "--json")
        assert json.loads(asked.out)["amount"] == "250.50"
        wait_for(log, '"event": "transfer"')
        process.send_signal(signal.SIGKILL)
    asked = run(tmp_path, "transfer", "--db", "demo.db", "--", "-99")
    assert "withdrawal 2 of 99: the next start books it" in asked.out
    assert run(tmp_path, "--demo", "--max-bars", "8").code == 0
    assert run(tmp_path, "--demo", "--max-bars", "4").code == 0
    booked = rows(database, "SELECT id, amount, reason FROM transfers ORDER BY id")
    assert booked == [
        {"id": 1, "amount": "250.50", "reason": "saved"},
        {"id": 2, "amount": "-99", "reason": "by hand"},
    ]
    audit(database)
    for recording in sorted((tmp_path / "var" / "recordings").iterdir()):
        out = ["--db", str(tmp_path / "replay.db"), "--verify", str(database)]
        assert main(["replay", str(recording), *out], STRATEGIES) == 0
        assert main(["parity", str(recording)], STRATEGIES) == 0
    capsys.readouterr()
    assert main(["report", "--db", str(database), "--all", "--json"], STRATEGIES) == 0
    assert json.loads(capsys.readouterr().out)["performance"]["transferred"] == pytest.approx(151.5)
    refused = run(tmp_path, "transfer", "--db", "demo.db", "--", "-99999")
    assert refused.code == 2
    assert "cannot be withdrawn" in refused.err


@pytest.mark.parametrize("amount", ["0", "NaN", "much", "1e13", "0.0000001"])
def test_what_is_no_amount_is_told_in_a_line(amount, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["transfer", "--", amount], STRATEGIES)
    assert ended.value.code == 2
    assert "amount" in capsys.readouterr().err
