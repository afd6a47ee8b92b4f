"""The ledger agrees with arithmetic in fractions, to the last digit, and says when it cannot."""

import random
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.errors import BrokenInvariant
from bot.exact import EXACT
from bot.market import Funding
from bot.trading.events import Fill, FundingPayment, Transfer
from bot.trading.ledger import Ledger, LedgerState
from bot.trading.position import entry_price
from tests.factories import START_MS, a_fill, an_order

MINUTE, HOUR = 60_000, 3_600_000
SYMBOLS = ("BTCUSDT", "PEPEUSDT")


def a_ledger(cash: str = "10000") -> Ledger:
    return Ledger(Decimal(cash))


def a_funding(
    *, rate: str = "0.0001", mark: str = "100", time_ms: int = START_MS, symbol: str = "BTCUSDT"
) -> Funding:
    return Funding(symbol=symbol, time_ms=time_ms, rate=Decimal(rate), mark_price=Decimal(mark))


def through_text(ledger: Ledger) -> Ledger:
    """The ledger after its state has been to the disk and back."""
    state = ledger.snapshot()
    written = msgspec.msgpack.encode(state)
    resumed = Ledger.from_state(msgspec.msgpack.decode(written, type=LedgerState))
    assert resumed.snapshot() == state
    return resumed


def a_transfer(id: int = 1, amount: str = "500") -> Transfer:
    return Transfer(id=id, time_ms=START_MS, amount=Decimal(amount), reason="top up")


def test_the_worked_example_nets_114_871():
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="0.1", price="60000", fee_rate="0.00055", time_ms=START_MS)])
    assert ledger.cash == Decimal("9996.70")
    ledger.mark("BTCUSDT", Decimal("61000"))
    assert ledger.equity(START_MS).unrealized_pnl == 100
    paid = ledger.settle(a_funding(mark="60500", time_ms=START_MS + MINUTE))
    assert paid is not None
    assert paid.payment == Decimal("-0.605")
    (sold,) = ledger.post(
        [a_fill(2, side="sell", quantity="0.1", price="61200", fee_rate="0.0002", liquidity="maker")]
    ).fills
    assert sold.realized_pnl == 120
    assert sold.fee == Decimal("1.224")
    assert ledger.equity(START_MS).equity - 10000 == Decimal("114.871")
    ledger.check()


def test_closing_a_part_releases_its_share_of_the_cost_and_the_last_part_takes_the_rest():
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="3", price="33.333333333333"), a_fill(2, quantity="4", price="10.1")])
    first, second = ledger.post(
        [a_fill(3, side="sell", quantity="2", price="50"), a_fill(4, side="sell", quantity="5", price="50")]
    ).fills
    # The cost is 140.399999999999; two sevenths of it are 40.114285714285428571…
    assert first.realized_pnl == Decimal("100") - Decimal("40.114285714285")
    assert second.realized_pnl == Decimal("250") - Decimal("100.285714285714")
    assert ledger.position("BTCUSDT").cost == 0


@pytest.mark.parametrize(
    ("entry", "released"),
    [
        ("0.0000000000005", "0"),  # a tie goes to the even neighbour, here down …
        ("0.0000000000015", "0.000000000002"),  # … and here up;
        # this close to a tie, the nearer neighbour still wins.
        ("0.0000000000005000000000000000000000000000000000000000000000000000000001", "0.000000000001"),
    ],
)
def test_a_share_of_the_cost_is_rounded_once_and_half_even(entry, released):
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="2", price=entry)])
    (sold,) = ledger.post([a_fill(2, side="sell", quantity="1", price="1")]).fills
    assert EXACT.subtract(Decimal(1), sold.realized_pnl) == Decimal(released)


def test_a_fill_across_zero_closes_and_opens_the_other_side():
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="2", price="100")])
    (turned,) = ledger.post([a_fill(2, side="sell", quantity="5", price="110")]).fills
    position = ledger.position("BTCUSDT")
    assert turned.realized_pnl == 20
    assert (position.quantity, position.cost, entry_price(position)) == (-3, -330, 110)
    assert position.opened_ms == turned.time_ms


