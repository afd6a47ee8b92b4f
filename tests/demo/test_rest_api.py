import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.demo.client import LIVE, MARKET, STEP, a_client, heard, run

FIXTURES = Path(__file__).parents[3] / "shared/data/bybit_fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the shared sample messages are not here")


def test_klines_come_newest_first_with_the_running_bar_included():
    async def test() -> None:
        async with a_client() as client:
            answer = await client.get("kline", symbol="BTCUSDT", interval="15")
            rows = answer["result"]["list"]
            assert len(rows) == 200
            assert [int(row[0]) for row in rows] == [LIVE - i * STEP for i in range(200)]
            assert int(rows[0][0]) + STEP > answer["time"]
            assert {type(figure) for row in rows for figure in row} == {str}
            bars = MARKET.bars("BTCUSDT", 4_801, 199)
            assert [[Decimal(figure) for figure in row[1:]] for row in rows[:0:-1]] == [
                [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.turnover] for bar in bars
            ]

    run(test)


def test_a_range_of_klines_follows_bybits_rules():
    async def test() -> None:
        async with a_client() as client:

            async def indices(**query: Any) -> list[int]:
                return [MARKET.index_of(int(row[0])) for row in await client.rows(**query)]

            at = MARKET.start_ms
            assert await indices(start=at(100), end=at(900), limit=3) == [900, 899, 898]
            assert await indices(start=at(100), limit=3) == [102, 101, 100]
            assert await indices(end=at(900), limit=3) == [900, 899, 898]
            assert await indices(start=at(100) + 1, end=at(101)) == [101, 100]
            assert await indices(start=at(0) - 99 * STEP, limit=2) == [1, 0]
            assert len(await indices(limit=5_000)) == 1_000
            assert await indices(start=at(6_000), end=at(6_100)) == []

    run(test)


@pytest.mark.parametrize(
    ("endpoint", "query"),
    [
        ("kline", {"symbol": "btcusdt", "interval": "15"}),
        ("kline", {"symbol": "NOPEUSDT", "interval": "15"}),
        ("kline", {"symbol": "BTCUSDT", "interval": "16"}),
        ("kline", {"symbol": "BTCUSDT", "interval": "15", "limit": "0"}),
        ("kline", {"symbol": "BTCUSDT", "interval": "15", "start": "soon"}),
        ("kline", {"symbol": "BTCUSDT", "interval": "15", "category": "spot"}),
        ("instruments-info", {"category": "stocks"}),
        ("instruments-info", {"category": "linear", "symbol": "NOPEUSDT"}),
        ("funding/history", {"symbol": "BTCUSDT", "startTime": "1"}),
    ],
)
def test_a_bad_parameter_is_answered_with_10001(endpoint: str, query: dict[str, str]):
    async def test() -> None:
        async with a_client() as client:
            answer = await client.get(endpoint, **query)
            assert answer["retCode"] == 10001
            assert answer["result"] == {}
            assert answer["retMsg"]

    run(test)


def test_funding_is_settled_every_eight_hours_and_newest_first():
    async def test() -> None:
        async with a_client(max_bars=40) as client:
            before = (await client.get("funding/history", symbol="BTCUSDT"))["result"]["list"]
            times = [int(row["fundingRateTimestamp"]) for row in before]
            assert times == sorted(times, reverse=True)
            assert not any(at % (8 * 3_600_000) for at in times)
            assert times[0] <= LIVE
            await heard(client, "kline.15.BTCUSDT")
            after = (await client.get("funding/history", symbol="BTCUSDT"))["result"]["list"]
            assert 0 < int(after[0]["fundingRateTimestamp"]) - times[0] <= 40 * STEP + 8 * 3_600_000
            assert [row for row in after if row in before] == before[: len(after)]
            span = {"startTime": times[3], "endTime": times[1]}
            rows = (await client.get("funding/history", symbol="BTCUSDT", **span))["result"]["list"]
            assert rows == before[1:4]
            assert all(abs(Decimal(row["fundingRate"])) <= Decimal("0.0003") for row in after)

    run(test)


