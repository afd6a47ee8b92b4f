"""Deposits and withdrawals: asked for by a person, booked once, neither gain nor loss, and replayed."""

import asyncio
import json
import signal
from decimal import ROUND_DOWN, Decimal
from pathlib import Path

import msgspec
import pytest

from bot.cli import main
from bot.store.account.steps import StepWriter, begin_session, save_instruments
from bot.store.database import Database, Identity
from bot.trading.events import Equity, Position, Step, Transfer
from tests.books import audit, rows
from tests.bot_process import QUICK, run, start, wait_for
from tests.core import a_config, a_trader
from tests.eager import ALLOWED
from tests.factories import START_MS, a_bar, an_instrument, an_order

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000))


def test_a_transfer_moves_cash_and_equity_and_no_limit_on_losses():
    trader = a_trader(a_config("BTCUSDT", risk={"max_daily_loss": "0.1", "max_drawdown": "0.1"}))
    trader.advance(a_bar(0))
    step = trader.advance(Transfer(id=4, time_ms=START_MS, amount=Decimal("-5000"), reason="rent"))
    assert step.transfers == (Transfer(id=4, time_ms=START_MS, amount=Decimal("-5000"), reason="rent"),)
    assert [(row.cash, row.equity) for row in step.equity] == [(5000, 5000)]
    assert trader.advance(a_bar(1)).halts == ()


def an_account(path: Path, leverage: str) -> None:
    """10,000 in cash, 10 BTC held at 100, a limit order for 20 ETH at 50 and one at market, ETH closing at 60."""
    config = a_config("BTCUSDT", "ETHUSDT", broker={"leverage": leverage, "taker_fee": "0.001"})
    ten = {"symbol": "BTCUSDT", "quantity": 10}
    orders = (
        an_order(id=1, **ten, status="filled", filled_quantity=Decimal(10)),
        an_order(
            id=2,
            symbol="ETHUSDT",
            quantity=20,
            type="limit",
            limit_price=Decimal(50),
            status="partially_filled",
            filled_quantity=Decimal(5),
        ),
        an_order(id=3, symbol="ETHUSDT", side="sell", quantity=2),
        an_order(id=4, **ten, side="sell", type="stop_market", stop_price=Decimal(90), reduce_only=True),
    )
    bought = Position(symbol="BTCUSDT", quantity=Decimal(10), cost=Decimal(1000), opened_ms=1, updated_ms=1)
    row = Equity(time_ms=START_MS, cash=Decimal(10_000), unrealized_pnl=Decimal(0), equity=Decimal(10_000))

    async def write() -> None:
        async with Database.open(path, DEMO) as database:
            await save_instruments(database, [an_instrument("BTCUSDT"), an_instrument("ETHUSDT")])
            session = await begin_session(database, "demo", msgspec.json.encode(config).decode(), START_MS)
            writer = StepWriter(database, session)
            await writer.insert_history(
                a_bar(i, symbol="ETHUSDT", close=close) for i, close in ((0, 55), (1, 60))
            )
            step = Step(time_ms=START_MS, orders=orders, positions=(bought,), equity=(row,))
            await writer.append(step)

    asyncio.run(write())


@pytest.mark.parametrize(
    ("leverage", "free"),
    [
        # Unleveraged, each binds its worth and the taker fee of 0.1 % once more where it is still to be paid:
        # the position 1,000 (bankrupt at 0, where closing costs nothing), what is left of the limit order 750
        # and 0.75, the sale 120, 0.12 and 0.24 of fees for closing at twice the price.
        ("1", Decimal("10000") - 1000 - Decimal("750.75") - Decimal("120.36")),
        # A tenth, and the fees to close at 0.9 (long) and 1.1 (short) of the worth.
        (
            "10",
            Decimal("10000")
            - (100 + Decimal("0.9"))
            - (75 + Decimal("0.75") + Decimal("0.675"))
            - (12 + Decimal("0.12") + Decimal("0.132")),
        ),
    ],
)
def test_cash_that_positions_and_orders_bind_stays(tmp_path, capsys, leverage, free):
    path = tmp_path / "demo.db"
    an_account(path, leverage)
    cent = Decimal("0.01")
    free = free.quantize(cent, ROUND_DOWN)

    def asked(amount: Decimal) -> int:
        return main(["transfer", "--db", str(path), "--", str(amount)], ALLOWED)

    assert asked(-free - cent) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"of 10000 in cash, {free} is free" in error
    assert asked(-free) == 0
    # It was not booked yet, and still is gone; a deposit counts as soon.
    assert asked(-cent) == 2
    assert asked(Decimal(5)) == 0
    assert asked(Decimal(-5)) == 0
    assert asked(-cent) == 2


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
        assert main(["replay", str(recording), *out], ALLOWED) == 0
        assert main(["parity", str(recording)], ALLOWED) == 0
    capsys.readouterr()
    assert main(["report", "--db", str(database), "--all", "--json"], ALLOWED) == 0
    assert json.loads(capsys.readouterr().out)["performance"]["transferred"] == pytest.approx(151.5)
    refused = run(tmp_path, "transfer", "--db", "demo.db", "--", "-99999")
    assert refused.code == 2
    assert "cannot be withdrawn" in refused.err


def test_a_deposit_made_while_stopped_is_no_profit_in_report_summary_and_status(tmp_path, capsys):
    (tmp_path / "config.toml").write_text('[strategy]\nname = "buy_and_hold"\n')
    assert run(tmp_path, "--demo", "--max-bars", "12").code == 0
    run(tmp_path, "transfer", "--demo", "90000")
    summary = json.loads(run(tmp_path, "--demo", "--max-bars", "12", "--json").out.splitlines()[-1])
    database = tmp_path / "var" / "demo.db"
    audit(database)

    def reported(*which: str) -> dict:
        assert main(["report", "--db", str(database), "--json", *which], ALLOWED) == 0
        return json.loads(capsys.readouterr().out)["performance"]

    last, whole = reported(), reported("--all")
    (one,) = rows(database, "SELECT unit_value FROM equity WHERE session_id = 1 ORDER BY id DESC LIMIT 1")
    (end,) = rows(database, "SELECT unit_value FROM equity ORDER BY id DESC LIMIT 1")
    before, after = float(one["unit_value"]), float(end["unit_value"])
    assert abs(after / before - 1) < 0.02
    assert last["total_return"] == pytest.approx(after / before - 1)
    assert summary["total_return"] == pytest.approx(last["total_return"])
    assert summary["max_drawdown"] == pytest.approx(last["max_drawdown"])
    assert whole["total_return"] == pytest.approx(after - 1)
    assert (last["transferred"], whole["transferred"]) == (90_000, 90_000)
    assert whole["max_drawdown"] < 0.05


@pytest.mark.parametrize("amount", ["0", "NaN", "much", "1e13", "0.0000001"])
def test_what_is_no_amount_is_told_in_a_line(amount, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["transfer", "--", amount], ALLOWED)
    assert ended.value.code == 2
    assert "amount" in capsys.readouterr().err
