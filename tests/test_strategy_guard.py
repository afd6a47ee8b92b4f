"""A strategy that fails, and one that tampers: neither can hurt the bot."""

import math
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import SignalError, StrategyError
from bot.market import utc_text
from bot.strategy_guard import ERRORS_IN_A_ROW
from bot.trading.events import Signal
from tests.core import a_config, a_trader
from tests.factories import a_bar, a_signal

NUMBERS = (np.float32, np.float64, np.longdouble, np.array, np.int64, np.bool_)


class Failing:
    """Fails on the bars whose index is in ``on``, else answers ``answer``."""

    needs_memory = False

    def __init__(self, on=(), answer=None, error=None):
        self.on, self.answer = set(on), answer or a_signal("hold")
        self.error = error or ZeroDivisionError("division by zero")
        self.seen = 0

    def decide(self, situation):
        index, self.seen = self.seen, self.seen + 1
        if index in self.on:
            raise self.error
        return self.answer


def held(strategy, on_error="hold"):
    risk = {"require_contiguous_bars": 0, "max_daily_loss": 0, "max_drawdown": 0}
    return a_trader(a_config("BTCUSDT", strategy={"on_error": on_error}, risk=risk), strategy)


def test_a_bar_on_which_the_strategy_raises_is_held_with_the_reason_an_event_and_a_count():
    trader = held(Failing(on={1, 2}))
    _, first, second, after = [trader.advance(a_bar(i)) for i in range(4)]
    assert first.signal.action == "hold"
    assert first.signal.reason.startswith(
        "error: ZeroDivisionError: division by zero (test_strategy_guard.py, line"
    )
    assert first.signal.detail == {"gate": "error", "errors": 1, "in_a_row": 1}
    assert second.signal.detail == {"gate": "error", "errors": 2, "in_a_row": 2}
    (notice,) = second.notices
    assert (notice.kind, notice.symbol) == ("strategy_error", "BTCUSDT")
    assert "error 2 of this session, 2 of BTCUSDT in a row" in notice.detail
    assert not after.notices


