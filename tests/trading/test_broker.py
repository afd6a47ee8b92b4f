"""Resting orders fill at the first quote or bar that may fill them, and never before."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from bot.trading.broker import PaperBroker
from bot.trading.events import Rejection
from bot.trading.fills import BrokerConfig
from tests.factories import START_MS, a_bar, a_quote, an_instrument, an_order

INSTRUMENTS = {symbol: an_instrument(symbol) for symbol in ("BTCUSDT", "ETHUSDT")}


def a_broker(*, latency_ms: int = 250, next_order_id: int = 1, next_fill_id: int = 1) -> PaperBroker:
    config = BrokerConfig(latency_ms=latency_ms)
    return PaperBroker(config, INSTRUMENTS, next_order_id=next_order_id, next_fill_id=next_fill_id)


def test_an_order_is_due_after_the_latency_and_fills_at_the_first_quote_from_then_on():
    broker = a_broker(next_order_id=5, next_fill_id=9)
    (order,) = broker.place([an_order()])
    assert (order.id, order.due_ms, order.status) == (5, START_MS + 250, "open")
    assert broker.match_quote(a_quote(time_ms=START_MS + 249)) == ((), ())
    assert broker.waits("BTCUSDT")
    (fill,), (filled,) = broker.match_quote(a_quote(time_ms=START_MS + 250))
    assert (fill.id, fill.order_id, fill.time_ms) == (9, 5, START_MS + 250)
    assert (filled.id, filled.status, filled.updated_ms) == (5, "filled", START_MS + 250)
    assert not broker.waits("BTCUSDT")
    assert broker.match_quote(a_quote(time_ms=START_MS + 251)) == ((), ())


@given(st.integers(0, 2000), st.lists(st.integers(-1000, 3000), max_size=12))
def test_no_order_fills_before_it_is_due_or_twice(latency_ms, offsets):
    broker = a_broker(latency_ms=latency_ms)
    broker.place([an_order(), an_order(symbol="ETHUSDT")])
    fills = [fill for offset in offsets for fill in broker.match_quote(a_quote(time_ms=START_MS + offset))[0]]
    due = [offset for offset in offsets if offset >= latency_ms]
    assert [fill.time_ms - START_MS for fill in fills] == due[:1]
    assert broker.waits("BTCUSDT") == (not due)
    assert broker.waits("ETHUSDT")


def test_an_order_meets_the_open_of_the_bar_after_its_decision():
    broker = a_broker()
    decided, following = a_bar(0, close="100"), a_bar(1, open="120", close="90")
    broker.place([an_order(created_ms=decided.close_ms)])
    assert broker.match_open(decided) == ((), ())
    (fill,), _ = broker.match_open(following)
    assert (fill.reference_price, fill.time_ms, fill.late) == (120, decided.close_ms, False)


def test_a_bar_whose_quotes_were_missed_fills_late():
    broker = a_broker()
    broker.place([an_order()])
    (fill,), _ = broker.match_open(a_bar(3), late=True)
    assert fill.late
    assert fill.rule == "next_open"


def test_another_symbol_fills_nothing():
    broker = a_broker()
    broker.place([an_order()])
    assert broker.match_quote(a_quote(symbol="ETHUSDT", time_ms=START_MS + 9000)) == ((), ())
    assert broker.match_open(a_bar(1, symbol="ETHUSDT")) == ((), ())


def test_a_cancelled_order_never_fills():
    broker = a_broker()
    broker.place([an_order()])
    (cancelled,) = broker.cancel("BTCUSDT", START_MS + 100, "replaced by a newer target")
    assert (cancelled.status, cancelled.reason) == ("cancelled", "replaced by a newer target")
    assert cancelled.updated_ms == START_MS + 100
    assert broker.match_quote(a_quote(time_ms=START_MS + 250)) == ((), ())
    assert broker.cancel("BTCUSDT", START_MS + 300, "again") == ()


def test_rejected_orders_take_numbers_too():
    broker = a_broker()
    rejection = Rejection(order=an_order(status="rejected"), rule="lot_size", reason="odd")
    (numbered,) = broker.refuse([rejection])
    (placed,) = broker.place([an_order()])
    assert (numbered.order.id, placed.id) == (1, 2)
    assert broker.open_orders == (placed,)


def test_orders_restored_after_a_restart_keep_their_number_and_due_time():
    first = a_broker()
    placed = first.place([an_order(quantity="0.25"), an_order(symbol="ETHUSDT")])
    second = a_broker()
    second.restore(reversed(placed))
    assert second.open_orders == placed
    (fill,), _ = second.match_quote(a_quote(time_ms=START_MS + 250))
    assert (fill.order_id, fill.quantity) == (1, Decimal("0.25"))
    assert second.place([an_order()])[0].id == 3


def test_orders_of_one_symbol_fill_in_their_order_and_only_those_due():
    broker = a_broker()
    broker.place([an_order(quantity="1"), an_order(quantity="2"), an_order(created_ms=START_MS + 1000)])
    fills, orders = broker.match_quote(a_quote(time_ms=START_MS + 500))
    assert [(fill.id, fill.order_id, fill.quantity) for fill in fills] == [(1, 1, 1), (2, 2, 2)]
    assert [order.id for order in orders] == [1, 2]
    assert [order.id for order in broker.open_orders] == [3]
