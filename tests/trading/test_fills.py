"""What is at hand is priced on the side that is worse for the trader, on the tick grid, exactly."""

import math
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.exact import is_multiple
from bot.market import Book, Level
from bot.trading.fills import PRESETS, BarMarket, BookMarket, BrokerConfig, FillModel, QuoteMarket
from tests.factories import START_MS, a_bar, a_quote, an_instrument

FAR = Decimal(1_000_000)


def a_model(*, fills: str = "realistic", impact_bps: str = "0", **changes: str) -> FillModel:
    settings = {"half_spread_bps": "1", "slippage_bps": "1", "impact_bps": impact_bps}
    broker = {name: changes.pop(name) for name in list(changes) if name in (*settings, "max_volume_share")}
    figures = {name: Decimal(figure) for name, figure in (settings | broker).items()}
    return FillModel(BrokerConfig(fill_preset=fills, **figures), {"BTCUSDT": an_instrument(**changes)})


def bought(market, quantity="1", **options) -> list[tuple[Decimal, Decimal]]:
    return [(slice.quantity, slice.price) for slice in market.take(Decimal(quantity), buys=True, **options)]


def sold(market, quantity="1", **options) -> list[tuple[Decimal, Decimal]]:
    return [(slice.quantity, slice.price) for slice in market.take(Decimal(quantity), buys=False, **options)]


def a_book(bids: list[tuple[str, str]], asks: list[tuple[str, str]], time_ms: int = START_MS) -> Book:
    sides = ([Level(price=Decimal(p), size=Decimal(s)) for p, s in side] for side in (bids, asks))
    bid_levels, ask_levels = (tuple(side) for side in sides)
    return Book(symbol="BTCUSDT", time_ms=time_ms, bids=bid_levels, asks=ask_levels)


def test_a_buy_pays_the_ask_and_the_slippage_and_the_tick():
    market = QuoteMarket(a_model(slippage_bps="2"), a_quote(bid="60000", ask="60000.1"))
    (slice,) = market.take(Decimal("0.5"), buys=True)
    # 60000.1 * 1.0002 = 60012.10002, and up to the next tick.
    assert (slice.price, slice.reference, slice.quantity) == (
        Decimal("60012.2"), Decimal("60000.1"), Decimal("0.5"),
    )  # fmt: skip


def test_a_sell_gets_the_bid_less_the_slippage_down_to_the_tick():
    market = QuoteMarket(a_model(slippage_bps="2"), a_quote(bid="60000", ask="60000.1"))
    assert sold(market) == [(1, Decimal("59988.0"))]


def test_no_more_is_taken_from_a_quote_than_it_displays_in_whole_lots():
    market = QuoteMarket(a_model(slippage_bps="0"), a_quote(bid="99", ask="100", size="2.0005"))
    assert bought(market, "1.5") == [(Decimal("1.5"), 100)]
    assert bought(market, "1.5") == [(Decimal("0.5"), 100)]
    assert bought(market, "1.5") == []
    assert sold(market, "1.5") == [(Decimal("1.5"), 99)]


def test_a_limit_order_that_takes_never_pays_more_than_its_limit():
    market = QuoteMarket(a_model(slippage_bps="50"), a_quote(bid="99", ask="100"))
    assert bought(market, limit=Decimal("100.2")) == [(1, Decimal("100.2"))]
    assert sold(market, limit=Decimal("98.9")) == [(1, Decimal("98.9"))]


def test_a_book_is_walked_level_by_level():
    book = a_book([("99", "5")], [("100", "1"), ("101", "2"), ("103", "4")])
    market = BookMarket(a_model(slippage_bps="0"), book)
    assert bought(market, "2.5") == [(1, 100), (Decimal("1.5"), 101)]
    # What was taken is gone.
    assert bought(market, "1") == [(Decimal("0.5"), 101), (Decimal("0.5"), 103)]


def test_what_the_book_does_not_hold_comes_at_its_worst_level_and_its_share_of_the_impact():
    book = a_book([("99", "5")], [("100", "1"), ("110", "1")])
    market = BookMarket(a_model(slippage_bps="0", impact_bps="100"), book)
    # As much again as the whole depth: 1 % of 110 beyond it.
    assert bought(market, "4") == [(1, 100), (1, 110), (2, Decimal("111.1"))]


