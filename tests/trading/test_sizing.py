"""A signal becomes at most one order, for the difference to its target, in whole lots."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.trading.events import Equity, Order, Position, Signal
from bot.trading.risk import RiskConfig
from bot.trading.sizing import Sizer
from tests.factories import a_bar, a_signal, an_instrument

BAR = a_bar(close="60000")


def an_equity(amount: str | Decimal = "10000") -> Equity:
    return Equity(time_ms=0, cash=Decimal(amount), unrealized_pnl=Decimal(0), equity=Decimal(amount))


def orders(
    signal: Signal, held: str = "0", *, equity: str | Decimal = "10000", close: str = "60000", **rules: str
) -> tuple[Order, ...]:
    sizer = Sizer(RiskConfig(position_fraction=Decimal("0.2")), {"BTCUSDT": an_instrument(**rules)})
    position = Position(symbol="BTCUSDT", quantity=Decimal(held))
    return sizer.orders_for(signal, a_bar(close=close), position, an_equity(equity), signal_id=4)


def test_an_entry_takes_its_share_of_equity_in_whole_lots():
    (order,) = orders(a_signal("long"))
    # A fifth of 10000 buys 0.0333… at 60000.
    assert (order.side, str(order.quantity), order.reduce_only) == ("buy", "0.033", False)
    assert (order.signal_id, order.type, order.created_ms) == (4, "market", BAR.close_ms)
    (order,) = orders(a_signal("short"))
    assert (order.side, order.quantity) == ("sell", Decimal("0.033"))


@pytest.mark.parametrize(
    ("action", "held"), [("long", "0.001"), ("short", "-5"), ("hold", "3"), ("hold", "0")]
)
def test_a_signal_for_what_is_held_changes_nothing(action, held):
    assert orders(a_signal(action), held) == ()


@pytest.mark.parametrize(("held", "side"), [("0.7", "sell"), ("-0.7", "buy")])
def test_closing_gives_back_all_that_is_held_and_no_more(held, side):
    (order,) = orders(a_signal("hold", close_position=True), held)
    assert (order.side, order.quantity, order.reduce_only) == (side, Decimal("0.7"), True)


def test_closing_a_flat_position_is_nothing():
    assert orders(a_signal("hold", close_position=True)) == ()


def test_a_reversal_is_one_order_for_the_difference():
    (order,) = orders(a_signal("short"), "0.033")
    assert (order.side, order.quantity, order.reduce_only) == ("sell", Decimal("0.066"), False)


def test_a_reversal_that_cannot_afford_a_lot_only_closes():
    (order,) = orders(a_signal("short"), "0.033", equity="10")
    assert (order.side, order.quantity, order.reduce_only) == ("sell", Decimal("0.033"), True)


def test_spot_sells_what_it_holds_and_never_goes_short():
    (order,) = orders(a_signal("short"), "0.5", category="spot")
    assert (order.side, order.quantity, order.reduce_only) == ("sell", Decimal("0.5"), True)
    assert orders(a_signal("short"), category="spot") == ()


def test_an_order_is_no_larger_than_the_exchange_takes_at_once():
    (order,) = orders(a_signal("long"), max_market_quantity="0.0305")
    assert order.quantity == Decimal("0.030")


def test_an_entry_below_one_lot_keeps_its_size_for_the_review():
    (order,) = orders(a_signal("long"), equity="100")
    assert order.quantity == Decimal("0.000333333333")


@pytest.mark.parametrize("equity", ["0", "-50"])
def test_an_account_without_equity_enters_nothing(equity):
    assert orders(a_signal("long"), equity=equity) == ()


@given(st.decimals("100", "10000000", places=3), st.decimals("0.01", "100000", places=2))
def test_an_entry_is_the_largest_whole_number_of_lots_within_its_share(equity, close):
    (order,) = orders(a_signal("long"), equity=equity, close=str(close))
    share, lot = equity / 5, Decimal("0.001")
    if share >= close * lot:
        assert order.quantity % lot == 0
        assert order.quantity * close <= share < (order.quantity + lot) * close
    else:
        assert order.quantity < lot
