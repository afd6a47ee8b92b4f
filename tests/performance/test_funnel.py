"""The funnel loses no decision: what does not come past a step is counted there, by what stopped it."""

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.performance.decisions import outcome_of
from bot.performance.funnel import FunnelCount, headlines, why_no_trade
from bot.store.account.funnel import load_decision_report
from bot.store.account.steps import StepWriter, begin_session
from bot.store.database import Database, Identity
from bot.trading.asked import asked_of
from bot.trading.checks import Check, first_failed
from bot.trading.events import Signal
from bot.trading.unfilled import NO_VOLUME
from tests.core import a_config, a_trader, merged, run
from tests.factories import START_MS, a_bar, a_signal, an_order

CHECKS = {"trend": "with the trend", "size": "large enough"}
IDENTITY = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000))


class Listed:
    """Answers with the given signals of each symbol, bar by bar, then holds."""

    needs_memory = False
    checks = CHECKS

    def __init__(self, signals):
        self._signals = {symbol: list(listed) for symbol, listed in signals.items()}

    def decide(self, situation):
        left = self._signals[situation.bar.symbol]
        return left.pop(0) if left else a_signal("hold")


def reported(path: Path, signals, bars, **sections):
    """What the database says of a run over these bars, and the run's Steps."""
    sections["risk"] = {"require_contiguous_bars": 0, **sections.get("risk", {})}
    strategy, config = Listed(signals), a_config(*signals, **sections)
    trader = a_trader(config, strategy)
    steps = run(trader, bars)

    async def main():
        async with Database.open(path, IDENTITY, durable=False) as database:
            session = await begin_session(
                database, "demo", msgspec.json.encode(config).decode(), START_MS, checks=strategy.checks
            )
            writer = StepWriter(database, session, batch_bars=1000)
            for step in steps:
                await writer.append(step)
            await writer.flush()
            return await load_decision_report(database, session)

    return asyncio.run(main()), steps


def counts(funnel) -> dict[str, int]:
    return {step.name: step.count for step in funnel.steps}


def test_two_hundred_longs_in_bars_without_volume_say_so_first(tmp_path):
    bars = [a_bar(index, volume="0") for index in range(201)]
    report, _ = reported(tmp_path / "a.db", {"BTCUSDT": [a_signal("long")] * 200}, bars)
    assert counts(report.funnels.total) == {
        "decisions": 201,
        "trend": 201,
        "size": 201,
        "signals": 200,
        "orders": 200,
        "accepted": 200,
        "filled": 0,
        "round_trips": 0,
    }
    (line,) = headlines(report)
    assert line.startswith(
        "NO TRADE: 200 signals and no fill; 200 no_volume, first decision 1: nothing was traded"
    )


def test_a_run_that_halted_says_first_at_which_bar_and_what_it_kept_back(tmp_path):
    bars = [a_bar(0), a_bar(1), a_bar(2, close=80), *(a_bar(index, close=80) for index in range(3, 60))]
    risk = {"max_drawdown": 0.02, "position_fraction": 0.5}
    report, steps = reported(tmp_path / "a.db", {"BTCUSDT": [a_signal("long")] * 60}, bars, risk=risk)
    (halt,) = [halt for step in steps for halt in step.halts]
    (line,) = headlines(report)
    assert line.startswith(
        "HALTED at bar 3 of 60, closed at 2023-11-15 00:45:00 UTC, by max_drawdown: equity"
    )
    assert line.endswith("; 57 longs and shorts after it were refused")
    assert report.halts[0].halt.id == halt.id
    assert report.funnels.total.outcomes == {"long": {"filled": 1, "already_there": 1, "halted": 58}}


def test_a_run_without_a_signal_says_which_check_most_stopped_at(tmp_path):
    refused = Signal(
        action="hold", reason="size: too small", checks=(Check("trend", True), Check("size", False))
    )
    against = Signal(action="hold", reason="trend: it falls", checks=(Check("trend", False),))
    report, _ = reported(
        tmp_path / "a.db", {"BTCUSDT": [refused, against, refused]}, [a_bar(index) for index in range(3)]
    )
    assert headlines(report) == ["NO TRADE: no signal in 3 decisions; 2 size, first decision 1: too small"]


def test_a_run_that_traded_or_decided_nothing_has_no_headline(tmp_path):
    report, _ = reported(tmp_path / "a.db", {"BTCUSDT": [a_signal("long")]}, [a_bar(0), a_bar(1)])
    assert headlines(report) == []
    report, _ = reported(tmp_path / "b.db", {"BTCUSDT": []}, [])
    assert headlines(report) == []


