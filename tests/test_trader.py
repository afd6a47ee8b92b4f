from decimal import Decimal

import pytest
from msgspec.structs import replace

from bot.errors import InputError
from bot.market import Book, Funding, Level
from bot.strategy import Situation
from bot.trading.events import Position, Signal
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening
from tests.core import NOTHING_YET, a_config, a_trader, run
from tests.factories import START_MS, a_bar, a_fill, a_quote, a_signal

MINUTE = 60_000
BAR = 15 * MINUTE
HOLD = a_signal("hold")


class Scripted:
    """Answers with the given signals, bar by bar, then holds; remembers what it was asked."""

    needs_memory = False

    def __init__(self, *signals) -> None:
        self._signals = list(signals)
        self.asked: list[Situation] = []

    def decide(self, situation: Situation) -> Signal:
        self.asked.append(situation)
        return self._signals.pop(0) if self._signals else HOLD


def scripted(*signals, quotes=False, **sections):
    sections["risk"] = {"require_contiguous_bars": 0, **sections.get("risk", {})}
    config = a_config("BTCUSDT", "ETHUSDT", **sections)
    return a_trader(config, Scripted(*signals), quotes=quotes)


def quote_at(time_ms, **fields):
    return a_quote(time_ms=time_ms, **fields)


def at_close(index):
    """The close of the ``index``-th bar."""
    return START_MS + (index + 1) * BAR


def test_one_event_gives_one_step_with_its_time():
    trader = scripted(a_signal("long"), quotes=True)
    funding = Funding(symbol="BTCUSDT", time_ms=at_close(0), rate=Decimal("0.0001"), mark_price=Decimal(100))
    quoted, decided, settled = run(trader, [quote_at(START_MS + MINUTE), a_bar(0), funding])
    assert (quoted.time_ms, quoted.is_empty) == (START_MS + MINUTE, True)
    assert (decided.time_ms, decided.signal.action) == (at_close(0), "long")
    assert (settled.time_ms, settled.is_empty) == (at_close(0), True)


def test_each_bar_has_a_signal_with_the_next_number_and_a_row_of_equity():
    steps = run(scripted(), [a_bar(0), a_bar(0, symbol="ETHUSDT"), a_bar(1)])
    assert [step.signal_id for step in steps] == [1, 2, 3]
    assert [[row.time_ms for row in step.equity] for step in steps] == [
        [at_close(0)], [at_close(0)], [at_close(1)],
    ]  # fmt: skip


def test_an_order_waits_for_the_first_quote_at_or_after_its_decision_plus_the_latency():
    trader = scripted(a_signal("long"), quotes=True, broker={"latency_ms": 250})
    trader.advance(quote_at(START_MS + MINUTE))
    (order,) = trader.advance(a_bar(0)).orders
    assert (order.status, order.due_ms) == ("open", at_close(0) + 250)
    assert trader.waits("BTCUSDT")
    assert trader.advance(quote_at(at_close(0) + 249)).is_empty
    assert trader.advance(quote_at(at_close(0) + 300, symbol="ETHUSDT")).is_empty
    filled = trader.advance(quote_at(at_close(0) + 250, ask="101"))
    assert [(fill.rule, fill.reference_price, fill.time_ms) for fill in filled.fills] == [
        ("quote", Decimal(101), at_close(0) + 250)
    ]
    assert [order.status for order in filled.orders] == ["filled"]
    assert filled.positions[0].quantity == order.quantity
    assert not trader.waits("BTCUSDT")


def test_where_quotes_come_the_next_bar_fills_nothing():
    trader = scripted(a_signal("long"), quotes=True)
    steps = run(trader, [quote_at(START_MS), a_bar(0), a_bar(1)])
    assert steps[1].orders
    assert not steps[2].fills
    assert trader.waits("BTCUSDT")


def test_without_quotes_orders_meet_the_open_of_the_next_bar_before_anyone_sees_its_close():
    trader = scripted(a_signal("long"))
    placed, filled = run(trader, [a_bar(0), a_bar(1, open="103", close="150")])
    assert not placed.fills
    (fill,) = filled.fills
    assert (fill.rule, fill.reference_price, fill.time_ms) == ("next_open", Decimal(103), at_close(0))
    assert fill.late is False
    assert fill.quantity == placed.orders[0].quantity
    # The row after the fill still values at the close before it, the bar's own row at its close.
    after_fill, after_bar = filled.equity
    assert after_fill.unrealized_pnl == fill.quantity * (100 - fill.price)
    assert after_bar.unrealized_pnl == fill.quantity * (150 - fill.price)


