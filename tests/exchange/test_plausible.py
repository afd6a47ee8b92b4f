from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.exchange import plausible
from bot.exchange.plausible import MalformedFrame, PriceJumps, TimeBounds

YEAR_10000_MS = 253_402_300_800_000
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000

FIGURES = [
    plausible.price, plausible.size, plausible.volume, plausible.rate, plausible.step, plausible.amount,
    plausible.leverage, plausible.share, plausible.funding_minutes,
]  # fmt: skip
NO_FIGURES = [
    "", " ", "NaN", "sNaN", "Infinity", "-Infinity", "inf", "1e999999999", "1e99999999999999999999", "1_0", " 1", "1\n",
    "١٢٣", "\uff11", "high", "0x1", "1,5", "+1", ".5", "--1", "1e", "1" * 400, "1." + "1" * 400, "1" * 100_000,
    None, True, False, 1.5, float("nan"), [], ["1"], {}, {"price": "1"}, b"1", 10**400,
]  # fmt: skip


@pytest.mark.parametrize("read", FIGURES, ids=lambda read: read.__name__)
@pytest.mark.parametrize(
    "value", NO_FIGURES, ids=lambda value: repr(value)[:30] if value != 10**400 else "10^400"
)
def test_what_is_no_figure_is_malformed_whatever_it_is_to_be(read: Any, value: Any):
    with pytest.raises(MalformedFrame):
        read(value)


@pytest.mark.parametrize(
    ("read", "possible", "impossible"),
    [
        (plausible.price, ("65000.10", "0.0000000123", "1e-7", "1000000000"), ("0", "-1", "1e23", "1e-30", "1e13")),
        (plausible.size, ("0", "0.001", "1000000000000"), ("-1", "1e40", "1e-40", "1e17")),
        (plausible.volume, ("0", "31415926535.8979", "1e24"), ("-0.1", "1e25", "1e99")),
        (plausible.rate, ("-0.0001", "0", "0.04"), ("1", "-1", "5", "1e9")),
        (plausible.step, ("0.01", "1", "1e-8"), ("0", "-0.01", "1e-30", "1e10")),
        (plausible.amount, ("0", "5", "2000000"), ("-5", "1e17")),
        (plausible.leverage, ("1", "100.00"), ("0", "0.5", "1001", "-3")),
        (plausible.share, ("0", "0.5", "1"), ("-0.1", "1.1")),
        (plausible.funding_minutes, (480, "60", 1), (0, "-1", 10_081, "0.5", 2**64)),
    ],
)  # fmt: skip
def test_a_figure_is_believed_within_its_bounds(read: Any, possible: Any, impossible: Any):
    for value in possible:
        assert read(value) == Decimal(value)
    for value in impossible:
        with pytest.raises(MalformedFrame):
            read(value)


def test_a_time_is_one_of_this_century():
    assert plausible.time_ms(NOW_MS) == plausible.time_ms(str(NOW_MS)) == NOW_MS
    for value in (
        0,
        -1,
        YEAR_10000_MS,
        2**64,
        10**400,
        "1" * 5_000,
        "soon",
        "",
        None,
        True,
        1.5,
        "١٢٣",
        [NOW_MS],
    ):
        with pytest.raises(MalformedFrame):
            plausible.time_ms(value)


# Prices.


def believing(**prices: float) -> PriceJumps:
    jumps = PriceJumps(5.0)
    for name, price in prices.items():
        jumps.believe(name, price)
    return jumps


def test_a_price_near_the_last_one_is_believed_and_moves_what_is_near():
    jumps = believing(bid=100.0)
    assert all(jumps.accept([("bid", price)]) for price in (400.0, 1_600.0, 6_400.0))


def test_a_jump_is_believed_once_the_next_message_says_the_same():
    jumps = believing(bid=100.0)
    assert not jumps.accept([("bid", 1_000.0)])
    assert jumps.accept([("bid", 1_010.0)])
    assert jumps.accept([("bid", 1_000.0)])


def test_a_jump_is_believed_once_another_source_says_the_same():
    jumps = believing(bid=100.0)
    assert not jumps.accept([("bid", 1_000.0)])
    assert jumps.accept([("close", 1_010.0)])
    assert jumps.accept([("bid", 1_000.0)])


def test_a_jump_is_forgotten_once_the_next_message_says_otherwise():
    jumps = believing(bid=100.0)
    for _ in range(10):
        assert not jumps.accept([("bid", 1_000.0)])
        assert jumps.accept([("bid", 101.0)])


def test_prices_of_one_message_are_no_second_source_for_each_other():
    jumps = believing(bid=100.0, ask=100.1, mark=100.0)
    assert not jumps.accept([("bid", 1_000.0), ("ask", 1_001.0), ("mark", 1_000.0)])


def test_a_wide_book_is_believed_by_what_each_side_was():
    jumps = believing(bid=1.0, ask=100.0)
    assert jumps.accept([("bid", 1.1), ("ask", 99.0)])


def test_the_first_price_of_all_is_believed_with_the_second():
    jumps = PriceJumps(5.0)
    assert not jumps.accept([("bid", 100.0)])
    assert jumps.accept([("bid", 101.0)])


@given(
    st.lists(st.tuples(st.sampled_from(["bid", "ask", "mark", "close"]), st.floats(1e-12, 1e12)), max_size=30)
)
def test_nothing_is_believed_that_nothing_agrees_with(messages: list[tuple[str, float]]):
    jumps, said, believed = PriceJumps(5.0), [], [100.0]
    jumps.believe("bid", 100.0)
    for name, price in messages:
        if jumps.accept([(name, price)]):
            assert any(max(price, other) <= 5.0 * min(price, other) for other in [*believed, *said])
            believed.append(price)
        said.append(price)


