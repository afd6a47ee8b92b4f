"""A signal becomes at most one order, for the difference to its target, in whole lots."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.trading.config import RiskConfig
from bot.trading.events import Equity, Order, Position, Rejection, Signal
from bot.trading.sizing import Sizer
from tests.factories import a_bar, a_signal, an_instrument

BAR = a_bar(close="60000")


def an_equity(amount: str | Decimal = "10000") -> Equity:
    return Equity(time_ms=0, cash=Decimal(amount), unrealized_pnl=Decimal(0), equity=Decimal(amount))


def drafts_and_refusals(
    signal: Signal,
    held: str = "0",
    *,
    equity: str | Decimal = "10000",
    close: str = "60000",
    volatility: float | None = None,
    **rules: str,
) -> tuple[tuple[Order, ...], tuple[Rejection, ...]]:
    sizer = Sizer(RiskConfig(position_fraction=Decimal("0.2")), {"BTCUSDT": an_instrument(**rules)})
    position = Position(symbol="BTCUSDT", quantity=Decimal(held))
    return sizer.orders_for(
        signal, a_bar(close=close), position, an_equity(equity), signal_id=4, volatility=volatility
    )


def orders(signal: Signal, held: str = "0", **given: Any) -> tuple[Order, ...]:
    """What is ordered where nothing is refused."""
    drafts, refusals = drafts_and_refusals(signal, held, **given)
    assert not refusals
    return drafts


def refusal(signal: Signal, held: str = "0", **given: Any) -> Rejection:
    """What is refused where nothing is ordered."""
    drafts, (refused,) = drafts_and_refusals(signal, held, **given)
    assert not drafts
    return refused


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


def test_an_entry_below_one_lot_is_refused_with_its_size():
    refused = refusal(a_signal("long"), equity="100")
    assert (refused.rule, refused.order.quantity) == ("lot_size", Decimal("0.000333333333"))
    assert refused.reason == "20.0 buys 0.000333333333, less than the lot 0.001"
    assert (refused.order.status, refused.order.side) == ("rejected", "buy")
    assert refusal(a_signal("short"), equity="100").order.side == "sell"


@pytest.mark.parametrize("equity", ["0", "-50"])
def test_an_account_without_equity_enters_nothing_and_says_so(equity):
    refused = refusal(a_signal("long"), equity=equity)
    assert (refused.rule, refused.order.quantity) == ("no_size", Decimal("0.001"))
    assert refused.reason == "fixed sizing gives it nothing: nothing is left of the equity"


@given(st.decimals("100", "10000000", places=3), st.decimals("0.01", "100000", places=2))
def test_an_entry_is_the_largest_whole_number_of_lots_within_its_share(equity, close):
    drafts, refusals = drafts_and_refusals(a_signal("long"), equity=equity, close=str(close))
    share, lot = equity / 5, Decimal("0.001")
    if share >= close * lot:
        ((order,), ()) = drafts, refusals
        assert order.quantity % lot == 0
        assert order.quantity * close <= share < (order.quantity + lot) * close
    else:
        ((), (refused,)) = drafts, refusals
        assert 0 < refused.order.quantity < lot


def sized(
    signal: Signal, volatility: float | None = None, **config: object
) -> tuple[tuple[Order, ...], tuple[Rejection, ...]]:
    """What an account of 10000 orders at a close of 100, by the configured sizing."""
    sizer = Sizer(msgspec.convert(config, RiskConfig), {"BTCUSDT": an_instrument()})
    flat = Position(symbol="BTCUSDT")
    bar = a_bar(close="100")
    return sizer.orders_for(signal, bar, flat, an_equity(), signal_id=4, volatility=volatility)


def test_a_volatility_target_takes_less_of_what_moves_more():
    # A year has 35064 bars of 15 minutes: 0.004 a bar is 0.749 a year, and 0.2 / 0.749 is 0.267.
    (order,), () = sized(a_signal(), 0.004, sizing="volatility", volatility_target=0.2)
    assert order.quantity == Decimal("26.701")
    (order,), () = sized(a_signal("short"), 0.008, sizing="volatility", volatility_target=0.2)
    assert (order.side, order.quantity) == ("sell", Decimal("13.350"))


def test_kelly_takes_a_part_of_mean_over_variance_whichever_way_it_goes():
    # A quarter of 0.004 / 0.1² is 0.1.
    up = {"expected_return": 0.004, "return_std": 0.1}
    (order,), () = sized(a_signal(**up), sizing="kelly", kelly_fraction=0.25)
    assert order.quantity == Decimal("10.000")
    down = {"expected_return": -0.004, "return_std": 0.1}
    (order,), () = sized(a_signal("short", **down), sizing="kelly", kelly_fraction=0.25)
    assert (order.side, order.quantity) == ("sell", Decimal("10.000"))


@pytest.mark.parametrize(
    ("sizing", "signal", "volatility"),
    [
        ("volatility", {}, 1e-9),
        ("kelly", {"expected_return": 0.5, "return_std": 0.01}, None),
    ],
)
def test_no_sizing_takes_more_than_one_position_may_come_to(sizing, signal, volatility):
    (order,), () = sized(a_signal(**signal), volatility, sizing=sizing, max_position_fraction="0.3")
    assert order.quantity == Decimal("30.000")


@pytest.mark.parametrize(
    ("sizing", "signal"),
    [
        ("volatility", {}),
        ("kelly", {}),
        ("kelly", {"expected_return": -0.01, "return_std": 0.1}),
        ("kelly", {"expected_return": 0.01, "return_std": 0.0}),
    ],
)
def test_an_entry_that_nothing_gives_a_size_is_refused(sizing, signal):
    (), (refused,) = sized(a_signal(**signal), sizing=sizing)
    assert (refused.rule, refused.order.side) == ("no_size", "buy")
    assert refused.reason.startswith(f"{sizing} sizing gives it nothing: ")


def test_an_entry_brings_the_exits_that_its_signal_asks_for():
    signal = a_signal("long", stop_distance=2.0, trail_distance=3.0, target_distance=4.5, time_stop_bars=6)
    entry, stop, trail, target, time_stop = orders(signal, volatility=0.0101)
    assert (entry.type, entry.parent_id, entry.status) == ("market", None, "open")
    exits = (stop, trail, target, time_stop)
    assert [order.type for order in exits] == ["stop_market", "trailing_stop", "take_profit", "market"]
    for order in exits:
        assert (order.side, order.reduce_only, order.parent_id, order.status) == ("sell", True, 0, "pending")
        assert (order.quantity, order.signal_id) == (entry.quantity, 4)
    # 2 * 0.0101 * 60000, 3 * 0.0101 * 60000, 4.5 * 0.0101 * 60000.
    assert [order.distance for order in exits] == [1212, 1818, 2727, None]
    assert [order.due_ms - BAR.close_ms for order in exits] == [0, 0, 0, 6 * 15 * 60_000]


def test_the_exits_of_a_reversal_are_as_large_as_what_it_opens():
    signal = a_signal("short", stop_distance=1.0)
    entry, stop = orders(signal, "0.033", volatility=0.01)
    assert (entry.quantity, stop.quantity, stop.side) == (Decimal("0.066"), Decimal("0.033"), "buy")


def test_a_distance_is_a_whole_number_of_ticks_and_at_least_one():
    (_, stop) = orders(a_signal("long", stop_distance=1.0), volatility=0.0000021, tick_size="0.1")
    assert stop.distance == Decimal("0.2")
    (_, stop) = orders(a_signal("long", stop_distance=1.0), volatility=1e-12, tick_size="0.1")
    assert stop.distance == Decimal("0.1")


def test_closing_brings_no_exits():
    (order,) = orders(a_signal("hold", close_position=True, stop_distance=1.0), "1", volatility=0.01)
    assert order.reduce_only


def test_an_entrys_own_size_is_its_fraction_of_equity_at_its_own_price():
    (order,) = orders(a_signal("long", size=0.1))
    assert (order.quantity, order.reason) == (Decimal("0.016"), "")
    (order,) = orders(a_signal("long", size=0.1, limit_price="50000"))
    assert (order.quantity, order.limit_price) == (Decimal("0.02"), 50000)


def test_a_size_above_the_largest_position_is_cut_to_it_and_says_so():
    (order,) = orders(a_signal("short", size=0.8))
    # Half of 10000 is 0.0833… at 60000.
    assert order.quantity == Decimal("0.083")
    assert order.reason == "shortened: to 0.5 of equity, risk.max_position_fraction, of 0.8"
    (order,) = orders(a_signal("short", size=0.8), max_market_quantity="0.05")
    assert order.reason == (
        "shortened: to 0.050 of 0.083, the most of one market order; "
        "shortened: to 0.5 of equity, risk.max_position_fraction, of 0.8"
    )


@pytest.mark.parametrize(
    ("action", "limit", "settled"),
    [("long", "59999.97", "59999.9"), ("short", "60000.02", "60000.1"), ("long", "59999.9", "59999.9")],
)
def test_a_limit_goes_to_the_tick_on_the_passive_side(action, limit, settled):
    (order,) = orders(a_signal(action, limit_price=limit))
    assert (order.type, order.limit_price, order.time_in_force) == ("limit", Decimal(settled), "gtc")
    assert (order.valid_until_ms, order.status) == (None, "open")


@pytest.mark.parametrize(("action", "distance", "price"), [
    ("long", 0.5, "59700"), ("short", 0.5, "60300"), ("long", -0.5, "60300"), ("short", 0.0, "60000"),
])  # fmt: skip
def test_a_limit_as_a_distance_is_so_many_volatilities_from_the_close(action, distance, price):
    (order,) = orders(a_signal(action, limit_distance=distance), volatility=0.01)
    assert order.limit_price == Decimal(price)


def test_a_limit_entry_says_until_when_it_is_valid_and_its_exits_are_orders_of_their_own():
    signal = a_signal(
        "long",
        limit_price=59000,
        valid_bars=3,
        time_in_force="post_only",
        stop_distance=2.0,
        time_stop_bars=5,
    )
    entry, stop, time_stop = orders(signal, volatility=0.01)
    assert (entry.time_in_force, entry.valid_until_ms) == ("post_only", BAR.close_ms + 3 * 900_000)
    for exit, type in ((stop, "stop_market"), (time_stop, "market")):
        assert (exit.type, exit.limit_price, exit.time_in_force, exit.valid_until_ms) == (
            type,
            None,
            "gtc",
            None,
        )


@pytest.mark.parametrize(
    ("signal", "volatility", "rule"),
    [
        (a_signal(limit_distance=1.0), None, "limit_unknown"),
        (a_signal(limit_distance=500.0), 0.01, "limit_out_of_reach"),
        (a_signal(limit_price="5999"), None, "limit_out_of_reach"),
        (a_signal("short", limit_price="600001"), None, "limit_out_of_reach"),
    ],
)
def test_a_limit_that_is_no_price_of_this_market_is_refused_in_words(signal, volatility, rule):
    refused = refusal(signal, volatility=volatility)
    assert refused.rule == rule
    assert refused.order.reason == f"{rule}: {refused.reason}"


@pytest.mark.parametrize(
    ("held", "fraction", "side", "part"),
    [
        ("0.7", 0.5, "sell", "0.35"),
        ("-0.007", 0.5, "buy", "0.003"),
        ("0.7", 0.9999, "sell", "0.699"),
        ("0.0015", 0.9, "sell", "0.0015"),
    ],
)
def test_a_part_is_closed_in_whole_lots_and_leaves_no_less_than_one(held, fraction, side, part):
    (order,) = orders(Signal.close("part", fraction=fraction), held)
    assert (order.side, order.quantity, order.reduce_only, order.type) == (
        side,
        Decimal(part),
        True,
        "market",
    )


def test_a_part_of_less_than_a_lot_is_refused():
    refused = refusal(Signal.close("part", fraction=0.3), "0.003")
    assert (refused.rule, refused.order.side, refused.order.reduce_only) == ("lot_size", "sell", True)
    assert refused.reason == "0.3 of 0.003 is 0.0009, less than the lot 0.001"


def test_a_limit_turns_a_position_round_at_its_price():
    (order,) = orders(a_signal("short", size=0.1, limit_price="61000"), "0.5")
    assert (order.side, order.quantity, order.limit_price) == ("sell", Decimal("0.516"), 61000)