def test_a_position_is_as_old_as_its_side():
    ledger = a_ledger()
    bought, added, cut = ledger.post(
        [a_fill(1, quantity="2"), a_fill(2, quantity="2"), a_fill(3, side="sell", quantity="1")]
    ).fills
    position = ledger.position("BTCUSDT")
    assert position.opened_ms == bought.time_ms
    assert position.updated_ms == cut.time_ms
    ledger.post([a_fill(4, side="sell", quantity="3"), a_fill(5, quantity="1")])
    assert ledger.position("BTCUSDT").opened_ms > added.time_ms


def test_the_entry_price_of_thirds_is_rounded_for_display():
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="1", price="100"), a_fill(2, quantity="2", price="100.5")])
    assert entry_price(ledger.position("BTCUSDT")) == Decimal("100.333333333333")
    assert entry_price(ledger.position("ETHUSDT")) == 0


def test_a_short_gains_what_the_mark_falls():
    ledger = a_ledger()
    ledger.post([a_fill(1, side="sell", quantity="2", price="100")])
    ledger.mark("BTCUSDT", Decimal("90"))
    equity = ledger.equity(START_MS + 5)
    assert (equity.time_ms, equity.cash, equity.unrealized_pnl, equity.equity) == (
        START_MS + 5,
        10000,
        20,
        10020,
    )


def test_a_position_without_a_mark_is_worth_its_cost():
    ledger = a_ledger()
    ledger.post([a_fill(1, price="100")])
    assert ledger.equity(START_MS).equity == 10000
    ledger.check()


def test_nothing_is_rounded_where_plain_decimals_would_be():
    ledger = a_ledger()
    quantity, price = Decimal("123456789012345678.123456789"), Decimal("0.000000123456789123")
    notional = EXACT.multiply(quantity, price)
    assert notional != quantity * price
    ledger.post([a_fill(1, quantity=quantity, price=price)])
    assert ledger.position("BTCUSDT").cost == notional


def test_funding_is_charged_on_the_position_just_before_its_time():
    noon = START_MS + 43_200_000
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="1", time_ms=noon - 1)])
    ledger.post([a_fill(2, quantity="5", time_ms=noon)])
    ledger.post([a_fill(3, side="sell", quantity="6", time_ms=noon + 60_000)])
    # The rate is known only now that the position is gone.
    payment = ledger.settle(a_funding(rate="0.001", mark="200", time_ms=noon))
    assert payment == FundingPayment(
        symbol="BTCUSDT",
        time_ms=noon,
        rate=Decimal("0.001"),
        mark_price=Decimal("200"),
        quantity=Decimal(1),
        payment=Decimal("-0.2"),
    )
    assert ledger.cash == Decimal("9999.8")


def test_a_short_receives_what_longs_pay():
    ledger = a_ledger()
    ledger.post([a_fill(1, side="sell", quantity="2", time_ms=START_MS)])
    payment = ledger.settle(a_funding(rate="0.001", mark="100", time_ms=START_MS + MINUTE))
    assert payment is not None
    assert payment.payment == Decimal("0.2")


def test_a_settlement_is_charged_once_however_its_time_is_stamped():
    ledger = a_ledger()
    ledger.post([a_fill(1, time_ms=START_MS)])
    paid = ledger.settle(a_funding(time_ms=START_MS + HOUR + 7))
    assert paid is not None
    assert paid.time_ms == START_MS + HOUR
    for aside in (-7, 0, 7, 29_999):
        assert ledger.settle(a_funding(time_ms=START_MS + HOUR + aside)) is None
    assert ledger.cash == Decimal("9999.99")