def test_an_order_waits_for_its_own_symbol():
    trader = scripted(a_signal("long"))
    steps = run(trader, [a_bar(0), a_bar(0, symbol="ETHUSDT"), a_bar(1, symbol="ETHUSDT")])
    assert not any(step.fills for step in steps)


def test_a_late_bar_opens_nothing_but_settles_what_was_resting_at_its_open():
    trader = scripted(a_signal("long"), a_signal("short"), quotes=True)
    run(trader, [quote_at(START_MS), a_bar(0)])
    late = trader.advance(a_bar(1, open="104", close="90", late=True))
    assert [(fill.rule, fill.reference_price, fill.late) for fill in late.fills] == [
        ("next_open", Decimal(104), True)
    ]
    assert (late.signal.action, late.signal.close_position) == ("hold", False)
    assert "late" in late.signal.reason
    assert [order.status for order in late.orders] == ["filled"]
    # The strategy was not asked, so its second answer is still to come.
    trader.advance(quote_at(at_close(1) + 1))
    assert trader.advance(a_bar(2, close="90")).signal.action == "short"


def test_a_late_bar_does_not_fill_an_order_that_was_decided_after_its_open():
    trader = scripted(HOLD, a_signal("long"), quotes=True)
    run(trader, [quote_at(START_MS), a_bar(0), quote_at(at_close(1)), a_bar(2)])
    assert trader.waits("BTCUSDT")
    assert not trader.advance(a_bar(1, late=True)).fills


def test_a_newer_decision_replaces_the_order_that_still_waits():
    trader = scripted(a_signal("long"), a_signal("short"), quotes=True, risk={"max_quote_age_bars": 0})
    (long,) = trader.advance(a_bar(0)).orders
    replaced = trader.advance(a_bar(1)).orders
    assert [(order.id, order.side, order.status) for order in replaced] == [
        (long.id, "buy", "cancelled"), (long.id + 1, "sell", "open"),
    ]  # fmt: skip
    assert "newer decision" in replaced[0].reason
    fills = trader.advance(quote_at(at_close(1) + MINUTE)).fills
    assert [(fill.order_id, fill.side) for fill in fills] == [(long.id + 1, "sell")]


def test_a_hold_leaves_the_waiting_order_alone_and_a_close_withdraws_it():
    trader = scripted(a_signal("long"), HOLD, a_signal("hold", close_position=True), quotes=True)
    trader.advance(quote_at(START_MS))
    trader.advance(a_bar(0))
    assert trader.advance(a_bar(1)).orders == ()
    assert [order.status for order in trader.advance(a_bar(2)).orders] == ["cancelled"]
    assert not trader.waits("BTCUSDT")


def test_funding_is_charged_on_the_position_held_just_before_its_time_however_late_it_is_known():
    trader = scripted(a_signal("long"), a_signal("hold", close_position=True))
    steps = run(trader, [a_bar(0), a_bar(1), a_bar(2)])
    bought, sold = steps[1].fills[0], steps[2].fills[0]
    assert sold.quantity == bought.quantity

    def funded(time_ms):
        rate, mark = Decimal("0.0001"), Decimal(110)
        funding = Funding(symbol="BTCUSDT", time_ms=time_ms, rate=rate, mark_price=mark)
        return trader.advance(funding)

    # At the very time of the purchase nothing was held yet.
    assert funded(bought.time_ms).is_empty
    step = funded(sold.time_ms)
    (paid,) = step.funding
    assert (paid.quantity, paid.payment) == (bought.quantity, -bought.quantity * 110 * Decimal("0.0001"))
    assert [row.cash for row in step.equity] == [steps[2].equity[-1].cash + paid.payment]
    # Asked twice, paid once; and flat again afterwards.
    assert funded(sold.time_ms).is_empty
    assert funded(sold.time_ms + 7).is_empty
    assert funded(sold.time_ms + 60_000).is_empty


def test_the_strategy_is_told_the_last_settled_rate():
    trader = scripted()
    strategy = trader._strategy.strategy
    funding = Funding(symbol="BTCUSDT", time_ms=at_close(0), rate=Decimal("0.0003"), mark_price=Decimal(100))
    run(trader, [a_bar(0), funding, a_bar(1), a_bar(1, symbol="ETHUSDT")])
    assert [situation.costs.funding_rate for situation in strategy.asked] == [0.0, 0.0003, 0.0]


