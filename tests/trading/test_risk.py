"""Orders that break a rule come back as rejections that name it; exits always get out."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from bot.market import RiskTier
from bot.trading.account import AccountTrack, began_with
from bot.trading.config import RiskConfig
from bot.trading.events import Equity, Order, Pause, Position, Rejection, Resume, RoundTrip
from bot.trading.fills import BrokerConfig
from bot.trading.limits import RiskContext
from bot.trading.margin import Margin
from bot.trading.risk import RiskReview, RiskState
from tests.factories import START_MS, a_bar, a_quote, a_signal, an_instrument, an_order

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
    context = a_context(held, equity, exposure, spendable, needs_quote=needs_quote)
    return review.review([order], context)


def a_context(
    held: str = "0",
    equity: str = "10000",
    exposure: str = "0",
    spendable: str = "10000",
    *,
    needs_quote: bool = False,
    **more: Any,
) -> RiskContext:
    return RiskContext(
        bar=BAR,
        position=Position(symbol="BTCUSDT", quantity=Decimal(held)),
        equity=worth(equity),
        exposure=Decimal(exposure),
        spendable=Decimal(spendable),
        needs_quote=needs_quote,
        **more,
    )


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
        ((1,), 1, "bar_gap"),
        ((-1, 1), 1, "bar_gap"),
        ((-1, 1), 0, None),
        ((-3, -1, 0, 1), 2, None),
        ((-3, -1, 0, 1), 3, "bar_gap"),
    ],
)
def test_an_entry_needs_bars_without_a_hole(seen, required, broken):
    review = a_review(RiskConfig(require_contiguous_bars=required), seen=seen)
    assert broken_rule(review, an_order()) == broken


def test_bars_of_another_symbol_do_not_mend_a_hole():
    review = a_review(seen=())
    review.observe(a_bar(0, symbol="ETHUSDT"))
    review.observe(a_bar(1))
    assert broken_rule(review, an_order()) == "bar_gap"


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
    assert (rejection.rule, rejection.order.quantity) == ("bar_gap", 3)


def test_a_reduce_only_order_never_opens():
    passed, (rejection,) = judge(a_review(), an_order(quantity="3", reduce_only=True), held="-1")
    assert [order.quantity for order in passed] == [1]
    assert (rejection.rule, rejection.order.quantity) == ("reduce_only", 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position_fraction", 0),
        ("position_fraction", 0.6),
        ("max_position_fraction", 150),
        ("max_total_fraction", -1),
        ("max_quote_age_bars", -1),
        ("require_contiguous_bars", -1),
        ("positionfraction", 0.1),
    ],
)
def test_a_risk_setting_out_of_range_or_unknown_is_an_error_that_names_it(key, value):
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({key: value}, RiskConfig)


HOUR = 3_600_000


def worth(equity: str, index: int = 0) -> Equity:
    return Equity(
        time_ms=a_bar(index).close_ms, cash=Decimal(equity), unrealized_pnl=Decimal(0), equity=Decimal(equity)
    )


class Judge:
    """A review and the track of the account that it judges, which began with 10,000."""

    def __init__(self, review: RiskReview) -> None:
        self.review = review
        self.track = AccountTrack(began_with(Decimal(10_000)), 900_000)

    def __call__(self, *equities: str, late: bool = False, first: int = 0) -> list[str | None]:
        """The rule of the halt that begins at each of the bars from there on, if one does."""
        found = []
        for index, equity in enumerate(equities, start=first):
            row = self.track.mark(worth(equity, index))
            halt = self.review.check_account_limits(a_bar(index, late=late), row, self.track)
            found.append(None if halt is None else halt.rule)
        return found


def trip(
    review: RiskReview, result: str, run: int, *, time_ms: int = START_MS, symbol: str = "BTCUSDT"
) -> None:
    """A round trip came to so much, as the symbol's last ``run`` ones had lost."""
    ended = RoundTrip(
        id=1, symbol=symbol, side="long", opened_ms=0, closed_ms=time_ms, realized_pnl=Decimal(result)
    )
    review.observe_trip(ended, run, 900_000)


# Each rule alone stops an order that breaks no other.


def a_full_review(config: RiskConfig | None = None, *, leverage: str = "1", **rules: Any) -> RiskReview:
    """A review with all its rules, the exchange's on margin too, two bars into an account of 10,000."""
    instruments = {"BTCUSDT": an_instrument(**rules)}
    broker = BrokerConfig(leverage=Decimal(leverage))
    review = RiskReview(
        config or RiskConfig(),
        instruments,
        leverage=broker.leverage_of,
        margin_rules=Margin(broker, instruments).rules,
    )
    review.observe(FIRST)
    review.observe(BAR)
    review.observe_quote(a_quote(time_ms=BAR.close_ms))
    return review


