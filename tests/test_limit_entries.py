"""A limit entry lives as long as was said, keeps its place where it is wanted again, and says what became of it."""

from decimal import Decimal

from bot.performance.decisions import outcome_of
from bot.trading.asked import asked_of
from bot.trading.events import Signal
from tests.core import run
from tests.factories import START_MS, a_bar
from tests.test_trader import BAR, HOLD, at_close, quote_at, scripted, warmed_up

MINUTE = 60_000


def outcome(step, *later):
    """What came of a step's decision, by its orders as they stood after the later steps."""
    orders = {order.id: order for each in (step, *later) for order in each.orders}
    own = [order for order in orders.values() if order.signal_id == step.signal_id]
    found = outcome_of(asked_of(step.signal), step.no_order, own)
    return found.kind, found.words


def dip(valid_bars=None, **fields):
    return Signal.long("dip", limit="99", valid_bars=valid_bars, **fields)


def test_a_limit_entry_is_filled_at_its_price_as_a_maker_while_it_is_valid():
    trader = scripted(dip(2))
    placed, passed, filled = run(trader, [a_bar(0), a_bar(1), a_bar(2, low="98")])
    (order,) = placed.orders
    assert (order.type, order.limit_price, order.valid_until_ms) == ("limit", 99, at_close(2))
    assert not passed.fills
    (fill,) = filled.fills
    assert (fill.price, fill.liquidity, fill.rule, fill.quantity) == (99, "maker", "limit", order.quantity)
    assert outcome(placed, passed, filled) == ("filled", "filled")


def test_at_the_close_of_its_last_bar_it_expires_and_says_so():
    trader = scripted(dip(2), HOLD)
    steps = run(trader, [a_bar(0), a_bar(1), a_bar(2), a_bar(3, low="98")])
    (expired,) = steps[2].orders
    assert (expired.status, expired.updated_ms) == ("cancelled", at_close(2))
    assert not any(step.fills for step in steps)
    assert not trader.waits("BTCUSDT")
    words = "limit_not_reached: the market has not traded through its limit; then expired: valid for 2 bars"
    assert outcome(*steps) == ("expired", words)


def test_without_a_validity_it_rests_until_it_is_filled():
    trader = scripted(dip(), HOLD)
    steps = run(trader, [*(a_bar(i) for i in range(50)), a_bar(50, low="98")])
    assert [len(step.fills) for step in steps] == [0] * 50 + [1]


def test_a_bar_that_comes_after_its_time_meets_nothing_though_bars_between_are_missing():
    trader = scripted(dip(2), HOLD)
    placed, after = run(trader, [a_bar(0), a_bar(7, low="90")])
    assert not after.fills
    words = "no_quote: no quote or bar has come for it since it was due; then expired: valid for 2 bars"
    assert outcome(placed, after) == ("expired", words)


def test_the_same_entry_again_keeps_its_place_and_its_bars_are_counted_anew():
    trader = scripted(dip(1), dip(1), dip(1), HOLD)
    steps = run(trader, [a_bar(i) for i in range(3)])
    (first,) = steps[0].orders
    for index, step in enumerate(steps[1:], start=1):
        (order,) = step.orders
        assert (order.id, order.status, order.valid_until_ms) == (first.id, "open", at_close(index + 1))
        assert step.no_order.startswith(f"already_ordered: order {first.id} rests at 99")
        assert outcome(step)[0] == "already_there"
    filled = trader.advance(a_bar(3, open="100", low="98"))
    # A new order would have been as good; but one that opens below its limit takes, and what rested is a maker.
    assert [(fill.order_id, fill.liquidity) for fill in filled.fills] == [(first.id, "maker")]


def test_another_price_side_size_of_bracket_or_time_in_force_replaces_it():
    others = [
        Signal.long("dip", limit="98"),
        Signal.short("dip", limit="102"),
        Signal.long("dip", limit="99", post_only=True),
        Signal.long("dip", limit="99", time_stop_bars=3),
        Signal.long("dip"),
    ]
    for other in others:
        trader = scripted(dip(), other)
        (old,) = trader.advance(a_bar(0)).orders
        after = trader.advance(a_bar(1)).orders
        assert (after[0].id, after[0].status) == (old.id, "cancelled")
        assert "replaced by a newer decision" in after[0].reason
        assert after[1].status == "open"


def test_a_hold_lets_it_rest_and_a_close_withdraws_it():
    trader = scripted(dip(), HOLD, Signal.close("out"))
    _, held, closed = run(trader, [a_bar(0), a_bar(1), a_bar(2)])
    assert [order.status for order in held.orders] == ["open"]
    assert [order.status for order in closed.orders] == ["cancelled"]


