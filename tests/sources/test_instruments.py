"""A symbol's rules are told, stored, listed or inferred, in that order; else the run is refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.errors import InputError
from bot.exact import is_multiple
from bot.market import PriceGrid, price_grid
from bot.sources.instruments import read_given, settle, settle_all, shipped
from bot.trading.fills import BarMarket, BrokerConfig, FillModel
from tests.factories import a_bar, an_instrument

FINE = PriceGrid(step=Decimal("0.0000001"), low=Decimal("0.0011"), high=Decimal("0.4"))
COARSE = PriceGrid(step=Decimal("0.01"), low=Decimal("90"), high=Decimal("69000"))
STORED = an_instrument("DOGEUSDT", tick_size="0.0001", lot_size="10", min_quantity="10", known_ms=86_400_000)


def told(*names):
    return read_given(names)


def test_what_a_user_gives_comes_first_then_what_is_stored_then_the_table_then_the_prices():
    given = told("DOGEUSDT:tick_size=0.001,lot_size=5")["DOGEUSDT"]
    rules = settle("DOGEUSDT", "linear", given=given, stored=STORED).rules
    assert (rules.source, rules.tick_size, rules.lot_size) == ("options", Decimal("0.001"), 5)
    # What the user leaves out is the next one's.
    assert rules.min_notional == STORED.min_notional
    rules = settle("DOGEUSDT", "linear", stored=STORED).rules
    assert (rules.source, rules.tick_size, rules.known_ms) == ("history", Decimal("0.0001"), 86_400_000)
    rules = settle("DOGEUSDT", "linear").rules
    assert (rules.source, rules.tick_size, rules.lot_size) == ("table", Decimal("0.00001"), 1)
    assert rules.known_ms > 0
    rules = settle("NOBODYUSDT", "linear", grid=FINE).rules
    assert (rules.source, rules.tick_size, rules.lot_size) == ("inferred", Decimal("0.0000001"), 10)


def test_a_symbol_whose_rules_nobody_tells_is_refused_in_one_line():
    with pytest.raises(
        InputError, match="the trading rules of NOBODYUSDT are not known: fetch them"
    ) as error:
        settle("NOBODYUSDT", "linear")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="not known"):
        settle("NOBODYUSDT", "linear", given=told("NOBODYUSDT:tick_size=0.1")["NOBODYUSDT"])
    given = told("NOBODYUSDT:tick_size=0.1,lot_size=2")["NOBODYUSDT"]
    assert settle("NOBODYUSDT", "linear", given=given).rules.min_quantity == 2


def test_what_an_earlier_run_was_told_or_assumed_is_nobodys_answer():
    for source in ("inferred", "table", "options", "file"):
        rules = settle("DOGEUSDT", "linear", stored=replace(STORED, source=source)).rules
        assert rules.source == "table"
    # Nor are the rules of the same name in another category.
    assert settle("DOGEUSDT", "spot", stored=STORED).rules.category == "spot"


def test_a_listed_tick_that_is_coarser_than_the_bars_gives_way_to_theirs():
    settled = settle("DOGEUSDT", "linear", grid=FINE)
    assert settled.rules.tick_size == Decimal("0.0000001")
    assert settled.text == (
        "DOGEUSDT: tick 0.0000001, lot 1, orders of at least 1 and 5 USDT (the shipped table of 2024-03-01); "
        "the bars' prices are finer than its tick 0.00001, so theirs counts"
    )
    # A series that lies on the tick's grid shows nothing against it.
    assert settle("BTCUSDT", "linear", grid=replace(COARSE, step=Decimal("0.5"))).rules.tick_size == Decimal(
        "0.1"
    )


def test_a_given_tick_above_the_lowest_price_is_refused():
    given = told("DOGEUSDT:tick_size=0.01")["DOGEUSDT"]
    with pytest.raises(InputError, match=r"tick_size of 0.01 is larger than DOGEUSDT's lowest price, 0.0011"):
        settle("DOGEUSDT", "linear", given=given, grid=FINE)


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_file_gives_the_rules_of_several_symbols(tmp_path, suffix):
    path = tmp_path / f"rules.{suffix}"
    if suffix == "toml":
        path.write_text('[BTCUSDT]\ntick_size = 0.5\nlot_size = "0.01"\n["币安人生USDT"]\ntick_size = 1e-7\n')
    else:
        path.write_text(
            '{"BTCUSDT": {"tick_size": 0.5, "lot_size": "0.01"}, "币安人生USDT": {"tick_size": 1e-7}}'
        )
    given = told(str(path))
    assert {one.source for one in given.values()} == {"file"}
    assert given["BTCUSDT"].rules.tick_size == Decimal("0.5")
    assert given["币安人生USDT"].rules.tick_size == Decimal("0.0000001")
    # An option adds to the file.
    both = told(str(path), "BTCUSDT:lot_size=0.02")["BTCUSDT"]
    assert (both.source, both.rules.tick_size, both.rules.lot_size) == (
        "options",
        Decimal("0.5"),
        Decimal("0.02"),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[BTCUSDT]\nticks = 1", "BTCUSDT.ticks is no rule; known are tick_size, "),
        ("[BTCUSDT]\ntick_size = 0", "BTCUSDT.tick_size must be above 0"),
        ("[BTCUSDT]\ntick_size = -1", "must be above 0"),
        ('[BTCUSDT]\ntick_size = "NaN"', "must be above 0"),
        ('[BTCUSDT]\ntick_size = "much"', "BTCUSDT: "),
        ("tick_size = 1", "expected a table for each symbol"),
        ("[BTCUSDT", "neither TOML nor JSON"),
        ("{", "neither TOML nor JSON"),
        ("", "expected a table for each symbol"),
        ('["drop table"]\ntick_size = 1', "is no symbol"),
    ],
)
def test_a_file_of_rules_that_makes_no_sense_is_refused_in_one_line(tmp_path, text, problem):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as error:
        told(str(path))
    assert "\n" not in str(error.value)
    assert "rules.toml" in str(error.value)


@pytest.mark.parametrize(
    "name", ["nofile.toml", "BTCUSDT:", "BTCUSDT:tick_size", "BTCUSDT:tick_size=", "a b:tick_size=1", "X:=1"]
)
def test_an_option_that_makes_no_sense_is_refused(name):
    with pytest.raises(InputError):
        told(name)


def test_rules_of_a_symbol_that_is_not_traded_are_refused():
    with pytest.raises(InputError, match="SOLUSDT is not traded, only BTCUSDT"):
        settle_all(["BTCUSDT"], "linear", given=told("SOLUSDT:tick_size=1"), stored={}, grids={})


def test_the_shipped_table_is_dated_and_sound():
    table = shipped()
    linear = [rules for (category, _), rules in table.items() if category == "linear"]
    assert (len(linear), len(table) - len(linear)) == (192, 583)
    for rules in table.values():
        assert rules.source == "table"
        assert rules.known_ms > 1_600_000_000_000
        assert min(rules.tick_size, rules.lot_size, rules.min_quantity, rules.max_leverage) > 0
        assert is_multiple(rules.min_quantity, rules.lot_size)
        assert rules.quote_coin
        assert rules.category == "spot" or rules.quote_coin == "USDT"


# Prices of 1e-9 to 1e7 with every number of decimals, as a file's series shows them.
@st.composite
def series(draw):
    places = draw(st.integers(0, 12))
    low = max(1, 10 ** (places - 9)) if places > 9 else 1
    top = 10 ** (places + 7)
    first = draw(st.integers(low, top))
    around = st.integers(max(low, first - first // 3), min(top, first + first // 3 + 3))
    return [Decimal(ticks).scaleb(-places) for ticks in draw(st.lists(around, min_size=1, max_size=6))]


@given(
    series(),
    st.sampled_from(["inferred", "table", "history"]),
    st.integers(0, 10),
    st.sampled_from([1, 2, 5]),
    st.booleans(),
    st.sampled_from(["optimistic", "realistic", "pessimistic"]),
)
def test_no_fill_is_further_outside_its_bar_than_it_states_and_one_tick(
    prices, source, places, step, buys, preset
):
    bar = a_bar(open=prices[0], high=max(prices), low=min(prices), close=prices[-1], volume="1000000")
    grid = price_grid([bar])
    assert grid is not None
    tick = Decimal(step).scaleb(-places)
    known = an_instrument("BTCUSDT", tick_size=tick) if source != "inferred" else None
    rules = settle("NOBODYUSDT", "linear", stored=known, grid=grid).rules
    assert rules.tick_size <= grid.low
    model = FillModel(BrokerConfig(fill_preset=preset), {"BTCUSDT": rules})
    for price in (bar.open, bar.close):
        (slice,) = BarMarket(model, bar).take(Decimal(1000), price, buys=buys)
        stated = price * (model.bar_worse + model.impact * Decimal("0.001"))
        worse = slice.price - price if buys else price - slice.price
        assert 0 <= worse < stated + rules.tick_size
        if buys:
            assert slice.price < bar.high + stated + rules.tick_size
        else:
            assert slice.price > bar.low - stated - rules.tick_size
