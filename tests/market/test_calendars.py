import csv
import gzip
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import ConfigError
from bot.market import ALWAYS_OPEN, INTERVAL_MS
from bot.market.calendars import Session, SessionCalendar, expected_of, observed, scheduled
from bot.sources.sessions import calendar_for
from tests.stocks import NEW_YORK, a_year, session_starts, weekdays

HOUR = INTERVAL_MS["60"]
DATA = Path(__file__).parents[3] / "shared/data"
STOCKS = [f"{symbol}_us-equity_{interval}_19980102_20150529.csv.gz" for symbol in ("AAPL", "IBM", "SPY")
          for interval in ("1h", "1d")]  # fmt: skip


def gaps(calendar, starts, step):
    """The bars of ``starts`` that do not directly follow the one before them."""
    return [
        after
        for before, after in pairwise(starts)
        if calendar.clock_ms(after) != calendar.clock_ms(before) + step
    ]


@given(st.integers(-(2**50), 2**50))
def test_a_market_that_never_closes_goes_by_utc(time_ms):
    assert ALWAYS_OPEN.clock_ms(time_ms) == ALWAYS_OPEN.start_ms(time_ms) == time_ms


MARKETS = st.sampled_from(
    [
        (NEW_YORK, 9),
        ("Europe/London", 8),
        ("Asia/Tokyo", 9),
        ("Australia/Sydney", 10),
        ("America/Sao_Paulo", 10),
    ]
)


@settings(max_examples=40, deadline=None)
@given(MARKETS, st.data())
def test_only_a_bar_missing_within_a_session_is_a_gap(market, data):
    """Nights, weekends, holidays, early closes and changes of the clock are none, wherever the market is."""
    (zone, opens), count = market, 120
    first = data.draw(st.dates(date(2005, 1, 1), date(2020, 1, 1)), label="first")
    holidays = data.draw(st.sets(st.integers(25, count - 1), max_size=6), label="holidays")
    sessions = [
        session_starts(day, zone=zone, opens=opens, bars=6)
        for day in weekdays(count, first, without=sorted(holidays))
    ]
    early = data.draw(st.sets(st.integers(25, len(sessions) - 1), max_size=3), label="early closes")
    sessions = [bars[:3] if i in early else bars for i, bars in enumerate(sessions)]
    missing = data.draw(
        st.sets(st.tuples(st.integers(25, len(sessions) - 1), st.integers(0, 1)), max_size=6), label="missing"
    )
    left = [
        [start for slot, start in enumerate(bars) if (i, slot) not in missing]
        for i, bars in enumerate(sessions)
    ]
    starts = [start for bars in left for start in bars]
    calendar = observed("60", starts, zone)
    expected = {bars[0] for i, bars in enumerate(left) if any((i, slot) in missing for slot in (0,))}
    expected |= {sessions[i][2] for i, slot in missing if slot == 1}
    assert set(gaps(calendar, starts, HOUR)) == expected
    # What is missing takes its time.
    assert calendar.clock_ms(starts[-1]) - calendar.clock_ms(starts[0]) == HOUR * (
        len(starts) + len(missing) - 1
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 24 * 120), min_size=2, max_size=200, unique=True), st.data())
def test_the_clock_at_a_bar_is_the_same_whatever_bars_come_after_it(hours, data):
    """Whatever a feed looks like: a calendar that is observed looks at nothing later."""
    epoch = session_starts(date(2013, 1, 2))[0]
    starts = sorted(epoch + hour * HOUR for hour in hours)
    cut = data.draw(st.integers(1, len(starts) - 1))
    other = [starts[cut - 1] + hour * HOUR for hour in data.draw(st.sets(st.integers(1, 900), max_size=40))]
    whole, then = observed("60", starts, NEW_YORK), observed("60", starts[:cut] + sorted(other), NEW_YORK)
    for start in starts[:cut]:
        for at in (start, start + HOUR // 2, start + HOUR):
            assert whole.clock_ms(at) == then.clock_ms(at)
        assert whole.bars_a_day(start + HOUR, "60") == then.bars_a_day(start + HOUR, "60")


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=60, unique=True), st.integers(-10, 3_100))
def test_the_clock_runs_while_bars_do_and_stands_still_between_them(hours, at):
    starts = sorted(hour * HOUR for hour in hours)
    calendar = SessionCalendar("XNYS", "60", starts, NEW_YORK)
    for before, after in pairwise(starts):
        assert calendar.clock_ms(after) == calendar.clock_ms(before) + HOUR
        assert calendar.clock_ms(before + HOUR) == calendar.clock_ms(after)
        assert calendar.bars_between(before, after + HOUR, HOUR) == 2
    assert [calendar.start_ms(calendar.clock_ms(start)) for start in starts] == starts
    assert (
        calendar.clock_ms(at * HOUR) <= calendar.clock_ms(at * HOUR + 1) <= calendar.clock_ms(at * HOUR) + 1
    )


