import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.errors import InputError
from bot.market import Instrument, Mark, Notice, RiskTier
from bot.store.account import decisions
from bot.store.account.state import AccountState, Progress, load_account, load_instruments
from bot.store.account.status import load_status
from bot.store.account.steps import StepWriter, begin_session, end_session, save_instruments
from bot.store.account.tables import Trade
from bot.store.account.trade_log import load_trades
from bot.store.database import Database, Identity
from bot.trading.account import began_with
from bot.trading.events import FundingPayment, Halt, Rejection, Step, Transfer
from bot.trading.risk import RiskState
from tests.factories import (
    START_MS,
    a_bar,
    a_fill,
    a_neighbor,
    a_position,
    a_recollection,
    a_signal,
    a_step,
    an_equity,
    an_instrument,
    an_order,
)

T = TypeVar("T")

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal("10000"))
BAR_MS = 900_000


def asked(path: Path, steps: list[Step], ask: Callable[[Database], Awaitable[T]]) -> T:
    """The answer of a reader after these Steps were written and the file closed."""

    async def write() -> None:
        async with Database.open(path, DEMO) as database:
            session = await begin_session(database, "demo", "{}", START_MS)
            writer = StepWriter(database, session)
            await writer.insert_history([a_bar(n - 10, close=100 + n) for n in range(10)])
            for step in steps:
                await writer.append(step)

    async def read() -> T:
        async with Database.open(path, readonly=True) as database:
            return await ask(database)

    asyncio.run(write())
    return asyncio.run(read())


amounts = st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda value: abs(value.adjusted()) < 24 and -int(value.as_tuple().exponent) <= 60
) | st.sampled_from(
    [Decimal("1E-12"), Decimal("-0.10"), Decimal("1E+20"), Decimal("100.000"), -(Decimal(3) ** 40)]
)
prices = amounts.filter(lambda value: value > 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(amounts, min_size=14, max_size=14), prices, prices, st.none() | prices)
def test_an_account_comes_back_to_the_last_digit(
    values: list[Decimal], price: Decimal, mark_price: Decimal, mark: Decimal | None
) -> None:
    v = iter(values)
    fill = replace(
        a_fill(), quantity=next(v), price=price, notional=next(v), fee=next(v), realized_pnl=next(v),
        reference_price=next(v), late=True, liquidity="maker",
    )  # fmt: skip
    paid = FundingPayment(
        symbol="BTCUSDT", time_ms=5, rate=next(v), mark_price=mark_price, quantity=next(v), payment=next(v)
    )
    moved = Transfer(id=3, time_ms=6, amount=next(v), reason="it's a “gift”")
    order = an_order(
        id=7, quantity=next(v), limit_price=next(v), stop_price=next(v), reduce_only=True, due_ms=99
    )
    position = a_position(str(next(v)), str(next(v)))
    equity = an_equity()
    step = a_step(
        0, fills=(fill,), funding=(paid,), transfers=(moved,), orders=(order,), positions=(position,),
        equity=(equity,),
        marks=() if mark is None else (Mark(symbol="BTCUSDT", price=mark, time_ms=START_MS + 7),),
    )  # fmt: skip
    # What is held is worth its last mark; where none was ever told, the last stored close.
    valued = Mark(symbol="BTCUSDT", price=Decimal(100), time_ms=START_MS + BAR_MS)
    with tempfile.TemporaryDirectory() as folder:
        state = asked(Path(folder) / "a.db", [step], load_account)
    assert state == AccountState(
        starting_cash=Decimal("10000"),
        fills=(fill,),
        funding=(paid,),
        transfers=(moved,),
        open_orders=(order,),
        positions=(position,),
        equity=equity,
        progress=(
            Progress(symbol="BTCUSDT", interval="15", last_start_ms=START_MS, last_decided_ms=START_MS),
        ),
        next_signal_id=2,
        next_order_id=8,
        next_fill_id=2,
        next_transfer_id=4,
        track=began_with(Decimal(10_000)),
        marks=(step.marks or (valued,)) if position.quantity else (),
    )


def test_a_fresh_account_has_its_starting_cash_and_first_ids(tmp_path: Path) -> None:
    state = asked(tmp_path / "a.db", [], load_account)
    assert state.starting_cash == 10000
    assert state.equity is None
    assert (state.next_signal_id, state.next_order_id, state.next_fill_id, state.next_transfer_id) == (1,) * 4


def test_only_open_orders_are_resumed(tmp_path: Path) -> None:
    statuses = ("open", "filled", "rejected", "cancelled", "open")
    orders = tuple(an_order(id=number, status=status) for number, status in enumerate(statuses, start=1))
    state = asked(tmp_path / "a.db", [a_step(0, orders=orders)], load_account)
    assert [order.id for order in state.open_orders] == [1, 5]