def test_a_settlement_that_becomes_known_after_a_later_one_is_charged_on_what_was_held_then():
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="2", time_ms=START_MS)])
    ledger.post([a_fill(2, side="sell", quantity="1", time_ms=START_MS + 2 * HOUR)])
    assert ledger.settle(a_funding(time_ms=START_MS + 3 * HOUR)).quantity == 1
    ledger.post([a_fill(3, side="sell", quantity="1", time_ms=START_MS + 4 * HOUR)])
    for resumed in (ledger, through_text(ledger)):
        late = resumed.settle(a_funding(time_ms=START_MS + HOUR))
        assert (late.quantity, late.payment) == (2, Decimal("-0.02"))
        assert resumed.settle(a_funding(time_ms=START_MS + HOUR)) is None


def test_funding_on_a_flat_account_is_nothing():
    ledger = a_ledger()
    assert ledger.settle(a_funding()) is None
    ledger.post([a_fill(1, time_ms=START_MS), a_fill(2, side="sell", time_ms=START_MS + 1)])
    assert ledger.settle(a_funding(time_ms=START_MS)) is None
    assert ledger.settle(a_funding(time_ms=START_MS + MINUTE)) is None
    assert ledger.cash == 10000


def test_what_was_paid_says_at_which_price():
    ledger = a_ledger()
    ledger.post([a_fill(1, time_ms=START_MS)])
    funding = replace(a_funding(time_ms=START_MS + HOUR), mark_source="index")
    assert ledger.settle(funding).mark_source == "index"
    assert ledger.settle(a_funding(time_ms=START_MS + 2 * HOUR)).mark_source == "mark"


def test_a_market_without_funding_does_not_remember_every_fill():
    ledger = a_ledger()
    for id in range(1, 12_000, 2):
        ledger.post([a_fill(id), a_fill(id + 1, side="sell")])
    # A fill a second is a change a minute.
    assert len(ledger.snapshot().settled["BTCUSDT"].changes) <= 201
    last_ms = START_MS + 12_000_000
    ledger.post([a_fill(12_001, quantity="3", time_ms=last_ms)])
    assert ledger.settle(a_funding(time_ms=last_ms + MINUTE)).quantity == 3


def test_a_rate_that_was_missing_for_10_000_fills_is_charged_on_what_was_held_before_them():
    ledger = a_ledger()
    fills = list(ledger.post([a_fill(1, quantity="3")]).fills)
    for id in range(2, 10_000, 2):
        at_ms = START_MS + HOUR + id * MINUTE
        fills += ledger.post([a_fill(id, time_ms=at_ms), a_fill(id + 1, side="sell", time_ms=at_ms)]).fills
    restored = Ledger.restore(Decimal(10000), fills, (), ())
    assert restored.snapshot() == replace(ledger.snapshot(), marks={})
    for each in (ledger, restored, through_text(ledger)):
        assert each.settle(a_funding(time_ms=START_MS + HOUR)).quantity == 3


@pytest.mark.parametrize(
    "wrong",
    [
        replace(a_fill(2), notional=Decimal("100.01")),
        replace(a_fill(2), quantity=Decimal(0), notional=Decimal(0)),
        replace(a_fill(2), price=Decimal(-100), notional=Decimal(-100)),
        replace(a_fill(2), fee=Decimal("1E-200")),
    ],
)
def test_a_fill_that_cannot_be_booked_leaves_the_books_as_they_were(wrong):
    ledger = a_ledger()
    with pytest.raises(BrokenInvariant):
        ledger.post([a_fill(1, fee="1"), wrong])
    assert ledger.cash == 10000
    assert ledger.positions == ()
    ledger.check()


@pytest.mark.parametrize("figure", ["_cash", "_realized", "_fees", "_funding", "_transferred", "_spent"])
def test_a_figure_that_moved_by_itself_breaks_the_books(figure):
    ledger = a_ledger()
    ledger.post([a_fill(1), a_fill(2, side="sell", price="101", quantity="0.5")])
    ledger.check()
    setattr(ledger, figure, getattr(ledger, figure) + Decimal("1E-15"))
    with pytest.raises(BrokenInvariant, match=r"\d{12}"):
        ledger.check()


def test_a_position_that_its_fills_do_not_explain_breaks_the_books():
    ledger = a_ledger()
    ledger.post([a_fill(1)])
    ledger._positions["BTCUSDT"] = replace(ledger.position("BTCUSDT"), quantity=Decimal(2))
    with pytest.raises(BrokenInvariant, match="BTCUSDT: position 2, but its fills sum to 1"):
        ledger.check()


