"""Shares through the whole core: sessions that close, and what borrowing costs a short."""

import math
from decimal import Decimal
from itertools import groupby

import pytest
from msgspec.structs import replace

from bot.market import INTERVAL_MS, Funding
from bot.market.borrow import Borrow, among_with
from bot.market.calendars import observed
from bot.sessions.assembly import load_strategy
from bot.trading.events import Signal
from strategies import STRATEGIES
from tests.core import a_config, a_trader, merged, run
from tests.eager import Eager
from tests.stocks import NEW_YORK, a_year, stock_bars

HOUR, DAY = INTERVAL_MS["60"], INTERVAL_MS["D"]
STARTS = a_year()


class Once:
    """Goes one way at the first bar from ``at_ms`` on, with a time stop."""

    needs_memory = False

    def __init__(self, action, at_ms, stop_bars=None):
        self._action, self._at_ms, self._stop_bars = action, at_ms, stop_bars
        self.bars_held = []

    def decide(self, situation):
        self.bars_held.append(situation.bars_held)
        if situation.bar.start_ms != self._at_ms:
            return Signal(action="hold", reason="once")
        return Signal(action=self._action, reason="once", time_stop_bars=self._stop_bars)


def stocks(**sections):
    run_section = {"category": "equity", "interval": "60"} | sections.pop("run", {})
    return a_config("AAPL", run=run_section, **sections)


def core(config, strategy, starts):
    return a_trader(config, strategy, calendar=observed(config.run.interval, starts, NEW_YORK))


# Of some session, the bar at noon.
MISSING = next(i for i in range(200, 300) if STARTS[i + 2] - STARTS[i - 2] == 4 * HOUR)


@pytest.mark.parametrize("place", [*range(MISSING - 7, MISSING), *range(MISSING + 1, MISSING + 8)])
def test_a_session_follows_the_one_before_and_what_follows_a_missing_bar_enters_nothing(place):
    starts = STARTS[:MISSING] + STARTS[MISSING + 1 : 7 * 40]
    steps = run(core(stocks(), Once("long", STARTS[place]), starts), stock_bars(starts))
    refused = [rejection.rule for step in steps for rejection in step.rejections]
    fills = sum(len(step.fills) for step in steps)
    assert (refused, fills) == ((["bar_gap"], 0) if place == MISSING + 1 else ([], 1))


def test_what_is_decided_at_a_sessions_last_close_fills_at_the_next_ones_open_with_its_gap():
    last = next(i for i in range(100, 200) if STARTS[i + 1] - STARTS[i] > 2 * DAY)
    bars = stock_bars(STARTS[:300])
    config = stocks(broker={"half_spread_bps": 0, "slippage_bps": 0, "impact_bps": 0})
    steps = run(core(config, Once("long", STARTS[last]), STARTS[:300]), bars)
    (fill,) = [fill for step in steps for fill in step.fills]
    assert (fill.time_ms, fill.price) == (bars[last + 1].start_ms, bars[last + 1].open)
    assert bars[last + 1].open != bars[last].close


@pytest.mark.parametrize("stop_bars", [1, 3, 7, 20])
def test_a_time_stop_and_the_bars_held_count_bars_of_the_market_not_hours(stop_bars):
    bars, at = stock_bars(STARTS[:300]), 7 * 20 + 5
    strategy = Once("short", STARTS[at], stop_bars)
    steps = run(core(stocks(), strategy, STARTS[:300]), bars)
    entry, stop = [fill for step in steps for fill in step.fills]
    assert entry.time_ms == STARTS[at + 1]
    assert stop.time_ms == STARTS[at + 1 + stop_bars]
    held = strategy.bars_held[at : at + stop_bars + 2]
    assert held == [0, *range(1, stop_bars + 1), 0]


