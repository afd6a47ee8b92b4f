"""Resting orders meet quotes, books and bars by one set of rules, and never before they may."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.exact import EXACT
from bot.market import Bar, Book, Funding, Instrument, Level, Quote
from bot.trading.broker import Matched, PaperBroker
from bot.trading.events import Fill, Order, Rejection, Transfer
from bot.trading.fills import BrokerConfig
from bot.trading.ledger import Ledger
from bot.trading.margin import Margin
from tests.factories import START_MS, a_bar, a_quote, a_tier, an_instrument, an_order

INSTRUMENTS = {symbol: an_instrument(symbol) for symbol in ("BTCUSDT", "ETHUSDT")}
FREE = {"half_spread_bps": Decimal(0), "slippage_bps": Decimal(0), "impact_bps": Decimal(0)}
MINUTE = 60_000


class Desk:
    """A broker beside a ledger: what fills is booked before the next thing happens."""

    def __init__(
        self,
        *,
        instruments: Mapping[str, Instrument] = INSTRUMENTS,
        next_order_id: int = 1,
        next_fill_id: int = 1,
        cash: str = "1000000",
        **settings,
    ) -> None:
        config = BrokerConfig(**(FREE | {"max_volume_share": Decimal(1)} | settings))
        ids = {"next_order_id": next_order_id, "next_fill_id": next_fill_id}
        self.broker = PaperBroker(config, instruments, **ids)
        self.ledger = Ledger(Decimal(cash))
        self.orders: dict[int, Order] = {}
        self.rejections: list[Rejection] = []

    def place(self, *drafts: Order) -> tuple[Order, ...]:
        placed = self.broker.place(drafts)
        self.orders.update({order.id: order for order in placed})
        return placed

    def quote(self, **fields) -> tuple[Fill, ...]:
        quote = a_quote(**fields)
        return self._book(self.broker.match_quote(quote, self.ledger))

    def book(self, book: Book) -> tuple[Fill, ...]:
        return self._book(self.broker.match_book(book, self.ledger))

    def bar(self, bar: Bar, *, late: bool = False) -> tuple[Fill, ...]:
        return self._book(self.broker.match_bar(bar, self.ledger, late=late))

    def meet(self, market: Bar | Quote) -> tuple[Fill, ...]:
        matching = self.broker.match_bar if isinstance(market, Bar) else self.broker.match_quote
        return self._book(matching(market, self.ledger))

    def status(self, id: int) -> str:
        return self.orders[id].status

    @property
    def held(self) -> Decimal:
        return self.ledger.position("BTCUSDT").quantity

    def _book(self, matched: Matched) -> tuple[Fill, ...]:
        self.orders.update({order.id: order for order in matched.orders})
        self.rejections += matched.rejections
        booked = self.ledger.post(matched.fills).fills
        self.ledger.check()
        return booked


def told(fills) -> list[tuple[str, Decimal, Decimal]]:
    """Rule, quantity and price of each fill."""
    return [(fill.rule, fill.quantity, fill.price) for fill in fills]


def an_exit(type: str, distance: str | None = None, *, side: str = "sell", **fields) -> Order:
    """A child of the draft before it, as the sizer drafts it."""
    away = None if distance is None else Decimal(distance)
    known = {"parent_id": 0, "status": "pending", "reduce_only": True, "distance": away}
    return an_order(side=side, type=type, **(known | fields))


def ohlc(index: int, open: str, high: str, low: str, close: str, volume: str = "100000") -> Bar:
    return a_bar(index, open=open, high=high, low=low, close=close, volume=volume)


# When.


def test_an_order_is_due_after_the_latency_and_fills_at_the_first_quote_from_then_on():
    desk = Desk(next_order_id=5, next_fill_id=9)
    (order,) = desk.place(an_order())
    assert (order.id, order.due_ms, order.status) == (5, START_MS + 250, "open")
    assert desk.quote(time_ms=START_MS + 249) == ()
    assert desk.broker.waits("BTCUSDT")
    (fill,) = desk.quote(time_ms=START_MS + 250)
    assert (fill.id, fill.order_id, fill.time_ms, fill.reference_ms) == (9, 5, START_MS + 250, START_MS + 250)
    assert (fill.rule, fill.preset, fill.liquidity) == ("quote", "realistic", "taker")
    filled = desk.orders[5]
    assert (filled.status, filled.filled_quantity, filled.updated_ms) == ("filled", 1, START_MS + 250)
    assert not desk.broker.waits("BTCUSDT")
    assert desk.quote(time_ms=START_MS + 251) == ()


@given(st.integers(0, 2000), st.lists(st.integers(-1000, 3000), max_size=12))
def test_no_order_fills_before_it_is_due_or_twice(latency_ms, offsets):
    desk = Desk(latency_ms=latency_ms)
    desk.place(an_order(), an_order(symbol="ETHUSDT"))
    fills = [fill for offset in offsets for fill in desk.quote(time_ms=START_MS + offset)]
    due = [offset for offset in offsets if offset >= latency_ms]
    assert [fill.time_ms - START_MS for fill in fills] == due[:1]
    assert desk.broker.waits("BTCUSDT") == (not due)
    assert desk.broker.waits("ETHUSDT")


def test_an_order_meets_the_open_of_the_bar_after_its_decision():
    desk = Desk()
    decided, following = a_bar(0, close="100"), a_bar(1, open="120", close="90")
    desk.place(an_order(created_ms=decided.close_ms))
    assert desk.bar(decided) == ()
    (fill,) = desk.bar(following)
    assert (fill.rule, fill.reference_price, fill.time_ms, fill.late) == (
        "next_open", 120, decided.close_ms, False,
    )  # fmt: skip


def test_a_bar_whose_quotes_were_missed_fills_late():
    desk = Desk()
    desk.place(an_order())
    (fill,) = desk.bar(a_bar(3), late=True)
    assert (fill.late, fill.rule) == (True, "next_open")


def test_another_symbol_fills_nothing():
    desk = Desk()
    desk.place(an_order())
    assert desk.quote(symbol="ETHUSDT", time_ms=START_MS + 9000) == ()
    assert desk.bar(a_bar(1, symbol="ETHUSDT")) == ()


def test_orders_of_one_symbol_fill_in_their_order_and_only_those_due():
    desk = Desk()
    desk.place(an_order(quantity="1"), an_order(quantity="2"), an_order(created_ms=START_MS + 1000))
    fills = desk.quote(time_ms=START_MS + 500)
    assert [(fill.id, fill.order_id, fill.quantity) for fill in fills] == [(1, 1, 1), (2, 2, 2)]
    assert [order.id for order in desk.broker.open_orders] == [3]


def test_where_books_are_waited_for_quotes_fill_nothing():
    desk = Desk(fill_model="book")
    desk.place(an_order(quantity="3"))
    assert desk.quote(time_ms=START_MS + 250) == ()
    levels = tuple(Level(price=Decimal(price), size=Decimal(2)) for price in ("100", "101"))
    bids = (Level(price=Decimal(99), size=Decimal(1)),)
    assert desk.book(Book(symbol="BTCUSDT", time_ms=START_MS + 249, bids=bids, asks=levels)) == ()
    fills = desk.book(Book(symbol="BTCUSDT", time_ms=START_MS + 300, bids=bids, asks=levels))
    assert told(fills) == [("book", 2, 100), ("book", 1, 101)]
    assert desk.status(1) == "filled"


# How much.


def test_what_a_quote_does_not_display_waits_for_the_next():
    desk = Desk()
    desk.place(an_order(quantity="5"))
    assert told(desk.quote(time_ms=START_MS + 250, ask="100", size="2")) == [("quote", 2, 100)]
    assert (desk.status(1), desk.orders[1].filled_quantity) == ("partially_filled", 2)
    assert told(desk.quote(time_ms=START_MS + 350, ask="101", size="9")) == [("quote", 3, 101)]
    assert desk.status(1) == "filled"


def test_what_was_taken_at_a_price_does_not_come_again_until_the_price_moves_or_more_is_displayed():
    desk = Desk(latency_ms=0)
    desk.place(an_order(quantity="9"))
    shown = [("100", "2"), ("100", "2"), ("100", "1"), ("100", "2.5"), ("101", "2"), ("100", "2")]
    taken = [
        told(desk.quote(time_ms=START_MS + offset, ask=ask, size=size))
        for offset, (ask, size) in enumerate(shown)
    ]
    assert taken == [
        [("quote", 2, 100)], [], [], [("quote", Decimal("0.5"), 100)], [("quote", 2, 101)], [("quote", 2, 100)],
    ]  # fmt: skip


def test_a_limit_order_takes_each_level_of_an_unchanged_book_once():
    desk = Desk(fill_model="book", latency_ms=0)
    desk.place(an_order(quantity="9", type="limit", limit_price=Decimal(101)))
    bids = (Level(price=Decimal(99), size=Decimal(1)),)
    asks = tuple(Level(price=Decimal(price), size=Decimal(2)) for price in ("100", "101", "102"))
    book = Book(symbol="BTCUSDT", time_ms=START_MS, bids=bids, asks=asks)
    assert told(desk.book(book)) == [("book", 2, 100), ("book", 2, 101)]
    assert told(desk.book(replace(book, time_ms=START_MS + 20))) == []
    nearer = (Level(price=Decimal("99.5"), size=Decimal(3)), *asks)
    assert told(desk.book(replace(book, time_ms=START_MS + 40, asks=nearer))) == [("limit", 3, 101)]


def test_what_exceeds_a_bars_share_of_its_volume_waits_for_the_next_open():
    desk = Desk(max_volume_share=Decimal("0.1"))
    desk.place(an_order(quantity="5"))
    assert told(desk.bar(ohlc(0, "100", "100", "100", "100", volume="30"))) == [("next_open", 3, 100)]
    assert told(desk.bar(ohlc(1, "104", "104", "104", "104", volume="0"))) == []
    assert told(desk.bar(ohlc(2, "105", "105", "105", "105", volume="30"))) == [("next_open", 2, 105)]


def test_what_may_only_reduce_is_held_against_the_position_when_it_fills():
    desk = Desk(latency_ms=0)
    desk.place(an_order(quantity="2"))
    desk.quote(time_ms=START_MS)
    desk.place(an_order(side="sell", quantity="3", reduce_only=True), an_order(side="sell", reduce_only=True))
    assert [fill.quantity for fill in desk.quote(time_ms=START_MS + 1)] == [2]
    assert [desk.status(id) for id in (2, 3)] == ["cancelled", "cancelled"]
    assert desk.orders[2].filled_quantity == 2
    assert "nothing is left to reduce" in desk.orders[3].reason
    assert desk.held == 0


# Limit orders.


def a_limit(price: str, side: str = "buy", **fields) -> Order:
    return an_order(side=side, type="limit", limit_price=Decimal(price), **fields)


def test_a_limit_order_that_could_trade_as_it_comes_takes_and_else_rests_as_a_maker():
    desk = Desk(latency_ms=0)
    desk.place(a_limit("100", quantity="3"))
    (taken,) = desk.quote(time_ms=START_MS, bid="98", ask="99", size="2")
    assert (taken.rule, taken.quantity, taken.price, taken.liquidity) == ("quote", 2, 99, "taker")
    assert desk.quote(time_ms=START_MS + 1, bid="99", ask="100") == ()
    (given,) = desk.quote(time_ms=START_MS + 2, bid="98", ask="99.9")
    assert (given.rule, given.quantity, given.price, given.liquidity) == ("limit", 1, 100, "maker")
    assert given.fee == Decimal("0.02")


def test_ioc_withdraws_what_is_not_to_be_had_at_once_and_post_only_what_would_take():
    desk = Desk(latency_ms=0)
    desk.place(a_limit("100", quantity="3", time_in_force="ioc"), a_limit("100", time_in_force="post_only"))
    assert [fill.quantity for fill in desk.quote(time_ms=START_MS, ask="100", size="2")] == [2]
    assert (desk.status(1), desk.orders[1].filled_quantity) == ("cancelled", 2)
    assert (desk.status(2), desk.orders[2].filled_quantity) == ("cancelled", 0)
    desk.place(a_limit("99", time_in_force="post_only"))
    assert desk.quote(time_ms=START_MS + 1, bid="99", ask="100") == ()
    assert told(desk.quote(time_ms=START_MS + 2, bid="98", ask="98.5")) == [("limit", 1, 99)]


@pytest.mark.parametrize(("low", "fills"), [("95.1", []), ("95", []), ("94.9", [("limit", 1, 95)])])
def test_a_bar_must_trade_through_a_limit(low, fills):
    desk = Desk()
    desk.place(a_limit("95"))
    assert told(desk.bar(ohlc(0, "100", "101", low, "99"))) == fills


def test_a_touch_is_enough_for_an_optimist():
    desk = Desk(fill_preset="optimistic")
    desk.place(a_limit("95"))
    assert told(desk.bar(ohlc(0, "100", "101", "95", "99"))) == [("limit", 1, 95)]


def test_a_bar_that_opens_beyond_a_resting_limit_fills_it_at_the_worst_price_within_the_bar():
    desk = Desk()
    desk.place(a_limit("95"))
    desk.bar(ohlc(0, "100", "101", "99", "100"))
    assert told(desk.bar(ohlc(1, "90", "92", "89", "91"))) == [("limit", 1, 92)]


def test_a_limit_that_could_trade_at_the_open_it_comes_to_takes_the_open():
    desk = Desk(half_spread_bps=Decimal(100))
    desk.place(a_limit("100"), a_limit("90.5"))
    assert told(desk.bar(ohlc(0, "90", "92", "90", "91"))) == [
        ("next_open", 1, Decimal("90.9")), ("next_open", 1, Decimal("90.5")),
    ]  # fmt: skip


# Stops and targets.


def long_with(*exits: Order, **settings) -> Desk:
    """One bought at 100 at the open of the bar before the first, with its exits."""
    desk = Desk(**settings)
    desk.place(an_order(created_ms=START_MS - 15 * MINUTE), *exits)
    desk.bar(ohlc(-1, "100", "100", "100", "100"))
    assert desk.held == 1
    return desk


def test_children_wait_for_their_entry_and_lie_their_distance_from_its_price():
    desk = Desk()
    placed = desk.place(an_order(), an_exit("stop_market", "5"), an_exit("take_profit", "8"))
    assert [(order.status, order.parent_id) for order in placed] == [
        ("open", None), ("pending", 1), ("pending", 1),
    ]  # fmt: skip
    desk.bar(ohlc(0, "102", "103", "101", "102"))
    stop, target = desk.orders[2], desk.orders[3]
    assert [(child.status, child.quantity, child.active_ms) for child in (stop, target)] == [
        ("open", 1, START_MS), ("open", 1, START_MS),
    ]  # fmt: skip
    assert (stop.stop_price, target.stop_price) == (97, 110)


def test_children_grow_with_each_part_of_their_entry_that_fills():
    desk = Desk()
    desk.place(an_order(quantity="5"), an_exit("stop_market", "5", quantity="5"))
    desk.bar(ohlc(0, "100", "100", "100", "100", volume="2"))
    assert (desk.orders[2].quantity, desk.orders[2].stop_price) == (2, 95)
    desk.bar(ohlc(1, "101", "101", "101", "101", volume="3"))
    assert (desk.orders[2].quantity, desk.orders[2].stop_price) == (5, 95)


def test_a_reversal_protects_only_what_it_opens():
    desk = long_with()
    desk.place(an_order(side="sell", quantity="3"), an_exit("stop_market", "5", side="buy"))
    desk.bar(ohlc(0, "100", "100", "100", "100", volume="0.5"))
    assert desk.status(3) == "pending"
    desk.bar(ohlc(1, "90", "90", "90", "90"))
    assert (desk.held, desk.orders[3].quantity, desk.orders[3].stop_price) == (-2, 2, 95)


def test_the_exits_of_an_entry_that_never_fills_go_with_it():
    desk = Desk(latency_ms=0)
    desk.place(a_limit("90", time_in_force="ioc"), an_exit("stop_market", "5"))
    desk.quote(time_ms=START_MS, ask="100")
    assert [desk.status(id) for id in (1, 2)] == ["cancelled", "cancelled"]
    assert not desk.broker.waits("BTCUSDT")


@pytest.mark.parametrize(
    ("bar", "fills", "cancelled"),
    [
        (("100", "104", "96", "101"), [], None),
        (("100", "104", "95", "101"), [("stop", 1, 95)], 3),
        (("100", "108", "96", "101"), [], None),
        (("100", "108.1", "96", "101"), [("target", 1, 108)], 2),
        # Both could have come: the worse one did.
        (("100", "112", "90", "101"), [("stop", 1, 95)], 3),
        (("93", "112", "90", "101"), [("gap", 1, 93)], 3),
        (("109", "112", "90", "101"), [("gap", 1, 109)], 2),
    ],
)
def test_a_bar_reaches_the_worse_side_of_a_bracket_first(bar, fills, cancelled):
    desk = long_with(an_exit("stop_market", "5"), an_exit("take_profit", "8"))
    assert told(desk.bar(ohlc(0, *bar))) == fills
    if cancelled is not None:
        assert desk.status(cancelled) == "cancelled"
        assert not desk.broker.waits("BTCUSDT")


def test_a_short_is_stopped_above_and_reaches_its_target_below():
    for bar, fills in (
        (("100", "105", "90", "100"), [("stop", 1, 105)]),
        (("100", "104", "91.9", "100"), [("target", 1, 92)]),
    ):
        desk = Desk()
        children = an_exit("stop_market", "5", side="buy"), an_exit("take_profit", "8", side="buy")
        desk.place(an_order(side="sell", created_ms=START_MS - 15 * MINUTE), *children)
        desk.bar(ohlc(-1, "100", "100", "100", "100"))
        assert told(desk.bar(ohlc(0, *bar))) == fills


def test_a_bracket_entered_at_the_open_can_end_in_the_same_bar():
    desk = Desk()
    desk.place(an_order(), an_exit("stop_market", "5"), an_exit("take_profit", "8"))
    entered, left = desk.bar(ohlc(0, "100", "120", "96", "101"))
    assert told([entered, left]) == [("next_open", 1, 100), ("target", 1, 108)]
    assert (entered.time_ms, left.time_ms) == (START_MS, START_MS + 15 * MINUTE - 1)


def test_a_bracket_entered_within_a_bar_can_only_be_stopped_out_in_it():
    for low, fills in (("89", [("limit", 1, 95), ("stop", 1, 90)]), ("94", [("limit", 1, 95)])):
        desk = Desk()
        desk.place(a_limit("95"), an_exit("stop_market", "5"), an_exit("take_profit", "5"))
        assert told(desk.bar(ohlc(0, "100", "120", low, "101"))) == fills


def test_a_stop_may_open_a_position_and_its_own_stop_close_it():
    desk = Desk()
    entry = an_order(type="stop_market", stop_price=Decimal(105))
    desk.place(entry, an_exit("stop_market", "2"))
    assert told(desk.bar(ohlc(0, "100", "106", "99", "104"))) == [("stop", 1, 105), ("stop", 1, 103)]


def test_a_stop_that_the_volume_does_not_hold_goes_on_as_a_market_order():
    desk = long_with(
        an_exit("stop_market", "5"), an_exit("take_profit", "8"), max_volume_share=Decimal("0.1")
    )
    assert told(desk.bar(ohlc(0, "100", "101", "94", "96", volume="4"))) == [("stop", Decimal("0.4"), 95)]
    assert desk.orders[2].triggered_ms is not None
    assert desk.status(3) == "cancelled"
    assert told(desk.bar(ohlc(1, "120", "120", "120", "120"))) == [("next_open", Decimal("0.6"), 120)]


def test_by_quotes_a_stop_trades_at_the_quote_that_reaches_it():
    desk = long_with(an_exit("stop_market", "5"), an_exit("take_profit", "8"), latency_ms=0)
    assert desk.quote(time_ms=START_MS, bid="95.1", ask="95.3") == ()
    assert told(desk.quote(time_ms=START_MS + 1, bid="94.2", ask="95")) == [("quote", 1, Decimal("94.2"))]
    desk = long_with(an_exit("stop_market", "5"), an_exit("take_profit", "8"), latency_ms=0)
    assert desk.quote(time_ms=START_MS, bid="108", ask="108.2") == ()
    assert told(desk.quote(time_ms=START_MS + 1, bid="108.1", ask="109")) == [("quote", 1, Decimal("108.1"))]


def test_a_trailing_stop_follows_the_best_quote_and_never_steps_back():
    desk = long_with(an_exit("trailing_stop", "5"), latency_ms=0)
    levels = []
    for offset, bid in enumerate(("101", "110", "106")):
        assert desk.quote(time_ms=START_MS + offset, bid=bid, ask="120") == ()
        levels.append((desk.orders[2].anchor, desk.orders[2].stop_price))
    assert levels == [(101, 96), (110, 105), (110, 105)]
    assert told(desk.quote(time_ms=START_MS + 9, bid="104.9", ask="120")) == [("quote", 1, Decimal("104.9"))]


@pytest.mark.parametrize(
    ("bar", "fills", "anchor"),
    [
        # The low is thought to come before the high, the close after it.
        (("100", "110", "96", "109"), [], 110),
        (("100", "110", "94", "109"), [("stop", 1, 95)], 100),
        (("100", "110", "96", "104"), [("stop", 1, 105)], 110),
        (("103", "110", "98", "109"), [("stop", 1, 98)], 103),
        (("94", "110", "90", "109"), [("gap", 1, 94)], 100),
    ],
)
def test_a_bar_moves_a_trailing_stop_after_it_could_have_reached_it(bar, fills, anchor):
    desk = long_with(an_exit("trailing_stop", "5"))
    assert told(desk.bar(ohlc(0, *bar))) == fills
    assert desk.orders[2].anchor == anchor


def test_a_time_stop_closes_at_the_open_after_its_bars():
    waits_ms = 3 * 15 * MINUTE
    desk = long_with(
        an_exit("market", due_ms=START_MS - 15 * MINUTE + waits_ms), an_exit("stop_market", "50")
    )
    assert [told(desk.bar(a_bar(index, close="100"))) for index in range(4)] == [
        [], [], [("next_open", 1, 100)], [],
    ]  # fmt: skip
    assert desk.status(3) == "cancelled"


def test_closing_the_position_withdraws_its_exits():
    desk = long_with(an_exit("stop_market", "5"), an_exit("take_profit", "8"))
    desk.place(an_order(side="sell", reduce_only=True))
    desk.bar(ohlc(0, "100", "100", "100", "100"))
    assert desk.held == 0
    assert not desk.broker.waits("BTCUSDT")


@pytest.mark.parametrize(
    ("side", "type"), [("buy", "stop_market"), ("buy", "trailing_stop"), ("sell", "take_profit")]
)
def test_an_exit_further_away_than_the_whole_price_lies_at_the_lowest_price_there_is(side, type):
    desk = Desk()
    opposite = "sell" if side == "buy" else "buy"
    desk.place(an_order(side=side), an_exit(type, "20000", side=opposite))
    desk.bar(ohlc(0, "100", "100", "100", "100"))
    assert desk.orders[2].stop_price == Decimal("0.1")
    assert desk.bar(ohlc(1, "100", "101", "2", "99")) == ()


# What the account can back.


def test_what_the_account_cannot_back_any_more_when_it_would_fill_is_rejected_by_name():
    desk = Desk(latency_ms=0, cash="1000", taker_fee=Decimal(0), leverage=Decimal(2))
    desk.place(an_order(quantity="15"), an_exit("stop_market", "5"))
    # 15 at 100 would bind 750, but the price has doubled: 1000 * 2 / 200 = 10.
    (fill,) = desk.quote(time_ms=START_MS, bid="199", ask="200")
    assert (fill.quantity, desk.held) == (10, 10)
    entry, stop = desk.orders[1], desk.orders[2]
    assert (entry.status, entry.filled_quantity) == ("rejected", 10)
    assert entry.reason.startswith("insufficient_margin: at 200.0 the account can back 10.000 of the 15")
    assert [(one.order, one.rule) for one in desk.rejections] == [(entry, "insufficient_margin")]
    # What did fill is protected.
    assert (stop.status, stop.quantity, stop.stop_price) == ("open", 10, 195)
    assert [order.id for order in desk.broker.open_orders] == [2]


def test_an_entry_that_nothing_backs_goes_with_its_exits_and_fills_nothing():
    desk = Desk(latency_ms=0, cash="999.6")
    desk.place(an_order(symbol="ETHUSDT", quantity="9"))
    desk.quote(symbol="ETHUSDT", time_ms=START_MS, ask="111")
    desk.place(an_order(), an_exit("stop_market", "5"))
    assert desk.quote(time_ms=START_MS + 1, ask="100") == ()
    assert [desk.status(id) for id in (2, 3)] == ["rejected", "cancelled"]
    assert not desk.broker.waits("BTCUSDT")


def test_what_only_closes_needs_nothing_and_a_reversal_first_sets_its_margin_free():
    desk = Desk(latency_ms=0, cash="1000", taker_fee=Decimal(0))
    desk.place(an_order(quantity="10"))
    desk.quote(time_ms=START_MS, ask="100")
    # 1000 is bound, 400 of it lost at 60: what is left backs a short of 10 at 60, and no more.
    desk.place(an_order(side="sell", quantity="21"))
    desk.quote(time_ms=START_MS + 1, bid="60", ask="61")
    assert (desk.held, desk.status(2)) == (-10, "rejected")
    desk.place(an_order(quantity="10", reduce_only=True))
    desk.quote(time_ms=START_MS + 2, bid="119", ask="120")
    assert (desk.held, desk.ledger.cash) == (0, 0)


def test_what_the_exchange_does_not_lend_for_any_more_when_it_would_fill_is_rejected_by_name():
    tiers = (a_tier("1500", "0.005", "50"), a_tier("9000", "0.01", "5"))
    desk = Desk(instruments={"BTCUSDT": an_instrument(tiers=tiers)}, latency_ms=0, leverage=Decimal(10))
    desk.place(an_order(quantity="10"))
    # 10 at 100 are worth 1,000 and lent for; at 120 the tier of leverage 10 holds 12.5 in all.
    desk.quote(time_ms=START_MS, bid="99", ask="100")
    desk.place(an_order(quantity="4"))
    desk.quote(time_ms=START_MS + 1, bid="119", ask="120")
    assert (desk.held, desk.status(2)) == (Decimal("12.5"), "rejected")
    assert desk.orders[2].reason == (
        "risk_limit: at 120.0 the exchange lends for 2.500 of the 4 that would have filled"
    )
    # A reversal closes whatever is held, and then may open as much on the other side.
    desk.place(an_order(side="sell", quantity="30"))
    desk.quote(time_ms=START_MS + 2, bid="100", ask="101")
    assert (desk.held, desk.status(3)) == (-15, "rejected")


# Liquidation.


def leveraged(side: str = "buy", leverage: str = "10") -> Desk:
    desk = Desk(leverage=Decimal(leverage), latency_ms=0)
    desk.place(an_order(side=side, created_ms=START_MS - 1))
    desk.quote(time_ms=START_MS - 1, bid="60000", ask="60000")
    return desk


def test_a_position_is_liquidated_by_the_mark_price_at_its_bankruptcy_price():
    desk = leveraged()
    desk.place(a_limit("50000"))
    assert desk.quote(time_ms=START_MS, bid="50", ask="60000", mark="54271.4") == ()
    fills = desk.quote(time_ms=START_MS + 1, bid="60000", ask="60000", mark="54271.3")
    assert told(fills) == [("liquidation", 1, 54000)]
    order = desk.orders[fills[0].order_id]
    assert (order.signal_id, order.side, order.reduce_only, order.status) == (0, "sell", True, "filled")
    assert "54271.3" in order.reason
    assert desk.status(2) == "cancelled"
    # All of the margin is gone, and no more.
    assert fills[0].realized_pnl == -6000


def test_a_bar_liquidates_where_its_range_comes_that_far_and_a_nearer_stop_saves():
    desk = leveraged()
    assert told(desk.bar(ohlc(0, "60000", "60000", "54271.4", "60000"))) == []
    assert told(desk.bar(ohlc(1, "60000", "60000", "54271.3", "60000"))) == [("liquidation", 1, 54000)]
    desk = leveraged()
    desk.place(an_order(side="sell", type="stop_market", stop_price=Decimal(55000), reduce_only=True))
    assert told(desk.bar(ohlc(0, "60000", "60000", "50000", "60000"))) == [("stop", 1, 55000)]
    desk = leveraged()
    desk.place(an_order(side="sell", type="stop_market", stop_price=Decimal(54100), reduce_only=True))
    assert told(desk.bar(ohlc(0, "60000", "60000", "50000", "60000"))) == [("liquidation", 1, 54000)]


def test_a_short_is_liquidated_above_its_entry():
    desk = leveraged("sell")
    assert desk.quote(time_ms=START_MS, bid="1", ask="99999", mark="65671.6") == ()
    assert told(desk.quote(time_ms=START_MS, bid="1", ask="99999", mark="65671.7")) == [
        ("liquidation", 1, 66000)
    ]


def test_a_long_position_without_leverage_is_never_liquidated():
    desk = leveraged(leverage="1")
    assert desk.quote(time_ms=START_MS, bid="1", ask="1", mark="0.1") == ()


def test_funding_that_the_cash_cannot_pay_brings_the_liquidation_nearer():
    desk = Desk(latency_ms=0, cash="6002.97", leverage=Decimal(10), taker_fee=Decimal(0))
    desk.place(an_order())
    desk.quote(time_ms=START_MS, bid="60000", ask="60000")
    # 6000 is bound. 0.01 of 60,000 is paid, of which 2.97 was free.
    paid = Funding(
        symbol="BTCUSDT", time_ms=START_MS + 60_000, rate=Decimal("0.01"), mark_price=Decimal(60_000)
    )
    desk.ledger.settle(paid)
    # (54,000 + 597.03) / 0.995 = 54,871.38...
    assert desk.quote(time_ms=START_MS + 60_001, mark="54871.4") == ()
    (fill,) = desk.quote(time_ms=START_MS + 60_002, mark="54871.3")
    assert (fill.rule, fill.price) == ("liquidation", Decimal("54597.0"))
    # A tick against the trader; an isolated position costs no more than there was.
    assert desk.ledger.cash == Decimal("-0.03")


def test_what_is_closed_at_the_open_of_a_bar_backs_the_rest_within_it():
    desk = Desk(latency_ms=0, cash="6000", leverage=Decimal(10), taker_fee=Decimal(0))
    desk.place(an_order(created_ms=START_MS - 15 * MINUTE))
    desk.quote(time_ms=START_MS - 15 * MINUTE, bid="60000", ask="60000")
    desk.ledger.transfer(Transfer(id=1, time_ms=START_MS, amount=Decimal(-600), reason="test"))
    desk.place(an_order(side="sell", quantity="0.5", reduce_only=True))
    # 600 of the margin were gone, which would have ended the half that is left at 55,477.
    assert told(desk.bar(ohlc(0, "60000", "60000", "54500", "60000"))) == [
        ("next_open", Decimal("0.5"), 60000)
    ]
    assert told(desk.bar(ohlc(1, "60000", "60000", "54271", "60000"))) == [
        ("liquidation", Decimal("0.5"), 54000)
    ]


def test_a_long_position_without_leverage_is_liquidated_once_its_margin_is_eaten():
    desk = Desk(latency_ms=0, cash="60000", taker_fee=Decimal(0))
    desk.place(an_order())
    desk.quote(time_ms=START_MS, bid="60000", ask="60000")
    desk.ledger.transfer(Transfer(id=1, time_ms=START_MS, amount=Decimal(-9950), reason="test"))
    assert desk.quote(time_ms=START_MS + 2, mark="10000.1") == ()
    assert told(desk.quote(time_ms=START_MS + 3, mark="10000")) == [("liquidation", 1, 9950)]


@given(st.data(), st.sampled_from([("1", "Infinity"), ("3", "2000"), ("20", "400")]))
def test_no_fill_opens_what_the_account_does_not_back_or_the_exchange_not_lend_for(data, leverage_and_limit):
    leverage, limit = map(Decimal, leverage_and_limit)
    tiers = (a_tier("400", "0.005", "25"), a_tier("2000", "0.01", "5"))
    rules = {symbol: an_instrument(symbol, tiers=tiers) for symbol in INSTRUMENTS}
    desk = Desk(
        instruments=rules, leverage=leverage, cash="700", slippage_bps=Decimal(2), impact_bps=Decimal(40)
    )
    margin = Margin(BrokerConfig(leverage=leverage), rules)
    for index in range(data.draw(st.integers(1, 6))):
        desk.place(*data.draw(st.lists(drafts(index), max_size=3)))
        ledger = Ledger.from_state(desk.ledger.snapshot())
        for fill in desk.bar(data.draw(bars(index))):
            before = ledger.position("BTCUSDT").quantity
            ledger.post([fill])
            after = ledger.position("BTCUSDT").quantity
            if abs(after) > abs(before) or before * after < 0:
                assert margin.free(ledger.cash, ledger.open_positions) >= 0
                assert EXACT.multiply(abs(after), fill.price) <= limit


# Withdrawal, numbers, restarts.


def test_a_cancelled_order_never_fills():
    desk = Desk()
    desk.place(an_order())
    (cancelled,) = desk.broker.cancel("BTCUSDT", START_MS + 100, "replaced by a newer target")
    assert (cancelled.status, cancelled.reason) == ("cancelled", "replaced by a newer target")
    assert cancelled.updated_ms == START_MS + 100
    assert desk.quote(time_ms=START_MS + 250) == ()
    assert desk.broker.cancel("BTCUSDT", START_MS + 300, "again") == ()


def test_what_protects_a_position_is_kept_where_only_the_target_changes():
    desk = long_with(an_exit("stop_market", "5"))
    desk.place(an_order(created_ms=START_MS + 1), an_exit("stop_market", "7"))
    cancelled = desk.broker.cancel("BTCUSDT", START_MS, "replaced", keep_exits=True)
    assert [order.id for order in cancelled] == [3, 4]
    assert [order.id for order in desk.broker.open_orders] == [2]


def test_an_entry_that_is_still_wanted_is_kept_with_its_bracket():
    desk = Desk()
    desk.place(an_order(), an_exit("stop_market", "5"), an_order(side="sell"))
    cancelled = desk.broker.cancel("BTCUSDT", START_MS, "replaced", keep_exits=True, keep_entries="buy")
    assert [order.id for order in cancelled] == [3]


def test_rejected_orders_take_numbers_too():
    desk = Desk()
    rejection = Rejection(order=an_order(status="rejected"), rule="lot_size", reason="odd")
    (numbered,) = desk.broker.refuse([rejection])
    (placed,) = desk.place(an_order())
    assert (numbered.order.id, placed.id) == (1, 2)
    assert desk.broker.open_orders == (placed,)


def test_orders_restored_after_a_restart_keep_their_number_and_due_time():
    first = Desk()
    placed = first.place(an_order(quantity="0.25"), an_order(symbol="ETHUSDT"))
    second = Desk()
    second.broker.restore(reversed(placed))
    assert second.broker.open_orders == placed
    (fill,) = second.quote(time_ms=START_MS + 250)
    assert (fill.order_id, fill.quantity) == (1, Decimal("0.25"))
    assert second.place(an_order())[0].id == 3


def test_each_fill_says_how_much_worse_than_the_market_it_is():
    desk = Desk(slippage_bps=Decimal(10))
    desk.place(an_order())
    (fill,) = desk.quote(time_ms=START_MS + 250, ask="1000")
    assert (fill.price, fill.reference_price, fill.slippage) == (1001, 1000, 1)


# Whatever comes.

levels = st.decimals("80", "120", places=1)
kinds = st.sampled_from(["market", "limit", "stop_market", "take_profit", "trailing_stop"])


@st.composite
def drafts(draw, index: int) -> Order:
    kind = draw(kinds)
    price = draw(levels)
    return an_order(
        side=draw(st.sampled_from(["buy", "sell"])),
        quantity=draw(st.decimals("0.001", "20", places=3)),
        type=kind,
        created_ms=START_MS + index * 15 * MINUTE,
        limit_price=price if kind == "limit" else None,
        stop_price=price if kind in ("stop_market", "take_profit") else None,
        distance=draw(st.decimals("0.1", "9", places=1)) if kind == "trailing_stop" else None,
        time_in_force=draw(st.sampled_from(["gtc", "ioc", "post_only"])) if kind == "limit" else "gtc",
        reduce_only=draw(st.booleans()),
    )


@st.composite
def bars(draw, index: int) -> Bar:
    low, one, other, high = sorted(draw(levels) for _ in range(4))
    first, last = draw(st.permutations([one, other]))
    volume = draw(st.decimals("0", "60", places=3))
    return ohlc(index, str(first), str(high), str(low), str(last), volume=str(volume))


@given(st.data(), st.sampled_from(["optimistic", "realistic", "pessimistic"]), st.sampled_from(["1", "20"]))
def test_bars_fill_within_their_range_and_volume_and_nothing_before_its_time(data, fills, leverage):
    desk = Desk(
        fill_preset=fills, leverage=Decimal(leverage), half_spread_bps=Decimal(3), slippage_bps=Decimal(2),
        impact_bps=Decimal(40), max_volume_share=Decimal("0.2"),
    )  # fmt: skip
    share = {"optimistic": "1", "realistic": "0.2", "pessimistic": "0.1"}[fills]
    for index in range(data.draw(st.integers(1, 6))):
        bar = data.draw(bars(index))
        held, taken = desk.held, Decimal(0)
        for fill in desk.bar(bar):
            order = desk.orders[fill.order_id]
            assert bar.start_ms <= fill.time_ms < bar.close_ms
            assert fill.slippage == abs(EXACT.subtract(fill.price, fill.reference_price))
            if fill.rule == "liquidation":
                held = Decimal(0)
                continue
            assert order.created_ms <= bar.start_ms
            taken += fill.quantity
            assert bar.low <= fill.reference_price <= bar.high
            if not fill.slippage:
                assert bar.low <= fill.price <= bar.high
            if order.limit_price is not None:
                bought = fill.side == "buy"
                assert fill.price <= order.limit_price if bought else fill.price >= order.limit_price
            if order.reduce_only:
                assert held != 0
                assert (held > 0) == (fill.side == "sell")
                assert fill.quantity <= abs(held)
            held += fill.quantity if fill.side == "buy" else -fill.quantity
        assert taken <= EXACT.multiply(bar.volume, Decimal(share))
        for order in desk.orders.values():
            assert order.filled_quantity <= order.quantity
        desk.place(*data.draw(st.lists(drafts(index + 1), max_size=3)))


@given(st.data())
def test_a_restart_between_any_two_bars_changes_nothing(data):
    whole, broken = (Desk(leverage=Decimal(20), max_volume_share=Decimal("0.2")) for _ in range(2))
    for index in range(data.draw(st.integers(1, 6))):
        bar = data.draw(bars(index))
        assert whole.bar(bar) == broken.bar(bar)
        placed = data.draw(st.lists(drafts(index + 1), max_size=3))
        assert whole.place(*placed) == broken.place(*placed)
        again = Desk(
            leverage=Decimal(20),
            max_volume_share=Decimal("0.2"),
            next_order_id=max(broken.orders, default=0) + 1,
            next_fill_id=broken.broker._next_fill_id,
        )
        again.broker.restore(broken.broker.open_orders)
        again.ledger, again.orders = Ledger.from_state(broken.ledger.snapshot()), broken.orders
        broken = again
    assert whole.broker.open_orders == broken.broker.open_orders
    assert whole.ledger.snapshot() == broken.ledger.snapshot()


@given(st.data(), st.sampled_from(["bar", "quote", "book"]))
def test_the_same_order_is_never_filled_better_where_fills_are_less_kind(data, kind):
    draft, bar = data.draw(drafts(0)), data.draw(bars(0))
    held = data.draw(st.sampled_from(["buy", "sell"]))
    first = []
    for fills in ("optimistic", "realistic", "pessimistic"):
        desk = Desk(
            fill_preset=fills, half_spread_bps=Decimal(3), slippage_bps=Decimal(2), impact_bps=Decimal(40),
            max_volume_share=Decimal("0.2"), latency_ms=0,
        )  # fmt: skip
        desk.place(an_order(side=held, created_ms=START_MS - 15 * MINUTE))
        desk.bar(a_bar(-1, close="100"))
        (order,) = desk.place(draft)
        if kind == "bar":
            met = desk.bar(bar)
        elif kind == "quote":
            met = desk.quote(time_ms=START_MS, bid=bar.low, ask=bar.high)
        else:
            bids, asks = (
                tuple(Level(price=price + sign * step, size=Decimal(3)) for step in range(3))
                for price, sign in ((bar.low, -1), (bar.high, 1))
            )
            met = desk.book(Book(symbol="BTCUSDT", time_ms=START_MS, bids=bids, asks=asks))
        first.append(next((fill.price for fill in met if fill.order_id == order.id), None))
    known = [price for price in first if price is not None]
    assert known == sorted(known, reverse=draft.side == "sell")
    # What a harder preset fills, a kinder one fills too.
    assert known == first[: len(known)] or bar.volume < 1


def test_a_flat_symbol_without_orders_is_not_even_looked_at():
    broker = PaperBroker(BrokerConfig(), {})
    assert broker.match_bar(a_bar(), Ledger(Decimal(1))) == Matched()
