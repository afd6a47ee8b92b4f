"""Orders that break a rule come back as rejections that name it; exits always get out."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from bot.trading.events import Equity, Order, Position, Rejection
from bot.trading.risk import RiskConfig, RiskContext, RiskReview
from tests.factories import a_bar, a_quote, an_instrument, an_order

FIRST, BAR = a_bar(0), a_bar(1, close="100")


def a_review(config: RiskConfig | None = None, *, seen: tuple[int, ...] = (0, 1), **rules: Any) -> RiskReview:
    review = RiskReview(config or RiskConfig(), {"BTCUSDT": an_instrument(**rules)})
    for index in seen:
        review.observe(a_bar(index))
    return review


def judge(
    review: RiskReview,
    order: Order,
    *,
    held: str = "0",
    equity: str = "10000",
    exposure: str = "0",
    spendable: str = "10000",
    needs_quote: bool = False,
) -> tuple[tuple[Order, ...], tuple[Rejection, ...]]:
    context = RiskContext(
        bar=BAR,
        position=Position(symbol="BTCUSDT", quantity=Decimal(held)),
        equity=Equity(time_ms=0, cash=Decimal(equity), unrealized_pnl=Decimal(0), equity=Decimal(equity)),
        exposure=Decimal(exposure),
        spendable=Decimal(spendable),
        needs_quote=needs_quote,
    )
    return review.review([order], context)


def broken_rule(*args: Any, **kwargs: Any) -> str | None:
    passed, rejections = judge(*args, **kwargs)
    assert len(passed) + len(rejections) == 1
    return rejections[0].rule if rejections else None


@pytest.mark.parametrize(
    ("quantity", "rules", "broken"),
    [
        ("1", {}, None),
        ("1.0005", {}, "lot_size"),
        ("0.001", {"min_quantity": "0.002"}, "min_quantity"),
        ("0", {}, "min_quantity"),
        ("0.049", {}, "min_notional"),
        ("0.05", {}, None),
        ("3", {"max_market_quantity": "2.999"}, "max_market_quantity"),
        ("3", {"max_market_quantity": "3"}, None),
        ("50", {}, None),
        ("50.001", {}, "max_position"),
        ("20", {"category": "spot"}, None),
    ],
)
def test_an_entry_passes_the_exchange_rules_and_the_limits_or_names_the_first_it_breaks(
    quantity, rules, broken
):
    assert broken_rule(a_review(**rules), an_order(quantity=quantity)) == broken


def test_a_rejection_carries_the_order_as_it_would_be_stored():
    _, (rejection,) = judge(a_review(), an_order(quantity="0.0125"))
    assert rejection.order.status == "rejected"
    assert rejection.order.quantity == Decimal("0.0125")
    assert rejection.order.updated_ms == BAR.close_ms
    assert rejection.reason == "quantity 0.0125 is not a multiple of the lot 0.001"
    assert rejection.order.reason == f"lot_size: {rejection.reason}"


def test_what_is_held_already_counts_toward_the_largest_position():
    assert broken_rule(a_review(), an_order(quantity="30"), held="20") is None
    assert broken_rule(a_review(), an_order(quantity="30"), held="20.001") == "max_position"


def test_all_symbols_together_stay_within_the_total():
    assert broken_rule(a_review(), an_order(quantity="10"), exposure="9000") is None
    assert broken_rule(a_review(), an_order(quantity="10"), exposure="9000.01") == "max_total"


def test_an_account_in_debt_enters_nothing():
    assert broken_rule(a_review(), an_order(), equity="-5") == "max_position"


def test_spot_buys_only_with_spendable_cash():
    review = a_review(category="spot")
    assert broken_rule(review, an_order(quantity="10"), spendable="1000") is None
    assert broken_rule(review, an_order(quantity="10"), spendable="999.99") == "spot_cash"


def test_spot_sells_only_what_it_holds():
    passed, (rejection,) = judge(a_review(category="spot"), an_order(side="sell", quantity="3"), held="2")
    assert [(order.quantity, order.reduce_only) for order in passed] == [(2, True)]
    assert (rejection.rule, rejection.order.quantity) == ("spot_short", 1)


def test_a_symbol_without_known_rules_is_not_traded():
    assert broken_rule(RiskReview(RiskConfig(), {}), an_order()) == "unknown_instrument"


@pytest.mark.parametrize(("age_ms", "broken"), [(900_000, None), (900_001, "stale_quote"), (-5, None)])
def test_a_live_entry_needs_a_quote_of_the_last_bar(age_ms, broken):
    review = a_review()
    review.observe_quote(a_quote(time_ms=BAR.close_ms - age_ms))
    assert broken_rule(review, an_order(), needs_quote=True) == broken


def test_without_any_quote_a_live_entry_waits_but_a_backtest_does_not():
    assert broken_rule(a_review(), an_order(), needs_quote=True) == "stale_quote"
    assert broken_rule(a_review(), an_order(), needs_quote=False) is None
    unlimited = a_review(RiskConfig(max_quote_age_bars=0))
    assert broken_rule(unlimited, an_order(), needs_quote=True) is None


@pytest.mark.parametrize(
    ("seen", "required", "broken"),
    [
        ((0, 1), 1, None),
        ((1,), 1, "hole_in_bars"),
        ((-1, 1), 1, "hole_in_bars"),
        ((-1, 1), 0, None),
        ((-3, -1, 0, 1), 2, None),
        ((-3, -1, 0, 1), 3, "hole_in_bars"),
    ],
)
def test_an_entry_needs_bars_without_a_hole(seen, required, broken):
    review = a_review(RiskConfig(require_contiguous_bars=required), seen=seen)
    assert broken_rule(review, an_order()) == broken


def test_bars_of_another_symbol_do_not_mend_a_hole():
    review = a_review(seen=())
    review.observe(a_bar(0, symbol="ETHUSDT"))
    review.observe(a_bar(1))
    assert broken_rule(review, an_order()) == "hole_in_bars"


def test_an_exit_passes_every_rule_for_entries():
    review = a_review(seen=(1,))
    order = an_order(side="sell", quantity="900", reduce_only=True)
    assert broken_rule(review, order, held="900", equity="1", exposure="99999", needs_quote=True) is None


@pytest.mark.parametrize("held", ["0.0004", "0.0105"])
def test_a_whole_position_closes_even_below_the_minimum_or_off_the_lot(held):
    assert broken_rule(a_review(), an_order(side="sell", quantity=held, reduce_only=True), held=held) is None


def test_a_part_of_a_position_closes_by_the_exchange_rules():
    order = an_order(side="sell", quantity="0.0105", reduce_only=True)
    assert broken_rule(a_review(), order, held="5") == "lot_size"


def test_even_a_whole_position_closes_only_in_orders_that_the_exchange_takes():
    order = an_order(side="sell", quantity="5", reduce_only=True)
    assert broken_rule(a_review(max_market_quantity="4"), order, held="5") == "max_market_quantity"


def test_a_reversal_that_may_not_enter_still_closes():
    passed, (rejection,) = judge(a_review(seen=(1,)), an_order(side="sell", quantity="5"), held="2")
    assert [(order.side, order.quantity, order.reduce_only) for order in passed] == [("sell", 2, True)]
    assert (rejection.rule, rejection.order.quantity) == ("hole_in_bars", 3)


def test_a_reduce_only_order_never_opens():
    passed, (rejection,) = judge(a_review(), an_order(quantity="3", reduce_only=True), held="-1")
    assert [order.quantity for order in passed] == [1]
    assert (rejection.rule, rejection.order.quantity) == ("reduce_only", 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position_fraction", 0),
        ("position_fraction", 0.6),
        ("max_position_fraction", 1.5),
        ("max_total_fraction", -1),
        ("max_quote_age_bars", -1),
        ("require_contiguous_bars", -1),
        ("positionfraction", 0.1),
    ],
)
def test_a_risk_setting_out_of_range_or_unknown_is_an_error_that_names_it(key, value):
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({key: value}, RiskConfig)