def halted() -> RiskReview:
    review = a_full_review()
    Judge(review)("10000", "8000")
    return review


def paused() -> RiskReview:
    review = a_full_review()
    review.pause(Pause(id=1, time_ms=START_MS, symbol="BTCUSDT", note="news"))
    return review


def closing_only() -> RiskReview:
    review = a_full_review()
    review.halts.closing_only["BTCUSDT"] = "taken off"
    return review


def with_a_hole() -> RiskReview:
    review = a_full_review()
    review.observe(a_bar(5))
    return review


def unquoted() -> RiskReview:
    review = a_full_review()
    review.observe_quote(a_quote(time_ms=BAR.close_ms - 900_001))
    return review


def cooling() -> RiskReview:
    review = a_full_review(RiskConfig(cooldown_losses=1))
    trip(review, "-1", 1, time_ms=BAR.close_ms)
    return review


def not_believed() -> RiskReview:
    review = a_full_review(RiskConfig(brier_guard_forecasts=1))
    review.observe_signal(a_signal(confidence=0.95, horizon_bars=1), BAR, None)
    review.observe(a_bar(2, close="90"))
    return review


def busy() -> RiskReview:
    review = a_full_review(RiskConfig(max_orders_per_hour=1))
    assert broken_rule(review, an_order(created_ms=BAR.close_ms), needs_quote=True) is None
    return review


FAR_STOP = an_order(side="sell", type="stop_market", distance=Decimal(100), parent_id=0, status="pending")
A_TIER = RiskTier(
    limit=Decimal(1000),
    maintenance_rate=Decimal("0.01"),
    initial_rate=Decimal("0.02"),
    max_leverage=Decimal(50),
)
ONLY: dict[str, tuple[RiskReview, Order, dict[str, Any]]] = {
    "reduce_only": (a_full_review(), an_order(reduce_only=True), {}),
    "spot_short": (a_full_review(category="spot"), an_order(side="sell"), {}),
    "exits_unknown": (a_full_review(), an_order(), {"exits_unknown": True}),
    "exit_out_of_reach": (a_full_review(), an_order(), {"exits": (FAR_STOP,)}),
    "halted": (halted(), an_order(), {}),
    "paused": (paused(), an_order(), {}),
    "closing_only": (closing_only(), an_order(), {}),
    "closing": (a_full_review(), an_order(), {"closing": True}),
    "not_trading": (a_full_review(status="Delivering"), an_order(), {}),
    "bar_gap": (with_a_hole(), an_order(), {}),
    "stale_quote": (unquoted(), an_order(), {}),
    "cooldown": (cooling(), an_order(), {}),
    "brier_guard": (not_believed(), an_order(), {}),
    "lot_size": (a_full_review(), an_order(quantity="1.0005"), {}),
    "min_quantity": (a_full_review(min_quantity="2"), an_order(), {}),
    "min_notional": (a_full_review(min_notional="101"), an_order(), {}),
    "max_market_quantity": (a_full_review(max_market_quantity="0.5"), an_order(), {}),
    "max_position": (a_full_review(), an_order(quantity="51"), {}),
    "max_total": (a_full_review(), an_order(), {"exposure": "9901"}),
    "max_leverage": (a_full_review(RiskConfig(max_leverage=Decimal(2)), leverage="3"), an_order(), {}),
    "spot_cash": (a_full_review(category="spot"), an_order(), {"spendable": "99"}),
    "risk_limit": (
        a_full_review(leverage="2", tiers=(A_TIER,), max_leverage=Decimal(50)),
        an_order(quantity="11"),
        {},
    ),
    "insufficient_margin": (a_full_review(), an_order(), {"free_margin": Decimal(99)}),
    "max_orders_per_hour": (busy(), an_order(), {}),
}


@pytest.mark.parametrize("name", ONLY)
def test_each_rule_stops_an_entry_that_breaks_no_other(name):
    review, order, changed = ONLY[name]
    context = a_context(needs_quote=True, **changed)
    instrument = review._instruments["BTCUSDT"]
    broken = [rule for rule, says in review._entry_rules.items() if says(order, context, instrument)]
    assert broken == [name]
    passed, (rejection,) = review.review([order], context)
    assert (passed, rejection.rule) == ((), name)
    assert rejection.order.reason == f"{name}: {rejection.reason}"


