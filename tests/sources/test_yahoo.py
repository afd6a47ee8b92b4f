import sqlite3
import sys
from datetime import date
from decimal import Decimal
from types import ModuleType

import numpy as np
import pytest

from bot.cli import main
from bot.errors import ConfigError, FeedError, InputError
from bot.market import utc_text
from bot.sources.yahoo import INTERVALS, bars_of, differing, fetch_bars
from tests.stocks import NEW_YORK, session_starts, weekdays

pandas = pytest.importorskip("pandas")
START, END = (
    session_starts(date(2024, 1, 2), interval="D")[0],
    session_starts(date(2024, 3, 1), interval="D")[0],
)


def table(days, *, interval="D", zone=NEW_YORK, **columns):
    """What yfinance answers: the market's own time as index, single-precision prices as doubles."""
    if interval == "D":
        index = pandas.DatetimeIndex([pandas.Timestamp(day, tz=zone) for day in days], name="Date")
    else:
        starts = [start for day in days for start in session_starts(day, zone=zone, interval=interval)]
        index = pandas.DatetimeIndex(
            pandas.to_datetime(starts, unit="ms", utc=True), name="Datetime"
        ).tz_convert(zone)
    closes = np.linspace(185.64, 190.12, len(index)).astype(np.float32).astype(float)
    frame = {
        "Open": closes, "High": closes + 1, "Low": closes - 1, "Close": closes, "Adj Close": closes * 0.99,
        "Volume": np.full(len(index), 82_488_700),
    }  # fmt: skip
    return pandas.DataFrame(frame | columns, index=index)


DAYS = weekdays(30, date(2024, 1, 2))


@pytest.mark.parametrize("zone", [NEW_YORK, "Asia/Tokyo", "Europe/London"])
def test_a_day_is_the_markets_own_date_at_midnight_utc_with_the_digits_that_were_meant(zone):
    found = bars_of(table(DAYS, zone=zone), "AAPL", "D")
    assert found.refused == ()
    assert [bar.start_ms for bar in found.bars] == [session_starts(day, interval="D")[0] for day in DAYS]
    first = found.bars[0]
    assert (str(first.open), str(first.close), first.volume) == ("185.64", "185.64", 82_488_700)
    assert first.turnover is None


def test_bars_of_minutes_start_when_they_do():
    found = bars_of(table(DAYS, interval="30"), "AAPL", "30")
    assert [bar.start_ms for bar in found.bars] == [
        s for day in DAYS for s in session_starts(day, interval="30")
    ]


@pytest.mark.parametrize(("column", "value", "words"), [
    ("Close", np.nan, "a figure is not finite"),
    ("High", 1.0, "high is below another price"),
    ("Low", 0.0, "a price is not positive"),
    ("Volume", -1.0, "volume or turnover is negative"),
])  # fmt: skip
def test_a_row_that_is_no_bar_is_told_and_left_out(column, value, words):
    frame = table(DAYS)
    frame[column] = frame[column].astype(float)
    frame.loc[frame.index[3], column] = value
    found = bars_of(frame, "AAPL", "D")
    assert len(found.bars) == len(DAYS) - 1
    (told,) = found.refused
    assert told.startswith(utc_text(session_starts(DAYS[3], interval="D")[0])[:10])
    assert words in told


def test_an_answer_of_other_columns_is_one_line():
    with pytest.raises(InputError, match="has no column Close"):
        bars_of(table(DAYS).drop(columns="Close"), "AAPL", "D")


def test_after_a_split_the_stored_bars_differ():
    before = bars_of(table(DAYS[:20]), "AAPL", "D").bars
    assert differing(before, bars_of(table(DAYS), "AAPL", "D").bars) != []  # other prices at the same days
    assert differing(before, before) == []
    assert differing((), before) == []


@pytest.mark.parametrize("interval", sorted({"3", "60", "120", "240", "720"}))
def test_an_interval_that_yahoo_lays_out_otherwise_is_refused(interval):
    with pytest.raises(ConfigError, match=f"Yahoo has no bars of {interval} here, only of 1 5 15 30 D W"):
        fetch_bars("AAPL", interval, START, END, END)


def test_without_yfinance_the_cure_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'paper-trading-bot\[stocks\]'"):
        fetch_bars("AAPL", "D", START, END, END)


class Answers(ModuleType):
    """Stands where yfinance is not installed, and gives what Yahoo would."""

    def __init__(self, answer) -> None:
        super().__init__("yfinance")
        self.answer, self.asked = answer, []

    def Ticker(self, symbol):
        self.asked.append(symbol)
        return self

    def history(self, **query):
        assert query["interval"] in INTERVALS.values()
        assert (query["auto_adjust"], query["actions"]) == (False, False)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("error", [
    OSError("Failed to perform, curl: (6) Could not resolve host: query2.finance.yahoo.com.\nSee https://curl.se"),
    KeyError("chart"), RuntimeError(""), TypeError("'NoneType' object is not subscriptable"),
])  # fmt: skip
def test_whatever_fails_on_the_way_is_one_line_and_leaves_no_database(tmp_path, monkeypatch, capsys, error):
    monkeypatch.setitem(sys.modules, "yfinance", Answers(error))
    with pytest.raises(FeedError, match="Yahoo gives no bars of AAPL D: "):
        fetch_bars("AAPL", "D", START, END, END)
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            ["fetch", "--source", "yahoo", "--symbols", "AAPL", "--interval", "D", "--since", "2024-01-02"],
            {},
        )
        == 1
    )
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: Yahoo gives no bars of AAPL D: ")
    assert not list(tmp_path.rglob("*.db"))


def test_a_day_that_is_not_over_is_no_bar_yet(monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", Answers(table(DAYS)))
    starts = [session_starts(day, interval="D")[0] for day in DAYS]
    found = fetch_bars("AAPL", "D", starts[2], starts[20], starts[10] + 50_000_000)
    assert [bar.start_ms for bar in found.bars] == starts[2:10]


def fetch(tmp_path, *more):
    return main(
        ["fetch", "--source", "yahoo", "--symbols", "AAPL", "--interval", "1d", "--since", "2024-01-02",
         "--db", str(tmp_path / "shares.db"), *more], {},
    )  # fmt: skip


def stored(tmp_path):
    with sqlite3.connect(tmp_path / "shares.db") as database:
        return database.execute(
            "SELECT symbol, interval, start_ms, close FROM bars ORDER BY start_ms"
        ).fetchall()


def test_what_is_fetched_is_stored_once_and_another_history_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole = table(DAYS)
    monkeypatch.setitem(sys.modules, "yfinance", Answers(whole.iloc[:20]))
    assert fetch(tmp_path) == 0
    monkeypatch.setitem(sys.modules, "yfinance", Answers(whole))
    assert fetch(tmp_path) == 0
    assert "10 new bars, 20 were there already" in capsys.readouterr().out
    before = stored(tmp_path)
    assert len(before) == len(DAYS)
    assert before[0][:2] == ("AAPL", "D")
    # A split of four for one: everything that ever was is a quarter now.
    for name in ("Open", "High", "Low", "Close"):
        whole[name] /= 4
    assert fetch(tmp_path) == 2
    assert "30 stored bars of AAPL are not Yahoo's any more" in capsys.readouterr().err
    assert stored(tmp_path) == before
    assert Decimal(before[0][3]) == Decimal("185.64")