def test_a_cost_that_was_lost_breaks_the_books():
    ledger = a_ledger()
    ledger.post([a_fill(1)])
    lost = replace(ledger.position("BTCUSDT"), cost=Decimal("99"))
    ledger._positions["BTCUSDT"] = ledger._open["BTCUSDT"] = lost
    ledger.mark("BTCUSDT", Decimal("100"))
    with pytest.raises(BrokenInvariant, match=r"equity is 10001, .* worth 10000"):
        ledger.check()


def test_a_stored_history_with_a_changed_profit_is_refused():
    ledger = a_ledger()
    fills = ledger.post([a_fill(1), a_fill(2, side="sell", price="110")]).fills
    wrong = (fills[0], replace(fills[1], realized_pnl=Decimal("10.01")))
    with pytest.raises(BrokenInvariant, match=r"fill 2 is stored with realized PnL 10\.01, .* 10$"):
        Ledger.restore(Decimal(10000), wrong, (), ())


def test_a_stored_funding_that_does_not_follow_from_its_figures_is_refused():
    fill = a_fill(1)
    payment = FundingPayment(
        symbol="BTCUSDT",
        time_ms=START_MS + 5000,
        rate=Decimal("0.001"),
        mark_price=Decimal(100),
        quantity=Decimal(1),
        payment=Decimal("0.1"),
    )
    with pytest.raises(BrokenInvariant, match=r"is 0\.1, its figures give -0\.1"):
        Ledger.restore(Decimal(10000), [fill], [payment], ())


def test_exposure_counts_waiting_orders_and_leaves_out_the_symbol_that_asks():
    ledger = a_ledger()
    ledger.post([a_fill(1, side="sell", quantity="2"), a_fill(2, symbol="ETHUSDT", price="10")])
    ledger.mark("BTCUSDT", Decimal(100))
    assert ledger.exposure() == 210
    ledger.mark("ETHUSDT", Decimal(20))
    waiting = [an_order(side="sell", quantity="1"), an_order(symbol="ETHUSDT", side="sell", quantity="1")]
    assert ledger.exposure(waiting) == 300
    assert ledger.exposure(waiting, without="BTCUSDT") == 0


def test_spot_may_spend_what_is_not_bound_in_holdings_or_waiting_buys():
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="2", price="100", fee="1")])
    ledger.mark("BTCUSDT", Decimal(150))
    assert ledger.spendable() == 9799
    assert ledger.spendable([an_order(quantity="3"), an_order(side="sell", quantity="9")]) == 9349


@dataclass
class Oracle:
    """The same books in fractions, kept the long way round."""

    cash: Fraction
    quantity: dict[str, Fraction] = field(default_factory=dict)
    cost: dict[str, Fraction] = field(default_factory=dict)
    marks: dict[str, Fraction] = field(default_factory=dict)
    past: dict[str, list[tuple[int, Fraction]]] = field(default_factory=dict)
    paid: set[tuple[str, int]] = field(default_factory=set)

    def post(self, fill: Fill) -> Fraction:
        """The realized PnL."""
        symbol, price = fill.symbol, Fraction(fill.price)
        change = Fraction(fill.quantity) * (1 if fill.side == "buy" else -1)
        held, cost = self.quantity.get(symbol, Fraction(0)), self.cost.get(symbol, Fraction(0))
        closed = min(abs(change), abs(held)) * (1 if change > 0 else -1) if held * change < 0 else Fraction(0)
        released = cost
        if closed != -held:
            # round() of a Fraction is half even.
            released = (
                Fraction(round(cost * abs(closed) / abs(held) * 10**12), 10**12) if held else Fraction(0)
            )
        realized = -closed * price - released if closed else Fraction(0)
        self.cost[symbol] = (cost - released if closed else cost) + (change - closed) * price
        self.quantity[symbol] = held + change
        self.past.setdefault(symbol, []).append((fill.time_ms, held + change))
        self.cash += realized - Fraction(fill.fee)
        return realized

    def settle(self, funding: Funding) -> Fraction | None:
        symbol = funding.symbol
        held = [after for time_ms, after in self.past.get(symbol, []) if time_ms < funding.time_ms]
        if (symbol, funding.time_ms) in self.paid or not held or not held[-1]:
            return None
        self.paid.add((symbol, funding.time_ms))
        payment = -held[-1] * Fraction(funding.mark_price) * Fraction(funding.rate)
        self.cash += payment
        return payment

    def equity(self) -> Fraction:
        return self.cash + sum(
            quantity * self.marks[symbol] - self.cost[symbol]
            for symbol, quantity in self.quantity.items()
            if symbol in self.marks
        )