def test_no_rule_is_left_out():
    assert set(ONLY) == set(a_full_review()._entry_rules)


@pytest.mark.parametrize(
    ("side", "type", "distance", "broken"),
    [
        ("buy", "stop_market", "99.9", None),
        ("buy", "stop_market", "100", "exit_out_of_reach"),
        ("buy", "trailing_stop", "100", "exit_out_of_reach"),
        ("buy", "take_profit", "100", None),
        ("sell", "take_profit", "100", "exit_out_of_reach"),
        ("sell", "stop_market", "100", None),
    ],
)
def test_an_exit_below_zero_is_refused_with_its_entry(side, type, distance, broken):
    opposite = "sell" if side == "buy" else "buy"
    exit = an_order(side=opposite, type=type, distance=Decimal(distance), parent_id=0, status="pending")
    passed, rejections = a_full_review().review([an_order(side=side), exit], a_context(exits=(exit,)))
    assert len(passed) == (0 if broken else 2)
    assert [one.rule for one in rejections] == ([broken] if broken else [])


def test_only_the_leverage_limit_stops_a_symbol_that_is_held_with_more():
    config = RiskConfig(max_leverage=Decimal(3))

    def review(leverage: str, category: str = "linear") -> RiskReview:
        rules = {"BTCUSDT": an_instrument(category=category)}
        found = RiskReview(config, rules, leverage=lambda symbol: Decimal(leverage))
        found.observe(a_bar(0))
        found.observe(a_bar(1))
        return found

    assert broken_rule(review("3"), an_order()) is None
    assert broken_rule(review("3.01"), an_order()) == "max_leverage"
    assert broken_rule(review("3.01", "spot"), an_order()) is None
    assert broken_rule(review("5"), an_order(side="sell", reduce_only=True), held="1") is None


def test_only_the_order_limit_stops_what_follows_so_many_orders_of_the_last_hour():
    review = a_review(RiskConfig(max_orders_per_hour=2))
    close = BAR.close_ms
    assert broken_rule(review, an_order(created_ms=close - HOUR)) is None
    assert broken_rule(review, an_order(created_ms=close - HOUR + 1)) is None
    # The first is just an hour old, so one place is free again.
    assert broken_rule(review, an_order(created_ms=close)) is None
    assert broken_rule(review, an_order(created_ms=close)) == "max_orders_per_hour"
    assert broken_rule(review, an_order(side="sell", reduce_only=True), held="1") is None


def test_only_the_cooldown_stops_a_symbol_after_losses_in_a_row():
    review = a_review(RiskConfig(cooldown_losses=2, cooldown_bars=3))
    over = BAR.close_ms - 3 * 900_000
    trip(review, "-1", 1, time_ms=over)
    assert broken_rule(review, an_order()) is None
    trip(review, "-1", 2, time_ms=over)
    assert broken_rule(review, an_order()) == "cooldown"
    assert broken_rule(review, an_order(side="sell", reduce_only=True), held="1") is None
    # What was over a bar earlier has cooled down by now.
    earlier = a_review(RiskConfig(cooldown_losses=2, cooldown_bars=3))
    trip(earlier, "-1", 2, time_ms=over - 900_000)
    assert broken_rule(earlier, an_order()) is None


def test_a_won_round_trip_and_another_symbols_losses_do_not_cool_down():
    review = a_review(RiskConfig(cooldown_losses=2, cooldown_bars=100))
    trip(review, "-1", 1)
    trip(review, "0.5", 0)
    trip(review, "-1", 2, symbol="ETHUSDT")
    assert broken_rule(review, an_order()) is None


def test_it_takes_as_many_losses_again_to_cool_down_again():
    review = a_review(RiskConfig(cooldown_losses=2, cooldown_bars=100))
    trip(review, "-1", 2, time_ms=BAR.close_ms - 200 * 900_000)
    trip(review, "-1", 3, time_ms=BAR.close_ms)
    assert broken_rule(review, an_order()) is None
    trip(review, "-1", 4, time_ms=BAR.close_ms)
    assert broken_rule(review, an_order()) == "cooldown"


def test_only_the_brier_guard_stops_entries_while_confidence_is_worse_than_the_base_rate():
    review = a_review(RiskConfig(brier_guard_forecasts=4), seen=())
    signal = a_signal(confidence=0.95, horizon_bars=1)
    for index, close in enumerate(("100", "99", "98", "97", "96")):
        bar = a_bar(index, close=close)
        review.observe(bar)
        assert broken_rule(review, an_order()) == ("brier_guard" if index == 4 else _hole(index))
        review.observe_signal(signal, bar, None)
    _, (rejection,) = judge(review, an_order())
    assert "over the last 4 claims confidence had a Brier score of 0.9025" in rejection.reason
    assert broken_rule(review, an_order(side="sell", reduce_only=True), held="1") is None