def test_mark_prices_of_any_shorter_interval_stay_close_to_the_bars_and_meet_the_ticker():
    async def test() -> None:
        async with a_client() as client:
            found = await heard(client, "kline.15.BTCUSDT", "tickers.BTCUSDT")
            hour = MARKET.start_ms(4_996)
            minutes = await client.get(
                "mark-price-kline", symbol="BTCUSDT", interval="1", start=hour, end=hour + 59 * 60_000
            )
            quarters = await client.get(
                "mark-price-kline", symbol="BTCUSDT", interval="15", start=hour, end=hour + 3 * STEP
            )
            rows = {int(row[0]): [Decimal(figure) for figure in row[1:]] for row in minutes["result"]["list"]}
            assert list(rows) == [hour + i * 60_000 for i in reversed(range(60))]
            for row, bar in zip(
                quarters["result"]["list"], reversed(MARKET.bars("BTCUSDT", 4_996, 4)), strict=True
            ):
                assert len(row) == 5
                first, high, low, last = (Decimal(figure) for figure in row[1:])
                assert rows[int(row[0])][0] == first
                assert rows[int(row[0]) + 14 * 60_000][3] == last
                for mark, price in ((first, bar.open), (high, bar.high), (low, bar.low), (last, bar.close)):
                    assert abs(mark - price) <= 2 * Decimal("0.1")
            for message in found["tickers.BTCUSDT"]:
                if "markPrice" in message["data"]:
                    mark, minute = (
                        Decimal(message["data"]["markPrice"]),
                        message["ts"] - message["ts"] % 60_000,
                    )
                    answer = await client.get(
                        "mark-price-kline", symbol="BTCUSDT", interval="1", start=minute, end=minute
                    )
                    ((_, _, high, low, _),) = answer["result"]["list"]
                    assert Decimal(low) <= mark <= Decimal(high)

    run(test)


def test_time_instruments_and_tiers_have_bybits_fields():
    async def test() -> None:
        async with a_client() as client:
            answer = await client.get("time")
            assert answer["time"] == LIVE
            assert answer["result"] == {"timeSecond": str(LIVE // 1000), "timeNano": f"{LIVE}000000"}
            everything = (await client.get("instruments-info", category="linear"))["result"]
            assert [row["symbol"] for row in everything["list"]] == ["BTCUSDT", "ETHUSDT"]
            first = (await client.get("instruments-info", category="linear", limit=1))["result"]
            second = await client.get(
                "instruments-info", category="linear", limit=1, cursor=first["nextPageCursor"]
            )
            assert first["list"] + second["result"]["list"] == everything["list"]
            bitcoin = everything["list"][0]
            assert Decimal(bitcoin["priceFilter"]["tickSize"]) == Decimal("0.1")
            assert bitcoin["lotSizeFilter"]["qtyStep"] == "0.001"
            assert bitcoin["fundingInterval"] == 480
            tiers = (await client.get("risk-limit", symbol="BTCUSDT"))["result"]["list"]
            for below, above in pairwise(tiers):
                at = Decimal(below["riskLimitValue"])
                margins = [
                    at * Decimal(tier["maintenanceMargin"]) - Decimal(tier["mmDeduction"] or 0)
                    for tier in (below, above)
                ]
                assert margins[0] == margins[1]

    run(test)


def shape(value: Any) -> Any:
    """The types of a JSON value, field by field; of lists, the first entry's."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def has_shape(value: Any, wanted: Any) -> bool:
    """Whether every field of a shape is there with its type; more fields are welcome."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            n in value and has_shape(value[n], w) for n, w in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(value, list) and (not wanted or all(has_shape(v, wanted[0]) for v in value[:5]))
    return bool(value == wanted)


def sample(name: str) -> Any:
    return shape(json.loads((FIXTURES / name).read_text()))


@needs_fixtures
def test_answers_have_the_shapes_of_the_samples():
    async def test() -> None:
        async with a_client(max_bars=40) as client:
            query = {"symbol": "BTCUSDT"}
            klines = await client.get("kline", interval="15", **query)
            assert has_shape(shape(klines), sample("http_get_klines_linear.json"))
            funding = await client.get("funding/history", **query)
            assert has_shape(shape(funding), sample("http_get_funding_history.json"))
            linear = sample("http_get_instruments_linear.json")
            linear["result"].pop("nextPageCursor")
            assert has_shape(shape(await client.get("instruments-info", category="linear")), linear)
            found = await heard(client, "kline.15.BTCUSDT", "tickers.BTCUSDT", "orderbook.1.BTCUSDT")
            assert has_shape(shape(found["kline.15.BTCUSDT"][0]), sample("ws_kline.json"))
            assert has_shape(shape(found["tickers.BTCUSDT"][0]), sample("ws_ticker_linear.json"))
            assert has_shape(shape(found["orderbook.1.BTCUSDT"][0]), sample("ws_orderbook_snapshot.json"))
        async with a_client(category="spot") as client:
            spot = await client.get("instruments-info", category="spot")
            wanted = sample("http_get_instruments_spot.json")
            wanted["result"].pop("nextPageCursor")
            assert has_shape(shape(spot), wanted)

    run(test)