quantities = st.one_of(
    st.integers(1, 9).map(Decimal),
    st.decimals("0.001", "5", places=3),
    st.decimals("0.00000001", "0.00001", places=8),
    st.decimals("1000000000", "900000000000000", places=2),
)
prices = st.one_of(
    st.decimals("90", "110", places=1),
    st.decimals("0.000000000001", "0.00000001", places=12),
    st.decimals("0.0000001", "100000", places=7),
)
events = st.one_of(
    st.tuples(
        st.just("fill"),
        st.sampled_from(SYMBOLS),
        st.sampled_from(["buy", "sell"]),
        st.one_of(quantities, st.sampled_from(["all", "half", "twice"])),
        prices,
    ),
    st.tuples(st.just("mark"), st.sampled_from(SYMBOLS), prices),
    st.tuples(
        st.just("funding"),
        st.sampled_from(SYMBOLS),
        st.integers(-3, 1),
        st.decimals("-0.01", "0.01", places=8),
        prices,
    ),
    st.tuples(st.just("transfer"), st.decimals("-1000", "1000", places=2)),
    st.tuples(st.just("restore")),
    st.tuples(st.just("resume")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=25), st.randoms(use_true_random=False))
def test_the_ledger_agrees_with_fractions_to_the_last_digit(story, shuffler: random.Random):
    start = Decimal("10000")
    ledger, oracle = Ledger(start), Oracle(Fraction(start))
    fills: list[Fill] = []
    payments: list[FundingPayment] = []
    transfers: list[Transfer] = []
    for hour, (kind, *details) in enumerate(story):
        now_ms = START_MS + hour * 3_600_000
        if kind == "fill":
            symbol, side, quantity, price = details
            held = ledger.position(symbol).quantity
            if isinstance(quantity, str):
                quantity = EXACT.multiply(
                    held.copy_abs() or Decimal(1),
                    Decimal({"all": "1", "half": "0.5", "twice": "2"}[quantity]),
                )
            fill = a_fill(
                len(fills) + 1,
                symbol=symbol,
                side=side,
                quantity=quantity,
                price=price,
                fee_rate="0.00055",
                time_ms=now_ms,
            )
            (booked,) = ledger.post([fill]).fills
            fills.append(booked)
            assert Fraction(booked.realized_pnl) == oracle.post(fill)
        elif kind == "mark":
            symbol, price = details
            ledger.mark(symbol, price)
            oracle.marks[symbol] = Fraction(price)
        elif kind == "funding":
            symbol, hours, rate, price = details
            funding = Funding(symbol=symbol, time_ms=now_ms + hours * 3_600_000, rate=rate, mark_price=price)
            payment, expected = ledger.settle(funding), oracle.settle(funding)
            assert (None if payment is None else Fraction(payment.payment)) == expected
            assert ledger.settle(funding) is None
            if payment is not None:
                payments.append(payment)
        elif kind == "transfer":
            transfers.append(Transfer(id=len(transfers) + 1, time_ms=now_ms, amount=details[0], reason=""))
            ledger.transfer(transfers[-1])
            oracle.cash += Fraction(details[0])
        elif kind == "resume":
            ledger = through_text(ledger)
        else:
            marks, before = ledger._marks, ledger.snapshot().settled
            for rows in (stored := (fills[:], payments[:], transfers[:])):
                shuffler.shuffle(rows)
            ledger = Ledger.restore(start, *stored)
            for symbol, mark in marks.items():
                ledger.mark(symbol, mark)
            assert ledger.snapshot().settled == before
        ledger.check()
        assert Fraction(ledger.cash) == oracle.cash
        assert Fraction(ledger.equity(now_ms).equity) == oracle.equity()
        for position in ledger.positions:
            assert Fraction(position.quantity) == oracle.quantity[position.symbol]
            assert Fraction(position.cost) == oracle.cost[position.symbol]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["buy", "sell"]), quantities, prices), max_size=10), prices)