def _hole(index: int) -> str | None:
    return None if index else "bar_gap"


@pytest.mark.parametrize(("key", "limit"), [("max_daily_loss", "0.05"), ("max_drawdown", "0.05")])
def test_only_a_halt_stops_entries_after_the_account_has_fallen_too_far(key, limit):
    off = {"max_daily_loss": Decimal(0), "max_drawdown": Decimal(0)}
    review = a_review(RiskConfig(**(off | {key: Decimal(limit)})))
    assert broken_rule(review, an_order()) is None
    assert Judge(review)("10000", "9500.01", "9500", "9000") == [None, None, key, None]
    assert broken_rule(review, an_order()) == "halted"
    _, (rejection,) = judge(review, an_order())
    assert key in rejection.reason
    assert review.halt is not None
    assert "equity 9500.00 is 5.00% (the limit is 5.00%) below the 10000.00" in review.halt.reason
    assert "run_bot.py resume" in rejection.reason
    assert broken_rule(review, an_order(side="sell", reduce_only=True), held="1") is None


def test_the_daily_loss_is_measured_from_the_close_at_midnight():
    review = a_review(RiskConfig(max_daily_loss=Decimal("0.1"), max_drawdown=Decimal(0)))
    # Bar 95 closes at midnight: what it leaves is what the day begins with.
    judge = Judge(review)
    assert judge("10000", "9100", "8200", first=94) == [None, None, None]
    assert judge("8190", first=97) == ["max_daily_loss"]
    assert review.halt is not None
    assert review.halt.reason.endswith("below the 9100.00 when 2023-11-16 began")


def test_a_close_at_midnight_still_ends_the_day_before():
    judge = Judge(a_review(RiskConfig(max_daily_loss=Decimal("0.1"), max_drawdown=Decimal(0))))
    assert judge("10000", "9000", first=94) == [None, "max_daily_loss"]


def test_the_daily_loss_of_daily_bars_is_that_of_each_bar():
    review = a_review(RiskConfig(max_daily_loss=Decimal("0.1"), max_drawdown=Decimal(0)))
    track, found = Judge(review).track, []
    for index, equity in enumerate(("10000", "9001", "8110", "7299")):
        bar = a_bar(index, interval="D")
        halt = review.check_account_limits(
            bar, track.mark(replace(worth(equity), time_ms=bar.close_ms)), track
        )
        found.append(None if halt is None else halt.reason.partition("when ")[2])
    assert found == [None, None, None, "2023-11-18 began"]


def test_a_late_bar_halts_nothing_but_the_next_one_does():
    judge = Judge(a_review())
    assert judge("10000") == [None]
    assert judge("10000", "6000", late=True) == [None, None]
    assert judge("6000") == ["max_daily_loss"]


def test_deposits_and_withdrawals_are_no_loss():
    judge = Judge(a_review())
    assert judge("10000") == [None]
    judge.track.move(Decimal(-5000), worth("5000"))
    assert judge("5000") == [None]
    judge.track.move(Decimal(5000), worth("10000"))
    assert judge("9001", "9000") == [None, "max_daily_loss"]


def test_a_withdrawal_after_a_loss_is_no_halt_and_a_loss_after_a_deposit_is_measured_by_what_there_is_then():
    judge = Judge(a_review(RiskConfig(max_daily_loss=Decimal(0), max_drawdown=Decimal("0.12"))))
    assert judge("10000", "9500") == [None, None]
    judge.track.move(Decimal(-6000), worth("3500", 1))
    assert judge("3500", first=2) == [None]
    judge.track.move(Decimal(90_000), worth("93500", 2))
    # 5 % were lost before: of what there was at its highest, 12 % are lost at 0.88 / 0.95 of what there is.
    assert judge("90000", "86611", "86610", first=3) == [None, None, "max_drawdown"]
    assert judge.review.halt is not None
    assert "equity 86610.00 is 12.00% (the limit is 12.00%) below the 98421.05" in judge.review.halt.reason


