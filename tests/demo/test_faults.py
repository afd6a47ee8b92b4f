import asyncio
import json
import time
from contextlib import suppress
from decimal import Decimal
from typing import Any, get_args

import aiohttp
import msgspec
import pytest

from bot.demo.faults import BROKEN, ConfirmFault, Faults, GarbageFrame
from tests.demo.client import (
    LIVE,
    MARKET,
    STEP,
    Client,
    a_client,
    bar_of,
    confirmations,
    heard,
    run,
)


async def confirmed_with(client: Client, *kinds: ConfirmFault) -> list[dict[str, Any]]:
    client.exchange.fault_confirmation("BTCUSDT", *kinds)
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
            client.exchange.fault_confirmation("BTCUSDT", "late")
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
            client.exchange.fault_confirmation("BTCUSDT", fault)
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
            client.exchange.send_garbage(kind)
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
