"""What a Signal can say, and what its short forms say it with."""

import doctest
from decimal import Decimal

import numpy as np
import pytest

from bot.errors import SignalError
from bot.trading import signal as signal_module
from bot.trading.checks import Check
from bot.trading.events import Signal

ENTRY = {
    "size": 0.1,
    "valid_bars": 3,
    "time_stop_bars": 9,
    "confidence": 0.6,
    "expected_return": 0.01,
    "return_std": 0.02,
    "positive_ratio": 0.55,
    "horizon_bars": 24,
    "detail": {"gate": "signal"},
    "checks": (Check("trend", True),),
}


@pytest.mark.parametrize("action", ["long", "short"])
def test_an_entry_says_in_short_what_its_fields_say_at_length(action):
    enter = getattr(Signal, action)
    said = enter("because", limit="61000.50", post_only=True, stop=2.0, target=3.0, trail=4.0, **ENTRY)
    assert said == Signal(
        action=action,
        reason="because",
        limit_price=Decimal("61000.50"),
        time_in_force="post_only",
        stop_distance=2.0,
        target_distance=3.0,
        trail_distance=4.0,
        **ENTRY,
    )
    assert enter("because") == Signal(action=action, reason="because")
    assert enter("because", limit_distance=0.5, ioc=True).time_in_force == "ioc"


def test_a_close_says_how_much_and_a_hold_nothing():
    assert Signal.close("out") == Signal(action="hold", reason="out", close_position=True)
    half = Signal.close("half out", fraction=0.5, detail={"gate": "half"})
    assert (half.close_position, half.close_fraction, half.detail) == (True, 0.5, {"gate": "half"})
    assert Signal.hold("wait") == Signal(action="hold", reason="wait")


@pytest.mark.parametrize(
    ("limit", "exact"),
    [
        (Decimal("61000.10"), "61000.10"),
        ("0.000012", "0.000012"),
        (61000, "61000"),
        (61000.1, "61000.1"),
        (np.float64(0.1), "0.1"),
        (np.int64(7), "7"),
    ],
)
def test_a_limit_is_kept_exactly_as_it_was_written(limit, exact):
    assert str(Signal.long("why", limit=limit).limit_price) == exact
    assert str(Signal(action="long", reason="why", limit_price=limit).limit_price) == exact


@pytest.mark.parametrize(
    "limit",
    [0, -1, "", "abc", "1e13", float("nan"), float("inf"), "NaN", True, [1], np.zeros(2), "0.1" + "1" * 40, 10**400],
)  # fmt: skip
def test_a_limit_that_is_no_price_is_refused_by_name(limit):
    with pytest.raises(SignalError, match="limit") as error:
        Signal.long("why", limit=limit)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"limit": 5, "limit_distance": 0.5}, "limit_distance stands beside limit_price"),
        ({"valid_bars": 3}, "valid_bars is 3, but without a limit no order rests"),
        ({"post_only": True}, "time_in_force is post_only, which needs a limit"),
        ({"ioc": True}, "time_in_force is ioc, which needs a limit"),
        ({"limit": 5, "ioc": True, "valid_bars": 1}, "valid_bars is 1, but what is ioc never rests"),
        (
            {"limit": 5, "ioc": True, "post_only": True},
            "time_in_force is 'post_only and ioc', none of gtc, ioc",
        ),
        ({"size": 0}, "size is 0"),
        ({"size": 100.5}, "size is 100.5, not a number from 0.0001 to 100"),
        ({"limit_distance": 1001}, "limit_distance is 1001"),
        ({"limit": 5, "valid_bars": 0}, "valid_bars is 0, not a number of bars"),
    ],
)
def test_fields_that_contradict_each_other_are_refused_by_name(fields, words):
    with pytest.raises(SignalError) as error:
        Signal.short("why", **fields)
    assert words in str(error.value)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, None, "half"])
def test_a_part_that_is_none_is_refused(fraction):
    with pytest.raises(SignalError, match="close_fraction"):
        Signal.close("why", fraction=fraction)


def test_a_part_without_a_close_is_refused():
    with pytest.raises(SignalError, match="close_position is not set"):
        Signal(action="long", reason="why", close_fraction=0.5)


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(signal_module) == (0, 1)
