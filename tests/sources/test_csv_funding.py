import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from bot.errors import InputError
from bot.market import FundingRate
from bot.sources.csv_funding import read_funding

HEADER = "time_ms,rate\n"
ROWS = "1704067200000,0.00010000\n1704096000000,-2.5e-05\n"


def written(folder: Path, data: str | bytes, name: str = "BTCUSDT_bybit-perp_funding_2024.csv") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refused(path: Path, symbol: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_funding(path, symbol)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dress", [str.encode, lambda text: gzip.compress(text.encode())])
def test_a_file_becomes_rates_plain_or_gzipped(tmp_path, dress):
    first, second = read_funding(written(tmp_path, dress(HEADER + ROWS)))
    assert first == FundingRate(symbol="BTCUSDT", time_ms=1704067200000, rate=Decimal("0.0001"))
    assert (second.time_ms, second.rate) == (1704096000000, Decimal("-0.000025"))


def test_the_symbol_is_the_names_unless_it_is_given(tmp_path):
    nameless = written(tmp_path, HEADER + ROWS, "funding.csv")
    assert "give it as SYMBOL=FILE" in refused(nameless)
    assert "give it as SYMBOL=FILE" in refused(nameless, "")
    assert {rate.symbol for rate in read_funding(nameless, "ETHUSDT")} == {"ETHUSDT"}
    assert read_funding(written(tmp_path, HEADER + ROWS), "ETHUSDT")[0].symbol == "ETHUSDT"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1704124800000", "1 columns where 2 are expected"),
        ("noon,0.0001", "time_ms is no number: 'noon'"),
        ("1704124800000,", "rate is no number: ''"),
        ("1704124800000,0.01%", "rate is no number: '0.01%'"),
        ("1704124800000,nan", "rate is no fraction between -1 and 1"),
        ("1704124800000,-1", "rate is no fraction between -1 and 1"),
        ("1704124800000,1e-31", "rate has more than 30 decimals"),
        ("1704096000000,0.0001", "its time does not come after the row before it"),
        ("1704067200000,0.0001", "its time does not come after the row before it"),
        ("1704124800000000,0.0001", "time_ms is no time in milliseconds"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_reason(tmp_path, row, words):
    told = refused(written(tmp_path, HEADER + ROWS + row + "\n"))
    assert f"1 bad row(s), nothing was read: line 4: {words}" in told


def test_what_is_no_such_file_is_named(tmp_path):
    assert "line 1 must be the header time_ms,rate, found 'start_ms,open'" in refused(
        written(tmp_path, "start_ms,open\n1,2\n")
    )
    assert "holds no funding rates, only a header" in refused(written(tmp_path, HEADER))
    assert "No such file" in refused(tmp_path / "BTCUSDT_bybit-perp_funding.csv")
    assert "damaged gzip file" in refused(written(tmp_path, gzip.compress(HEADER.encode() * 999)[:-9]))


def test_stamps_beside_the_hour_belong_to_its_settlement_also_where_a_file_has_both(tmp_path):
    rows = ["1704067200007,0.0001", "1704096000000,0.0002", "1704096000007,0.0002", "1704124799993,0.0003"]
    found = read_funding(written(tmp_path, HEADER + "\n".join(rows) + "\n"))
    assert [rate.time_ms for rate in found] == [1704067200000, 1704096000000, 1704124800000]
    assert [rate.rate for rate in found] == [Decimal("0.0001"), Decimal("0.0002"), Decimal("0.0003")]


def test_two_rates_of_one_settlement_are_refused(tmp_path):
    told = refused(written(tmp_path, HEADER + "1704067200000,0.0001\n1704067200007,0.0002\n"))
    assert "line 3: another rate for the settlement of 2024-01-01 00:00:00 than the row before it" in told
