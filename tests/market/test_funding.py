"""Where settled rates stand among bars, and what they cost whoever holds a position."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.market import Funding, FundingRate
from bot.market.funding import Pace, among, unknown_funding
from tests.core import run
from tests.factories import START_MS, a_bar, a_signal
from tests.test_trader import at_close, scripted

DAY_MS = 86_400_000
HOUR = 3_600_000
MINUTE = 60_000


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
    rates = [a_rate(START_MS + minutes * MINUTE) for minutes in (-1, 0, 1)] + [a_rate(at_close(1) + MINUTE)]
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
    (payment,) = paid("long", [a_rate(at_close(0) + MINUTE)])[1]
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


@given(st.lists(st.tuples(st.integers(-3, 40), st.integers(-29_999, 29_999)), max_size=30))
def test_each_settlement_enters_once_in_order_however_it_is_stamped(stamps):
    bars = [a_bar(index) for index in range(30)]
    rates = [a_rate(at_close(minutes) + aside) for minutes, aside in stamps]
    entered = [event.time_ms for event in among(bars, rates) if isinstance(event, Funding)]
    assert entered == sorted({at_close(minutes) for minutes, _ in stamps if 0 <= minutes <= 29})


def test_what_stands_at_the_last_close_says_so():
    _, funding, _ = among([a_bar(0), a_bar(1)], [a_rate(at_close(0) + 7)])
    assert (funding.mark_source, funding.time_ms) == ("close", at_close(0))


def holes(*hours: int, first: int = 0, last: int = 1_000) -> list[tuple[int, int, int]]:
    found = unknown_funding("BTCUSDT", [hour * HOUR + 7 for hour in hours], first * HOUR, last * HOUR)
    assert all(each.symbol == "BTCUSDT" for each in found)
    return [(each.from_ms // HOUR, each.to_ms // HOUR, each.settlements) for each in found]


@pytest.mark.parametrize(
    ("hours", "found"),
    [
        # Every 8 hours; from 8 to 4 to 1; from 1 to 8.
        (range(0, 80, 8), []),
        ((0, 8, 16, 24, 28, 32, 36, 37, 38, 39), []),
        ((0, 1, 2, 3, 4, 8, 16, 24, 32), []),
        # One is missing, or three, or two with one between them, or one beside a change.
        ((0, 8, 16, 32, 40, 48), [(16, 32, 1)]),
        ((0, 8, 16, 48, 56, 64), [(16, 48, 3)]),
        ((0, 8, 16, 24, 40, 56, 64, 72, 80), [(24, 40, 1), (40, 56, 1)]),
        ((0, 8, 16, 32, 36, 40, 44), [(16, 32, 1)]),
        ((0, 1, 2, 4, 5), [(2, 4, 1)]),
        # Half of them, or more: no venue settles less often than every 8 hours.
        (range(0, 80, 16), [(hour, hour + 16, 1) for hour in range(0, 64, 16)]),
        ((0, 24, 48), [(0, 24, 2), (24, 48, 2)]),
        # Two that are known say nothing of how often there are more.
        ((0, 8), []),
        ((0, 24), [(0, 24, 2)]),
        ((), []),
    ],
)
def test_a_hole_in_the_known_rates_is_told_with_its_extent_and_a_change_of_the_interval_is_none(hours, found):
    assert holes(*hours, first=-1, last=max(hours, default=0)) == found


def test_rates_that_begin_after_the_bars_or_end_before_them_are_holes_at_either_end():
    assert holes(24, 32, 40, first=0, last=40) == [(0, 24, 2)]
    assert holes(24, 32, 40, first=16, last=47) == []
    assert holes(24, 32, 40, first=16, last=56) == [(40, 56, 2)]


@given(
    st.integers(1, 8),
    st.lists(st.sampled_from([HOUR, 4 * HOUR, 8 * HOUR]), min_size=1, max_size=4),
    st.data(),
)
def test_what_is_left_out_between_long_stretches_is_found_and_counted(length, paces, data):
    times = [0]
    for pace in paces:
        times += [times[-1] + pace * number for number in range(1, 10 + length)]
    place = data.draw(st.integers(4, len(times) - 5))
    # Not beside a change of the interval, where the two cannot be told apart.
    near = {later - sooner for sooner, later in pairwise(times[place - 4 : place + 5])}
    assume(len(near) == 1)
    known = times[:place] + times[place + 1 :]
    (found,) = unknown_funding("BTCUSDT", known, -1, times[-1])
    assert (found.from_ms, found.to_ms, found.settlements) == (times[place - 1], times[place + 1], 1)
    assert unknown_funding("BTCUSDT", times, -1, times[-1]) == []


@given(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=40), st.integers(1, 8))
def test_the_pace_is_the_shortest_at_once_and_a_longer_one_the_second_time(intervals, first):
    pace, now = Pace(first * HOUR), START_MS
    pace.settled(now)
    expected, longer = first, 0
    for interval in intervals:
        assert not pace.settled(now)
        now += interval * HOUR
        assert pace.settled(now + 7)
        expected = interval if interval <= expected or interval == longer else expected
        longer = interval
        assert pace.every_ms == expected * HOUR
