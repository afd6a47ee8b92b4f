"""Where settled rates stand among bars, and what they cost whoever holds a position."""

from decimal import Decimal

import pytest

from bot.market import Funding, FundingRate
from bot.market.funding import among
from tests.core import run
from tests.factories import START_MS, a_bar, a_signal
from tests.test_trader import at_close, scripted

DAY_MS = 86_400_000


def a_rate(time_ms: int, rate: str = "0.0001", symbol: str = "BTCUSDT") -> FundingRate:
    return FundingRate(symbol=symbol, time_ms=time_ms, rate=Decimal(rate))


def paid(side: str, rates: list[FundingRate], closes: tuple[str, ...] = ("100", "110", "120", "130")):
    """Payments of a position that is decided at the first close, opened at the second bar's open and kept."""
    bars = [a_bar(index, close=close) for index, close in enumerate(closes)]
    steps = run(scripted(a_signal(side)), among(bars, rates))
    (fill,) = [fill for step in steps for fill in step.fills]
    assert fill.time_ms == at_close(0)
    return fill, [payment for step in steps for payment in step.funding]


def test_a_rate_stands_behind_all_bars_of_its_close_and_ahead_of_those_that_begin_there():
    bars = [a_bar(i, symbol=symbol) for i in range(3) for symbol in ("BTCUSDT", "ETHUSDT")]
    rates = [a_rate(at_close(0), symbol="ETHUSDT"), a_rate(at_close(2))]
    events = list(among(bars, rates))
    assert [type(event) is Funding for event in events] == [False] * 2 + [True] + [False] * 4 + [True]
    assert (events[2].symbol, events[7].symbol) == ("ETHUSDT", "BTCUSDT")


def test_the_mark_is_the_last_close_known_at_its_time():
    # The second bar begins before the settlement and closes after it: its close was not known then.
    bars = [a_bar(i, close=close, interval="D") for i, close in enumerate(("100", "200", "300"))]
    within, at_its_close = START_MS + DAY_MS + DAY_MS // 3, START_MS + 2 * DAY_MS
    events = list(among(bars, [a_rate(within), a_rate(at_its_close)]))
    assert [str(getattr(event, "mark_price", "bar")) for event in events] == [
        "bar",
        "bar",
        "100",
        "200",
        "bar",
    ]


def test_what_lies_outside_the_bars_is_left_out():
    bars = [a_bar(i) for i in range(2)]
    rates = [a_rate(START_MS - 1), a_rate(START_MS), a_rate(START_MS + 1), a_rate(at_close(1) + 1)]
    assert list(among(bars, rates)) == bars


def test_where_bars_are_missing_the_last_close_before_them_stands():
    bars = [a_bar(0, close="100"), a_bar(9, close="200")]
    _, funding, _ = among(bars, [a_rate(at_close(4))])
    assert funding.mark_price == 100


@pytest.mark.parametrize(("side", "sign"), [("long", -1), ("short", 1)])
def test_longs_pay_a_positive_rate_and_shorts_receive_it_to_the_last_digit(side, sign):
    fill, (payment,) = paid(side, [a_rate(at_close(1), "0.00012345")])
    held = -sign * fill.quantity
    assert (payment.time_ms, payment.mark_price, payment.quantity) == (at_close(1), 110, held)
    assert payment.payment == sign * fill.quantity * 110 * Decimal("0.00012345")


def test_a_negative_rate_is_received_by_longs():
    fill, (payment,) = paid("long", [a_rate(at_close(2), "-0.001")])
    assert payment.payment == fill.quantity * Decimal("0.12")


def test_what_is_opened_at_the_instant_of_a_settlement_pays_nothing():
    assert paid("long", [a_rate(at_close(0))])[1] == []
    (payment,) = paid("long", [a_rate(at_close(0) + 1)])[1]
    # Held since the open, and the second bar's close lies ahead.
    assert payment.mark_price == 100


def test_whoever_closes_at_the_instant_of_a_settlement_still_pays():
    bars = [a_bar(i) for i in range(4)]
    trader = scripted(a_signal("long"), a_signal("hold", close_position=True))
    steps = run(trader, among(bars, [a_rate(at_close(1)), a_rate(at_close(2))]))
    closing = [fill.time_ms for step in steps for fill in step.fills][1]
    assert closing == at_close(1)
    assert [payment.time_ms for step in steps for payment in step.funding] == [at_close(1)]


def test_without_a_position_nothing_happens():
    bars = [a_bar(i) for i in range(4)]
    steps = run(scripted(), among(bars, [a_rate(at_close(i), "0.01") for i in range(4)]))
    assert sum(step.is_empty for step in steps) == 4
    assert [row.equity for step in steps for row in step.equity] == [Decimal(10_000)] * 4
