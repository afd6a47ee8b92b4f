import asyncio
from decimal import Decimal

import aiohttp
import pytest

from tests.demo.client import (
    Client,
    a_client,
    heard,
    run,
)


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


@pytest.mark.parametrize("op", ["subscribe", "unsubscribe"])
def test_topics_that_are_no_list_of_texts_are_refused_and_the_connection_lasts(op: str):
    async def test() -> None:
        async with a_client() as client:
            await client.connect()
            for topics in (5, [7], "tickers.BTCUSDT"):
                await client.socket.send_json({"op": op, "args": topics})
                refused = await client.socket.receive_json()
                assert (refused["success"], refused["ret_msg"]) == (False, "error:invalid args")
            assert (await client.ask("subscribe", "tickers.BTCUSDT"))["success"]

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