def test_a_limit_order_walks_the_book_no_further_than_its_limit():
    book = a_book([("99", "5")], [("100", "1"), ("110", "1")])
    market = BookMarket(a_model(slippage_bps="0"), book)
    assert bought(market, "4", limit=Decimal("105")) == [(1, 100)]


def test_without_quotes_an_order_pays_half_the_spread_on_the_open():
    model = a_model(half_spread_bps="10", slippage_bps="0")
    market = BarMarket(model, a_bar(open="1000", close="1100"))
    assert bought(market, reference=Decimal(1000)) == [(1, 1001)]
    assert sold(market, reference=Decimal(1000)) == [(1, 999)]


def test_the_impact_grows_with_the_share_of_the_bars_volume():
    model = a_model(half_spread_bps="0", slippage_bps="0", impact_bps="100", max_volume_share="1")
    prices = [
        bought(BarMarket(model, a_bar(close="1000", volume="100")), quantity, reference=Decimal(1000))
        for quantity in ("1", "10", "100")
    ]
    assert prices == [[(1, Decimal("1000.1"))], [(10, 1001)], [(100, 1010)]]


def test_no_bar_fills_more_than_the_share_of_its_volume_in_whole_lots():
    market = BarMarket(a_model(max_volume_share="0.1"), a_bar(volume="12.345"))
    taken = [sum(quantity for quantity, _ in bought(market, "1", reference=Decimal(100))) for _ in range(3)]
    assert taken == [1, Decimal("0.234"), 0]
    assert bought(BarMarket(a_model(), a_bar(volume="0")), reference=Decimal(100)) == []


@pytest.mark.parametrize(
    ("fills", "touched"), [("optimistic", True), ("realistic", False), ("pessimistic", False)]
)
def test_a_resting_order_needs_a_trade_through_its_price_unless_one_is_optimistic(fills, touched):
    model = a_model(fills=fills)
    quote = a_quote(bid="99", ask="100", size="3")
    book = a_book([("99", "5")], [("100", "3"), ("101", "2")])
    given = Decimal(3) if touched else Decimal(0)
    assert QuoteMarket(model, quote).give(FAR, Decimal(100), buys=True) == given
    assert BookMarket(model, book).give(FAR, Decimal(100), buys=True) == given
    assert QuoteMarket(model, quote).give(FAR, Decimal("100.1"), buys=True) == 3
    assert BookMarket(model, book).give(FAR, Decimal("100.1"), buys=True) == 3
    assert BookMarket(model, book).give(FAR, Decimal("101.1"), buys=True) == 5


prices = st.decimals("0.1", "100000", places=1)
basis_points = st.decimals("0", "50", places=2).map(str)


@given(prices, prices, basis_points, st.booleans(), st.sampled_from(list(PRESETS)))
def test_no_market_order_fills_better_than_the_quote_it_saw(one, other, slippage, buys, fills):
    quote = a_quote(bid=min(one, other), ask=max(one, other))
    market = QuoteMarket(a_model(slippage_bps=slippage, fills=fills), quote)
    (slice,) = market.take(Decimal(1), buys=buys)
    assert slice.price >= quote.ask if buys else slice.price <= quote.bid
    assert slice.price > 0
    assert is_multiple(slice.price, Decimal("0.1"))


@given(
    prices, basis_points, basis_points, st.booleans(),
    st.decimals("0.001", "1000", places=3), st.decimals("0.001", "1000", places=3), basis_points,
)  # fmt: skip
def test_the_price_of_a_part_is_the_exact_one_up_to_the_next_tick(
    price, half_spread, slippage, buys, part, volume, impact
):
    model = a_model(
        half_spread_bps=half_spread, slippage_bps=slippage, impact_bps=impact, max_volume_share="1"
    )
    market = BarMarket(model, a_bar(close=price, volume=volume))
    for slice in market.take(part, price, buys=buys):
        worse = Fraction(half_spread) + Fraction(slippage)
        worse += Fraction(impact) * Fraction(slice.quantity) / Fraction(volume)
        exact = Fraction(price) * (1 + (worse if buys else -worse) / 10_000)
        ticks = math.ceil(exact * 10) if buys else max(math.floor(exact * 10), 1)
        assert Fraction(slice.price) == Fraction(ticks, 10)


