"""A bare client of the pretend exchange, which sees every frame as it was sent."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp

from bot.demo.exchange import DemoExchange
from bot.market import Bar
from bot.synthetic import PRESETS, SyntheticMarket

MARKET = SyntheticMarket(PRESETS["demo"], 7, "15")
LIVE = MARKET.start_ms(5_000)
STEP = 15 * 60_000


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
