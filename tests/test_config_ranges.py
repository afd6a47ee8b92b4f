"""Every number of the configuration has a closed range that works at both ends; one test walks the whole tree."""

import math
import re
import types
from decimal import Decimal
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from msgspec import Meta, Struct

from bot.config import Config, load
from bot.errors import ConfigError
from bot.exact import EXACT
from bot.synthetic import PRESETS, SyntheticMarket
from strategies.historical_similarity import SimilarityOptions
from tests.core import a_trader

HUGE = (10**30, 10**5000, -(10**30), -(10**5000))
DECIMALS = re.compile(r"must be between (\S+) and (\S+), not")


def numbers(struct: type[Struct], section: str = "") -> list[tuple[str, type, Meta | None]]:
    """Key, kind and bounds of each number in the tree; in a mapping, of any key."""
    found = []
    for name, hint in get_type_hints(struct, include_extras=True).items():
        found += of_hint(hint, f"{section}.{name}" if section else name, None)
    return found


def of_hint(hint: Any, key: str, meta: Meta | None) -> list[tuple[str, type, Meta | None]]:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *metas = get_args(hint)
        return of_hint(inner, key, next(each for each in metas if isinstance(each, Meta)))
    if origin in (Union, types.UnionType):
        return [each for part in get_args(hint) for each in of_hint(part, key, meta)]
    if origin is dict:
        return of_hint(get_args(hint)[1], f"{key}.X", meta)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return numbers(hint, key)
    return [(key, hint, meta)] if hint in (int, float, Decimal) else []


FREE = {"strategy.options.X"}
"""A strategy's own, whose bounds it says itself."""

NUMBERS = [each for each in numbers(Config) if each[0] not in FREE]
BOUNDED = [each for each in NUMBERS if each[1] is not Decimal]
DECIMAL = [each for each in NUMBERS if each[1] is Decimal]


def loaded(key: str, value: object) -> Config:
    section, name, *inner = key.split(".")
    tree: Any = {inner[0]: value} if inner else value
    overrides = {f"{section}.{name}": tree}
    if key == "risk.position_fraction":
        overrides["risk.max_position_fraction"] = 100
    if key == "risk.max_position_fraction":
        overrides["risk.sizing"] = "volatility"
    return load(None, overrides, {})


def value_of(config: Config, key: str) -> Any:
    section, name, *inner = key.split(".")
    value = getattr(getattr(config, section), name)
    return value[inner[0]] if inner else value


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_walk_finds_the_numbers_that_there_are():
    keys = {key for key, _, _ in NUMBERS}
    assert {"memory.size", "exchange.silence_seconds", "broker.taker_fee", "broker.symbol_leverage.X"} <= keys
    assert len(keys) > 40


@pytest.mark.parametrize(("key", "kind", "meta"), BOUNDED, ids=[key for key, _, _ in BOUNDED])
def test_every_number_has_a_closed_range_and_is_tried_at_inside_and_beyond_both_ends(key, kind, meta):
    assert meta is not None, f"{key} has no bounds"
    assert meta.ge is not None
    assert meta.le is not None
    low, high = meta.ge, meta.le
    inside = (low + high) // 2 if kind is int else (low + high) / 2
    for value in (low, inside, high):
        assert value_of(loaded(key, value), key) == value
        assert value_of(load(None, {key: str(value)}, {}), key) == value
    beyond = (
        (low - 1, high + 1)
        if kind is int
        else (math.nextafter(low, -math.inf), math.nextafter(high, math.inf))
    )
    for value in (
        *beyond,
        *HUGE,
        math.nan,
        math.inf,
        -math.inf,
        Decimal("NaN"),
        Decimal("1e400"),
        "1e999",
        "nan",
    ):
        refused(key, value)


@pytest.mark.parametrize("key", [key for key, _, _ in DECIMAL])
def test_every_decimal_says_its_range_and_is_tried_at_inside_and_beyond_both_ends(key):
    told = DECIMALS.search(refused(key, Decimal(10) ** 20))
    assert told is not None, f"{key} has no bounds"
    low, high = map(Decimal, told.groups())
    step = Decimal("0.000000001")
    for value in (low, (low + high) / 2, high):
        assert value_of(loaded(key, value), key) == value
    for value in (
        low - step,
        high + step,
        *map(Decimal, ("NaN", "sNaN", "Infinity", "-Infinity", "1e999999")),
    ):
        refused(key, value)
    for value in HUGE:
        refused(key, value)
    # Within the range, but not to be reckoned with.
    for value in (
        EXACT.add(low, Decimal("1e-60")),
        *map(Decimal, ("1e-999999999", "0e-999999", "0." + "1" * 99)),
    ):
        refused(key, value)


def refused(key: str, value: object) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(key, value)
    told = str(error.value)
    assert key.split(".")[1] in told
    assert "\n" not in told
    assert len(told) < 400
    return told


@pytest.mark.parametrize(
    ("name", "meta"),
    [(name, meta) for name, _, meta in numbers(SimilarityOptions)],
    ids=lambda each: str(each)[:20],
)
def test_the_shipped_strategys_own_numbers_have_closed_ranges_too(name, meta):
    assert meta.ge is not None
    assert meta.le is not None
    for value in (meta.ge, meta.le):
        msgspec.convert({name: value}, SimilarityOptions)


MEMORY = [
    (key.partition(".")[2], end)
    for key, _, meta in BOUNDED
    if key.startswith("memory.") and meta is not None
    for end in (meta.ge, meta.le)
] + [("half_life_bars", 1e-300), ("half_life_bars", 0.01), ("temperature", 0.001)]
BARS = 5_000


@pytest.fixture(scope="module")
def market():
    symbols = ("BTCUSDT", "ETHUSDT")
    feed = SyntheticMarket(PRESETS["demo"], 3, "15")
    bars = [bar for symbol in symbols for bar in feed.bars(symbol, 0, BARS // 2)]
    return sorted(bars, key=lambda bar: (bar.start_ms, bar.symbol))


@pytest.mark.parametrize(("name", "value"), MEMORY, ids=[f"{name}={value:g}" for name, value in MEMORY])
def test_every_memory_setting_works_at_both_ends_of_its_range(name, value, market):
    config = load(None, {f"memory.{name}": value, "strategy.horizon_bars": 4, "model.checkpoint": ""}, {})
    trader = a_trader(config)
    trader.observe_all(market[:-40])
    for bar in market[-40:]:
        step = trader.advance(bar)
        forecast = step.recollection.forecast
        if forecast is not None:
            assert sum(each.weight for each in step.recollection.neighbors) == pytest.approx(1.0)
            assert math.isfinite(forecast.expected_return)
            assert 0.0 <= forecast.rise_probability <= 1.0
