"""Between a bot and an exchange: hands on what either says, and alters it as the fault in force demands."""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web


@dataclass(frozen=True)
class Bytes:
    """Bytes that go onto the connection as they are, past any framing."""

    raw: bytes


@dataclass(frozen=True)
class Cut:
    """The end of a connection: with a close frame of this code, or 0, without any."""

    code: int = 0


Out = str | bytes | Bytes | Cut
"""What goes to the bot: a text frame, a binary frame, bytes, or the end of the connection."""


@dataclass
class Answer:
    """A REST answer on its way to the bot."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    seconds: float = 0.0
    """What it takes to come."""
    cut_at: int | None = None
    """So many bytes of the body come, then the connection ends; its length was told as whole."""

    def json(self) -> Any:
        return json.loads(self.body)


def ws_frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, length: int = -1) -> bytes:
    """A server's websocket frame, bit by bit; ``length`` is the one told where it is not the payload's."""
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    size = len(payload) if length < 0 else length
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65_536:
        return head + b"\x7e" + struct.pack("!H", size) + payload
    return head + b"\x7f" + struct.pack("!Q", size) + payload


class Link:
    """One bot's websocket and the exchange's behind it."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        upstream: aiohttp.ClientWebSocketResponse,
    ) -> None:
        self.socket = socket
        self.transport = transport
        self.upstream = upstream
        self.topics: set[str] = set()
        self.ended = False
        self.turned = asyncio.Event()
        """Set once the bot has read all that was sent to it, or the connection has ended."""
        self.silent: str | None = None
        """What frames have in them that do not reach the bot any more."""
        self.delay = 0.0
        """Seconds that each frame takes to it."""

    async def send(self, outs: Iterable[Out]) -> None:
        """Send to the bot, one by one, until the connection ends."""
        for out in outs:
            if self.ended:
                return
            if isinstance(out, Bytes):
                self.transport.write(out.raw)
            elif isinstance(out, Cut):
                # What was said before is left to arrive.
                await asyncio.sleep(0.05)
                self.ended = True
                self.turned.set()
                if out.code:
                    self.transport.write(ws_frame(8, struct.pack("!H", out.code)))
                    self.transport.close()
                else:
                    self.transport.abort()
            elif isinstance(out, bytes):
                await self.socket.send_bytes(out)
            else:
                await self.socket.send_str(out)


Frames = Callable[[Link, str], Iterable[Out]]
Answers = Callable[[str, dict[str, str], Answer], Answer | None]
Dials = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
Control = Callable[[dict[str, Any]], list[dict[str, Any]]]


class Proxy:
    """A server on loopback; ``frames``, ``answers``, ``dials`` and ``control`` are the faults in force, if any.

    ``frames(link, text)``: what the bot gets where the exchange sends this frame. ``answers(endpoint, query,
    answer)``: what the bot gets instead of this answer, None for no answer at all. ``dials(request)``: what
    becomes of a websocket's handshake, None for what should. ``control(answer)``: what the bot gets where the
    exchange answers a subscription.
    """

    def __init__(self, rest_url: str, ws_url: str) -> None:
        self._upstream = rest_url, ws_url
        self.frames: Frames | None = None
        self.answers: Answers | None = None
        self.dials: Dials | None = None
        self.control: Control | None = None
        self.links: set[Link] = set()
        self.url = ""
        self.port = 0

    async def __aenter__(self) -> "Proxy":
        self._client = aiohttp.ClientSession(auto_decompress=True)
        app = web.Application()
        app.router.add_get("/v5/market/{endpoint:.+}", self._rest)
        app.router.add_get("/v5/public/{category}", self._websocket)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop()
        await self._runner.cleanup()
        await self._client.close()

    async def drop(self, *outs: Out) -> None:
        """End every connection: with these, or at once."""
        for link in list(self.links):
            await link.send(outs or (Cut(),))

    async def settle(self, seconds: float) -> None:
        """Wait until bots have read all that was sent to them, where they read, or are gone for it."""
        # The exchange is served by the same loop: what it has said gets here in a few turns.
        await asyncio.sleep(0.03)
        links = [link for link in self.links if not link.ended and link.silent is None]
        for link in links:
            link.turned.clear()
            link.transport.write(ws_frame(9, b"settled"))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(link.turned.wait() for link in links))
        # Whatever the bot does to the connection for it.
        await asyncio.sleep(0.05)

    @property
    def topics(self) -> set[str]:
        """What the exchange sends to bots at present."""
        return {
            topic for link in self.links if not (link.ended or link.silent == "") for topic in link.topics
        }

    def relent(self) -> None:
        """No fault is in force any more; a connection that has fallen silent altogether stays so."""
        self.answers = self.dials = self.control = None
        for link in self.links:
            link.silent, link.delay = "" if link.silent == "" else None, 0.0

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if self.dials is not None and (refusal := await self.dials(request)) is not None:
            return refusal
        socket = web.WebSocketResponse(compress=False, timeout=0.2, max_msg_size=0, autoping=False)
        url = f"{self._upstream[1]}{request.path}"
        async with self._client.ws_connect(url, max_msg_size=0, compress=0) as upstream:
            await socket.prepare(request)
            assert isinstance(request.transport, asyncio.Transport)
            link = Link(socket, request.transport, upstream)
            self.links.add(link)
            ways = [asyncio.create_task(self._down(link)), asyncio.create_task(self._up(link))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                link.ended = True
                link.turned.set()
                self.links.discard(link)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        return socket

    async def _up(self, link: Link) -> None:
        async for message in link.socket:
            if message.type == WSMsgType.TEXT:
                await link.upstream.send_str(message.data)
            elif message.type == WSMsgType.PING:
                await link.socket.pong(message.data)
            elif message.type == WSMsgType.PONG and bytes(message.data) == b"settled":
                link.turned.set()

    async def _down(self, link: Link) -> None:
        with suppress(ConnectionError):
            async for message in link.upstream:
                text = message.data
                if link.silent is not None and link.silent in text:
                    continue
                await asyncio.sleep(link.delay)
                if '"op":"subscribe"' in text:
                    await link.send(self._granted(link, text))
                else:
                    await link.send([text] if self.frames is None else self.frames(link, text))

    def _granted(self, link: Link, text: str) -> list[str]:
        told = json.loads(text)
        if told["success"]:
            link.topics.add(told["req_id"])
        return [text] if self.control is None else [json.dumps(each) for each in self.control(told)]

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        async with self._client.get(f"{self._upstream[0]}{request.path_qs}") as told:
            answer: Answer | None = Answer(told.status, await told.read())
        if self.answers is not None and answer is not None:
            answer = self.answers(endpoint, dict(request.query), answer)
        assert request.transport is not None
        if answer is None:
            request.transport.abort()
            return web.Response()
        await asyncio.sleep(answer.seconds)
        if answer.cut_at is None:
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        cut = web.StreamResponse(status=answer.status, headers=answer.headers)
        cut.content_length = len(answer.body)
        await cut.prepare(request)
        await cut.write(answer.body[: answer.cut_at])
        request.transport.abort()
        return cut
