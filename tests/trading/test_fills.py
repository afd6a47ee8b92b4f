"""Market orders fill on the side that is worse for the trader, on the tick grid, at exact prices."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.trading.exact import is_multiple
from bot.trading.fills import BrokerConfig, FillModel
from tests.factories import START_MS, a_bar, a_quote, an_instrument, an_order


def a_model(*, half_spread_bps: str = "1", slippage_bps: str = "1", **rules: str) -> FillModel:
    config = BrokerConfig(half_spread_bps=Decimal(half_spread_bps), slippage_bps=Decimal(slippage_bps))
    return FillModel(config, {"BTCUSDT": an_instrument(**rules)})


def test_a_buy_pays_the_ask_and_the_slippage_and_the_tick():
    order = an_order(quantity="0.5", id=7)
    fill = a_model(slippage_bps="2").at_quote(
        order, a_quote(bid="60000", ask="60000.1", time_ms=5), fill_id=3
    )
    # 60000.1 * 1.0002 = 60012.10002, and up to the next tick.
    assert fill.price == Decimal("60012.2")
    assert (fill.reference_price, fill.rule, fill.liquidity) == (Decimal("60000.1"), "quote", "taker")
    assert (fill.id, fill.order_id, fill.time_ms, fill.late) == (3, 7, 5, False)
    assert fill.notional == Decimal("30006.1")
    assert fill.fee == Decimal("16.503355")


def test_a_sell_gets_the_bid_less_the_slippage_down_to_the_tick():
    fill = a_model(slippage_bps="2").at_quote(
        an_order(side="sell"), a_quote(bid="60000", ask="60000.1"), fill_id=1
    )
    assert fill.price == Decimal("59988.0")
    assert fill.reference_price == 60000


def test_without_quotes_an_order_pays_half_the_spread_on_the_open():
    model = a_model(half_spread_bps="10", slippage_bps="0")
    bar = a_bar(open="1000", close="1100")
    bought = model.at_open(an_order(), bar, fill_id=1, late=False)
    sold = model.at_open(an_order(side="sell"), bar, fill_id=2, late=True)
    assert (bought.price, sold.price) == (1001, 999)
    assert (bought.rule, bought.reference_price, bought.time_ms) == ("next_open", 1000, START_MS)
    assert (bought.late, sold.late) == (False, True)


prices = st.decimals("0.1", "100000", places=1)
basis_points = st.decimals("0", "50", places=2).map(str)


@given(prices, prices, basis_points, st.sampled_from(["buy", "sell"]))
def test_no_market_order_fills_better_than_the_quote_it_saw(one, other, slippage, side):
    quote = a_quote(bid=min(one, other), ask=max(one, other))
    fill = a_model(slippage_bps=slippage).at_quote(an_order(side=side), quote, fill_id=1)
    assert fill.price >= quote.ask if side == "buy" else fill.price <= quote.bid
    assert fill.price > 0
    assert is_multiple(fill.price, Decimal("0.1"))


@given(prices, basis_points, basis_points, st.sampled_from(["buy", "sell"]))
def test_a_fill_at_the_open_lies_on_its_worse_side(price, half_spread, slippage, side):
    bar = a_bar(open=price, close=price)
    model = a_model(half_spread_bps=half_spread, slippage_bps=slippage)
    fill = model.at_open(an_order(side=side), bar, fill_id=1, late=False)
    assert fill.price >= price if side == "buy" else fill.price <= price
    assert abs(fill.price - price) < price * (Decimal(half_spread) + Decimal(slippage)) / 10000 + Decimal(
        "0.1"
    )


def test_a_tick_coarser_than_the_price_itself_is_not_believed():
    model = a_model(tick_size="0.0001", half_spread_bps="0", slippage_bps="0")
    bar = a_bar(open="0.00001234", close="0.00001234")
    assert model.at_open(an_order(), bar, fill_id=1, late=False).price == Decimal("0.00001234")


def test_a_sell_at_the_lowest_price_still_gets_one_tick():
    fill = a_model().at_quote(an_order(side="sell"), a_quote(bid="0.1", ask="0.2"), fill_id=1)
    assert fill.price == Decimal("0.1")


def test_settings_from_a_file_keep_the_digits_they_were_written_with():
    config = msgspec.convert(
        {"taker_fee": 0.00055, "starting_cash": "2500.10", "maker_fee": -0.0001}, BrokerConfig
    )
    assert (str(config.taker_fee), str(config.starting_cash)) == ("0.00055", "2500.10")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("starting_cash", 0),
        ("taker_fee", -0.001),
        ("taker_fee", "nan"),
        ("latency_ms", -1),
        ("slippage_bps", 1001),
        ("half_spread_bps", -1),
        ("makerfee", 0),
    ],
)
def test_a_setting_out_of_range_or_unknown_is_an_error_that_names_it(key, value):
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({key: value}, BrokerConfig)
