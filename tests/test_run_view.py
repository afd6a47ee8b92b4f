"""What a strategy sees of its orders and its trip, as the account has them at that close."""

import pytest

from bot.strategy import Situation, StrategyConfig
from bot.trading.events import RESTING, Signal
from tests.core import a_config, a_trader, run
from tests.eager import Eager
from tests.test_no_look_ahead import generated


class Looks(Eager):
    """As :class:`Eager`, with stops and targets; keeps what it saw."""

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        self.seen = []

    def decide(self, situation: Situation) -> Signal:
        symbol = situation.bar.symbol
        self.seen.append((situation.open_orders, situation.round_trip, situation.other(symbol)))
        signal = super().decide(situation)
        if signal.action == "hold":
            return signal
        return Signal(action=signal.action, reason=signal.reason, stop_distance=3, target_distance=3)


@pytest.fixture(scope="module")
def lived():
    config = a_config()
    strategy = Looks(config.strategy)
    trader = a_trader(config, strategy)
    trader.observe_all(generated(420)[:800])
    return run(trader, generated(700)[800:]), strategy.seen


def test_open_orders_are_those_of_the_symbol_that_may_still_fill(lived):
    orders, most = {}, 0
    for step, (open_orders, _, other) in zip(*lived, strict=True):
        filled = {order.id: order for order in step.orders if order.signal_id != step.signal_id}
        # The decision itself withdraws and places orders, after it was asked.
        before = orders | {
            id: order for id, order in filled.items() if order.status in ("filled", "partially_filled")
        }
        seen = {order.id: order for order in open_orders}
        assert other.open_orders == open_orders
        assert list(seen) == sorted(seen)
        for id, order in seen.items():
            assert order.symbol == step.bar.symbol
            assert order.status in RESTING
            assert id in before
        resting = {
            id for id, order in before.items() if order.symbol == step.bar.symbol and order.status in RESTING
        }
        assert resting - set(seen) <= {order.id for order in step.orders if order.status == "cancelled"}
        orders.update((order.id, order) for order in step.orders)
        most = max(most, len(seen))
    assert most >= 2


def test_the_round_trip_is_the_one_that_goes_on_and_none_when_flat(lived):
    trips, seen_trips = {}, 0
    for step, (_, trip, other) in zip(*lived, strict=True):
        assert other.round_trip == trip
        trips.update((each.id, each) for each in step.round_trips)
        going_on = [
            each for each in trips.values() if each.symbol == step.bar.symbol and each.closed_ms is None
        ]
        assert ([] if trip is None else [trip.id]) == [each.id for each in going_on]
        if trip is not None:
            assert (trip.side == "long") == (other.position.quantity > 0)
            assert trip.quantity - trip.exit_quantity == abs(other.position.quantity)
            assert trip.opened_ms == other.position.opened_ms
            seen_trips += 1
        else:
            assert not other.position.quantity
    assert seen_trips > 100


def test_a_situation_of_one_symbol_alone_has_no_other_and_no_orders(lived):
    _, seen = lived
    other = seen[-1][2]
    bar = generated(1)[0]
    alone = Situation(
        bar=bar, recent=other.recent, recollection=None, position=other.position, bars_held=0,
        account=lived[0][-1].equity[-1], costs=other.costs,
    )  # fmt: skip
    assert (alone.open_orders, alone.round_trip) == ((), None)
    with pytest.raises(LookupError, match="made of one symbol alone"):
        alone.other("ETHUSDT")
    with pytest.raises(AttributeError):
        alone.bars_held = 3