def test_progress_tells_a_stored_bar_from_a_decided_one(tmp_path: Path) -> None:
    undecided = Step(time_ms=START_MS, bar=a_bar(3))
    steps = [a_step(0), undecided, Step(time_ms=START_MS, bar=a_bar(symbol="ETHUSDT"))]
    bitcoin, ether = asked(tmp_path / "a.db", steps, load_account).progress
    assert (bitcoin.last_start_ms, bitcoin.last_decided_ms) == (START_MS + 3 * BAR_MS, START_MS)
    assert not bitcoin.decided
    assert (ether.symbol, ether.last_decided_ms, ether.decided) == ("ETHUSDT", None, False)


def a_trading_step() -> Step:
    moments = [
        a_neighbor(
            bar_start_ms=START_MS - (10 - n) * BAR_MS, similarity=0.9 - n / 10, forward_return=0.02 - n / 50
        )
        for n in range(4)
    ]
    signal = a_signal(
        "long", confidence=0.7, expected_return=0.004, horizon_bars=3, reason="leans up by 0.4%"
    )
    return a_step(
        0,
        signal=signal,
        recollection=a_recollection(*moments),
        orders=(an_order(id=1, status="filled"),),
        fills=(a_fill(price="100.5", fee="0.0276375"),),
    )


def test_a_trade_is_told_with_its_signal_and_its_three_closest_moments(tmp_path: Path) -> None:
    (trade,) = asked(tmp_path / "a.db", [a_trading_step()], load_trades)
    assert trade.time_utc == "2023-11-15 00:00:01"
    assert (trade.price, trade.fee) == (Decimal("100.5"), Decimal("0.0276375"))
    assert (trade.action, trade.confidence, trade.reason) == ("long", 0.7, "leans up by 0.4%")
    assert trade.closest_moments == (
        "2023-11-14 21:30 to 21:45 BTCUSDT 0.90 +2.0%; 2023-11-14 21:45 to 22:00 BTCUSDT 0.80 +0.0%; "
        "2023-11-14 22:00 to 22:15 BTCUSDT 0.70 -2.0%"
    )


def test_trades_are_oldest_first_and_a_limit_keeps_the_newest(tmp_path: Path) -> None:
    step = a_step(0, fills=tuple(a_fill(number) for number in (1, 2, 3)))

    async def ask(database: Database) -> tuple[Trade, ...]:
        return await load_trades(database, limit=2)

    assert [trade.fill_id for trade in asked(tmp_path / "a.db", [step], ask)] == [2, 3]


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs the sqlite3 shell")
def test_the_trade_log_reads_in_the_sqlite3_shell(tmp_path: Path) -> None:
    asked(tmp_path / "a.db", [a_trading_step()], load_trades)
    shell = [
        "sqlite3",
        "-readonly",
        str(tmp_path / "a.db"),
        "SELECT time_utc, side, closest_moments FROM trade_log",
    ]
    said = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
    assert said.startswith("2023-11-15 00:00:01|buy|2023-11-14 21:30 to 21:45 BTCUSDT 0.90 +2.0%; ")


def test_an_explanation_holds_the_moment_its_neighbors_paths_and_what_followed(tmp_path: Path) -> None:
    found = asked(
        tmp_path / "a.db", [a_trading_step(), a_step(1)], lambda db: decisions.load_explanation(db, 1)
    )
    assert found.close == Decimal("100")
    assert found.signal.detail["recollection"]["moments"] == 1000
    assert [moment.rank for moment in found.neighbors] == [1, 2, 3, 4]
    # Four closes: the moment's own and the three bars of its horizon.
    assert found.neighbors[0].closes == tuple(map(Decimal, ("100", "101", "102", "103")))
    assert [order.id for order in found.orders] == [1]
    assert [fill.id for fill in found.fills] == [1]


def test_without_an_id_the_last_decision_is_explained(tmp_path: Path) -> None:
    found = asked(tmp_path / "a.db", [a_step(0), a_step(1)], decisions.load_explanation)
    assert found.signal.id == 2
    assert found.neighbors == ()
    assert found.orders == ()


def test_a_decision_that_is_not_there_is_refused_with_the_last_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no decision 9; the last is 1"):
        asked(tmp_path / "a.db", [a_step(0)], lambda db: decisions.load_explanation(db, 9))
    with pytest.raises(InputError, match="no decision yet"):
        asked(tmp_path / "b.db", [], decisions.load_explanation)


def test_status_counts_what_the_last_session_did(tmp_path: Path) -> None:
    order = an_order(id=1, status="rejected")
    steps = [
        a_step(0, rejections=(Rejection(order=order, rule="lot", reason="too small"),)),
        a_step(2, bar=a_bar(2, late=True)),
        a_step(3, signal=a_signal("long"), orders=(an_order(id=2),), positions=(a_position(),)),
        Step(time_ms=START_MS, notices=(Notice(kind="gap", time_ms=START_MS),)),
    ]
    status = asked(tmp_path / "a.db", steps, load_status)
    assert (status.mode, status.category, status.running) == ("demo", "linear", None)
    assert status.session is not None
    assert status.session.ended_ms is None
    assert status.actions == {"hold": 2, "long": 1}
    assert status.events == {"gap": 1, "rejection": 1}
    assert [order.id for order in status.open_orders] == [2]
    (feed,) = status.feeds
    assert (feed.bars, feed.missing, feed.decided, feed.late) == (13, 1, 3, 1)
    assert feed.by_source == {"stream": 13}