def test_what_funding_costs_follows_the_newest_settlement_and_the_interval_that_settlements_keep():
    trader, hour = scripted(), 3_600_000
    strategy = trader._strategy.strategy
    told = []
    # Every 8 hours, then every 4, then every hour; the one before last becomes known after the last.
    for number, (hours, rate) in enumerate(
        ((0, "0.1"), (8, "0.2"), (16, "0.3"), (20, "0.4"), (24, "0.5"), (25, "0.6"), (27, "0.8"), (26, "0.7"))
    ):
        trader.advance(
            Funding(
                symbol="BTCUSDT", time_ms=START_MS + hours * hour, rate=Decimal(rate), mark_price=Decimal(1)
            )
        )
        trader.advance(a_bar(number))
        costs = strategy.asked[-1].costs
        told.append((costs.funding_rate, costs.funding_bars))
    assert told == [
        (0.1, 32), (0.2, 32), (0.3, 32), (0.4, 16), (0.5, 16), (0.6, 4), (0.8, 4), (0.8, 4),
    ]  # fmt: skip


def test_the_strategy_sees_the_position_as_it_is_after_the_open_and_how_long_it_has_been_held():
    trader = scripted(a_signal("long"))
    run(trader, [a_bar(0), a_bar(1), a_bar(2), a_bar(2, symbol="ETHUSDT")])
    asked = trader._strategy.strategy.asked
    assert [bool(situation.position.quantity) for situation in asked] == [False, True, True, False]
    assert [situation.bars_held for situation in asked] == [0, 1, 2, 0]
    assert asked[3].position == Position(symbol="ETHUSDT")
    assert asked[2].recent.closes(10).tolist() == [100.0, 100.0, 100.0]


def test_a_position_is_valued_at_the_close_until_the_exchange_tells_a_mark_price_and_then_at_that():
    trader = scripted(a_signal("long"), quotes=True)
    run(trader, [quote_at(START_MS), a_bar(0)])
    (fill,) = trader.advance(quote_at(at_close(0) + MINUTE)).fills
    (at_bar,) = trader.advance(a_bar(1, close="120")).equity
    assert at_bar.unrealized_pnl == fill.quantity * (120 - fill.price)
    trader.advance(quote_at(at_close(1) + MINUTE, mark="130"))
    (at_mark,) = trader.advance(a_bar(2, close="120")).equity
    assert at_mark.unrealized_pnl == fill.quantity * (130 - fill.price)


def test_what_may_not_be_ordered_is_a_rejection_kept_beside_its_order():
    trader = scripted(a_signal("long"), quotes=True)
    step = trader.advance(a_bar(0))
    (rejection,) = step.rejections
    assert (rejection.rule, rejection.order.status) == ("stale_quote", "rejected")
    assert step.orders == (rejection.order,)
    assert not trader.waits("BTCUSDT")


def test_observed_history_decides_nothing_and_counts_no_signal():
    trader = scripted(a_signal("long"))
    trader.observe(a_bar(0))
    assert trader._strategy.strategy.asked == []
    assert trader.advance(a_bar(1)).signal_id == 1


def test_the_same_events_give_the_same_steps():
    bars = [a_bar(i, close=100 + (i * 7919) % 13) for i in range(900)]
    events = [
        event
        for bar in bars
        for event in (bar, quote_at(bar.close_ms + MINUTE, bid=bar.close, ask=bar.close + 1))
    ]
    config = a_config("BTCUSDT")
    steps = run(a_trader(config, quotes=True), events)
    assert steps == run(a_trader(config, quotes=True), events)
    assert sum(len(step.fills) for step in steps) > 100
    assert any(step.recollection and step.recollection.neighbors for step in steps)


@pytest.mark.parametrize("answer", [None, "long", 5])
def test_a_strategy_that_answers_no_signal_is_one_clear_error_and_nothing_is_ordered(answer):
    trader = scripted(answer, strategy={"on_error": "stop"})
    with pytest.raises(InputError, match=r"^Scripted\.decide: .*not a Signal") as error:
        trader.advance(a_bar(0))
    assert "\n" not in str(error.value)
    assert not trader.waits("BTCUSDT")


def test_the_signal_of_a_bar_does_not_change_afterwards():
    trader = scripted(a_signal("long", detail={"gate": "signal"}))
    step = trader.advance(a_bar(0))
    kept = replace(step)
    run(trader, [a_bar(i) for i in range(1, 50)])
    assert step == kept


