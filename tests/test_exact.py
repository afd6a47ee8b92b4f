"""Exact arithmetic raises where plain decimals would round."""

from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.exact import EXACT, ceil_to, floor_to, is_multiple, require_within

steps = st.sampled_from(["0.001", "0.5", "0.05", "1", "25", "0.00000001"]).map(Decimal)
values = st.decimals("0", "1000000", places=9)


@given(values, steps)
def test_a_value_lies_between_its_neighbours_on_the_grid(value, step):
    below, above = floor_to(value, step), ceil_to(value, step)
    assert below <= value <= above
    assert above - below == (0 if is_multiple(value, step) else step)
    assert is_multiple(below, step)


def test_a_hundred_digits_are_not_enough_for_a_third():
    with pytest.raises(Inexact):
        EXACT.divide(Decimal(1), Decimal(3))


@pytest.mark.parametrize("value", ["-0.1", "1.1", "NaN", "Infinity"])
def test_a_setting_out_of_bounds_is_named(value):
    with pytest.raises(ValueError, match=r"^taker_fee must be between 0 and 1, not "):
        require_within("taker_fee", Decimal(value), "0", "1")
    require_within("taker_fee", Decimal("1"), "0", "1")
