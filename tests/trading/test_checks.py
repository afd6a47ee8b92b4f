"""A check compares its number with its threshold; the first that fails decides."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import SignalError
from bot.trading.checks import Check, first_failed
from bot.trading.events import Signal

NUMBERS = st.floats(allow_nan=False)


@given(NUMBERS, NUMBERS)
def test_a_check_holds_where_its_relation_does(value, limit):
    assert Check.at_least("a", value, limit).passed == (value >= limit)
    assert Check.at_most("a", value, limit).passed == (value <= limit)
    assert Check.above("a", value, limit).passed == (value > limit)


@pytest.mark.parametrize("make", [Check.at_least, Check.at_most, Check.above])
@pytest.mark.parametrize("kind", [int, float, np.float32, np.float64, np.int64])
def test_numbers_of_any_kind_make_a_sound_check(make, kind):
    made = make("a", kind(3), kind(2))
    assert (type(made.value), type(made.limit)) == (float, float)
    assert not make("a", math.nan, 1.0).passed


@given(st.lists(st.booleans()))
def test_the_first_that_fails_decides(passed):
    checks = tuple(Check(f"c{place}", each) for place, each in enumerate(passed))
    failed = first_failed(checks)
    assert (failed is None) == all(passed)
    if failed is not None:
        assert failed.name == f"c{passed.index(False)}"


@pytest.mark.parametrize("checks", [[Check("a", True)], (("a", True),), Check("a", True), None])
def test_what_are_no_checks_is_no_signal(checks):
    with pytest.raises(SignalError, match="checks is"):
        Signal(action="hold", reason="so", checks=checks)


@pytest.mark.parametrize(
    "fields",
    [
        ("", True),
        (1, True),
        ("a", 1),
        ("a", np.bool_(True)),
        ("a", True, "1", 2.0),
        ("a", True, np.float32(1), 2.0),
        ("a", True, 1.0, 2.0, "~"),
    ],
)
def test_what_is_no_check_cannot_be_made(fields):
    with pytest.raises(SignalError, match="check"):
        Check(*fields)
