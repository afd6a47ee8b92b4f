"""Bars of a higher interval: what a plain loop over the same bars gives, and never one that is open."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.market import INTERVAL_MS, Bar
from bot.market.times import grid_start_ms
from bot.model.features import WINDOW_BARS, FeatureWindow
from bot.model.recent import RecentBars
from bot.synthetic import PRESETS, SyntheticMarket
from tests.factories import a_bar

MARKETS = {interval: SyntheticMarket(PRESETS["demo"], 4, interval) for interval in ("1", "15", "60", "D")}


def window_of(bars: list[Bar]) -> RecentBars:
    window = FeatureWindow()
    for bar in bars:
        window.push(bar)
    return RecentBars(window)


def naive(bars: list[Bar], interval: str) -> list[tuple[int, float, float, float, float, float]]:
    """Of unbroken bars: the end, open, high, low, close and volume of all that are whole."""
    groups: dict[int, list[Bar]] = {}
    for bar in bars:
        groups.setdefault(grid_start_ms(bar.start_ms, interval), []).append(bar)
    return [
        (
            start + INTERVAL_MS[interval],
            float(group[0].open),
            float(max(bar.high for bar in group)),
            float(min(bar.low for bar in group)),
            float(group[-1].close),
            pytest.approx(float(sum(bar.volume for bar in group))),
        )
        for start, group in groups.items()
        if len(group) * INTERVAL_MS[group[0].interval] == INTERVAL_MS[interval]
    ]


def told(recent: RecentBars, interval: str) -> list[tuple]:
    found, n = recent.timeframe(interval), 2_000
    columns = (found.close_times, found.opens, found.highs, found.lows, found.closes, found.volumes)
    return list(zip(*(column(n).tolist() for column in columns), strict=True))


@given(
    first=st.integers(0, 3_000),
    count=st.integers(0, WINDOW_BARS),
    gap=st.integers(0, WINDOW_BARS),
    pair=st.sampled_from(
        [("1", "3"), ("1", "60"), ("15", "240"), ("15", "D"), ("60", "D"), ("60", "W"), ("D", "W")]
    ),
)
def test_it_is_what_a_loop_over_the_unbroken_bars_gives(first, count, gap, pair):
    lower, higher = pair
    bars = MARKETS[lower].bars("BTCUSDT", first, count)
    unbroken = bars
    if 0 < gap < count - 1:
        bars, unbroken = bars[:gap] + bars[gap + 1 :], bars[gap + 1 :]
    assert told(window_of(bars), higher) == naive(unbroken, higher)


def test_an_open_bar_is_never_shown_and_each_comes_with_the_close_that_completes_it():
    bars = MARKETS["15"].bars("BTCUSDT", 0, 200)
    window = FeatureWindow()
    recent = RecentBars(window)
    for bar in bars:
        window.push(bar)
        found = recent.timeframe("60")
        assert found.close_ms <= bar.close_ms
        if bar.close_ms % INTERVAL_MS["60"] == 0 and len(window) >= 4:
            assert found.close_ms == bar.close_ms
            assert found.closes(1)[0] == float(bar.close)


def test_days_begin_at_midnight_and_weeks_on_monday():
    hours = [a_bar(i, close=100 + i, interval="60") for i in range(24 * 14)]
    recent = window_of(hours)
    days, weeks = recent.timeframe("D"), recent.timeframe("W")
    assert (days.close_times(3) % 86_400_000 == 0).all()
    # 2023-11-15 is a Wednesday: of two weeks only one is whole.
    assert [str(start)[:10] for start in weeks.frame().index] == ["2023-11-20"]
    assert weeks.opens(1)[0] == 100 + 5 * 24
    assert weeks.closes(1)[0] == 100 + 12 * 24 - 1


def test_a_bar_with_a_gap_is_missing_and_not_wrong():
    bars = [a_bar(i, close=100 + i) for i in range(16) if i != 5]
    found = window_of(bars).timeframe("60")
    assert found.closes(9).tolist() == [111.0, 115.0]


def test_the_same_bars_give_the_same_bits_wherever_the_window_began():
    bars = MARKETS["15"].bars("BTCUSDT", 0, 2_500)
    long, short = window_of(bars).timeframe("240"), window_of(bars[-700:]).timeframe("240")
    n = len(short)
    assert n == 43
    for name in ("opens", "highs", "lows", "closes", "volumes", "returns"):
        assert getattr(long, name)(n - 1).tobytes() == getattr(short, name)(n - 1).tobytes()


def test_other_names_of_intervals_are_understood_and_wrong_ones_are_named():
    recent = window_of(MARKETS["60"].bars("BTCUSDT", 0, 100))
    assert recent.timeframe("4h").closes(3).tolist() == recent.timeframe("240").closes(3).tolist()
    for interval, why in (
        ("7", "no such interval"),
        ("15", "do not make up one of 15"),
    ):
        with pytest.raises(ValueError, match=why):
            recent.timeframe(interval)
    with pytest.raises(ValueError, match="10080 bars of this run, and only the last 1024"):
        window_of(MARKETS["1"].bars("BTCUSDT", 0, 10)).timeframe("W")
    assert len(RecentBars(FeatureWindow()).timeframe("240")) == 0


def test_a_frame_holds_the_bars_with_utc_starts():
    bars = MARKETS["60"].bars("BTCUSDT", 0, 60)
    recent = window_of(bars)
    frame = recent.frame(50)
    assert str(frame.index.dtype) == "datetime64[ms, UTC]"
    assert frame.index.name == "start"
    assert [start.value // 1_000_000 for start in frame.index.as_unit("ns")] == [
        bar.start_ms for bar in bars[-50:]
    ]
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == dict.fromkeys(
        ("open", "high", "low", "close", "volume"), "float64"
    )
    for name in frame:
        assert frame[name].tolist() == [float(getattr(bar, name)) for bar in bars[-50:]]
    assert len(recent.frame()) == len(recent.timeframe("240").frame()) * 4 == 60
    assert len(RecentBars(FeatureWindow()).frame()) == 0


def test_a_frame_is_a_copy():
    recent = window_of(MARKETS["60"].bars("BTCUSDT", 0, 60))
    before = recent.closes(60).copy()
    frame = recent.frame()
    frame["close"] = 0.0
    frame.iloc[0, 0] = -1.0
    assert np.array_equal(recent.closes(60), before)


def test_pandas_is_imported_by_a_frame_and_by_nothing_before():
    code = (
        "import sys\nfrom bot.model.recent import RecentBars\nfrom bot.model.features import FeatureWindow\n"
        "import bot.strategy\nassert 'pandas' not in sys.modules\n"
        "RecentBars(FeatureWindow()).frame()\nassert 'pandas' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