markets = st.sampled_from(["quote", "book", "bar"])


@given(
    markets, prices, st.decimals("0.001", "100", places=3), st.decimals("0", "100", places=3),
    st.tuples(basis_points, basis_points, basis_points), st.decimals("0.01", "1", places=2), st.booleans(),
)  # fmt: skip
def test_a_kinder_preset_never_pays_more(kind, price, quantity, size, figures, share, buys):
    half_spread, slippage, impact = figures
    worst = []
    for fills in ("optimistic", "realistic", "pessimistic"):
        model = a_model(
            fills=fills, half_spread_bps=half_spread, slippage_bps=slippage, impact_bps=impact,
            max_volume_share=str(share),
        )  # fmt: skip
        taken = _taken(model, kind, price, quantity, size, buys=buys)
        worst.append([slice.price for slice in taken][:1])
    for kinder, harder in pairwise(worst):
        for better, worse in zip(kinder, harder, strict=False):
            assert better <= worse if buys else better >= worse


def _taken(model, kind, price, quantity, size, *, buys):
    if kind == "quote":
        quote = a_quote(bid=price, ask=price, size=size)
        return QuoteMarket(model, quote).take(quantity, buys=buys)
    if kind == "book":
        levels = [(str(price), str(size + 1))]
        return BookMarket(model, a_book(levels, levels)).take(quantity, buys=buys)
    return BarMarket(model, a_bar(close=price, volume=size)).take(quantity, price, buys=buys)


def in_ticks(places: int, step: int, ticks: int) -> tuple[Decimal, Decimal]:
    """A tick of 1, 2 or 5 in some decimal place, and a price of so many ticks between 1e-9 and 1e7."""
    tick = Decimal(step).scaleb(-places)
    return tick, min(tick * ticks, Decimal(10_000_000) // tick * tick)


@given(
    st.builds(in_ticks, st.integers(0, 12), st.sampled_from([1, 2, 5]), st.integers(1, 10**9)),
    st.sampled_from(["quote", "book", "bar"]),
    st.booleans(),
    st.sampled_from(["0", "1", "250"]),
    st.sampled_from(["0", "50"]),
)
def test_a_fill_is_no_further_from_its_reference_than_it_states_and_one_tick(
    tick_and_price, kind, buys, slippage_bps, impact_bps
):
    tick, price = tick_and_price
    model = a_model(tick_size=str(tick), slippage_bps=slippage_bps, impact_bps=impact_bps)
    (slice, *_) = _taken(model, kind, price, Decimal(1), Decimal(20), buys=buys)
    worse = slice.price - price if buys else price - slice.price
    stated = price * (model.slippage + model.bar_worse + model.impact)
    assert 0 <= worse < stated + tick
    assert is_multiple(slice.price, tick)
    assert slice.reference == price


def test_a_price_of_six_decimals_is_filled_to_its_own_tick():
    model = a_model(tick_size="0.000001")
    bar = a_bar(close="0.000012")
    assert bought(BarMarket(model, bar), reference=bar.close) == [(1, Decimal("0.000013"))]
    fine = a_model(tick_size="0.0000000001")
    assert bought(BarMarket(fine, bar), reference=bar.close) == [(1, Decimal("0.0000120024"))]


def test_a_sell_at_the_lowest_price_still_gets_one_tick():
    assert sold(QuoteMarket(a_model(), a_quote(bid="0.1", ask="0.2"))) == [(1, Decimal("0.1"))]


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
        ("impact_bps", -1),
        ("max_volume_share", 0),
        ("leverage", "0.5"),
        ("fills", "kind"),
        ("fill_model", "tick"),
        ("makerfee", 0),
    ],
)
def test_a_setting_out_of_range_or_unknown_is_an_error_that_names_it(key, value):
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({key: value}, BrokerConfig)
