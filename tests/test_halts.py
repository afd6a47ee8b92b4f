"""A halt sells everything and enters nothing until a person resumes; it is written down, and replayed."""

import json
import signal
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from bot.cli import main
from bot.strategy import Situation
from bot.testing import replay
from bot.trader import Trader
from bot.trading.events import RESTING, Resume, Signal, Step
from tests.books import audit, rows
from tests.bot_process import run, start, wait_for
from tests.core import a_config, a_trader
from tests.eager import ALLOWED
from tests.factories import a_bar

MANY = "1000000"


class Long:
    """Wants a long at every bar, with a stop far away."""

    needs_memory = False

    def decide(self, situation: Situation) -> Signal:
        """Long."""
        return Signal(action="long", reason="always", stop_distance=25.0)


def both(index: int, close: str | int, other: str | int = 100) -> list:
    """The bars of two symbols that close together."""
    return [
        a_bar(index, close=close, open=close, volume=MANY),
        a_bar(index, close=other, open=other, volume=MANY, symbol="ETHUSDT"),
    ]


def a_halted_trader() -> tuple[Trader, list[Step]]:
    """Two longs were held when BTCUSDT lost more than the day may."""
    config = a_config(risk={"max_daily_loss": "0.02", "max_drawdown": 0, "require_contiguous_bars": 0})
    trader = a_trader(config, Long())
    for index in range(-400, 0):
        for bar in both(index, 100 + index % 2, 100 + index % 2):
            trader.observe(bar)
    steps = []
    for index in range(60):
        for bar in both(index, 100 + index % 2, 100 + index % 2):
            steps.append(trader.advance(bar))
    for bar in both(60, 80):
        steps.append(trader.advance(bar))
    return trader, steps


def test_a_halt_withdraws_what_rests_and_closes_every_position():
    _, steps = a_halted_trader()
    (step,) = [step for step in steps if step.halts]
    assert step.bar is not None
    assert (step.bar.symbol, step.bar.start_ms) == ("BTCUSDT", a_bar(60).start_ms)
    (halt,) = step.halts
    assert (halt.rule, halt.time_ms, halt.resumed_ms) == ("max_daily_loss", step.time_ms, None)
    assert [(notice.kind, notice.detail[:16]) for notice in step.notices] == [("halt", "max_daily_loss: ")]
    cancelled = {(order.symbol, order.type) for order in step.orders if order.status == "cancelled"}
    assert cancelled == {("BTCUSDT", "stop_market"), ("ETHUSDT", "stop_market")}
    closing = [order for order in step.orders if order.status == "open"]
    assert [(order.symbol, order.side, order.reduce_only) for order in closing] == [
        ("BTCUSDT", "sell", True), ("ETHUSDT", "sell", True),
    ]  # fmt: skip
    assert {order.signal_id for order in closing} == {step.signal_id}


def test_nothing_is_entered_until_a_person_resumes_and_then_it_is():
    trader, _ = a_halted_trader()
    sold = [trader.advance(bar) for bar in both(61, 80)]
    assert [[fill.side for fill in step.fills] for step in sold] == [["sell"], ["sell"]]
    assert [step.positions[0].quantity for step in sold] == [0, 0]
    for index in range(62, 66):
        for bar in both(index, 80):
            step = trader.advance(bar)
            assert [rejection.rule for rejection in step.rejections] == ["halted"]
            assert not step.fills
    step = trader.advance(Resume(id=1, time_ms=a_bar(65).close_ms, note="seen"))
    assert [(halt.resumed_ms, halt.note) for halt in step.halts] == [(a_bar(65).close_ms, "seen")]
    assert [(notice.kind, notice.detail) for notice in step.notices] == [
        ("resume", "after the halt by max_daily_loss: seen")
    ]
    steps = [trader.advance(bar) for index in (66, 67) for bar in both(index, 80)]
    assert not any(step.rejections or step.halts for step in steps)
    assert [fill.side for step in steps for fill in step.fills] == ["buy", "buy"]


def test_a_close_that_the_market_takes_in_parts_goes_on_until_nothing_is_held():
    trader, _ = a_halted_trader()
    left, fills = [], 0
    for index in range(61, 90):
        # A tenth of so small a volume is less than what is held.
        step = trader.advance(a_bar(index, close=80, open=80, volume="40"))
        fills += len(step.fills)
        left += [position.quantity for position in step.positions]
    assert fills > 3
    assert left[-1] == 0
    assert all(later < sooner for sooner, later in pairwise(left))


def test_a_resume_without_a_halt_is_told_and_changes_nothing():
    trader = a_trader(a_config(), Long())
    step = trader.advance(Resume(id=1, time_ms=5))
    assert step.halts == ()
    assert step.notices[0].detail == "neither a halt nor a pause was in force"


CONFIG = """
[run]
database = "{mode}.db"
[memory]
warmup_bars = 400
neighbors = 8
[strategy]
name = "tests.eager:Eager"
horizon_bars = 4
[risk]
max_daily_loss = 0.001
"""