def with_exits(action="long", **exits):
    return a_signal(action, **exits)


def warmed_up(trader, bars=300):
    """Enough unbroken bars for a volatility: each close moves by about a hundredth; the next has this index."""
    for index in range(bars):
        trader.observe(a_bar(index, close="101" if index % 2 else "100"))
    return bars


def test_a_stop_and_a_target_are_placed_with_the_entry_and_the_first_ends_the_other():
    trader = scripted(with_exits(stop_distance=2.0, target_distance=3.0))
    index = warmed_up(trader)
    entry, stop, target = trader.advance(a_bar(index, close="100")).orders
    assert [(order.type, order.status, order.parent_id) for order in (entry, stop, target)] == [
        ("market", "open", None),
        ("stop_market", "pending", entry.id),
        ("take_profit", "pending", entry.id),
    ]
    # Two and three times what a bar moves by.
    assert Decimal("1.9") < stop.distance < Decimal("2.1")
    assert Decimal("2.9") < target.distance < Decimal("3.1")
    filled = trader.advance(a_bar(index + 1, open="100", close="100"))
    assert [fill.rule for fill in filled.fills] == ["next_open"]
    stopped = trader.advance(a_bar(index + 2, open="100", low="97", close="99", high="100"))
    (fill,) = stopped.fills
    assert (fill.rule, fill.order_id) == ("stop", stop.id)
    assert {order.id: order.status for order in stopped.orders} == {
        stop.id: "filled",
        target.id: "cancelled",
    }
    assert stopped.positions[0].quantity == 0
    assert not trader.waits("BTCUSDT")


def test_a_bracket_outlives_further_signals_of_its_direction_and_ends_with_an_opposite_one():
    long, short = with_exits(stop_distance=5.0), with_exits("short", stop_distance=5.0)
    trader = scripted(long, long, short)
    index = warmed_up(trader)
    run(trader, [a_bar(index), a_bar(index + 1)])
    assert [order.type for order in trader._broker.open_orders] == ["stop_market"]
    run(trader, [a_bar(index + 2), a_bar(index + 3)])
    (stop,) = trader._broker.open_orders
    assert (stop.side, stop.stop_price > 100) == ("buy", True)


def test_the_rest_of_an_entry_goes_on_waiting_while_its_direction_is_wanted():
    long = a_signal("long")
    trader = scripted(long, long, long, a_signal("hold", close_position=True))
    placed = trader.advance(a_bar(0)).orders[0]
    part = trader.advance(a_bar(1, volume="50"))
    assert [fill.quantity for fill in part.fills] == [5]
    assert [fill.quantity for fill in trader.advance(a_bar(2, volume="50")).fills] == [5]
    closing = trader.advance(a_bar(3, volume="0")).orders
    assert [(order.id == placed.id, order.status) for order in closing] == [
        (True, "cancelled"),
        (False, "open"),
    ]


def test_without_a_volatility_to_measure_its_stop_by_nothing_is_entered():
    step = scripted(with_exits(stop_distance=2.0)).advance(a_bar(0))
    assert [rejection.rule for rejection in step.rejections] == ["exits_unknown"]


def test_a_time_stop_closes_at_the_open_after_so_many_bars():
    trader = scripted(with_exits(time_stop_bars=2))
    steps = run(trader, [a_bar(i) for i in range(5)])
    assert [[fill.side for fill in step.fills] for step in steps] == [[], ["buy"], [], ["sell"], []]


def test_where_bars_price_orders_quotes_and_marks_change_nothing():
    signals = [a_signal("long"), a_signal("short"), a_signal("hold", close_position=True)]
    bars = [a_bar(i, open=100 + i, close=101 + i) for i in range(5)]
    offline = run(scripted(*signals), bars)
    trader = scripted(*signals, quotes=True, broker={"fill_model": "bar"})
    live = []
    for bar in bars:
        for mark in ("50", "200"):
            assert trader.advance(quote_at(bar.close_ms - 5, mark=mark)).is_empty
        live.append(trader.advance(bar))
    assert live == offline
    assert sum(len(step.fills) for step in live) == 3


def test_a_late_bar_walks_into_a_stop_that_was_resting():
    trader = scripted(with_exits(stop_distance=2.0), quotes=True)
    index = warmed_up(trader)
    trader.advance(quote_at(at_close(index - 1)))
    trader.advance(a_bar(index))
    trader.advance(quote_at(at_close(index) + MINUTE))
    step = trader.advance(a_bar(index + 2, low="90", late=True))
    assert [(fill.rule, fill.late) for fill in step.fills] == [("stop", True)]


