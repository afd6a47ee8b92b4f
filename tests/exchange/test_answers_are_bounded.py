"""A server that answers at any length and with any status: no more is read than the settings say, nor asked in vain."""

import asyncio
import gzip
import tracemalloc
from typing import Any

import pytest
from aiohttp import web

from bot.errors import FeedError
from bot.exchange.config import ExchangeConfig
from bot.exchange.rest import BybitRest, RequestRefused

HUGE = b'{"retCode":0,"result":{"list":["' + b"x" * 50_000_000 + b'"]}}'


async def asked(**answer: Any) -> tuple[FeedError, int]:
    """What a question comes to, and how often it was asked."""
    questions = 0

    async def endpoint(request: web.Request) -> web.Response:
        nonlocal questions
        questions += 1
        return web.Response(**answer)

    app = web.Application()
    app.router.add_get("/v5/market/{endpoint:.+}", endpoint)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with BybitRest(
            f"http://{host}:{port}", "linear", config=ExchangeConfig(max_answer_mb=1)
        ) as rest:
            with pytest.raises(FeedError) as raised:
                await rest.newest_closed("BTCUSDT", "15")
    finally:
        await runner.cleanup()
    return raised.value, questions


@pytest.mark.parametrize("zipped", [False, True])
def test_an_answer_of_fifty_megabytes_is_not_read_whole(zipped: bool):
    body = gzip.compress(HUGE) if zipped else HUGE
    headers = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if zipped else {})
    tracemalloc.start()
    error, _ = asyncio.run(asked(body=body, headers=headers))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "exchange.max_answer_mb" in str(error)
    # The server, which is in this process too, holds what it sends.
    assert not zipped or peak < 25_000_000


@pytest.mark.parametrize(
    ("status", "code"), [(400, ""), (401, ""), (451, ""), (200, "10001"), (200, "10029")]
)
def test_a_refusal_is_asked_once_and_is_for_good(status: int, code: str):
    body = f'{{"retCode":{code},"retMsg":"params error","result":{{}},"time":1}}' if code else "<html>"
    error, questions = asyncio.run(asked(text=body, status=status))
    assert isinstance(error, RequestRefused)
    assert questions == 1


@pytest.mark.parametrize(
    ("status", "body"), [(503, ""), (408, ""), (200, "[" * 100_000), (200, "9" * 10_000)]
)
def test_weather_is_asked_again(status: int, body: str):
    error, questions = asyncio.run(asked(text=body, status=status))
    assert not isinstance(error, RequestRefused)
    assert questions == 4
    assert len(str(error)) < 400