@pytest.fixture(scope="module")
def halted(tmp_path_factory) -> Path:
    """A folder whose demo was halted and resumed while it ran, halted again, killed, and resumed by a restart."""
    folder = tmp_path_factory.mktemp("halted")
    (folder / "config.toml").write_text(CONFIG)
    log = folder / "log"
    with start(folder, "--demo", log=log) as process:
        wait_for(log, '"event": "halt"', 1)
        asked = run(folder, "resume", "--db", "demo.db", "--note", "go on", "--json")
        assert asked.code == 0, asked.err
        (folder / "resumed.json").write_text(asked.out)
        wait_for(log, '"event": "halt"', 2)
        wait_for(log, '"rule": "halted"', 2)
        process.send_signal(signal.SIGKILL)
    (folder / "status.txt").write_text(run(folder, "status", "--db", "demo.db").out)
    asked = run(folder, "resume", "--db", "demo.db")
    assert asked.code == 0, asked.err
    (folder / "asked.txt").write_text(asked.out)
    (folder / "waiting.txt").write_text(run(folder, "status", "--db", "demo.db").out)
    assert run(folder, "--demo", "--max-bars", "6").code == 0
    return folder


def test_a_running_bot_takes_a_resume_and_says_so(halted):
    outcome = json.loads((halted / "resumed.json").read_text())
    assert outcome["resumed"]
    assert outcome["halt"]["rule"] == "max_daily_loss"
    first = rows(halted / "demo.db", "SELECT * FROM halts ORDER BY id")[0]
    assert first["note"] == "go on"
    assert first["resumed_ms"] > first["time_ms"]


def test_a_stopped_bot_takes_it_as_it_starts(halted):
    assert "the next start resumes" in (halted / "asked.txt").read_text()
    second = rows(halted / "demo.db", "SELECT * FROM halts ORDER BY id")[1]
    assert second["session_id"] == 1
    assert second["resumed_ms"] is not None
    kinds = [row["kind"] for row in rows(halted / "demo.db", "SELECT kind FROM events ORDER BY id")]
    assert kinds.count("halt") >= 2
    assert kinds.count("resume") == 2


def test_status_and_explain_show_the_halt_and_what_it_rejected(halted, capsys):
    status = (halted / "status.txt").read_text()
    assert "HALTED since" in status
    assert "by max_daily_loss" in status
    assert "halted" in status.partition("rejected orders")[2]
    assert "a resume was asked for" in (halted / "waiting.txt").read_text()
    (order,) = rows(
        halted / "demo.db",
        "SELECT * FROM orders WHERE reason LIKE 'halted: halted since%' ORDER BY id LIMIT 1",
    )
    assert order["status"] == "rejected"
    events = rows(halted / "demo.db", "SELECT detail FROM events WHERE kind = 'rejection'")
    assert any(f"order {order['id']}: halted: halted since" in row["detail"] for row in events)
    assert main(["explain", str(order["signal_id"]), "--db", str(halted / "demo.db")], ALLOWED) == 0
    told = capsys.readouterr().out
    assert "halted since" in told
    assert "rejected" in told


def test_after_a_halt_nothing_is_held_and_nothing_rests(halted):
    """Orders of a halt fill; and the books of a halted and resumed account balance."""
    audit(halted / "demo.db")
    (halt, *_) = rows(halted / "demo.db", "SELECT * FROM halts ORDER BY id")
    sold = rows(
        halted / "demo.db",
        f"SELECT * FROM orders WHERE created_ms = {halt['time_ms']} AND reason = 'halted: everything is sold'",
    )
    assert sold
    assert {order["status"] for order in sold} <= {"filled", *RESTING}


def test_halts_and_resumes_are_inputs_that_a_replay_agrees_on(halted, tmp_path, capsys):
    for recording in sorted((halted / "var" / "recordings").iterdir()):
        code = main(
            [
                "replay",
                str(recording),
                "--db",
                str(tmp_path / "r.db"),
                "--verify",
                str(halted / "demo.db"),
                "--json",
            ],
            ALLOWED,
        )
        told = json.loads(capsys.readouterr().out)
        assert (code, told["verify"]["difference"]) == (0, None)
        assert told["verify"]["rows"]["halts"] > 0
    first = sorted((halted / "var" / "recordings").iterdir())[0]
    session = replay(first, config={"strategy.name": "tests.eager:Eager"})
    assert [notice.kind for notice in session.notices if notice.kind in ("halt", "resume")][:2] == [
        "halt",
        "resume",
    ]
    assert min(row.equity for row in session.equity) > Decimal(9_000)


def test_a_backtest_is_not_resumed(tmp_path, capsys):
    (tmp_path / "bars.csv").write_text(
        "start_ms,open,high,low,close,volume,turnover\n"
        + "".join(f"{1_700_006_400_000 + n * 900_000},100,101,99,100,10,\n" for n in range(20))
    )
    data = f"BTCUSDT={tmp_path / 'bars.csv'}"
    arguments = ["--data", data, "--interval", "15", "--warmup", "5", "--db", str(tmp_path / "b.db")]
    assert main(["backtest", *arguments], ALLOWED) == 0
    assert main(["resume", "--db", str(tmp_path / "b.db")], ALLOWED) == 2
    assert "holds a backtest" in capsys.readouterr().err
    assert main(["resume", "--db", str(tmp_path / "none.db")], ALLOWED) == 2