def test_post_only_is_cancelled_where_it_would_take_and_ioc_where_it_would_rest():
    for force, opens, kind, words in (
        ("post_only", "98", "unfilled", "post_only: it would have taken"),
        ("ioc", "100", "unfilled", "ioc: nothing more was to be had at once"),
        ("ioc", "98", "filled", "filled"),
        ("post_only", "100", "open", "limit_not_reached: the market has not traded through its limit"),
    ):
        trader = scripted(dip(**{force: True}), HOLD)
        steps = run(trader, [a_bar(0), a_bar(1, open=opens, high="101", close="100")])
        assert outcome(*steps) == (kind, words), (force, opens)


def test_what_was_filled_of_it_stays_when_the_rest_expires():
    trader = scripted(dip(1, size=0.4), HOLD)
    placed, part = run(trader, [a_bar(0), a_bar(1, low="98", volume="50")])
    (fill,) = part.fills
    assert fill.quantity == 5
    assert outcome(placed, part) == (
        "partly_filled",
        "5.000 of 40.404, the rest expired unfilled: thin_volume: no more of the volume of the bar that it met may be "
        "filled; then expired: valid for 1 bar",
    )
    assert trader.advance(a_bar(2)).positions == ()


def test_its_exits_guard_what_the_limit_opened_and_its_time_stop_waits_from_the_fill_on():
    trader = scripted(dip(3, stop=2.0, time_stop_bars=2), HOLD)
    index = warmed_up(trader)
    _, stop, time_stop = trader.advance(a_bar(index)).orders
    filled = trader.advance(a_bar(index + 1)), trader.advance(a_bar(index + 2, low="98.9", close="99.5"))
    assert [len(step.fills) for step in filled] == [0, 1]
    resting = {order.id: order for order in trader._broker.open_orders}
    assert resting[stop.id].stop_price == 99 - stop.distance
    assert resting[time_stop.id].due_ms == at_close(index + 2) - 1 + 2 * BAR
    quiet = [trader.advance(a_bar(index + i, close="99.5")) for i in (3, 4)]
    assert not any(step.fills for step in quiet)
    assert [fill.order_id for fill in trader.advance(a_bar(index + 5, close="99.5")).fills] == [time_stop.id]


def test_an_expired_entry_takes_its_pending_exits_along():
    trader = scripted(dip(1, stop=2.0), HOLD)
    index = warmed_up(trader)
    entry, stop = trader.advance(a_bar(index)).orders
    expired = trader.advance(a_bar(index + 1)).orders
    assert {order.id: order.status for order in expired} == {entry.id: "cancelled", stop.id: "cancelled"}
    assert not trader.waits("BTCUSDT")


def test_live_a_quote_after_its_time_fills_nothing_and_the_next_decision_ends_or_renews_it():
    for second, kind in ((HOLD, "expired"), (dip(1), "open")):
        trader = scripted(dip(1), second, quotes=True)
        trader.advance(quote_at(START_MS + MINUTE, bid="99.9", ask="100.1"))
        placed = trader.advance(a_bar(0))
        rests = trader.advance(quote_at(at_close(0) + MINUTE, bid="99.9", ask="100.1"))
        # The market falls through the limit before the next bar is known, but its time is over.
        missed = trader.advance(quote_at(at_close(1), bid="98", ask="98.1"))
        assert missed.is_empty
        decided = trader.advance(a_bar(1))
        assert outcome(placed, rests, missed, decided)[0] == kind
        filled = trader.advance(quote_at(at_close(1) + MINUTE, bid="98", ask="98.1"))
        assert [(fill.price, fill.liquidity) for fill in filled.fills] == [(99, "maker")] * (kind == "open")


def test_a_size_that_risk_cuts_is_told_with_the_outcome():
    trader = scripted(Signal.long("much", size=0.9))
    steps = run(trader, [a_bar(0), a_bar(1)])
    words = "filled; shortened: to 0.5 of equity, risk.max_position_fraction, of 0.9"
    assert outcome(*steps) == ("filled", words)
    assert steps[1].positions[0].quantity == Decimal(50)


def test_half_of_a_position_is_closed_and_its_stop_guards_the_rest():
    trader = scripted(Signal.long("in", size=0.2, stop=3.0), Signal.close("half", fraction=0.5), HOLD)
    index = warmed_up(trader)
    steps = run(trader, [a_bar(index), a_bar(index + 1), a_bar(index + 2), a_bar(index + 3, low="90")])
    bought, sold, stopped = (step.fills[0] for step in steps[1:])
    assert sold.quantity * 2 == bought.quantity
    assert (stopped.rule, stopped.quantity) == ("stop", sold.quantity)
    assert outcome(*steps[1:]) == ("filled", "filled")