def test_orders_wait_for_the_book_where_it_is_what_prices_them():
    trader = scripted(a_signal("long"), quotes=True, broker={"fill_model": "book", "slippage_bps": 0})
    run(trader, [quote_at(START_MS), a_bar(0)])
    assert not trader.advance(quote_at(at_close(0) + MINUTE)).fills
    levels = [
        tuple(Level(price=Decimal(p), size=Decimal(15)) for p in side) for side in ((99, 98), (100, 101))
    ]
    book = Book(symbol="BTCUSDT", time_ms=at_close(0) + MINUTE, bids=levels[0], asks=levels[1])
    step = trader.advance(book)
    assert [(fill.rule, fill.quantity, fill.price) for fill in step.fills] == [
        ("book", 15, 100),
        ("book", 5, 101),
    ]
    assert step.positions[0].quantity == 20


def test_a_position_is_liquidated_by_its_mark_price_and_the_account_loses_its_margin():
    risk = {"position_fraction": "2", "max_position_fraction": "2", "max_total_fraction": "2"}
    trader = scripted(
        a_signal("long"), quotes=True, risk=risk, broker={"leverage": 10, "slippage_bps": 0, "taker_fee": 0}
    )
    run(trader, [quote_at(START_MS), a_bar(0), quote_at(at_close(0) + MINUTE, ask="100", mark="100")])
    assert trader.advance(quote_at(at_close(0) + 2 * MINUTE, mark="90.5")).is_empty
    step = trader.advance(quote_at(at_close(0) + 3 * MINUTE, mark="90.4"))
    (fill,) = step.fills
    assert (fill.rule, fill.price, fill.realized_pnl) == ("liquidation", 90, -2000)
    (row,) = step.equity
    assert (row.cash, row.unrealized_pnl) == (8000, 0)


def test_a_trader_that_goes_on_from_its_orders_and_books_decides_and_fills_as_if_never_stopped():
    exits = {"stop_distance": 1.0, "trail_distance": 1.5, "target_distance": 2.0, "time_stop_bars": 4}
    turns = [
        a_signal(action, **exits) for action in ("long", "hold", "short", "hold", "long", "hold", "hold")
    ]
    bars = [
        a_bar(
            300 + i, open=100 + i % 3, high=104 - i % 2, low=97 + i % 2, close=100 + (i + 1) % 3, volume="90"
        )
        for i in range(7)
    ]
    whole = scripted(*turns)
    warmed_up(whole)
    steps = run(whole, bars)
    assert {order.type for step in steps for order in step.orders} == {
        "market",
        "stop_market",
        "trailing_stop",
        "take_profit",
    }
    for cut in range(1, 7):
        first = scripted(*turns)
        warmed_up(first)
        done = run(first, bars[:cut])
        opening = Opening(
            ledger=first._ledger.snapshot(),
            open_orders=first._broker.open_orders,
            next_signal_id=cut + 1,
            next_order_id=1 + max((order.id for step in done for order in step.orders), default=0),
            next_fill_id=1 + sum(len(step.fills) for step in done),
            risk=first._risk.snapshot(),
            account=first._track.snapshot(),
        )
        config = a_config("BTCUSDT", "ETHUSDT", risk={"require_contiguous_bars": 0})
        second = a_trader(config, Scripted(*turns[cut:]), opening=opening)
        warmed_up(second)
        for bar in bars[:cut]:
            second.observe(bar)
        assert [without_risk(step) for step in run(second, bars[cut:])] == [
            without_risk(step) for step in steps[cut:]
        ]


def without_risk(step):
    return replace(step, risk=None)


def test_a_position_in_a_symbol_that_is_no_longer_traded_binds_its_cost():
    ledger = Ledger(Decimal(10000))
    ledger.post([a_fill(1, quantity="99", price="100", symbol="SOLUSDT")])
    opening = replace(NOTHING_YET, ledger=ledger.snapshot(), next_fill_id=2)
    risk = {"require_contiguous_bars": 0, "max_total_fraction": "3"}
    trader = a_trader(a_config("BTCUSDT", risk=risk), Scripted(a_signal("long")), opening=opening)
    (rejection,) = trader.advance(a_bar(0)).rejections
    assert rejection.rule == "insufficient_margin"
