"""One place says what a symbol may look like; what is listed passes, what is hostile does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.market.symbols import currency_problem, inverse_problem, is_dated, quote_coin_of, symbol_problem

LISTED = (
    *("BTCUSDT", "1000PEPEUSDT", "1INCHUSDT", "币安人生USDT", "BTCPERP", "ETHBTC", "USDCUSDT", "A"),
    *("BTC-26DEC25", "BTCUSDT-26DEC25", "ETH-2JAN26", "BTC-USDT", "BTC_USDT", "SHIB1000USDT", "BRK-B"),
)
HOSTILE = (
    *("", " ", "BTC USDT", "BTCUSDT ", "BTCUSDT\n", "BTC\tUSDT", "BTC\x00USDT", "drop table", "DROP TABLE"),
    *(
        "BTC'USDT",
        'BTC"USDT',
        "BTC;--",
        "../BTCUSDT",
        "BTC/USDT",
        "BTC\\USDT",
        "BTC.USDT",
        "-BTC",
        "BTC-",
        "_",
    ),
    *(
        "btcusdt",
        "BtcUSDT",
        "A" * 300,
        "%42TC",
        "BTC&CATEGORY=SPOT",
        "BTC\u202eUSDT",
        "\uff22\uff34\uff23USDT",
        "BTC\u0301",
    ),
)


@pytest.mark.parametrize("symbol", LISTED)
def test_what_is_listed_is_a_symbol(symbol):
    assert symbol_problem(symbol) is None


@pytest.mark.parametrize("symbol", HOSTILE)
def test_what_is_hostile_is_none_and_said_so_in_one_short_line(symbol):
    problem = symbol_problem(symbol)
    assert problem
    assert problem.isprintable()
    assert len(problem) < 150


@given(st.text(max_size=50))
def test_what_passes_is_safe_in_a_path_a_query_a_topic_and_a_table(text):
    if symbol_problem(text) is None:
        assert text == text.upper()
        assert all(letter.isalnum() or letter in "-_" for letter in text)
        assert 0 < len(text) <= 40


@pytest.mark.parametrize(
    ("symbol", "coin"),
    [
        ("BTCUSDT", "USDT"),
        ("BTCPERP", "USDC"),
        ("BTC-26DEC25", "USDC"),
        ("BTCUSDT-26DEC25", "USDT"),
        ("ETHBTC", "BTC"),
        ("币安人生USDT", "USDT"),
        ("AAPL", ""),
    ],
)
def test_a_name_tells_the_coin_that_it_is_priced_in(symbol, coin):
    assert quote_coin_of(symbol) == coin


def test_dated_futures_are_told_by_their_names():
    assert [is_dated(symbol) for symbol in ("BTC-26DEC25", "BTCUSDT-2JAN26", "BTC-USDT", "BRK-B")] == [
        *(True, True, False, False)
    ]


def test_an_account_keeps_one_currency_and_dollars_are_one():
    assert currency_problem(["BTCUSDT", "BTCPERP", "BTC-26DEC25", "AAPL"]) is None
    assert currency_problem(["ETHBTC", "SOLBTC"]) is None
    problem = currency_problem(["BTCUSDT", "ETHBTC"])
    assert problem is not None
    assert "BTCUSDT in USDT and ETHBTC in BTC are priced" in problem


@pytest.mark.parametrize("symbol", ["BTCUSD", "BTCUSDH26", "ETHUSDZ25", "1000XUSD"])
def test_contracts_settled_in_their_coin_are_told_by_their_names(symbol):
    assert f"take {symbol[: symbol.index('USD')]}USDT" in (inverse_problem(["BTCUSDT", symbol]) or "")


@pytest.mark.parametrize(
    "symbol", ["BTCUSDT", "USDCUSDT", "BTCUSDT-26DEC25", "BTC-26DEC25", "BTCPERP", "USD", "SUSDT"]
)
def test_contracts_settled_in_dollars_are_not_taken_for_inverse_ones(symbol):
    assert inverse_problem([symbol]) is None