def a_check_list(passed: int) -> tuple[Check, ...]:
    return tuple(
        Check.at_least(name, 1.0 if place < passed else 0.0, 1.0) for place, name in enumerate(CHECKS)
    )


HOLDS = [a_signal("hold", checks=a_check_list(passed), reason=f"stopped after {passed}") for passed in (0, 1)]
ANSWERS = st.sampled_from(
    [
        *HOLDS,
        a_signal("hold"),
        a_signal("hold", close_position=True, checks=a_check_list(1)),
        *(a_signal(action, checks=a_check_list(2)) for action in ("long", "short")),
        a_signal("long", stop_distance=2.0, time_stop_bars=3),
    ]
)
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(ANSWERS, ANSWERS, st.sampled_from(["0", "0.5", "100000"]), st.integers(60, 140)),
        max_size=25,
    ),
    st.sampled_from([{}, {"max_drawdown": 0.05}, {"max_total_fraction": 0.25}, {"max_orders_per_hour": 1}]),
)
def test_rows_tell_of_every_decision_what_the_steps_told(tmp_path_factory, life, risk):
    signals = {symbol: [one[place] for one in life] for place, symbol in enumerate(SYMBOLS)}
    bars = merged(
        *(
            [
                a_bar(
                    index, close=one[3], high=150, low=50, volume=one[2], symbol=symbol, late=index % 7 == 6
                )
                for index, one in enumerate(life)
            ]
            for symbol in SYMBOLS
        )
    )
    report, steps = reported(tmp_path_factory.mktemp("life") / "a.db", signals, bars, risk=risk)

    orders = {order.id: order for step in steps for order in step.orders}
    wanted: Counter[tuple[str, str]] = Counter()
    entries: Counter[str] = Counter()
    for step in steps:
        asked = asked_of(step.signal)
        if asked is None:
            continue
        own = [order for order in orders.values() if order.signal_id == step.signal_id]
        outcome = outcome_of(asked, step.no_order, own)
        assert outcome.kind != "not_stated"
        wanted[asked, outcome.kind] += 1
        if asked != "close":
            entries["signals"] += 1
            entries["filled"] += bool(outcome.filled)
    total = report.funnels.total
    assert {
        (asked, kind): n for asked, kinds in total.outcomes.items() for kind, n in kinds.items()
    } == wanted
    found = counts(total)
    assert found["decisions"] == len(steps)
    assert {name: found[name] for name in entries} == dict(entries)
    failed = Counter(
        first_failed(step.signal.checks).name for step in steps if first_failed(step.signal.checks)
    )
    for step in total.steps:
        if step.name in CHECKS:
            assert step.lost == failed[step.name]

    for funnel in (total, *report.funnels.by_symbol.values()):
        before = funnel.count("decisions")
        for step in funnel.steps[1:-1]:
            assert step.count == before - step.lost
            assert list(step.stops) == sorted(step.stops, key=lambda stop: (-stop.count, stop.first_id))
            before = step.count
    for name in found:
        assert found[name] == sum(funnel.count(name) for funnel in report.funnels.by_symbol.values())


def test_checks_that_a_strategy_never_declared_stand_behind_those_that_it_did():
    count = FunnelCount({"trend": "with the trend"})
    count.add_decisions("BTCUSDT", 5, failed="mood", late=False, asked=None, first=(3, "mood: low"))
    count.add_decisions("BTCUSDT", 2, failed="trend", late=False, asked=None, first=(1, "trend: down"))
    funnel = count.result().total
    assert [(step.name, step.label, step.count) for step in funnel.steps][:4] == [
        *(("decisions", "decisions", 7), ("trend", "with the trend", 5), ("mood", "past mood", 0)),
        ("signals", "signals", 0),
    ]
    assert why_no_trade(funnel) == "no signal in 7 decisions; 5 mood, first decision 3: low"


@pytest.mark.parametrize(("symbols", "each"), [(1, 3), (5, 40)])
def test_memory_grows_with_causes_and_not_with_decisions(symbols, each):
    count = FunnelCount({})
    resting = outcome_of("long", "", [an_order(status="open", reason=NO_VOLUME)])
    for symbol in range(symbols):
        count.add_decisions(f"S{symbol}", each, failed=None, late=False, asked="long", first=(1, "so"))
        for id in range(each):
            count.add_outcome(f"S{symbol}", id, resting)
    funnels = count.result()
    (stop,) = next(step for step in funnels.total.steps if step.name == "filled").stops
    assert (stop.count, stop.first_id) == (symbols * each, 0)
    assert len(funnels.by_symbol) == symbols