def test_status_sees_a_bot_at_work_and_its_end(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        path = tmp_path / "a.db"
        async with Database.open(path, DEMO) as database:
            session = await begin_session(database, "demo", "{}", START_MS)
            async with Database.open(path, readonly=True) as reader:
                during = await load_status(reader)
            await end_session(database, session, START_MS + 1, "stopped by a signal")
        async with Database.open(path, readonly=True) as reader:
            after = await load_status(reader)
        return [during, after]

    during, after = asyncio.run(main())
    assert during.running is not None
    assert after.running is None
    assert after.session.exit_reason == "stopped by a signal"


def test_a_brackets_orders_and_what_priced_a_fill_come_back_to_the_digit(tmp_path: Path) -> None:
    trail = an_order(
        id=2,
        side="sell",
        type="trailing_stop",
        time_in_force="ioc",
        stop_price=Decimal("97.50"),
        distance=Decimal("2.50"),
        anchor=Decimal("100.00"),
        reduce_only=True,
        parent_id=1,
        filled_quantity=Decimal("0.5"),
        active_ms=START_MS + 1,
        triggered_ms=START_MS + 2,
        status="partially_filled",
    )
    target = replace(trail, id=3, type="take_profit", status="pending", quantity=Decimal(0), anchor=None)
    over = replace(trail, id=4, status="cancelled")
    fill = a_fill(reference_ms=START_MS - 9, slippage=Decimal("0.010"), preset="brutal")
    steps = [a_step(orders=(an_order(id=1, status="filled"), trail, target, over), fills=(fill,))]
    account = asked(tmp_path / "a.db", steps, load_account)
    assert account.open_orders == (trail, target)
    assert account.fills == (fill,)


def test_the_rules_of_an_instrument_come_back_with_their_tiers(tmp_path: Path) -> None:
    tier = RiskTier(
        limit=Decimal("2000000"),
        maintenance_rate=Decimal("0.005"),
        initial_rate=Decimal("0.010"),
        max_leverage=Decimal("100.00"),
        deduction=Decimal("1.5"),
    )
    rules = an_instrument(tiers=(tier, replace(tier, limit=Decimal("4000000"))))

    async def main() -> dict[str, Instrument]:
        async with Database.open(tmp_path / "a.db", DEMO) as database:
            await save_instruments(database, [rules])
            return await load_instruments(database)

    assert asyncio.run(main()) == {"BTCUSDT": rules}


HALT = Halt(id=1, rule="max_drawdown", reason="too deep", time_ms=START_MS + BAR_MS)


def test_status_tells_the_halt_in_force_and_what_was_rejected_by_which_rule(tmp_path: Path) -> None:
    rejected = [
        an_order(id=number, status="rejected", reason=f"{rule}: because: of {number}")
        for number, rule in ((1, "halted"), (2, "max_total"), (3, "halted"))
    ]
    step = a_step(orders=tuple(rejected), halts=(HALT,), risk=RiskState(halt=HALT, next_halt_id=2))
    status = asked(tmp_path / "a.db", [step], load_status)
    assert (status.halt, status.resume_asked) == (HALT, False)
    assert status.rejections == {"halted": 2, "max_total": 1}
    assert [(one.order_id, one.rule, one.reason) for one in status.last_rejections] == [
        (3, "halted", "because: of 3"),
        (2, "max_total", "because: of 2"),
        (1, "halted", "because: of 1"),
    ]


def test_a_decision_is_explained_with_the_halt_that_was_in_force(tmp_path: Path) -> None:
    ended = replace(HALT, resumed_ms=START_MS + 3 * BAR_MS, note="seen")
    steps = [a_step(index) for index in range(4)]
    steps[0] = replace(steps[0], halts=(HALT,))
    steps.append(Step(time_ms=START_MS, halts=(ended,)))
    found = [
        asked(
            tmp_path / f"{number}.db",
            steps,
            lambda database, number=number: decisions.load_explanation(database, number),
        ).halt
        for number in (1, 2, 3, 4)
    ]
    assert found == [ended, ended, None, None]


def test_a_halt_is_one_row_that_its_resume_completes_in_the_session_of_its_beginning(tmp_path: Path) -> None:
    ended = replace(HALT, resumed_ms=START_MS + 3 * BAR_MS, note="seen")

    async def main() -> list[tuple[Any, ...]]:
        async with Database.open(tmp_path / "a.db", DEMO) as database:
            await StepWriter(database, 1).append(Step(time_ms=1, halts=(HALT,)))
            await StepWriter(database, 2).append(
                Step(time_ms=1, halts=(ended,), risk=RiskState(next_halt_id=2))
            )
            assert (await load_account(database)).risk == RiskState(next_halt_id=2)
            return await database.fetch("SELECT * FROM halts")

    assert asyncio.run(main()) == [
        (1, 1, HALT.time_ms, "max_drawdown", "too deep", START_MS + 3 * BAR_MS, "seen", 0)
    ]