def test_daily_bars_of_one_holiday_or_long_weekend_follow_each_other_and_a_month_without_any_is_a_gap():
    day = INTERVAL_MS["D"]
    starts = a_year(interval="D")
    assert gaps(observed("D", starts, NEW_YORK), starts, day) == []
    without = [start for i, start in enumerate(starts) if not 100 <= i < 120]
    assert gaps(observed("D", without, NEW_YORK), without, day) == [starts[120]]


def test_a_year_has_as_many_bars_as_its_sessions():
    starts = a_year()
    assert observed("60", starts, NEW_YORK).bars_a_year(starts[-1], "60") == 252 * 7
    assert observed("D", (days := a_year(interval="D")), NEW_YORK).bars_a_year(days[-1], "D") == 252
    assert ALWAYS_OPEN.bars_a_year(0, "60") == 365.25 * 24


def test_a_lunch_break_is_no_gap_and_a_bar_missing_before_it_is_one():
    """Hong Kong trades from 09:30 to 12:00 and from 13:00 to 16:00."""
    morning, afternoon = (1.5, 4), (5, 8)

    def session(day):
        midnight = session_starts(day, zone="Asia/Hong_Kong", opens=8, bars=1)[0]
        return Session(
            day=day,
            open_ms=tuple(tuple(midnight + int(h * HOUR) for h in part) for part in (morning, afternoon)),
        )

    sessions = [session(day) for day in weekdays(30)]
    starts = list(expected_of(sessions, "30"))
    assert len(starts) == 30 * 11
    calendar = scheduled("XHKG", "30", starts, sessions, "Asia/Hong_Kong")
    assert gaps(calendar, starts, HOUR // 2) == []
    # What is usual, the first session cannot tell.
    assert gaps(observed("30", starts, "Asia/Hong_Kong"), starts, HOUR // 2) == [starts[5]]
    without = [start for i, start in enumerate(starts) if i != 11 * 25 + 4]
    calendar = scheduled("XHKG", "30", without, sessions, "Asia/Hong_Kong")
    assert gaps(calendar, without, HOUR // 2) == [starts[11 * 25 + 5]]
    assert gaps(observed("30", without, "Asia/Hong_Kong"), without, HOUR // 2)[1:] == [starts[11 * 25 + 5]]


def test_the_sessions_of_new_york_are_known_with_their_early_closes():
    pytest.importorskip("exchange_calendars", reason="exchange_calendars is in the extra stocks")
    days = [date(2014, 11, day) for day in (26, 28)] + [date(2014, 12, 1)]
    starts = [start for day in days for start in session_starts(day, bars=4 if day.day == 28 else 7)]
    calendar = calendar_for("XNYS", "60", "UTC", starts)
    assert (calendar.name, calendar.zone, gaps(calendar, starts, HOUR)) == ("XNYS", NEW_YORK, [])
    assert calendar.clock_ms(starts[-1]) - calendar.clock_ms(starts[0]) == (len(starts) - 1) * HOUR
    # The last bar before the early close is missing: only an exchange's own calendar tells.
    without = [start for i, start in enumerate(starts) if i != 10]
    assert gaps(calendar_for("XNYS", "60", "UTC", without), without, HOUR) == [starts[11]]
    assert gaps(calendar_for("observed", "60", NEW_YORK, without), without, HOUR) == []


@pytest.mark.parametrize("code", ["XXXX", "xnys ", "; drop", "NYSE2"])
def test_a_code_that_no_exchange_has_is_one_line(code):
    pytest.importorskip("exchange_calendars", reason="exchange_calendars is in the extra stocks")
    with pytest.raises(ConfigError, match=r"run\.calendar: .* is no code of an exchange"):
        calendar_for(code, "60", NEW_YORK, a_year()[:10])


def test_without_the_library_a_code_is_refused_with_its_cure(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "exchange_calendars", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'paper-trading-bot\[stocks\]'"):
        calendar_for("XNYS", "60", NEW_YORK, a_year()[:10])
    assert calendar_for("observed", "60", NEW_YORK, a_year()[:10]).name == "observed"


@pytest.mark.skipif(not DATA.exists(), reason="the shared market data are not beside this checkout")
@pytest.mark.parametrize("name", STOCKS)
@pytest.mark.parametrize("calendar", ["observed", "XNYS"])
def test_seventeen_years_of_a_stock_have_hardly_a_gap(name, calendar):
    if calendar != "observed":
        pytest.importorskip("exchange_calendars", reason="exchange_calendars is in the extra stocks")
    with gzip.open(DATA / name, "rt") as file:
        starts = [int(row["start_ms"]) for row in csv.DictReader(file)]
    interval = "60" if "_1h_" in name else "D"
    found = gaps(calendar_for(calendar, interval, NEW_YORK, starts), starts, INTERVAL_MS[interval])
    assert len(found) <= (25 if interval == "60" else 0)