def test_a_moment_is_recalled_with_what_came_so_many_bars_of_the_market_later():
    starts, horizon = STARTS[:1_000], 10
    config = stocks(memory={"exclusion_bars": 1}, strategy={"horizon_bars": horizon})
    bars = stock_bars(starts)
    place = {start: i for i, start in enumerate(starts)}
    recalled = 0
    for i, step in enumerate(run(core(config, Eager(config.strategy), starts), bars)):
        for neighbor in step.recollection.neighbors:
            began = place[neighbor.bar_start_ms]
            before, after = float(bars[began].close), float(bars[began + horizon].close)
            assert began + horizon < i + 1
            assert neighbor.forward_return == pytest.approx(math.log(after / before), abs=1e-12)
            recalled += 1
    assert recalled > 3_000


@pytest.mark.parametrize("name", ["eager", "historical_similarity", "moving_average_cross"])
@pytest.mark.parametrize("sizing", ["fixed", "volatility"])
def test_what_comes_later_changes_no_decision_of_a_market_whose_sessions_are_observed(name, sizing):
    """Neither other prices, nor other bars, nor none at all, though the calendar is made of all bars at hand."""
    starts = STARTS[:1_200]
    config = stocks(memory={"size": 500}, risk={"require_contiguous_bars": 1, "sizing": sizing})
    config = replace(config, strategy=replace(config.strategy, name=name))

    def decided(bars):
        strategy = Eager(config.strategy) if name == "eager" else load_strategy(config, STRATEGIES)
        return run(core(config, strategy, [bar.start_ms for bar in bars]), bars)

    bars = stock_bars(starts)
    truth = decided(bars)
    if name == "eager":
        assert sum(len(step.fills) for step in truth) > 200
    for cut in (30, 700, 995):
        futures = {
            "none": [],
            "other prices": stock_bars(starts[cut:], seed=9),
            "half of the bars": bars[cut::2],
            "other hours": stock_bars(
                sorted({start + 3 * HOUR for start in starts[cut:]} | set(starts[cut:])), seed=2
            ),
        }
        for what, future in futures.items():
            assert decided(bars[:cut] + future)[:cut] == truth[:cut], (cut, what)


def test_a_short_pays_for_each_calendar_day_it_is_held_and_a_long_pays_nothing():
    starts = a_year(interval="D")[:60]
    bars = stock_bars(starts, interval="D")
    rate = Decimal("0.0365")
    for action in ("short", "long"):
        config = stocks(run={"interval": "D"})
        trader = core(config, Once(action, starts[10]), starts)
        steps = run(trader, among_with(Borrow(rate), bars, ()))
        payments = [payment for step in steps for payment in step.funding]
        if action == "long":
            assert payments == []
            continue
        # Filled at the open of the next bar; from then on a charge for each midnight, weekends included.
        assert len(payments) == (starts[-1] - starts[11]) // DAY
        assert [p.time_ms for p in payments] == list(range(starts[11] + DAY, starts[-1] + 1, DAY))
        for payment in payments:
            close = next(bar.close for bar in reversed(bars) if bar.start_ms < payment.time_ms)
            assert payment.payment == payment.quantity * close * Decimal("0.0001") < 0
        fills = [fill for step in steps for fill in step.fills]
        cash = [row for step in steps for row in step.equity][-1].cash
        assert cash == 10_000 + sum(f.realized_pnl - f.fee for f in fills) + sum(p.payment for p in payments)


def test_borrowing_is_charged_between_bars_and_never_twice():
    bars = merged(stock_bars(STARTS[:200]), stock_bars(STARTS[:200], symbol="IBM"))
    events = list(among_with(Borrow(Decimal("0.003")), bars, ()))
    charges = [event for event in events if isinstance(event, Funding)]
    assert len({(charge.symbol, charge.time_ms) for charge in charges}) == len(charges)
    days = (STARTS[199] // DAY - STARTS[0] // DAY) * 2
    assert len(charges) == days
    for symbol, of_symbol in groupby(sorted(events, key=lambda e: e.symbol), key=lambda e: e.symbol):
        times = [e.time_ms if isinstance(e, Funding) else e.start_ms for e in of_symbol]
        assert times == sorted(times), symbol
    assert list(among_with(None, bars, ())) == bars