def test_where_it_is_to_stop_the_error_names_strategy_symbol_bar_exception_and_line():
    trader = held(Failing(on={0}), on_error="stop")
    with pytest.raises(StrategyError) as error:
        trader.advance(a_bar(0))
    told = str(error.value)
    expected = (
        "Failing.decide: ",
        "ZeroDivisionError: division by zero",
        __file__,
        "line ",
        "BTCUSDT bar of",
    )
    assert all(part in told for part in expected)
    assert utc_text(a_bar(0).start_ms) in told
    assert "\n" not in told


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        ValueError("two\nlines"),
        RecursionError(),
        MemoryError(),
        SystemExit(0),
        GeneratorExit(),
        Unprintable(),
        KeyError("x" * 10_000),
        BaseExceptionGroup("several", [ValueError()]),
        ValueError("\ud800"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_it_raises_is_held_and_told_in_one_short_line(error):
    step = held(Failing(on={0}, error=error)).advance(a_bar(0))
    assert step.signal.action == "hold"
    assert type(error).__name__ in step.signal.reason
    assert "\n" not in step.signal.reason
    assert len(step.signal.reason) < 300
    step.signal.reason.encode()


def test_ctrl_c_inside_a_strategy_is_still_the_persons():
    with pytest.raises(KeyboardInterrupt):
        held(Failing(on={0}, error=KeyboardInterrupt())).advance(a_bar(0))


def test_where_an_object_stands_in_memory_is_not_told_so_that_a_replay_agrees():
    told = [
        held(Failing(on={0}, error=ValueError(object()))).advance(a_bar(0)).signal.reason for _ in range(2)
    ]
    assert told[0] == told[1]
    assert "0x…" in told[0]


def test_after_ten_in_a_row_nothing_is_entered_any_more_and_closing_goes_on():
    wants = Failing(on=range(1, 1 + ERRORS_IN_A_ROW), answer=a_signal("long"))
    trader = held(wants)
    steps = [trader.advance(a_bar(i)) for i in range(ERRORS_IN_A_ROW + 1)]
    # The long of the first bar filled at the next open, whatever became of the strategy.
    assert trader._ledger.position("BTCUSDT").quantity > 0
    assert [notice.kind for notice in steps[-1].notices] == ["strategy_error", "entries_stopped"]
    again = trader.advance(a_bar(ERRORS_IN_A_ROW + 1))
    assert again.signal.action == "hold"
    assert "entries stopped" in again.signal.reason
    assert not again.orders
    wants.answer = a_signal("short")
    leaving = trader.advance(a_bar(ERRORS_IN_A_ROW + 2))
    assert leaving.signal.close_position
    assert [(order.side, order.reduce_only) for order in leaving.orders] == [("sell", True)]
    trader.advance(a_bar(ERRORS_IN_A_ROW + 3))
    assert trader._ledger.position("BTCUSDT").quantity == 0


def test_nine_in_a_row_stop_no_entry():
    trader = held(Failing(on=range(ERRORS_IN_A_ROW - 1), answer=a_signal("long")))
    steps = [trader.advance(a_bar(i)) for i in range(ERRORS_IN_A_ROW)]
    assert [order.side for order in steps[-1].orders] == ["buy"]


def test_exits_that_rest_go_on_while_the_strategy_fails():
    trader = held(Failing(on=range(301, 400), answer=a_signal("long", stop_distance=2.0)))
    for index in range(300):
        trader.observe(a_bar(index, close="101" if index % 2 else "100"))
    trader._strategy.strategy.seen = 300
    assert [order.type for order in trader.advance(a_bar(300, close="100")).orders] == [
        "market",
        "stop_market",
    ]
    trader.advance(a_bar(301, close="100"))
    fallen = trader.advance(a_bar(302, open="100", high="100", low="50", close="60"))
    assert [fill.rule for fill in fallen.fills] == ["stop"]
    assert trader._ledger.position("BTCUSDT").quantity == 0


class Tampering:
    """Tries to write to whatever it can reach."""

    needs_memory = True

    def __init__(self):
        self.refused = self.tried = 0

    def decide(self, situation):
        for write in self.writes(situation):
            self.tried += 1
            try:
                write()
            except (ValueError, TypeError, AttributeError):
                self.refused += 1
        return a_signal("hold")

    def writes(self, situation):
        recent = situation.recent
        arrays = [
            getattr(recent, name)(10)
            for name in (
                *("opens", "highs", "lows", "closes", "volumes"),
                *("returns", "squared_returns", "scaled_returns", "volatilities"),
            )
        ]
        for array in arrays:
            yield lambda array=array: array.__isub__(1.0)
            yield lambda array=array: array.fill(0.0)
            yield lambda array=array: array.sort()
            yield lambda array=array: array.setflags(write=True)
            yield lambda array=array: array.base.__setitem__(0, 1.0)
        yield lambda: recent.push(situation.bar)
        yield from self.fields(situation)

    def fields(self, value):
        """Each field of each Struct, and each item of each mapping and sequence, that can be reached."""
        if isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                yield lambda name=name: setattr(value, name, None)
                yield from self.fields(getattr(value, name))
        elif isinstance(value, tuple):
            yield lambda: value.__setitem__(0, None)
            for item in value:
                yield from self.fields(item)
        elif hasattr(value, "keys"):
            yield lambda: value.__setitem__("x", 1.0)
            yield lambda: value.clear()


def test_nothing_that_a_situation_reaches_can_be_written_to():
    def run(strategy):
        trader = a_trader(a_config("BTCUSDT", memory={"neighbors": 4}), strategy)
        bars = [a_bar(i, close=100 + 10 * math.sin(i / 3) + i % 7) for i in range(500)]
        return [trader.advance(bar) for bar in bars]

    tampering = Tampering()
    steps = run(tampering)
    assert any(step.recollection.neighbors for step in steps)
    assert tampering.tried > 20_000
    assert tampering.refused == tampering.tried
    class_that_looks_on = type("LooksOn", (Tampering,), {"writes": lambda self, situation: ()})
    assert run(class_that_looks_on()) == steps


def test_what_a_strategy_does_to_its_detail_later_changes_nothing():
    inner = {"deep": [1, 2]}
    detail = {"gate": "signal", "inner": inner}
    signal = a_signal(detail=detail)
    inner["deep"].append(3)
    detail["gate"] = "other"
    assert signal.detail == {"gate": "signal", "inner": {"deep": [1, 2]}}


FIGURES: dict[str, Any] = {
    "confidence": ([0, 1, 0.5], [-0.001, 1.001, None]),
    "expected_return": ([0, -2.5, None], [1_000_001, -1_000_001]),
    "return_std": ([0, 2.5, None], [-0.1, 1_000_001]),
    "positive_ratio": ([0, 1, None], [-0.1, 1.1]),
    "stop_distance": ([0.1, 1000, None], [0, -1, 1_000_001]),
    "target_distance": ([0.1, 1000, None], [0, -1, 1_000_001]),
    "trail_distance": ([0.1, 1000, None], [0, -1, 1_000_001]),
    "horizon_bars": ([1, 1_000_000, None], [0, -5, 1_000_001, 2.5]),
    "time_stop_bars": ([1, 1_000_000, None], [0, -5, 1_000_001, 2.5]),
    "close_position": ([True, False], [None, 2, 0.5]),
    "size": ([0.0001, 100, None], [0, -0.5, 100.01, "1"]),
    "limit_price": ([Decimal("0.5"), None], [0, -1, "many", True]),
    "limit_distance": ([0, -1000, 1000, None], [1000.5, -1001, "1"]),
    "valid_bars": ([None], [0, -5, 1_000_001, 2.5]),
    "time_in_force": (["gtc"], ["day", "", None, 5]),
    "close_fraction": ([1, 1.0], [0, 1.01, None, "1"]),
    "detail": (
        [{}, {"a": [1, None, {"b": "c"}]}, {"x": "y" * 65_000}],
        [None, 5, [], "text", {"x": object()}, {"x": {1, object()}}, {"x": "y" * 66_000}],
    ),
    "action": (["long", "short", "hold"], ["buy", None, 5, ["long"], np.zeros(2)]),
    "reason": (["why", "x" * 2_000], ["", None, 5, "\ud800", "x" * 2_001]),
}
NEVER = [math.nan, math.inf, -math.inf, 10**400, Decimal("NaN"), np.zeros(2), np.float32("nan"), object(), 1j]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in FIGURES for value in FIGURES[name][0]])
def test_a_signal_takes_what_its_field_may_hold(name, value):
    assert getattr(Signal(**({"action": "hold", "reason": "why"} | {name: value})), name) == value


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in FIGURES for value in (*FIGURES[name][1], *NEVER)]
)
def test_a_signal_refuses_at_once_what_its_field_cannot_hold_and_names_it(name, value):
    with pytest.raises(SignalError, match=name) as error:
        Signal(**({"action": "hold", "reason": "why"} | {name: value}))
    assert len(str(error.value)) < 400