def test_a_resume_ends_the_halt_once_and_what_was_lost_counts_no_more():
    review = a_review()
    judge = Judge(review)
    judge("10000", "8000")
    halt = review.halt
    ended = review.resume(Resume(id=1, time_ms=START_MS, note="seen"))
    judge.track.restart_limits()
    assert halt is not None
    assert ended == (replace(halt, resumed_ms=START_MS, note="seen"), ())
    assert broken_rule(review, an_order()) is None
    assert judge("8000", "7201", "7200") == [None, None, "max_daily_loss"]
    # The request that was granted is not granted again, the next one is.
    assert review.resume(Resume(id=1, time_ms=START_MS)) == (None, ())
    assert review.halt is not None
    assert review.halt.id == 2
    assert review.resume(Resume(id=2, time_ms=START_MS))[0] is not None
    assert review.resume(Resume(id=3, time_ms=START_MS)) == (None, ())


def test_limits_that_are_off_never_halt():
    judge = Judge(a_review(RiskConfig(max_daily_loss=Decimal(0), max_drawdown=Decimal(0))))
    assert judge("10000", "1", "-5") == [None, None, None]


def test_what_lost_everything_halts():
    judge = Judge(a_review(RiskConfig(max_daily_loss=Decimal(0))))
    assert judge("10000", "-5") == [None, "max_drawdown"]
    assert judge.review.halt is not None
    assert (
        judge.review.halt.reason
        == "equity -5.00 is 100.00% (the limit is 30.00%) below its worth at its highest"
    )


def test_stops_and_targets_share_the_fate_of_their_entry():
    entry = an_order()
    stop = an_order(side="sell", quantity="0", type="stop_market", status="pending", parent_id=0)
    context = a_context()
    passed, rejections = a_review().review([entry, stop], context)
    assert (passed, rejections) == ((entry, stop), ())
    passed, rejections = a_review(seen=(1,)).review([entry, stop], context)
    assert passed == ()
    assert [one.rule for one in rejections] == ["bar_gap"]


def test_a_review_goes_on_from_its_snapshot_as_if_it_had_not_stopped():
    config = RiskConfig(cooldown_losses=2, cooldown_bars=9, max_orders_per_hour=2, brier_guard_forecasts=1)
    review = a_review(config)
    Judge(review)("10000", "8000")
    trip(review, "-1", 1, time_ms=BAR.close_ms)
    judge(review, an_order(side="sell", reduce_only=True), held="1")
    review.observe_signal(a_signal(confidence=0.9, horizon_bars=2), BAR, 0.5)
    state = msgspec.json.decode(msgspec.json.encode(review.snapshot()), type=RiskState)
    restored = RiskReview(config, {"BTCUSDT": an_instrument()}, state)
    assert restored.snapshot() == review.snapshot() == state
    for one in (review, restored):
        trip(one, "-1", 2, time_ms=BAR.close_ms)
        one.observe(a_bar(3, close="90"))
    assert restored.snapshot() == review.snapshot()
    assert restored.snapshot().cooling_ms
    assert restored.snapshot().record.judged == 1


def test_a_restart_on_the_same_day_and_over_midnight_still_counts_what_was_lost_before_it():
    for before, after, rule in (
        (("10000", "9500"), "9000", "max_daily_loss"),
        (("10000",), "7000", "max_drawdown"),
    ):
        daily = Decimal("0.1") if rule == "max_daily_loss" else Decimal(0)
        config = RiskConfig(max_daily_loss=daily)
        judge = Judge(a_review(config))
        judge(*before)
        restored = Judge(RiskReview(config, {"BTCUSDT": an_instrument()}, judge.review.snapshot()))
        restored.track = AccountTrack(judge.track.snapshot(), 900_000)
        assert restored(after, first=10 if rule == "max_daily_loss" else 200) == [rule]


def test_news_are_told_once():
    review = a_review()
    assert review.state_if_changed() is None
    Judge(review)("10000", "8000")
    assert review.state_if_changed() == review.snapshot()
    Judge(review)("8000")
    assert review.state_if_changed() is None


@pytest.mark.parametrize(
    ("side", "quantity", "limit", "rules", "broken"),
    [
        # The bar closed at 100: what counts is what it will have been bought or sold at.
        ("buy", "60", "80", {}, None),
        ("buy", "60", "90", {}, "max_position"),
        ("sell", "49", "110", {}, "max_position"),
        ("buy", "0.06", "90", {"min_notional": "5.5"}, "min_notional"),
        ("sell", "0.06", "110", {"min_notional": "6.5"}, None),
    ],
)
def test_a_limit_entry_is_judged_at_its_limit(side, quantity, limit, rules, broken):
    order = an_order(side=side, quantity=quantity, type="limit", limit_price=Decimal(limit))
    assert broken_rule(a_review(**rules), order) == broken
