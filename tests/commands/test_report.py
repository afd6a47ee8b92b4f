import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bot.commands import report
from bot.config import Config, RunConfig
from bot.errors import InputError
from bot.store.account.steps import StepWriter, begin_session, end_session
from bot.store.database import Database, Identity
from bot.trading.account import AccountTrack, began_with
from bot.trading.events import Equity, Fill, FundingPayment, Step
from bot.trading.ledger import Ledger
from bot.trading.performance import DAY_MS
from tests.commands.showing import show
from tests.factories import (
    START_MS,
    a_bar,
    a_fill,
    a_neighbor,
    a_recollection,
    a_signal,
    a_step,
)

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal(1000))
STEP = 900_000
YEARLY = np.sqrt(365.25 * DAY_MS / STEP)


def worth(amount: str | int, time_ms: int) -> Equity:
    """A row of equity with all of it in cash."""
    return Equity(time_ms=time_ms, cash=Decimal(amount), unrealized_pnl=Decimal(0), equity=Decimal(amount))


def a_close(index: int, equity: int, close: str | int = 100, symbol: str = "BTCUSDT", **fields: Any) -> Step:
    """The Step of a closed bar after which the account is worth so much."""
    bar = a_bar(index, close=close, open=close, symbol=symbol)
    return a_step(bar=bar, equity=(worth(equity, bar.close_ms),), signal_id=0, **fields)


def a_database(folder: Path, *sessions: Sequence[Step], symbols: tuple[str, ...] = ("BTCUSDT",)) -> Path:
    """A database of sessions in which these Steps happened; signals are numbered as they come."""
    path = folder / "demo.db"
    config = msgspec.json.encode(Config(run=RunConfig(symbols=symbols))).decode()

    track, ledger = AccountTrack(began_with(DEMO.starting_cash), STEP), Ledger(DEMO.starting_cash)

    def tracked(step: Step) -> Step:
        """The Step with what the account's track says of it."""
        track.book(msgspec.structs.replace(ledger.post(step.fills), equity=()), ())
        for payment in step.funding:
            track.pay(payment, step.equity[-1])
        rows = tuple(map(track.mark, step.equity))
        return msgspec.structs.replace(step, equity=rows, round_trips=track.news()[0])

    async def write() -> None:
        number = 0
        async with Database.open(path, DEMO) as database:
            for steps in sessions:
                session = await begin_session(database, "demo", config, START_MS)
                writer = StepWriter(database, session)
                for step in steps:
                    if step.signal_id is not None:
                        number += 1
                        step = msgspec.structs.replace(step, signal_id=number)
                    await writer.append(tracked(step))
                await end_session(database, session, START_MS, "over")

    asyncio.run(write())
    return path