def test_equity_moves_only_by_price_fees_and_funding(trades, last):
    ledger = a_ledger()
    for id, (side, quantity, price) in enumerate(trades, 1):
        ledger.mark("BTCUSDT", price)
        equity = ledger.equity(0).equity
        ledger.post([a_fill(id, side=side, quantity=quantity, price=price, fee="0.7")])
        # Trading at the mark costs the fee and nothing else …
        equity = EXACT.subtract(equity, Decimal("0.7"))
        assert ledger.equity(0).equity == equity
        # … and afterwards the position gains what the mark moves.
        ledger.mark("BTCUSDT", last)
        moved = EXACT.multiply(ledger.position("BTCUSDT").quantity, EXACT.subtract(last, price))
        equity = EXACT.add(equity, moved)
        assert ledger.equity(0).equity == equity
    time_ms = START_MS + 3_600_000
    payment = ledger.settle(a_funding(rate="0.003", mark="7", time_ms=time_ms))
    if payment is not None:
        assert ledger.equity(0).equity == EXACT.add(equity, payment.payment)


def test_a_snapshot_knows_what_late_funding_needs():
    ledger = a_ledger()
    ledger.post([a_fill(1, quantity="2", time_ms=START_MS), a_fill(2, quantity="3", time_ms=START_MS + HOUR)])
    ledger.mark("BTCUSDT", Decimal("101.5"))
    resumed = through_text(ledger)
    late = a_funding(time_ms=START_MS + MINUTE)
    assert resumed.settle(late) == ledger.settle(late)
    assert resumed.settle(late) is None
    assert through_text(resumed).settle(late) is None
    assert resumed.equity(START_MS) == ledger.equity(START_MS)


def test_a_snapshot_does_not_grow_with_the_fills():
    ledger = a_ledger()
    sizes = []
    for hour in range(4):
        for index in range(50):
            id = 50 * hour + index + 1
            side = "buy" if index % 2 else "sell"
            ledger.post([a_fill(id, side=side, time_ms=START_MS + hour * HOUR + index)])
        ledger.settle(a_funding(time_ms=START_MS + hour * HOUR + MINUTE))
        sizes.append(len(msgspec.msgpack.encode(ledger.snapshot())))
    # One change and one settlement an hour.
    assert all(later - sooner <= 24 for sooner, later in pairwise(sizes))


def test_books_that_do_not_balance_are_not_resumed():
    ledger = a_ledger()
    ledger.post([a_fill(1, fee="0.1")])
    state = ledger.snapshot()
    with pytest.raises(BrokenInvariant, match="cash is"):
        Ledger.from_state(replace(state, cash=Decimal("9999.8")))
    with pytest.raises(BrokenInvariant, match="fills sum to"):
        Ledger.from_state(replace(state, traded={"BTCUSDT": Decimal(2)}))


def test_exposure_counts_what_is_left_of_entries_and_no_exits_of_brackets():
    ledger = Ledger(Decimal(1000))
    ledger.post([a_fill(1, quantity="2", price="100")])
    ledger.mark("BTCUSDT", Decimal(100))
    waiting = [
        an_order(quantity="3", filled_quantity=Decimal(1)),
        an_order(side="sell", quantity="2", reduce_only=True, parent_id=1, type="stop_market"),
    ]
    assert ledger.exposure(waiting) == 400
    assert ledger.spendable(waiting) == 1000 - 200 - 200
