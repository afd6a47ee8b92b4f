"""Files of others: the same bars, whatever their columns are called and however their times are written."""

import gzip
import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InputError
from bot.market import INTERVAL_MS
from bot.sources.bar_times import time_reader
from bot.sources.csv_bars import name_parts, read_bars

START = 1_704_067_200_000
PRICES = (
    ("100.50", "101", "99.00000001", "100", "12.3400"),
    ("100", "100", "100", "100", "0"),
    ("1", "2", "1", "2", "3"),
)
TIMES = {
    "milliseconds": str,
    "seconds": lambda ms: str(ms // 1000),
    "seconds with a point": lambda ms: f"{ms // 1000}.0",
    "microseconds": lambda ms: str(ms * 1000),
    "nanoseconds": lambda ms: str(ms * 10**6),
    "ISO": lambda ms: at(ms).replace(tzinfo=None).isoformat(),
    "ISO with a space": lambda ms: at(ms).strftime("%Y-%m-%d %H:%M:%S"),
    "ISO in UTC": lambda ms: at(ms).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "ISO with an offset": lambda ms: at(ms).astimezone(timezone(timedelta(hours=-5))).isoformat(),
    "UTC as a word": lambda ms: at(ms).strftime("%Y-%m-%d %H:%M UTC"),
}
HEADERS = [
    "date,open,high,low,close,volume",
    "Date,Open,High,Low,Close,Adj Close,Volume",
    "Datetime,Open,High,Low,Close,Adj Close,Volume",
    "timestamp,open,high,low,close,volume,symbol",
    "symbol,time,volume,close,low,high,open",
    "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume",
    "unix,open,high,low,close,vol,turnover",
]


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def row_of(header: str, time: str, prices: tuple[str, ...]) -> list[str]:
    """The row's cells in the header's order; columns of no meaning hold what must not matter."""
    told = dict(zip(("open", "high", "low", "close", "volume"), prices, strict=True)) | {"vol": prices[-1]}
    times = ("date", "datetime", "timestamp", "time", "open time", "unix")
    return [
        time if name in times else "77" if name in ("turnover", "quote asset volume") else told.get(name, "x")
        for name in header.lower().split(",")
    ]


def read(folder: Path, text: str | bytes, name: str = "BTCUSDT_x_15m.csv", **named: str):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_bars(path, **named)


def told(bars):
    return [(b.start_ms, *map(str, (b.open, b.high, b.low, b.close, b.volume))) for b in bars]


EXPECTED = [(START + i * INTERVAL_MS["15"], *prices) for i, prices in enumerate(PRICES)]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize(("delimiter", "dress"), [
    (",", str.encode),
    (";", lambda text: b"\xef\xbb\xbf" + text.encode()),
    ("\t", lambda text: text.replace("\n", "\r\n").encode()),
    (",", lambda text: gzip.compress(text.encode())),
])  # fmt: skip
def test_whatever_columns_are_called_and_times_look_like_the_bars_are_the_same(
    tmp_path, header, times, delimiter, dress
):
    rows = [header.split(","), *(row_of(header, TIMES[times](start), prices) for start, *prices in EXPECTED)]
    bars = read(tmp_path, dress("".join(delimiter.join(row) + "\n" for row in rows)))
    assert told(bars) == EXPECTED
    has_turnover = "turnover" in header or "Quote" in header
    assert {bar.turnover for bar in bars} == {Decimal(77) if has_turnover else None}


@pytest.mark.parametrize("unit", [1, 1000])
def test_binances_dumps_have_no_header_and_since_2025_microseconds(tmp_path, unit):
    rows = [
        [str(start * unit), *prices, str(start * unit + 899), "77", "5", "1", "2", "0"]
        for start, *prices in EXPECTED
    ]
    bars = read(tmp_path, "\n".join(map(",".join, rows)), "BTCUSDT-15m-2024-01.csv")
    assert told(bars) == EXPECTED
    assert {bar.turnover for bar in bars} == {Decimal(77)}
    with pytest.raises(InputError, match="nothing was read: line 2: close is no number: 'abc'"):
        read(
            tmp_path,
            "\n".join(map(",".join, [rows[0], [*rows[1][:4], "abc", *rows[1][5:]]])),
            "BTCUSDT-15m-2024-01.csv",
        )


@pytest.mark.parametrize("figure", [float, str])
@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())])
def test_freqtrades_json_gives_the_digits_that_stand_there(tmp_path, figure, pack):
    candles = [[start, *(figure(price) for price in prices)] for start, *prices in EXPECTED]
    bars = read(tmp_path, pack(json.dumps(candles)), "BTC_USDT-15m.json")
    assert [(bar.symbol, bar.interval) for bar in bars] == [("BTCUSDT", "15")] * 3
    assert [tuple(map(Decimal, row[1:])) for row in told(bars)] == [
        tuple(map(Decimal, row[1:])) for row in EXPECTED
    ]
    assert str(read(tmp_path, "[[1704067200000,0.10,0.1,0.1,0.1,7]]", "A_B-1h.json")[0].open) == "0.10"


