import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from bot.errors import InputError
from bot.sources.csv_bars import check_bars, name_parts, read_bars

HEADER = "start_ms,open,high,low,close,volume,turnover\n"
ROWS = (
    "1704067200000,100.50,101,99.00000001,100,12.3400,1234.5\n",
    "1704068100000,100,100,100,100,0,\n",
    "1704070800000,1e2,101,99,100,1E-12,\n",
)


def written(folder: Path, text: str | bytes, name: str = "BTCUSDT_bybit-perp_15m_2024.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_bars(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_becomes_bars_with_its_digits_and_its_gaps(tmp_path: Path) -> None:
    first, flat, after_a_gap = read_bars(written(tmp_path, HEADER + "".join(ROWS)))
    assert (first.symbol, first.interval, first.source) == ("BTCUSDT", "15", "import")
    assert str(first.open) == "100.50"
    assert str(first.volume) == "12.3400"
    assert first.turnover == Decimal("1234.5")
    assert flat.turnover is None
    assert after_a_gap.start_ms == 1704070800000
    assert after_a_gap.volume == Decimal("1E-12")


@pytest.mark.parametrize(
    "dressed",
    [
        gzip.compress((HEADER + "".join(ROWS)).encode()),
        b"\xef\xbb\xbf" + (HEADER + "".join(ROWS)).encode(),
        (HEADER + "".join(ROWS)).replace("\n", "\r\n").encode(),
        (HEADER + "".join(ROWS)).encode() + b"\n\n",
    ],
    ids=["gzip", "byte order mark", "carriage returns", "blank lines"],
)
def test_how_a_file_is_dressed_makes_no_difference(tmp_path: Path, dressed: bytes) -> None:
    plain = read_bars(written(tmp_path, HEADER + "".join(ROWS)))
    assert read_bars(written(tmp_path, dressed)) == plain


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1704071700000,100,99,100,100,1,", "high is below another price"),
        ("1704071700000,100,101,100.5,100,1,", "low is above another price"),
        ("1704071700000,0,101,0,100,1,", "a price is not positive"),
        ("1704071700000,NaN,101,99,100,1,", "a figure is not finite"),
        ("1704071700000,100,Infinity,99,100,1,", "a figure is not finite"),
        ("1704071700000,100,101,99,100,-1,", "volume or turnover is negative"),
        ("1704071700001,100,101,99,100,1,", "start is off the interval's grid"),
        ("1704070800000,100,101,99,100,1,", "its start does not come after the row before it"),
        ("1704071700000000,100,101,99,100,1,", "start_ms is no time in milliseconds"),
        ("1704071700000,100,101,99,abc,1,", "close is no number: 'abc'"),
        ("1704071700000.5,100,101,99,100,1,", "start_ms is no number: '1704071700000.5'"),
        ("1704071700000,100,101,99,,1,", "close is no number: ''"),
        ("1704071700000,100,101", "3 columns where 7 are expected"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_reason(tmp_path: Path, row: str, words: str) -> None:
    text = HEADER + "".join(ROWS) + row + "\n"
    assert f"1 bad row(s), nothing was read: line 5: {words}" in refused(written(tmp_path, text))


def test_many_bad_rows_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    message = refused(written(tmp_path, HEADER + "x,1,1,1,1,1,\n" * 5))
    assert "5 bad row(s)" in message
    assert "line 2: start_ms is no number: 'x'; line 3:" in message
    assert message.endswith("and 2 more")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1 must be the header"),
        (HEADER.encode(), "holds no bars"),
        ("".join(ROWS).encode(), "line 1 must be the header"),
        (b"time,open,high,low,last,volume\n", "line 1 must be the header"),
        (bytes(range(256)) * 10, "is not a text file"),
        (gzip.compress((HEADER + "".join(ROWS)).encode())[:-12], "is a damaged gzip file"),
        (b"\x1f\x8bnot gzip at all", "is a damaged gzip file"),
    ],
    ids=["empty", "header only", "no header", "other header", "binary", "cut gzip", "false gzip"],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refused(written(tmp_path, content))


def test_a_folder_and_a_missing_file_are_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "BTCUSDT_x_15m"
    folder.mkdir()
    assert "it is a folder" in refused(folder)
    assert "No such file" in refused(tmp_path / "BTCUSDT_x_1h.csv")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("BTCUSDT_binance-perp_1h_20190908_20240229.csv.gz", ("BTCUSDT", "60")),
        ("AAPL_us-equity_1d_19980102.csv", ("AAPL", "D")),
        ("ETHUSDT_bybit-perp_240.csv", ("ETHUSDT", "240")),
    ],
)
def test_a_file_name_tells_symbol_and_interval(name: str, parts: tuple[str, str]) -> None:
    assert name_parts(Path(name)) == parts


def test_arguments_stand_before_the_name() -> None:
    assert name_parts(Path("BTCUSDT_x_1h.csv"), "SOLUSDT", "15m") == ("SOLUSDT", "15")
    assert name_parts(Path("prices.csv"), "SOLUSDT", "D") == ("SOLUSDT", "D")


def test_a_name_that_tells_nothing_asks_for_the_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --symbol"):
        name_parts(Path("prices.csv"))
    with pytest.raises(InputError, match="give --interval"):
        name_parts(Path("prices.csv"), "BTCUSDT")
    with pytest.raises(InputError, match="unknown interval 7; one of 1, 3, 5"):
        name_parts(Path("prices.csv"), "BTCUSDT", "7")


def test_a_checked_file_is_read_again_each_time_it_is_iterated(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "".join(ROWS))
    file = check_bars(path)
    assert (file.symbol, file.interval, file.count) == ("BTCUSDT", "15", 3)
    assert list(file) == list(file) == read_bars(path)


def test_a_bad_last_row_is_found_before_the_first_bar_is_handed_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was read: line 5: 3 columns"):
        check_bars(written(tmp_path, HEADER + "".join(ROWS) + "1704071700000,100,101\n"))


@pytest.mark.parametrize("rows", [ROWS[:2], (*ROWS, "1704071700000,100,99,100,100,1,\n")])
def test_a_file_that_changed_since_it_was_checked_is_refused(tmp_path: Path, rows: tuple[str, ...]) -> None:
    file = check_bars(written(tmp_path, HEADER + "".join(ROWS)))
    written(tmp_path, HEADER + "".join(rows))
    with pytest.raises(InputError, match="has changed since it was checked"):
        list(file)