def reported(path: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    assert show(report, path, json=True, **options) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def booked(*fills: Fill) -> list[Fill]:
    return list(Ledger(Decimal(1000)).post(fills).fills)


def test_a_session_is_judged_from_the_starting_cash_beside_buy_and_hold(tmp_path: Path, capsys) -> None:
    bought, sold = booked(
        a_fill(1, price="100", fee="0.5", time_ms=START_MS + STEP + 1),
        a_fill(2, side="sell", price="104", fee="0.5", time_ms=START_MS + 3 * STEP + 1),
    )
    closes = (100, 101, 99, 103, 102)
    values = (1000, 1010, 990, 1020, 1030)
    steps = [a_close(n, value, close) for n, (value, close) in enumerate(zip(values, closes, strict=True))]
    steps.insert(1, Step(time_ms=0, fills=(bought,), equity=(worth(1009, bought.time_ms),)))
    steps.insert(4, Step(time_ms=0, fills=(sold,), equity=(worth(1020, sold.time_ms),)))
    found = reported(a_database(tmp_path, steps), capsys)

    assert (found["mode"], found["sessions"], found["symbols"], found["interval"], found["bars"]) == (
        *("demo", [1], ["BTCUSDT"], "15", 5),
    )
    assert (found["start_ms"], found["end_ms"]) == (START_MS, START_MS + 5 * STEP)
    own, other = found["performance"], found["buy_and_hold"]
    assert (own["total_return"], own["max_drawdown"]) == (pytest.approx(0.03), pytest.approx(20 / 1010))
    assert (own["round_trips"], own["hit_rate"], own["fees"], own["realized_pnl"]) == (1, 1.0, 1.0, 4.0)
    assert own["exposure"] == pytest.approx(2 / 5)
    assert own["turnover"] == pytest.approx(204 / np.mean([1000, *values, 1009, 1020]))

    returns = np.diff([1000, *values]) / np.array([1000, *values])[:-1]
    assert found["risk"]["periods"] == 5
    assert found["risk"]["sharpe"]["value"] == pytest.approx(returns.mean() / returns.std(ddof=1) * YEARLY)

    # Bought at the first close, the fee taken from the same cash.
    held = 1000 / (100 * 1.00055) * np.array(closes)
    assert other["total_return"] == pytest.approx(held[-1] / 1000 - 1)
    assert other["max_drawdown"] == pytest.approx(1 - held[2] / held[1])
    returns = np.diff([1000, *held]) / np.array([1000, *held])[:-1]
    losses = np.sqrt((np.minimum(returns, 0) ** 2).mean())
    assert other["risk"]["sortino"]["value"] == pytest.approx(returns.mean() / losses * YEARLY)

    # One coin was held at the second and the third close, at 101 of 1010 and 99 of 990.
    scaled = found["buy_and_hold_scaled"]
    assert scaled["exposure"] == pytest.approx(2 * 0.1 / 5)
    assert scaled["end_equity"] == pytest.approx(1000 + 0.04 * (held[-1] - 1000))
    assert scaled["max_drawdown"] == pytest.approx(1 - (960 + 0.04 * held[2]) / (960 + 0.04 * held[1]))


def test_two_symbols_are_held_half_and_half_and_their_common_close_is_one_return(
    tmp_path: Path, capsys
) -> None:
    steps = []
    for n, (bitcoin, ether) in enumerate(((100, 10), (110, 10), (121, 5))):
        steps += [a_close(n, 1000, bitcoin), a_close(n, 1000 + n, ether, "ETHUSDT")]
    found = reported(a_database(tmp_path, steps, symbols=("BTCUSDT", "ETHUSDT")), capsys)
    assert found["buy_and_hold"]["end_equity"] == pytest.approx(500 / 1.00055 * (1.21 + 0.5))
    assert (found["bars"], found["risk"]["periods"]) == (6, 3)


def two_sessions(folder: Path) -> Path:
    """Bought in the first, and sold in the second by the open of a bar that the bot was down for."""
    bought, sold, again = booked(
        a_fill(1, price="100", fee="1", time_ms=START_MS + STEP + 1),
        a_fill(2, side="sell", price="90", fee="1", time_ms=START_MS + 2 * STEP, late=True),
        a_fill(3, price="100", fee="1", time_ms=START_MS + 3 * STEP + 1),
    )
    paid = FundingPayment(
        symbol="BTCUSDT", time_ms=START_MS + STEP + 2, rate=Decimal(1), mark_price=Decimal(100),
        quantity=Decimal(1), payment=Decimal(-3),
    )  # fmt: skip
    first = [
        a_close(0, 1000),
        Step(time_ms=0, fills=(bought,), equity=(worth(999, bought.time_ms),)),
        Step(time_ms=0, funding=(paid,), equity=(worth(996, paid.time_ms),)),
        a_close(1, 990),
    ]
    second = [
        a_close(2, 970, fills=(sold,)),
        Step(time_ms=0, fills=(again,), equity=(worth(969, again.time_ms),)),
        a_close(3, 981),
    ]
    return a_database(folder, first, second)


def test_exposure_counts_what_was_held_before_the_session(tmp_path: Path, capsys) -> None:
    path = two_sessions(tmp_path)
    # Held at the close of the first session's second bar; in the second, sold by its first bar and bought again.
    assert reported(path, capsys, session=1)["buy_and_hold_scaled"]["exposure"] == pytest.approx(
        100 / 990 / 2
    )
    assert reported(path, capsys)["buy_and_hold_scaled"]["exposure"] == pytest.approx(100 / 981 / 2)
    whole = reported(path, capsys, all=True)["buy_and_hold_scaled"]["exposure"]
    assert whole == pytest.approx((100 / 990 + 100 / 981) / 4)


def test_exposure_counts_what_the_session_was_not_to_trade(tmp_path: Path, capsys) -> None:
    (bought,) = booked(a_fill(1, symbol="ETHUSDT", price="10", fee="1", time_ms=START_MS + STEP + 1))
    steps = [
        a_close(0, 1000),
        a_close(0, 1000, 10, "ETHUSDT"),
        Step(time_ms=0, fills=(bought,), equity=(worth(999, bought.time_ms),)),
        a_close(1, 1000),
        a_close(1, 1000, 20, "ETHUSDT"),
    ]
    found = reported(a_database(tmp_path, steps, symbols=("BTCUSDT",)), capsys)
    assert found["buy_and_hold_scaled"]["exposure"] == pytest.approx(20 / 1000 / 2)


def test_the_last_session_goes_on_from_where_the_one_before_ended(tmp_path: Path, capsys) -> None:
    found = reported(two_sessions(tmp_path), capsys)
    own = found["performance"]
    assert (found["sessions"], found["bars"]) == ([2], 2)
    assert (own["start_equity"], own["end_equity"]) == (990, 981)
    assert (own["fills"], own["fees"], own["funding"]) == (2, 2, 0)
    # What the first session bought was lost by the second.
    assert (own["round_trips"], own["hit_rate"], own["realized_pnl"]) == (1, 0, -10)


def test_an_earlier_session_and_the_whole_account_can_be_asked_for(tmp_path: Path, capsys) -> None:
    path = two_sessions(tmp_path)
    first = reported(path, capsys, session=1)
    assert (first["sessions"], first["performance"]["end_equity"]) == ([1], 990)
    own = first["performance"]
    assert (own["fills"], own["fees"], own["funding"], own["round_trips"]) == (1, 1, -3, 0)
    whole = reported(path, capsys, all=True)
    assert (whole["sessions"], whole["bars"]) == ([1, 2], 4)
    own = whole["performance"]
    assert (own["fills"], own["fees"], own["funding"], own["round_trips"]) == (3, 3, -3, 1)
    assert own["total_return"] == pytest.approx(-0.019)


def test_a_session_that_closed_no_bar_is_passed_over(tmp_path: Path, capsys) -> None:
    assert reported(a_database(tmp_path, [a_close(0, 1000)], []), capsys)["sessions"] == [1]


def test_what_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    path = a_database(tmp_path, [])
    with pytest.raises(InputError, match="no closed bar to report on yet"):
        show(report, path)
    with pytest.raises(InputError, match=r"session 1 of .* has no closed bar"):
        show(report, path, session=1)
    with pytest.raises(InputError, match=r"--session: .* holds no session 7; the last is 1"):
        show(report, path, session=7)


def leaning(action: str, confidence: float, positive_ratio: float | None = None) -> dict[str, Any]:
    return {
        "signal": a_signal(
            action, confidence=confidence, positive_ratio=positive_ratio, horizon_bars=2, reason="so"
        ),
        # Its base rate is 0.51.
        "recollection": a_recollection(a_neighbor()),
    }


def test_confidence_is_judged_where_the_horizon_is_over_and_decisions_do_not_overlap(
    tmp_path: Path, capsys
) -> None:
    closes = (100, 101, 102, 103, 103, 103, 102, 101, 100)
    said = [
        leaning("long", 0.7, 0.7),  # rose: right
        leaning("long", 0.9, 0.9),  # overlaps the first
        leaning("short", 0.8, 0.2),  # from 102 to 103: wrong
        {},  # a hold that says nothing
        leaning("hold", 0.6, 0.505),  # below the base rate: leans down, 103 to 102: right
        leaning("short", 0.7, 0.3),  # overlaps the hold, yet not the last short: right
        leaning("hold", 0.6, 0.4),  # leans down, 102 to 100: right
        leaning("short", 0.7, 0.3),  # not over yet
        {},
    ]
    steps = [
        a_close(n, 1000, close, **fields) for n, (close, fields) in enumerate(zip(closes, said, strict=True))
    ]
    path = a_database(tmp_path, steps)
    found = reported(path, capsys)
    every, acted = found["confidence"], found["confidence_acted_on"]
    assert (every["matured"], every["claims"], every["share_right"]) == (6, 4, 0.75)
    assert [(each["low"], each["claims"], each["share_right"]) for each in every["bins"]] == [
        *((0.6, 2, 1.0), (0.7, 1, 1.0), (0.8, 1, 0.0)),
    ]
    assert (acted["matured"], acted["claims"], acted["share_right"]) == (4, 3, pytest.approx(2 / 3))
    assert acted["brier"] == pytest.approx((0.3**2 + 0.8**2 + 0.3**2) / 3)


def test_a_close_that_did_not_move_makes_no_direction_right(tmp_path: Path, capsys) -> None:
    steps = [a_close(n, 1000, 100, **leaning("short", 0.7, 0.3)) for n in range(3)]
    assert reported(a_database(tmp_path, steps), capsys)["confidence"]["share_right"] == 0


def test_people_get_tables_and_the_method_in_words(tmp_path: Path, capsys) -> None:
    path = two_sessions(tmp_path)
    assert show(report, path, all=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"{path}: demo linear, sessions 1, 2",
        "4 closed bars of BTCUSDT 15, 2023-11-15 00:00 to 2023-11-15 01:00 UTC",
    ]
    table = {line[:16].strip(): line[16:].split() for line in lines}
    assert table["total return"] == ["-1.90%", "-0.05%", "-0.00%"]
    assert table["round trips"][:3] == ["1,", "0%", "won"]
    assert table["fees"] == ["-3.00"]
    assert any("4 simple returns, one a bar" in line and "delta method" in line for line in lines)
    assert "nothing to score yet: the horizon of no such decision has ended" in lines


def test_a_report_can_be_had_while_the_bot_writes(tmp_path: Path, capsys) -> None:
    path = two_sessions(tmp_path)

    async def main() -> None:
        async with Database.open(path, DEMO) as database, database.transaction():
            await database.write("DELETE FROM equity", [()])
            await asyncio.to_thread(show, report, path, json=True)

    asyncio.run(main())
    assert json.loads(capsys.readouterr().out)["performance"]["end_equity"] == 981