@pytest.mark.parametrize(("text", "words"), [
    ("[[1704067200000,1,1,1,1]]", "candle 1: 5 columns where 6 are expected"),
    ("[[1704067200000,1,1,1,1,1],[1704068100000,2,2,2,1,1]]", "candle 2: low is above another price"),
    ('[{"date": 1}]', "candle 1: 1 columns where 6 are expected"),
    ("[[1704067200000,NaN,1,1,1,1]]", "candle 1: a figure is not finite"),
    ("[[null,1,1,1,1,1]]", "candle 1: date is no time: 'None'"),
    ("[[1704067200000,[],1,1,1,1]]", "candle 1: open is no number: '[]'"),
    ("[[17040672", "is no JSON of candles"),
    ("[" * 100_000, "is no JSON of candles"),
    ("[]", "holds no bars"),
])  # fmt: skip
def test_candles_that_are_none_are_one_line(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, "BTC_USDT-15m.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_feather_without_pyarrow_is_one_line_with_its_cure(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        InputError, match="feather needs pandas and pyarrow, which are not installed: pip install"
    ):
        read(tmp_path, b"ARROW1\0\0rest", "BTC_USDT-15m.feather")


def test_freqtrades_feather_is_read(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="pyarrow, which reads feather, is no dependency")
    table = pandas.DataFrame({"date": pandas.to_datetime([row[0] for row in EXPECTED], unit="ms", utc=True)} | {
        name: [float(row[i]) for row in EXPECTED]
        for i, name in enumerate(("open", "high", "low", "close", "volume"), start=1)
    })  # fmt: skip
    path = tmp_path / "BTC_USDT_USDT-15m-futures.feather"
    table.to_feather(path)
    assert [tuple(map(Decimal, row[1:])) for row in told(read_bars(path))] == [
        tuple(map(Decimal, row[1:])) for row in EXPECTED
    ]
    path.write_bytes(b"ARROW1\0\0" + bytes(100))
    with pytest.raises(InputError, match="is no feather file"):
        read_bars(path)


@pytest.mark.parametrize(
    "date", ["2024-01-31", "20240131", "2024-01-31 00:00:00-05:00", "2024-01-31T00:00:00+09:00"]
)
def test_a_daily_bar_is_its_own_date_wherever_the_market_is(tmp_path, date):
    text = f"Date,Open,High,Low,Close,Adj Close,Volume\n{date},187.04,187.1,184.35,184.4,183.6,55467800\n"
    (bar,) = read(tmp_path, text, "AAPL.csv", symbol="AAPL", interval="1d")
    assert (at(bar.start_ms).isoformat(), str(bar.close)) == ("2024-01-31T00:00:00+00:00", "184.4")


@given(st.integers(2_630_000, 68_000_000), st.integers(-14 * 60, 14 * 60))
def test_every_spelling_of_a_time_is_the_same_millisecond(minute, offset):
    ms = minute * 60_000
    moment = at(ms)
    read_time = time_reader("date", "1")
    shifted = moment.astimezone(timezone(timedelta(minutes=offset)))
    for text in (
        ms,
        ms // 1000,
        ms * 1000,
        ms * 10**6,
        moment.isoformat(),
        shifted.isoformat(),
        f"{moment:%Y-%m-%d %H:%M}",
    ):
        assert read_time(str(text)) == ms


@pytest.mark.parametrize(
    "text", ["", "yesterday", "31/01/2024", "2024-13-01", "1" * 30, "nan", "1e12", "٣", "0x10"]
)
def test_what_is_no_time_is_refused_by_line(tmp_path, text):
    with pytest.raises(InputError, match=r"1 bad row\(s\), nothing was read: line 2: "):
        read(tmp_path, f"date,open,high,low,close,volume\n{text},1,1,1,1,1\n")


@pytest.mark.parametrize(("name", "parts"), [
    ("BTC_USDT-1h.json", ("BTCUSDT", "60")),
    ("BTC_USDT_USDT-5m-futures.feather", ("BTCUSDT", "5")),
    ("1000PEPE_USDT-1d.json.gz", ("1000PEPEUSDT", "D")),
    ("BTCUSDT-15m-2024-01.csv", ("BTCUSDT", "15")),
    ("ETHUSDT-1h-2024-01-31.csv", ("ETHUSDT", "60")),
])  # fmt: skip
def test_the_names_of_others_tell_symbol_and_interval(name, parts):
    assert name_parts(Path(name)) == parts
