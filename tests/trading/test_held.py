"""What was held just before any settlement, held against the list of all changes."""

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.trading.held import Held
from tests.factories import START_MS

MINUTE, HOUR = 60_000, 3_600_000
DAY, WEEK = 24 * HOUR, 7 * 24 * HOUR

changes = st.lists(
    st.tuples(
        st.one_of(
            st.integers(0, 40 * DAY), st.integers(0, 3 * HOUR), st.integers(0, 600).map(MINUTE.__mul__)
        ),
        st.decimals("-3", "3", places=3),
    ),
    max_size=30,
)


def held_of(story: list[tuple[int, Decimal]]) -> Held:
    held = Held()
    for after_ms, change in story:
        held.record(START_MS + after_ms, change)
    return held


@settings(max_examples=100, deadline=None)
@given(changes, st.randoms(use_true_random=False))
def test_it_is_what_all_earlier_changes_sum_to_by_the_minute_and_further_back_by_the_hour(
    story, shuffler: random.Random
):
    held = held_of(sorted(story))
    newest = max((after_ms for after_ms, _ in story), default=0)
    times = {minute * MINUTE for minute in range((newest - WEEK) // MINUTE, newest // MINUTE + 2, 7)}
    times |= {hour * HOUR for hour in range(newest // HOUR + 2)}
    times |= {-(-after_ms // MINUTE) * MINUTE for after_ms, _ in story if after_ms > newest - WEEK}
    for time_ms in times:
        expected = sum((change for after_ms, change in story if after_ms < time_ms), Decimal(0))
        assert held.before(START_MS + time_ms) == expected
    # The order in which the fills were booked makes no difference, nor does a way over the disk.
    again = story[:]
    shuffler.shuffle(again)
    assert held_of(again).snapshot() == held.snapshot()
    assert Held(held.snapshot()).snapshot() == held.snapshot()


def test_a_year_of_a_change_a_minute_is_kept_in_the_room_of_its_hours_and_one_week():
    held = Held()
    for minute in range(0, 365 * 24 * 60, 5):
        held.record(START_MS + minute * MINUTE, Decimal(1))
    assert len(held.snapshot().changes) < 365 * 24 + 7 * 24 * 12 + 12
    assert held.before(START_MS + 100 * DAY) == 100 * 24 * 12


@pytest.mark.parametrize(
    ("fills", "charged", "since"),
    [
        # Never traded, and flat before the first settlement came.
        ([], [], None),
        ([(1, "2"), (3, "-2")], [], 1 * HOUR),
        # Nothing charged yet, or nothing since the last: from when it was opened, however long ago.
        ([(1, "2"), (9, "-2")], [], 1 * HOUR),
        ([(1, "2"), (8, "-2")], [8], None),
        ([(1, "2"), (9, "-2")], [8], 8 * HOUR),
        ([(1, "2")], [], 1 * HOUR),
        ([(1, "2")], [8, 16, 24], 24 * HOUR),
        ([(1, "2"), (8, "-2"), (26, "1")], [8], 26 * HOUR),
        # One between two that were charged is missing.
        ([(1, "2")], [8, 24], 8 * HOUR),
        # Where one may be missing or the interval have changed, too early rather than too late.
        ([(7, "2")], [8, 16, 24, 32, 40, 48, 52, 56, 60], 24 * HOUR),
        ([(7, "2"), (27, "-2")], [8, 16, 20], 8 * HOUR),
        # Every hour, of which one is missing just before it is every eight.
        ([(7, "2")], [8, 9, 10, 12, 16, 24, 32, 40], 10 * HOUR),
        ([(1, "2"), (22, "-2")], [8, 16], 16 * HOUR),
    ],
)
def test_funding_is_taken_up_after_the_last_that_is_known_to_be_charged(fills, charged, since):
    # More than a week ago.
    until_ms = START_MS + 60 * HOUR + 7 * DAY
    held = held_of([(hours * HOUR, Decimal(change)) for hours, change in fills])
    for hours in charged:
        held.charge(START_MS + hours * HOUR)
    expected = None if since is None else START_MS + since
    assert held.uncharged_since(8 * HOUR, until_ms) == expected
    assert Held(held.snapshot()).uncharged_since(8 * HOUR, until_ms) == expected


@pytest.mark.parametrize(
    ("fills", "charged", "since"),
    [
        ([(36, "1")], [40, 48], 36 * HOUR),
        ([(1, "1"), (9, "-1"), (39, "1"), (49, "-1")], [8, 40, 48], 1 * HOUR),
    ],
)
def test_of_the_last_week_all_that_was_held_is_looked_at(fills, charged, since):
    held = held_of([(hours * HOUR, Decimal(change)) for hours, change in fills])
    for hours in charged:
        held.charge(START_MS + hours * HOUR)
    assert held.uncharged_since(8 * HOUR, START_MS + 60 * HOUR) == START_MS + since
