"""Figures of a stretch of trading, worked out by hand."""

from decimal import Decimal

import pytest

from bot.trading.events import Equity, FundingPayment, Position, Transfer
from bot.trading.ledger import Ledger
from bot.trading.performance import round_trips, summarize
from tests.factories import a_fill


def a_curve(*values: int) -> list[Equity]:
    return [
        Equity(time_ms=index * 1000, cash=Decimal(value), unrealized_pnl=Decimal(0), equity=Decimal(value))
        for index, value in enumerate(values)
    ]


def a_payment(time_ms: int, amount: str, symbol: str = "BTCUSDT") -> FundingPayment:
    one = Decimal(1)
    return FundingPayment(
        symbol=symbol, time_ms=time_ms, rate=one, mark_price=one, quantity=one, payment=Decimal(amount)
    )


def booked(*fills):
    return Ledger(Decimal(10000)).post(fills)


def test_nothing_happened_without_any_equity():
    assert summarize([]) is None


def test_a_still_account_has_no_rates():
    report = summarize(a_curve(100))
    assert report is not None
    assert (report.total_return, report.max_drawdown, report.exposure) == (0, 0, 0)
    assert (report.hit_rate, report.profit_factor, report.round_trips) == (None, None, 0)


def test_drawdown_is_the_deepest_fall_from_a_peak():
    report = summarize(a_curve(100, 120, 90, 110, 130, 117))
    assert report is not None
    assert report.total_return == pytest.approx(0.17)
    assert report.max_drawdown == pytest.approx(0.25)


def test_a_withdrawal_is_neither_loss_nor_drawdown():
    withdrawal = Transfer(id=1, time_ms=2000, amount=Decimal(-50), reason="rent")
    before = Transfer(id=2, time_ms=0, amount=Decimal(70), reason="in the first row already")
    report = summarize(a_curve(100, 110, 60, 66), transfers=[withdrawal, before])
    assert report is not None
    assert (report.max_drawdown, report.transferred, report.end_equity) == (0, -50, 66)
    assert report.total_return == pytest.approx(0.16)


def test_round_trips_are_judged_after_fees_and_funding():
    fills = booked(
        a_fill(1, price="100", fee="1", time_ms=1000),
        a_fill(2, side="sell", price="110", fee="1", time_ms=3000),
        a_fill(3, price="100", fee="1", time_ms=6000),
        a_fill(4, side="sell", price="101", fee="1", time_ms=7000),
        a_fill(5, price="100", fee="1", time_ms=9000),
    )
    report = summarize(a_curve(*[10000] * 11), fills, [a_payment(3000, "-2"), a_payment(6000, "-50")])
    assert report is not None
    # 10 - 2 fees - 2 funding = 6 won; 1 - 2 fees = 1 lost; what was paid while flat belongs to neither.
    assert (report.fills, report.round_trips) == (5, 2)
    assert report.hit_rate == 0.5
    assert report.profit_factor == pytest.approx(6.0)
    assert (report.realized_pnl, report.fees, report.funding) == (11, 5, -52)
    # Open from 1 to 3, 6 to 7 and 9 to 10 of 10 seconds.
    assert report.exposure == pytest.approx(0.4)


def test_turning_over_ends_one_trip_and_begins_another():
    fills = booked(
        a_fill(1, quantity="1", price="100", time_ms=1000),
        a_fill(2, side="sell", quantity="4", price="110", fee="4", time_ms=2000),
        a_fill(3, quantity="3", price="100", time_ms=3000),
    )
    first, second = round_trips(fills)
    assert (first.opened_ms, first.closed_ms, first.result) == (1000, 2000, 9)
    assert (second.opened_ms, second.closed_ms, second.result) == (2000, 3000, 27)


def test_a_position_held_from_before_counts_with_what_it_brought_since():
    held = Position(symbol="BTCUSDT", quantity=Decimal(2), cost=Decimal(200), opened_ms=-5000)
    (sold,) = [a_fill(8, side="sell", quantity="2", price="90", time_ms=2000, realized_pnl=Decimal(-20))]
    report = summarize(a_curve(100, 100, 80, 80, 80), [sold], held=[held])
    assert report is not None
    assert (report.round_trips, report.hit_rate, report.profit_factor) == (1, 0, 0)
    assert report.exposure == 0.5


def test_two_symbols_open_at_once_are_exposed_once():
    fills = booked(
        a_fill(1, time_ms=1000),
        a_fill(2, symbol="ETHUSDT", time_ms=2000),
        a_fill(3, side="sell", time_ms=3000),
        a_fill(4, symbol="ETHUSDT", side="sell", time_ms=4000),
    )
    report = summarize(a_curve(*[10000] * 11), fills)
    assert report is not None
    assert report.exposure == pytest.approx(0.3)
    assert report.round_trips == 2
