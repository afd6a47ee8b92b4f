import asyncio
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.market import Bar
from bot.store import bars as store
from bot.store.account.tables import BARS
from bot.store.database import Database, Identity
from tests.factories import START_MS, a_bar

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal("10000"))
BAR_MS = 900_000


def loaded(stored: Sequence[Bar], symbols: Sequence[str] = ("BTCUSDT",), **bounds: Any) -> list[Bar]:
    async def main(path: Path) -> list[Bar]:
        async with Database.open(path, DEMO, durable=False) as database:
            async with database.transaction():
                await store.insert_bar_rows(database, [BARS.row(bar) for bar in stored])
            return [bar async for bar in store.load_bars(database, symbols, "15", **bounds)]

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(Path(folder) / "a.db"))


def test_bars_come_back_in_order_of_close_then_symbol() -> None:
    stored = [
        a_bar(1, symbol="ETHUSDT"),
        a_bar(0, symbol="SOLUSDT"),
        a_bar(0, symbol="ETHUSDT"),
        a_bar(1, symbol="BTCUSDT"),
    ]
    found = loaded(stored, ("SOLUSDT", "ETHUSDT", "BTCUSDT"))
    assert [(bar.start_ms - START_MS, bar.symbol) for bar in found] == [
        *((0, "ETHUSDT"), (0, "SOLUSDT")),
        *((BAR_MS, "BTCUSDT"), (BAR_MS, "ETHUSDT")),
    ]


def test_only_the_symbols_and_the_interval_asked_for_come_back() -> None:
    stored = [a_bar(), a_bar(symbol="ETHUSDT"), a_bar(interval="60")]
    assert loaded(stored) == [stored[0]]
    assert loaded(stored, ()) == []
    assert loaded(stored, ("XRPUSDT",)) == []


def test_bounds_take_the_start_and_leave_the_end() -> None:
    stored = [a_bar(number) for number in range(5)]
    found = loaded(stored, since_ms=START_MS + BAR_MS, until_ms=START_MS + 3 * BAR_MS)
    assert found == stored[1:3]


def test_a_limit_keeps_each_symbols_newest_bars() -> None:
    stored = [a_bar(number) for number in range(5)]
    older = [a_bar(number, symbol="ETHUSDT") for number in range(3)]
    found = loaded([*stored, *older], ("BTCUSDT", "ETHUSDT"), limit=2)
    assert [bar for bar in found if bar.symbol == "BTCUSDT"] == stored[3:]
    assert [bar for bar in found if bar.symbol == "ETHUSDT"] == older[1:]


def test_long_gaps_and_many_chunks_lose_nothing(monkeypatch) -> None:
    monkeypatch.setattr(store, "_CHUNK_BARS", 4)
    numbers = (*range(11), *range(500, 507), 100_000)
    stored = [a_bar(number) for number in numbers]
    other = [a_bar(number, symbol="ETHUSDT") for number in (3, 400, 501)]
    found = loaded([*other, *stored], ("BTCUSDT", "ETHUSDT"))
    assert found == sorted([*stored, *other], key=lambda bar: (bar.start_ms, bar.symbol))


figures = st.decimals(min_value=0, allow_nan=False, allow_infinity=False).filter(
    lambda value: abs(value.adjusted()) < 24
) | st.sampled_from(
    [Decimal("1E-12"), Decimal("1.000"), Decimal("0E-8"), Decimal("1E+20"), Decimal("-0"), Decimal(3) ** 40]
)
prices = figures.filter(lambda value: value > 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(prices, min_size=4, max_size=4), figures, figures)
def test_every_digit_of_a_bar_survives(values: list[Decimal], volume: Decimal, turnover: Decimal) -> None:
    low, open_, close, high = sorted(values)
    bar = a_bar(open=open_, high=high, low=low, volume=volume, turnover=turnover)
    bar = Bar(**{field: getattr(bar, field) for field in bar.__struct_fields__} | {"close": close})
    (found,) = loaded([bar])
    assert found == bar
    for field in ("open", "high", "low", "close", "volume", "turnover"):
        before, after = getattr(bar, field), getattr(found, field)
        # Trailing zeros are the exchange's digits; zeros before the point and -0 are written plainly.
        assert (after.as_tuple().exponent == before.as_tuple().exponent) or before.as_tuple().exponent > 0


def test_first_last_and_signals_of_a_symbol(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        async with Database.open(tmp_path / "a.db", DEMO) as database:
            async with database.transaction():
                rows = [BARS.row(a_bar(number)) for number in (2, 5, 3)]
                await store.insert_bar_rows(database, rows)
            key = (database, "BTCUSDT", "15")
            known = [await store.first_start(*key), await store.last_start(*key)]
            unknown = (database, "ETHUSDT", "15")
            return [
                *known,
                await store.last_start(*unknown),
                await store.last_decided(*key),
            ]

    expected = [START_MS + 2 * BAR_MS, START_MS + 5 * BAR_MS, None, None]
    assert asyncio.run(main()) == expected


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 20)), st.integers(0, 20), st.integers(0, 20))
def test_missing_ranges_are_the_runs_of_starts_that_are_not_stored(
    stored: set[int], one: int, other: int
) -> None:
    first, last = min(one, other), max(one, other)

    async def main(path: Path) -> list[tuple[int, int]]:
        async with Database.open(path, DEMO, durable=False) as database:
            async with database.transaction():
                bars = [*map(a_bar, stored), *(a_bar(n, symbol="ETHUSDT") for n in range(20))]
                await store.insert_bar_rows(database, [BARS.row(bar) for bar in bars])
            bounds = START_MS + first * BAR_MS, START_MS + last * BAR_MS
            return await store.missing_ranges(database, "BTCUSDT", "15", *bounds)

    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(main(Path(folder) / "a.db"))
    places = [((begin - START_MS) // BAR_MS, (end - START_MS) // BAR_MS) for begin, end in found]
    assert [n for begin, end in places for n in range(begin, end + 1)] == sorted(
        set(range(first, last + 1)) - stored
    )
    assert all(after[0] > before[1] + 1 for before, after in pairwise(places))


PLACES = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["BTCUSDT", "ETHUSDT"])), unique=True, max_size=12
).map(sorted)


def named(batches: Sequence[Sequence[Bar]]) -> str:
    digest = store.BarsDigest()
    for batch in batches:
        digest.add([BARS.row(bar) for bar in batch])
    return digest.hexdigest()


@given(PLACES, st.integers(1, 4), st.booleans())
def test_bars_are_named_by_their_figures_in_whatever_batches_symbols_and_sources_they_came(
    places: list[tuple[int, str]], size: int, apart: bool
) -> None:
    bars = [a_bar(number, symbol=symbol, turnover=Decimal(number)) for number, symbol in places]
    order = sorted(bars, key=lambda bar: bar.symbol) if apart else bars
    elsewhere = [msgspec.structs.replace(bar, source="backfill") for bar in order]
    batches = [elsewhere[start : start + size] for start in range(0, len(bars), size)]
    assert named(batches) == named([bars])


@given(PLACES.filter(bool), st.data())
def test_bars_of_other_figures_have_another_name(places: list[tuple[int, str]], data: st.DataObject) -> None:
    bars = [a_bar(number, symbol=symbol) for number, symbol in places]
    place = data.draw(st.integers(0, len(bars) - 1))
    figure = data.draw(st.sampled_from(["open", "high", "low", "close", "volume", "turnover"]))
    other = list(bars)
    other[place] = msgspec.structs.replace(bars[place], **{figure: Decimal("101")})
    assert len({named([bars]), named([other]), named([bars[:-1]])}) == 3
