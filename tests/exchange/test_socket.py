import asyncio
import json
import socket as network
import time
from typing import Any

import pytest
from aiohttp import web

from bot.errors import FeedError
from bot.exchange.config import ExchangeConfig
from bot.exchange.socket import Socket


async def served(handler: Any, use: Any, **options: Any) -> Any:
    """Use a Socket on a websocket server of the test's own; ``handler`` gets the server's side."""

    async def endpoint(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await handler(response)
        return response

    app = web.Application()
    app.router.add_get("/v5/public/linear", endpoint)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with Socket(f"ws://{host}:{port}/v5/public/linear", "linear", **options) as opened:
            return await use(opened)
    finally:
        await runner.cleanup()


async def receive(opened: Socket, count: int) -> list[bytes]:
    async with asyncio.timeout(5):
        return [await opened.receive() for _ in range(count)]


def test_every_frame_arrives_raw_and_in_order_whatever_it_is():
    frames = ["no json", '{"success":false,"ret_msg":"error:x","op":"subscribe"}', '{"topic":"a"}', "[]"]

    async def send(response: web.WebSocketResponse) -> None:
        for frame in frames:
            await response.send_str(frame)
        await response.send_bytes(b"\xff\xfe")
        await asyncio.sleep(1)

    async def use(opened: Socket) -> list[bytes]:
        return await receive(opened, 5)

    assert asyncio.run(served(send, use)) == [*(frame.encode() for frame in frames), b"\xff\xfe"]


def test_an_answer_that_comes_at_once_does_no_harm():
    async def echo(response: web.WebSocketResponse) -> None:
        async for message in response:
            await response.send_str(message.data)

    async def use(opened: Socket) -> list[bytes]:
        for number in range(50):
            opened.send(json.dumps({"op": "subscribe", "req_id": str(number)}))
        return await receive(opened, 50)

    answers = asyncio.run(served(echo, use))
    assert [json.loads(answer)["req_id"] for answer in answers] == [str(number) for number in range(50)]


@pytest.mark.parametrize("clean", [True, False])
def test_the_end_of_a_connection_is_told_after_its_last_frame(clean: bool):
    async def leave(response: web.WebSocketResponse) -> None:
        await response.send_str("last")
        await asyncio.sleep(0.2)
        if clean:
            await response.close()
        else:
            transport = response._req.transport  # type: ignore[union-attr]
            assert transport is not None
            transport.abort()

    async def use(opened: Socket) -> None:
        assert await receive(opened, 1) == [b"last"]
        with pytest.raises(FeedError):
            await receive(opened, 1)

    asyncio.run(served(leave, use))


def test_a_frame_ends_the_connection_from_one_byte_above_the_bound_on():
    largest = 4 * 16_000

    async def send(response: web.WebSocketResponse) -> None:
        await response.receive()
        await response.send_bytes(b"x" * largest)
        await response.send_bytes(b"x" * (largest + 1))
        await asyncio.sleep(1)

    async def use(opened: Socket) -> None:
        opened.send("begin")
        assert list(map(len, await receive(opened, 1))) == [largest]
        with pytest.raises(FeedError, match="64001 bytes"):
            await receive(opened, 1)

    asyncio.run(served(send, use, config=ExchangeConfig(max_frame_kb=16)))


def test_nobody_listening_is_weather_and_told_soon():
    async def run() -> None:
        async with Socket("ws://127.0.0.1:9/v5/public/linear", "linear"):
            pass

    began = time.monotonic()
    with pytest.raises(FeedError, match="cannot connect"):
        asyncio.run(run())
    assert time.monotonic() - began < 5


def test_an_answer_that_is_no_websocket_is_weather():
    async def run() -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            async with Socket(f"ws://{host}:{port}/v5/public/linear", "linear"):
                pass
        finally:
            await runner.cleanup()

    with pytest.raises(FeedError, match="cannot connect"):
        asyncio.run(run())


def test_leaving_does_not_wait_for_a_server_that_never_answers():
    async def run() -> float:
        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(30)

        server = await asyncio.start_server(mute, "127.0.0.1", 0, family=network.AF_INET)
        port = server.sockets[0].getsockname()[1]
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), Socket(f"ws://127.0.0.1:{port}/v5/public/linear", "linear"):
                pass
        server.close()
        return time.monotonic() - began

    assert asyncio.run(run()) < 2
