"""New rules hold from when they are seen, for what rests as well: it is brought onto them or withdrawn."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.exact import is_multiple
from bot.market import RuleChange
from bot.trading.broker import PaperBroker
from bot.trading.events import Order
from bot.trading.fills import BrokerConfig
from bot.trading.new_rules import differences, under_new_rules
from tests.core import a_trader, run
from tests.factories import START_MS, a_bar, a_quote, a_tier, an_instrument, an_order

LATER = START_MS + 1_000
OLD = an_instrument()


def after(order: Order, mark: str | None = "100", **rules: object) -> Order:
    return under_new_rules(order, an_instrument(**rules), None if mark is None else Decimal(mark), LATER)


def test_what_the_new_rules_allow_goes_on_as_it_was():
    order = an_order(type="limit", limit_price=Decimal("99.5"), quantity="0.5")
    assert after(order) is order
    assert after(order, tick_size="0.5", lot_size="0.1") is order


@pytest.mark.parametrize(
    ("side", "type", "price", "onto"),
    [
        ("buy", "limit", "99.7", "99.5"),
        ("sell", "limit", "99.7", "100.0"),
        ("buy", "take_profit", "99.7", "99.5"),
        ("sell", "take_profit", "99.7", "100.0"),
        ("buy", "stop_market", "99.7", "100.0"),
        ("sell", "stop_market", "99.7", "99.5"),
        ("sell", "stop_market", "0.3", "0.5"),
    ],
)
def test_prices_go_to_the_new_tick_on_the_side_that_gives_the_trader_nothing(side, type, price, onto):
    field = "limit_price" if type == "limit" else "stop_price"
    order = an_order(side=side, type=type, **{field: Decimal(price)}, reduce_only=type != "limit")
    changed = after(order, tick_size="0.5")
    assert getattr(changed, field) == Decimal(onto)
    assert (changed.status, changed.updated_ms) == ("open", LATER)


def test_a_distance_is_a_whole_number_of_the_new_ticks():
    child = an_order(
        side="sell", type="stop_market", distance=Decimal("1.2"), status="pending", reduce_only=True
    )
    assert after(child, tick_size="0.5").distance == Decimal("1.5")


def test_an_entry_goes_down_to_the_new_lot_and_to_the_largest_market_order():
    assert after(an_order(quantity="1.234"), lot_size="0.1").quantity == Decimal("1.2")
    assert after(an_order(quantity="7"), max_market_quantity="5").quantity == 5
    # What was filled stays filled.
    part = an_order(quantity="1.234", filled_quantity=Decimal("0.034"), status="partially_filled")
    assert after(part, lot_size="0.5").quantity == Decimal("1.034")


@pytest.mark.parametrize(
    ("order", "rules", "reason"),
    [
        (
            {"quantity": "0.04"},
            {"lot_size": "0.1"},
            "less than the lot 0.1 of the new rules was left to fill",
        ),
        (
            {"quantity": "0.4"},
            {"min_quantity": "1"},
            "quantity 0.400 is below the minimum 1 of the new rules",
        ),
        (
            {"quantity": "0.4"},
            {"min_notional": "50"},
            "an order of 40.000 is below the minimum 50 of the new rules",
        ),
    ],
)
def test_an_entry_that_the_new_rules_leave_too_small_is_cancelled_with_the_reason(order, rules, reason):
    cancelled = after(an_order(created_ms=LATER, **order), **rules)
    assert (cancelled.status, cancelled.reason) == ("cancelled", f"rules_changed: {reason}")


def test_what_closes_a_position_keeps_its_quantity_however_odd():
    order = an_order(side="sell", quantity="0.04", reduce_only=True)
    assert after(order, lot_size="0.1", min_quantity="1", min_notional="500") is order


@given(
    st.sampled_from(["limit", "stop_market", "take_profit", "market"]),
    st.sampled_from(["buy", "sell"]),
    st.booleans(),
    st.decimals("0.1", "1000", places=1),
    st.decimals("0.001", "100", places=3),
    st.integers(-4, 2),
    st.sampled_from([1, 2, 5]),
    st.integers(-3, 2),
)
def test_whatever_the_change_an_order_lies_on_the_new_grids_or_is_cancelled(
    type, side, reduces, price, quantity, tick_place, step, lot_place
):
    field = {"limit": "limit_price", "market": None}.get(type, "stop_price")
    fields = {} if field is None else {field: price}
    order = an_order(side=side, type=type, quantity=quantity, reduce_only=reduces, **fields)
    tick, lot = Decimal(step).scaleb(tick_place), Decimal(1).scaleb(lot_place)
    changed = after(order, tick_size=tick, lot_size=lot, min_quantity=lot)
    if changed.status == "cancelled":
        assert not reduces
        assert changed.reason
        return
    if field is not None:
        assert is_multiple(getattr(changed, field), tick)
        assert abs(getattr(changed, field) - price) < tick or getattr(changed, field) == tick
    assert changed.quantity == quantity if reduces else is_multiple(changed.quantity, lot)
    assert changed.quantity <= quantity
    assert after(changed, tick_size=tick, lot_size=lot, min_quantity=lot) is changed


def test_the_bracket_of_a_withdrawn_entry_goes_with_it_and_other_symbols_stay():
    broker = PaperBroker(BrokerConfig(), {"BTCUSDT": OLD, "ETHUSDT": an_instrument("ETHUSDT")})
    child = an_order(
        side="sell", type="stop_market", distance=Decimal(5), parent_id=0, status="pending", reduce_only=True
    )
    broker.place([an_order(quantity="0.04"), child, an_order(symbol="ETHUSDT", quantity="0.04")])
    changed = broker.apply_rules(an_instrument(lot_size="1", min_quantity="1"), Decimal(100), LATER)
    assert [(order.id, order.status) for order in changed] == [(1, "cancelled"), (2, "cancelled")]
    assert changed[1].reason == "order 1, its entry, opened nothing"
    assert [order.id for order in broker.open_orders] == [3]
    assert not broker.waits("BTCUSDT")


def test_new_tiers_are_asked_at_the_next_price():
    tiers = (a_tier("1000000", "0.9", "1"),)
    trader = a_trader(quotes=True)
    trader.advance(RuleChange(time_ms=START_MS, rules=an_instrument(tick_size="0.01", tiers=tiers)))
    step = trader.advance(RuleChange(time_ms=START_MS, rules=an_instrument(tick_size="0.01")))
    assert [notice.detail for notice in step.notices] == ["tiers 1000000:0.9 to none"]


def test_differences_are_told_in_plain_figures_and_what_is_no_rule_is_none():
    new = replace(
        OLD, tick_size=Decimal("0.5"), max_market_quantity=Decimal(100), known_ms=5, source="history"
    )
    assert differences(OLD, new) == "tick_size 0.1 to 0.5, max_market_quantity none to 100"
    assert differences(OLD, replace(OLD, known_ms=5, source="history", status="Closed", delivery_ms=9)) == ""


def test_a_change_is_an_event_with_its_row_and_holds_from_then_on():
    trader = a_trader(quotes=True)
    for index in range(60):
        bar = a_bar(index, close=str(100 + index % 3))
        run(trader, [a_quote(time_ms=bar.close_ms - 1), bar])
        if trader.waits("BTCUSDT"):
            break
    assert trader.waits("BTCUSDT")
    now_ms = bar.close_ms
    new = an_instrument(tick_size="5", lot_size="0.001", known_ms=now_ms)
    step = trader.advance(RuleChange(time_ms=now_ms, rules=new))
    assert step.rules == (new,)
    assert [(notice.kind, notice.symbol) for notice in step.notices] == [("rules_changed", "BTCUSDT")]
    assert step.notices[0].detail.startswith("tick_size 0.01 to 5")
    (met,) = run(trader, [a_quote(bid="101", ask="102", time_ms=now_ms + 1_000)])
    assert {fill.price % 5 for fill in met.fills} == {0}
    # Read again without a change: nothing but the row.
    step = trader.advance(RuleChange(time_ms=now_ms, rules=replace(new, known_ms=now_ms + 1)))
    assert (step.notices, step.orders, len(step.rules)) == ((), (), 1)
