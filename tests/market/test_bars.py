"""A bar that contradicts itself is none, and says why."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.market import INTERVAL_MS
from tests.factories import START_MS, a_bar

SHARP = ("1", "1.0", "2", "0", "-0", "0E-40", "1E-23", "9E-24", "9.9E23", "1E24", "-1", "-3E30")
UNREAL = ("NaN", "sNaN", "Infinity", "-Infinity")
FIGURES = st.one_of(
    st.sampled_from((*SHARP, *UNREAL)).map(Decimal), st.decimals(min_value=1, max_value=3, places=2)
)
NAMES = ("open", "high", "low", "close", "volume", "turnover")


def can_be(bar):
    """The rule once more, over fractions and without a short way."""
    figures = [getattr(bar, name) for name in NAMES if getattr(bar, name) is not None]
    if not all(figure.is_finite() for figure in figures):
        return False
    exact = [Fraction(figure) for figure in figures]
    if any(figure and not Fraction(1, 10**23) <= abs(figure) < 10**24 for figure in exact):
        return False
    prices, amounts = exact[:4], exact[4:]
    ordered = prices[1] == max(prices) and prices[2] == min(prices)
    return min(prices) > 0 and ordered and min(amounts) >= 0 and not bar.start_ms % INTERVAL_MS[bar.interval]


@given(st.tuples(*[FIGURES] * 5, FIGURES | st.none()), st.sampled_from([0, 0, 0, 1, 900_000]))
def test_a_bar_contradicts_itself_exactly_where_its_figures_do(figures, off_ms):
    bar = a_bar(**dict(zip(NAMES, figures, strict=True)), start_ms=START_MS + off_ms)
    assert (bar.contradiction() is None) == can_be(bar)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"high": "NaN"}, "not finite"),
        ({"turnover": "Infinity"}, "not finite"),
        ({"volume": "1E24"}, "out of any market's range"),
        ({"low": "0"}, "a price is not positive"),
        ({"high": "99"}, "high is below"),
        ({"low": "150", "high": "200"}, "low is above"),
        ({"volume": "-1"}, "negative"),
        ({"start_ms": 1}, "off the interval's grid"),
    ],
)
def test_what_cannot_be_is_named(wrong, why):
    figures = {name: value if name == "start_ms" else Decimal(value) for name, value in wrong.items()}
    assert why in a_bar(**figures).contradiction()
