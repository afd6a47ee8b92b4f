"""What a person's own tests are made of."""

import doctest
from decimal import Decimal

import numpy as np
import pytest

import bot.testing
from bot.errors import InputError
from bot.market import INTERVAL_MS
from bot.testing import a_bar, a_situation, backtest, strategy_check, values
from bot.trading.events import RoundTrip, Signal
from tests.factories import an_order

WAVES = [100 + round(5 * float(np.sin(index / 4)), 2) for index in range(700)]


def test_its_names_are_these_and_stay():
    assert bot.testing.__all__ == [
        *("BacktestedSession", "ReplayedSession", "StrategyDefect", "StrategyReport"),
        *("a_bar", "a_situation", "backtest", "check_strategy", "replay"),
    ]


@pytest.mark.parametrize("module", [values, strategy_check])
def test_the_examples_of_its_docstrings_are_true(module):
    found = doctest.testmod(module, extraglobs=vars(bot.testing))
    assert found.attempted
    assert not found.failed


def test_a_bar_is_as_wide_as_its_prices_and_takes_any_number():
    bar = a_bar(2, open=99, close=101.5, low="98.7", interval="15")
    assert (bar.open, bar.high, bar.low, bar.close) == tuple(map(Decimal, ("99", "101.5", "98.7", "101.5")))
    assert bar.close_ms - bar.start_ms == INTERVAL_MS["15"]


def test_a_situation_shows_what_it_was_given():
    bars = [a_bar(index, close=100 + index) for index in range(30)]
    others = [a_bar(index, close=50 + index, symbol="ETHUSDT") for index in range(33)]
    order = an_order(id=4, symbol="BTCUSDT", type="limit", limit_price=Decimal(90))
    trip = RoundTrip(id=1, symbol="BTCUSDT", side="long", opened_ms=bars[20].close_ms)
    situation = a_situation(
        bars, others={"ETHUSDT": others}, position="0.5", entry_price=110, bars_held=4,
        open_orders=[order], round_trip=trip, state="mine",
    )  # fmt: skip
    assert situation.bar == bars[-1]
    assert situation.recent.closes(2).tolist() == [128.0, 129.0]
    assert (situation.position.cost, situation.bars_held) == (Decimal(55), 4)
    assert situation.open_orders == (order,)
    assert situation.round_trip == trip
    assert situation.state == "mine"
    assert situation.timeframe("D").closes(9).tolist() == [123.0]
    # Three bars of it close later.
    assert situation.other("ETHUSDT").recent.closes(1).tolist() == [79.0]
    assert situation.other("BTCUSDT").position == situation.position
    assert not a_situation().position.quantity


class Crosses:
    needs_memory = False

    def __init__(self, config):
        self.bars = config.options.get("bars_back", 5)

    def decide(self, situation):
        closes = situation.recent.closes(self.bars)
        action = "long" if closes[-1] > closes.mean() else "short"
        return Signal(action=action, reason="mean: which side", confidence=0.5, stop_distance=3)


def test_a_backtest_in_memory_gives_decisions_fills_and_trips():
    bars = [a_bar(index, close=close) for index, close in enumerate(WAVES)]
    session = backtest(bars, Crosses, warmup=400, config={"broker.starting_cash": "5000"}, bars_back=8)
    assert [bar.start_ms for bar in session.bars] == [bar.start_ms for bar in bars[400:]]
    assert len(session.signals) == len(session.bars)
    assert len(session.fills) > 5
    assert {trip.side for trip in session.round_trips} == {"long", "short"}
    assert {order.type for order in session.orders} >= {"market", "stop_market"}
    last = session.equity[-1]
    assert last.cash == 5_000 + sum(fill.realized_pnl - fill.fee for fill in session.fills)
    assert backtest(bars, "moving_average_cross", fast=2, slow=5).fills
    with pytest.raises(InputError, match="at least one bar, and all of one interval"):
        backtest([], Crosses)
    with pytest.raises(InputError, match="all of one interval"):
        backtest([a_bar(), a_bar(interval="15")], Crosses)
