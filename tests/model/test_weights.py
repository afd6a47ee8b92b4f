"""Weights of recalled moments: never nothing, whatever their age."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.model.weights import weights_of

DAY_MS = 86_400_000


def test_moments_thousands_of_half_lives_old_are_weighed_by_their_differences():
    ages = [5_000 * DAY_MS, 5_001 * DAY_MS, 5_002 * DAY_MS]
    found = weights_of(
        [0.9, 0.9, 0.9], ages, None, temperature=0.1, half_life_ms=DAY_MS, other_regime_weight=1.0
    )
    assert found == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_where_nothing_underflows_a_weight_is_its_plain_vote_over_the_sum_bit_for_bit():
    similarities, ages = [0.9, 0.8, 0.7], [DAY_MS, 3 * DAY_MS, 2 * DAY_MS]
    votes = [
        math.exp((s - 0.9) / 0.08) * 2.0 ** (-age / (7 * DAY_MS)) * (1.0 if same else 0.5)
        for s, age, same in zip(similarities, ages, (True, False, True), strict=True)
    ]
    found = weights_of(
        similarities,
        ages,
        [True, False, True],
        temperature=0.08,
        half_life_ms=7.0 * DAY_MS,
        other_regime_weight=0.5,
    )
    assert found == [vote / sum(votes) for vote in votes]


@settings(max_examples=100, deadline=None)
@given(
    moments=st.lists(
        st.tuples(st.floats(-1, 1), st.integers(0, 10**14), st.booleans()), min_size=1, max_size=32
    ),
    temperature=st.floats(1e-4, 100),
    half_life_ms=st.just(0.0) | st.floats(1e-300, 1e15),
    other=st.floats(1e-6, 1),
)
def test_weights_always_sum_to_one(moments, temperature, half_life_ms, other):
    moments.sort(reverse=True)
    similarities, ages, same = map(list, zip(*moments, strict=True))
    found = weights_of(
        similarities,
        ages,
        same,
        temperature=temperature,
        half_life_ms=half_life_ms,
        other_regime_weight=other,
    )
    assert sum(found) == pytest.approx(1.0)
    assert min(found) >= 0.0
