import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import aiohttp
import msgspec
import pytest

from bot.demo.exchange import DemoExchange
from bot.demo.faults import BROKEN, ConfirmFault, Faults, GarbageFrame
from bot.market import Bar
from bot.synthetic import PRESETS, SyntheticMarket
from tests.factories import a_bar

MARKET = SyntheticMarket(PRESETS["demo"], 7, "15")
LIVE = MARKET.start_ms(5_000)
STEP = 15 * 60_000
FIXTURES = Path(__file__).parents[3] / "shared/data/bybit_fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the shared sample messages are not here")


def run(test: Callable[[], Any]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(8):
            await test()

    asyncio.run(bounded())


def an_exchange(**changes: Any) -> DemoExchange:
    settings: dict[str, Any] = {
        "category": "linear", "symbols": ("BTCUSDT", "ETHUSDT"), "interval": "15", "live_from_ms": LIVE,
        "bar_seconds": 0.01, "max_bars": 8, "pause_when_alone": False,
    }  # fmt: skip
    return DemoExchange(changes.pop("source", MARKET), **(settings | changes))


class Client:
    """A bare client: what it sent, what it received, in order."""

    def __init__(self, session: aiohttp.ClientSession, exchange: DemoExchange) -> None:
        self.session = session
        self.exchange = exchange
        self.socket: aiohttp.ClientWebSocketResponse
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []

    async def get(self, endpoint: str, **query: Any) -> dict[str, Any]:
        url = f"{self.exchange.rest_url}/v5/market/{endpoint}"
        async with self.session.get(url, params={k: str(v) for k, v in query.items()}) as response:
            return await response.json(content_type=None)

    async def rows(self, **query: Any) -> list[list[str]]:
        return (await self.get("kline", symbol="BTCUSDT", interval="15", **query))["result"]["list"]

    async def connect(self, category: str = "linear") -> None:
        self.socket = await self.session.ws_connect(
            f"{self.exchange.ws_url}/v5/public/{category}", max_msg_size=0
        )
        self._sockets.append(self.socket)

    async def close(self) -> None:
        for socket in self._sockets:
            await socket.close()

    async def ask(self, op: str, *topics: str, req_id: str = "r1") -> dict[str, Any]:
        await self.socket.send_json({"op": op, "req_id": req_id, "args": list(topics)})
        while True:
            message = await self.socket.receive_json()
            if "op" in message:
                return message

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Parsed messages until the connection ends or the whole source has been streamed and read."""

        async def ask_for_the_end() -> None:
            await self.exchange.exhausted.wait()
            await self.socket.send_json({"op": "ping", "req_id": "end"})

        asking = asyncio.create_task(ask_for_the_end())
        async for message in self.socket:
            parsed = json.loads(message.data)
            if parsed.get("req_id") == "end":
                break
            yield parsed
        asking.cancel()


@asynccontextmanager
async def a_client(**changes: Any) -> AsyncIterator[Client]:
    async with an_exchange(**changes) as exchange, aiohttp.ClientSession() as session:
        client = Client(session, exchange)
        try:
            yield client
        finally:
            await client.close()


def bar_of(entry: dict[str, Any], symbol: str) -> Bar:
    figures = {name: Decimal(entry[name]) for name in ("open", "high", "low", "close", "volume", "turnover")}
    return Bar(symbol=symbol, interval="15", start_ms=entry["start"], **figures)


async def heard(client: Client, *topics: str) -> dict[str, list[dict[str, Any]]]:
    """Every message of a whole stream, by topic."""
    await client.connect()
    assert (await client.ask("subscribe", *topics))["success"]
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    async for message in client.messages():
        found[message["topic"]].append(message)
    return found


def confirmations(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for message in messages for entry in message["data"] if entry["confirm"]]


def test_confirmed_klines_are_the_closed_bars_of_every_symbol():
    async def test() -> None:
        async with a_client() as client:
            found = await heard(client, "kline.15.BTCUSDT", "kline.15.ETHUSDT")
            for symbol in ("BTCUSDT", "ETHUSDT"):
                confirmed = confirmations(found[f"kline.15.{symbol}"])
                assert [bar_of(entry, symbol) for entry in confirmed] == MARKET.bars(symbol, 5_000, 8)
                assert client.exchange.closed_bars(symbol) == MARKET.bars(symbol, 5_000, 8)

    run(test)


def test_a_bar_runs_from_open_to_close_within_growing_extremes_and_confirms_after_its_end():
    async def test() -> None:
        async with a_client() as client:
            messages = (await heard(client, "kline.15.BTCUSDT"))["kline.15.BTCUSDT"]
        assert [message["ts"] for message in messages] == sorted(message["ts"] for message in messages)
        for truth in MARKET.bars("BTCUSDT", 5_000, 8):
            pushes = [(m["ts"], m["data"][0]) for m in messages if m["data"][0]["start"] == truth.start_ms]
            assert [entry["confirm"] for _, entry in pushes] == [False] * 4 + [True]
            assert all(truth.start_ms < ts < truth.close_ms for ts, _ in pushes[:-1])
            assert truth.close_ms <= pushes[-1][0] < truth.close_ms + 1_000
            bars = [bar_of(entry, "BTCUSDT") for _, entry in pushes]
            for earlier, later in pairwise(bars):
                assert later.contradiction() is None
                assert later.open == truth.open
                assert truth.low <= later.low <= earlier.low <= earlier.high <= later.high <= truth.high
                assert earlier.volume <= later.volume
            assert bars[-1] == truth

    run(test)


def test_time_stands_still_until_somebody_listens_to_klines():
    async def test() -> None:
        async with a_client() as client:
            await client.connect()
            await client.ask("subscribe", "tickers.BTCUSDT")
            await asyncio.sleep(0.1)
            assert client.exchange.clock_ms == LIVE
            assert client.exchange.closed_bars("BTCUSDT") == []
            await client.ask("subscribe", "kline.15.BTCUSDT")
            await client.exchange.exhausted.wait()
            assert client.exchange.clock_ms >= LIVE + 8 * STEP

    run(test)


def test_a_market_that_pauses_when_alone_waits_for_its_listener_to_come_back():
    async def test() -> None:
        async with a_client(pause_when_alone=True, max_bars=200) as client:
            await client.connect()
            await client.ask("subscribe", "kline.15.BTCUSDT")
            await asyncio.sleep(0.1)
            await client.socket.close()
            await asyncio.sleep(0.05)
            stood = client.exchange.clock_ms
            assert LIVE < stood < LIVE + 200 * STEP
            await asyncio.sleep(0.1)
            assert client.exchange.clock_ms == stood
            await client.connect()
            await client.ask("subscribe", "kline.15.BTCUSDT")
            await asyncio.sleep(0.1)
            assert client.exchange.clock_ms > stood

    run(test)


def test_a_missing_bar_of_a_file_is_never_published():
    bars = [a_bar(i, close=100 + i, turnover=None) for i in range(20) if i not in (12, 15)]
    truth = [bar for bar in bars if bar.start_ms >= bars[10].start_ms]

    async def test() -> None:
        source = {"BTCUSDT": bars}
        async with a_client(
            source=source, symbols=("BTCUSDT",), live_from_ms=bars[10].start_ms, max_bars=None
        ) as client:
            found = await heard(client, "kline.15.BTCUSDT")
            starts = [entry["start"] for entry in confirmations(found["kline.15.BTCUSDT"])]
            assert starts == [bar.start_ms for bar in truth]
            rows = await client.rows(start=truth[0].start_ms, end=truth[-1].start_ms)
            assert [int(row[0]) for row in rows] == starts[::-1]
            closed = client.exchange.closed_bars("BTCUSDT")
            assert [bar.close for bar in closed] == [bar.close for bar in truth]
            assert all(bar.turnover == bar.close * bar.volume for bar in closed)

    run(test)


# REST.


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


# Websocket.


def test_control_frames_are_answered_in_bybits_words():
    async def test() -> None:
        async with a_client() as client:
            await client.connect()
            pong = await client.ask("ping", req_id="p")
            assert (pong["ret_msg"], pong["op"], pong["req_id"], pong["success"]) == (
                "pong",
                "ping",
                "p",
                True,
            )
            agreed = await client.ask("subscribe", "tickers.BTCUSDT", req_id="a")
            assert (agreed["success"], agreed["ret_msg"], agreed["req_id"]) == (True, "", "a")
            assert agreed["conn_id"]
            for topic in ("kline.15.NOPE", "kline.15.btcusdt", "orderbook.7.BTCUSDT", "kline.16.BTCUSDT"):
                refused = await client.ask("subscribe", "tickers.ETHUSDT", topic)
                assert (refused["success"], refused["ret_msg"]) == (
                    False,
                    f"error:handler not found,topic:{topic}",
                )
            again = await client.ask("subscribe", "tickers.BTCUSDT")
            assert again["ret_msg"] == "error:already subscribed,topic:tickers.BTCUSDT"
            assert (await client.ask("dance"))["ret_msg"] == "error:invalid op"
            await client.socket.send_str("<xml/>")
            while "ret_msg" not in (message := await client.socket.receive_json()):
                continue
            assert message["ret_msg"].startswith("Failed to decode incoming data")
            assert (await client.ask("unsubscribe", "tickers.BTCUSDT"))["success"]
            assert (await client.ask("subscribe", "tickers.BTCUSDT"))["success"]
            # A refused request subscribed to none of its topics.
            assert (await client.ask("subscribe", "tickers.ETHUSDT"))["success"]

    run(test)


def test_spot_acknowledges_in_its_own_way_and_takes_ten_topics_a_request():
    async def test() -> None:
        async with a_client(category="spot") as client:
            await client.connect("spot")
            assert (await client.ask("subscribe", "tickers.BTCUSDT"))["ret_msg"] == "subscribe"
            ticker = await client.socket.receive_json()
            assert ticker["type"] == "snapshot"
            assert "bid1Price" not in ticker["data"]
            assert (await client.ask("subscribe", *["kline.15.BTCUSDT"] * 11))["ret_msg"] == "args size >10"
            listed = await client.get("tickers", category="spot", symbol="BTCUSDT")
            (fields,) = listed["result"]["list"]
            assert Decimal(fields["bid1Price"]) < Decimal(fields["ask1Price"])
            assert (await client.get("funding/history", category="spot", symbol="BTCUSDT"))[
                "retCode"
            ] == 10001

    run(test)


def test_a_ticker_is_one_snapshot_and_then_only_what_changed():
    async def test() -> None:
        async with a_client() as client:
            found = await heard(client, "kline.15.BTCUSDT", "tickers.BTCUSDT")
            snapshot, *deltas = found["tickers.BTCUSDT"]
            assert snapshot["type"] == "snapshot"
            merged = dict(snapshot["data"])
            for delta in deltas:
                assert delta["type"] == "delta"
                changed = {name: value for name, value in delta["data"].items() if name != "symbol"}
                assert all(merged[name] != value for name, value in changed.items())
                merged |= delta["data"]
                bid, ask, last = (Decimal(merged[n]) for n in ("bid1Price", "ask1Price", "lastPrice"))
                assert bid < ask
                assert bid <= last <= ask
                assert not bid % Decimal("0.1")
                assert not ask % Decimal("0.1")
                assert int(merged["nextFundingTime"]) > delta["ts"]
            (listed,) = (await client.get("tickers", symbol="BTCUSDT"))["result"]["list"]
            assert set(listed) == set(merged)

    run(test)


def test_a_second_listener_merges_to_the_same_ticker_as_the_first():
    async def test() -> None:
        async with a_client(bar_seconds=0.05) as client, aiohttp.ClientSession() as session:
            second = Client(session, client.exchange)
            await client.connect()
            await client.ask("subscribe", "kline.15.BTCUSDT", "tickers.BTCUSDT")
            await asyncio.sleep(0.06)
            await second.connect()
            await second.ask("subscribe", "tickers.BTCUSDT")
            merged: list[dict[str, str]] = [{}, {}]
            for state, listener in zip(merged, (client, second), strict=True):
                async for message in listener.messages():
                    if message["topic"].startswith("tickers"):
                        state |= message["data"]
            await second.close()
            assert merged[0] == merged[1]

    run(test)


def test_quotes_come_just_before_a_close_and_soon_after_the_next_open():
    async def test() -> None:
        async with a_client() as client:
            found = await heard(client, "kline.15.BTCUSDT", "orderbook.1.BTCUSDT")
            books = found["orderbook.1.BTCUSDT"]
            for bar in client.exchange.closed_bars("BTCUSDT")[:-1]:
                before = max(book["ts"] for book in books if book["ts"] < bar.close_ms)
                after = min(book["ts"] for book in books if book["ts"] >= bar.close_ms)
                assert bar.close_ms - before < 5_000
                assert after - bar.close_ms < 5_000
            for book in books:
                ((bid, _),), ((ask, _),) = book["data"]["b"], book["data"]["a"]
                assert Decimal(bid) < Decimal(ask)

    run(test)


# Misbehaviour.


async def confirmed_with(client: Client, *kinds: ConfirmFault) -> list[dict[str, Any]]:
    client.exchange.misconfirm("BTCUSDT", *kinds)
    messages = (await heard(client, "kline.15.BTCUSDT"))["kline.15.BTCUSDT"]
    return [{"index": MARKET.index_of(e["start"]) - 5_000} | e for e in confirmations(messages)]


@pytest.mark.parametrize(
    ("fault", "order"),
    [
        ("skip", [1, 2, 3, 4, 5, 6, 7]),
        ("repeat", [0, 0, 1, 2, 3, 4, 5, 6, 7]),
        ("revise", [0, 0, 1, 2, 3, 4, 5, 6, 7]),
        ("late", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("reorder", [1, 0, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_confirmations_go_wrong_in_the_named_way(fault: ConfirmFault, order: list[int]):
    async def test() -> None:
        async with a_client() as client:
            entries = await confirmed_with(client, fault)
            assert [entry["index"] for entry in entries] == order
            assert (entries[0]["close"] != entries[1]["close"]) or fault == "repeat"
            # The exchange itself stays right.
            assert client.exchange.closed_bars("BTCUSDT") == MARKET.bars("BTCUSDT", 5_000, 8)
            rows = await client.rows(start=LIVE, end=LIVE)
            assert Decimal(rows[0][4]) == MARKET.bars("BTCUSDT", 5_000, 1)[0].close

    run(test)


def test_a_late_confirmation_comes_after_the_next_bars_first_push():
    async def test() -> None:
        async with a_client() as client:
            client.exchange.misconfirm("BTCUSDT", "late")
            messages = (await heard(client, "kline.15.BTCUSDT"))["kline.15.BTCUSDT"]
            entries = [message["data"][0] for message in messages]
            place = next(i for i, entry in enumerate(entries) if entry["confirm"])
            assert entries[place]["start"] == LIVE
            assert entries[place - 1]["start"] == LIVE + STEP
            assert messages[place]["ts"] > LIVE + STEP

    run(test)


def test_a_delayed_confirmation_comes_several_bars_later_and_none_is_kept_back_at_the_end():
    async def test() -> None:
        async with a_client() as client:
            order = [e["index"] for e in await confirmed_with(client, *["delay"] * 8)]
            assert sorted(order) == list(range(8))
            assert order != list(range(8))

    run(test)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_confirmation_is_no_bar_that_was_asked_for(fault: ConfirmFault):
    async def test() -> None:
        async with a_client() as client:
            client.exchange.misconfirm("BTCUSDT", fault)
            found = await heard(client, "kline.15.BTCUSDT")
            broken = [
                (topic, message["ts"], entry)
                for topic, messages in found.items()
                for message in messages
                for entry in message["data"]
                if entry["confirm"]
            ]
            topic, ts, entry = min(broken, key=lambda one: one[1])
            try:
                bar = bar_of(entry, "BTCUSDT")
                sound = bar.contradiction() is None and bar.close_ms <= ts
            except (KeyError, ArithmeticError, TypeError, ValueError):
                sound = False
            assert not sound or topic != "kline.15.BTCUSDT"

    run(test)


def test_a_cut_ends_every_connection_with_a_close_frame_or_without():
    async def test() -> None:
        async with a_client(max_bars=200) as client:
            for close_frame, code in ((True, 1001), (False, 1006)):
                await client.connect()
                await client.ask("subscribe", "kline.15.BTCUSDT")
                client.exchange.cut(close_frame=close_frame)
                async for _ in client.messages():
                    pass
                assert client.socket.close_code == code
                assert client.exchange.connections == 0

    run(test)


def test_a_silent_exchange_still_answers_pings_and_goes_on_closing_bars():
    async def test() -> None:
        async with a_client(max_bars=200) as client:
            await client.connect()
            await client.ask("subscribe", "kline.15.BTCUSDT", "tickers.BTCUSDT")
            client.exchange.silence(0.3)
            before = client.exchange.clock_ms
            await client.socket.send_json({"op": "ping"})
            received = []
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    while True:
                        received.append(await client.socket.receive_json())
            # The snapshot may still have been on its way.
            assert [m["ret_msg"] for m in received if "op" in m] == ["pong"]
            assert not [m for m in received if m.get("type") == "delta"]
            assert client.exchange.clock_ms > before
            async with asyncio.timeout(1):
                assert (await client.socket.receive_json())["topic"]

    run(test)


@pytest.mark.parametrize("kind", get_args(GarbageFrame))
def test_garbage_arrives_between_sound_frames(kind: GarbageFrame):
    async def test() -> None:
        async with a_client(max_bars=500) as client:
            await client.connect()
            await client.ask("subscribe", "kline.15.BTCUSDT")
            client.exchange.garble(kind)
            odd = 0
            for _ in range(20):
                message = await client.socket.receive()
                try:
                    parsed = json.loads(message.data)
                    odd += not (
                        isinstance(parsed, dict) and "BTCUSDT" in parsed["topic"] and parsed["ts"] != "soon"
                    )
                except ValueError:
                    odd += 1
            assert odd == 1

    run(test)


def test_subscriptions_are_refused_as_often_as_asked():
    async def test() -> None:
        async with a_client(faults=Faults(refused_subscriptions=1)) as client:
            await client.connect()
            client.exchange.refuse("tickers.ETHUSDT", -1)
            for topic, agreed in (
                ("tickers.BTCUSDT", False),
                ("tickers.BTCUSDT", True),
                ("tickers.ETHUSDT", False),
                ("tickers.ETHUSDT", False),
                ("tickers.ETHUSDT", False),
            ):
                assert (await client.ask("subscribe", topic))["success"] == agreed

    run(test)


def test_connections_are_refused_as_often_as_asked():
    async def test() -> None:
        async with a_client() as client:
            client.exchange.refuse_connections(2)
            for _ in range(2):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await client.connect()
            await client.connect()

    run(test)


def test_rest_fails_in_the_named_way_and_then_recovers():
    async def test() -> None:
        async with a_client(faults=Faults(slow_seconds=0.1)) as client:
            url = f"{client.exchange.rest_url}/v5/market/kline?symbol=BTCUSDT&interval=15&limit=3"
            for status in (500, 502, 403, 429):
                client.exchange.fail_rest(f"http{status}")  # type: ignore[arg-type]
                async with client.session.get(url) as response:
                    assert response.status == status
                    assert (await response.text()).startswith("<html>")
            for code in (10000, 10006, 10016):
                client.exchange.fail_rest(f"code{code}")  # type: ignore[arg-type]
                async with client.session.get(url) as response:
                    assert response.status == 200
                    assert (await response.json())["retCode"] == code
                    assert ("X-Bapi-Limit-Reset-Timestamp" in response.headers) == (code == 10006)
            client.exchange.fail_rest("broken_json")
            async with client.session.get(url) as response:
                assert response.status == 200
                with pytest.raises(json.JSONDecodeError):
                    json.loads(await response.text())
            # aiohttp itself asks again where a kept connection ends without an answer.
            client.exchange.fail_rest("dropped", times=2)
            with pytest.raises(aiohttp.ClientError):
                await client.rows(limit=3)
            client.exchange.fail_rest("slow")
            began = time.monotonic()
            assert len(await client.rows(limit=3)) == 3
            assert time.monotonic() - began >= 0.1
            client.exchange.fail_rest("empty", endpoint="kline")
            assert (await client.get("funding/history", symbol="BTCUSDT"))["result"]["list"]
            assert await client.rows(limit=3) == []
            client.exchange.fail_rest("missing_bar", times=2)
            for _ in range(2):
                starts = [int(row[0]) for row in await client.rows(limit=3)]
                assert starts == [LIVE, LIVE - 2 * STEP]
            client.exchange.fail_rest("broken_row")
            row = (await client.rows(limit=3))[1]
            assert Decimal(row[2]) < Decimal(row[3])
            assert len(await client.rows(limit=3)) == 3

    run(test)


def test_the_same_seed_does_the_same_to_the_same_bars():
    faults = Faults(seed=3, skip=0.2, repeat=0.2, late=0.1, reorder=0.1, delay=0.1, broken=0.1)
    fates = [faults.confirmation("BTCUSDT", LIVE + i * STEP) for i in range(400)]
    assert fates == [faults.confirmation("BTCUSDT", LIVE + i * STEP) for i in range(400)]
    assert {"skip", "repeat", "late", "reorder", "delay", None} < set(fates)
    other = msgspec.structs.replace(faults, seed=4)
    assert fates != [other.confirmation("BTCUSDT", LIVE + i * STEP) for i in range(400)]
    assert 0.1 < fates.count("skip") / 400 < 0.3


def test_an_exchange_with_open_connections_and_slow_answers_stops_at_once():
    async def test() -> None:
        async with aiohttp.ClientSession() as session:
            exchange = an_exchange(max_bars=None, faults=Faults(slow_seconds=60))
            async with exchange:
                client = Client(session, exchange)
                await client.connect()
                await client.ask("subscribe", "kline.15.BTCUSDT")
                exchange.fail_rest("slow")
                asking = asyncio.create_task(client.rows(limit=3))
                await asyncio.sleep(0.05)
                began = time.monotonic()
            assert time.monotonic() - began < 1.0
            with pytest.raises(aiohttp.ClientError):
                await asking
            await client.close()

    run(test)


def test_twenty_symbols_keep_their_pace():
    symbols = tuple(f"COIN{i:02d}USDT" for i in range(20))

    async def test() -> None:
        async with a_client(symbols=symbols, bar_seconds=0.3, max_bars=5) as client:
            began = time.monotonic()
            found = await heard(client, *[f"{kind}.{s}" for s in symbols for kind in ("kline.15", "tickers")])
            assert time.monotonic() - began < 3.0
            for symbol in symbols:
                confirmed = confirmations(found[f"kline.15.{symbol}"])
                assert [bar_of(e, symbol) for e in confirmed] == client.exchange.closed_bars(symbol)
                assert len(confirmed) == 5

    run(test)


def test_a_start_off_the_grid_or_a_symbol_without_bars_is_refused():
    with pytest.raises(ValueError, match="no start of a bar"):
        an_exchange(live_from_ms=LIVE + 1)
    with pytest.raises(ValueError, match="no bars of ETHUSDT"):
        an_exchange(source={"BTCUSDT": [a_bar(0)]})