def test_a_whole_signal_of_numpy_values_becomes_one_of_plain_ones():
    signal = Signal(
        action=np.str_("long"),
        reason=np.str_("why"),
        confidence=np.float32(0.5),
        expected_return=np.float64(0.25),
        return_std=np.array(0.5),
        positive_ratio=np.longdouble(0.75),
        horizon_bars=np.int64(24),
        time_stop_bars=np.uint8(3),
        close_position=np.bool_(True),
        stop_distance=np.float16(2),
        detail={"a": np.float32(1.5), "b": np.arange(3), "c": {"d": np.bool_(True)}, "e": np.float64(2)},
    )
    for name in signal.__struct_fields__:
        assert type(getattr(signal, name)).__module__ == "builtins"
    assert signal.detail == {"a": 1.5, "b": [0, 1, 2], "c": {"d": True}, "e": 2.0}
    assert signal == msgspec.json.decode(msgspec.json.encode(signal), type=Signal)


def test_a_detail_that_holds_itself_is_refused():
    detail = {}
    detail["self"] = detail
    with pytest.raises(SignalError, match="detail"):
        a_signal(detail=detail)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(FIGURES)), value=ANYTHING)
def test_whatever_a_strategy_puts_into_a_signal_it_is_a_signal_or_a_signal_error(name, value):
    fields = {"action": "hold", "reason": "why"} | {name: value}
    with suppress(SignalError):
        msgspec.json.encode(Signal(**fields))