# Times.


class Clocks:
    """Local clocks in a test's hand."""

    def __init__(self, wall_ms: float = NOW_MS) -> None:
        self.now, self.wall_ms = 100.0, wall_ms

    def pass_seconds(self, seconds: float) -> None:
        self.now += seconds
        self.wall_ms += 1000 * seconds

    def bounds(self, interval_ms: int = 60_000) -> TimeBounds:
        bounds = TimeBounds(30_000, lambda: self.now, lambda: self.wall_ms)
        bounds.interval_ms = interval_ms
        return bounds


def refused(bounds: TimeBounds, told_ms: int, **how: Any) -> bool:
    before = bounds.believed_ms
    try:
        bounds.check(told_ms, **how)
    except MalformedFrame:
        assert bounds.believed_ms == before
        return True
    return False


def test_a_time_far_ahead_is_refused_and_moves_nothing():
    clocks = Clocks()
    bounds = clocks.bounds()
    bounds.check(NOW_MS)
    for ahead in (31_000, HOUR_MS, 365 * 24 * HOUR_MS, YEAR_10000_MS - NOW_MS):
        for _ in range(3):
            assert refused(bounds, NOW_MS + ahead)
    clocks.pass_seconds(10)
    assert not refused(bounds, NOW_MS + 10_000)


def test_what_passes_by_the_local_clock_may_pass_for_the_exchange_too():
    clocks = Clocks()
    bounds = clocks.bounds()
    bounds.check(NOW_MS)
    clocks.pass_seconds(3600)
    assert not refused(bounds, NOW_MS + HOUR_MS)


def test_after_a_sleep_that_stops_the_even_clock_the_wall_clock_counts():
    clocks = Clocks()
    bounds = clocks.bounds()
    bounds.check(NOW_MS)
    clocks.wall_ms += 10 * HOUR_MS
    assert not refused(bounds, NOW_MS + 10 * HOUR_MS)


def test_a_wrong_local_clock_does_no_harm_once_two_answers_agree():
    clocks = Clocks(wall_ms=NOW_MS - 400 * 24 * HOUR_MS)
    bounds = clocks.bounds()
    assert refused(bounds, NOW_MS, source="rest")
    assert not refused(bounds, NOW_MS + 100, source="rest")
    assert not refused(bounds, NOW_MS + 200)
    assert refused(bounds, NOW_MS + HOUR_MS)


def test_a_market_that_streams_a_minute_in_fifty_milliseconds_is_followed():
    clocks = Clocks(wall_ms=NOW_MS + 10**11)
    bounds = clocks.bounds()
    assert refused(bounds, NOW_MS, source="rest")
    bounds.check(NOW_MS, source="rest")
    told_ms = NOW_MS
    for push in range(1_000):
        clocks.pass_seconds(0.0125)
        told_ms += 15_000
        if push == 500:
            # A pause of the machine: forty bars in two seconds.
            clocks.pass_seconds(2.0)
            told_ms += 40 * 60_000
        assert not refused(bounds, told_ms), push
        assert refused(bounds, told_ms + 24 * HOUR_MS)
        assert refused(bounds, told_ms + 30 * 60_000)


def test_two_answers_of_rest_overrule_what_was_believed_where_no_stream_speaks():
    clocks = Clocks()
    bounds = clocks.bounds()
    bounds.check(NOW_MS + 20_000, source="rest")
    clocks.wall_ms += 5 * HOUR_MS
    far_ms = NOW_MS + 2 * HOUR_MS
    assert refused(bounds, far_ms, source="rest")
    assert not refused(bounds, far_ms + 200, source="rest")
    # The stream alone can put REST right, and REST the stream.
    bounds.check(far_ms + 300)
    for _ in range(3):
        assert refused(bounds, far_ms + HOUR_MS, source="rest")


def test_a_time_that_was_believed_too_far_ahead_is_put_right_by_stream_and_rest_together():
    clocks = Clocks()
    bounds = clocks.bounds()
    clocks.wall_ms += 5 * HOUR_MS
    far_ms = NOW_MS + 24 * HOUR_MS
    refused(bounds, far_ms, source="rest")
    assert not refused(bounds, far_ms + 200, source="rest")
    bounds.check(NOW_MS)
    assert bounds.is_old(NOW_MS)
    assert not refused(bounds, NOW_MS + 100, source="rest", since_ms=bounds.believed_ms)
    assert not bounds.is_old(NOW_MS + 200)


def test_an_answer_from_before_it_was_asked_is_refused():
    clocks = Clocks()
    bounds = clocks.bounds()
    bounds.check(NOW_MS)
    clocks.wall_ms += HOUR_MS
    assert refused(bounds, NOW_MS - 24 * HOUR_MS, source="rest", since_ms=NOW_MS)
    assert bounds.is_old(NOW_MS - HOUR_MS)
    assert not bounds.is_old(NOW_MS - 1_000)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 2**45)), max_size=40))
def test_a_refused_time_never_moves_what_is_believed(steps: list[tuple[float, int]]):
    clocks = Clocks()
    bounds = clocks.bounds()
    bounds.check(NOW_MS)
    for seconds, told_ms in steps:
        clocks.pass_seconds(seconds)
        refused(bounds, told_ms)
        assert bounds.believed_ms is not None
        assert bounds.believed_ms <= clocks.wall_ms + 31_000
