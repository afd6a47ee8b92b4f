"""What can happen to a connection, and to the building of the next one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.live.proxy import Bytes, Cut, Dials, Link, Out, Proxy, ws_frame
from tests.live.trial import Kind

Act = Callable[[Proxy], Awaitable[None]]
Dial = Callable[[web.Request], Awaitable[web.StreamResponse]]


def redial(dial: Dial, times: int = 3) -> Act:
    """Every connection ends, and so often the next handshake goes like this."""

    async def act(proxy: Proxy) -> None:
        proxy.dials = first(dial, times)
        await proxy.drop()

    return act


def first(dial: Dial, times: int) -> Dials:
    left = [times]

    async def dials(request: web.Request) -> web.StreamResponse | None:
        left[0] -= 1
        return await dial(request) if left[0] >= 0 else None

    return dials


def http(status: int, body: str = "<html></html>", **headers: str) -> Dial:
    async def dial(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, headers=headers)

    return dial


def raw(answer: bytes, *, hang: float = 0.0) -> Dial:
    """Bytes in place of a handshake, and the end after so many seconds."""

    async def dial(request: web.Request) -> web.StreamResponse:
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.write(answer)
        await asyncio.sleep(hang)
        request.transport.close()
        return web.Response()

    return dial


def accepted(*outs: Out, seconds: float = 0.0) -> Dial:
    """A handshake as it should be; then these, and after so many seconds the end."""

    async def dial(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        link = Link(socket, request.transport, None)  # type: ignore[arg-type]
        await link.send(outs)
        end = asyncio.get_running_loop().time() + seconds
        while not link.ended and (left := end - asyncio.get_running_loop().time()) > 0:
            # What is asked is read, and not answered.
            await socket.receive(timeout=left)
            if socket.closed:
                break
        request.transport.abort()
        return socket

    return dial


def slow(seconds: float) -> Dial:
    async def dial(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response(status=504)

    return dial


def dropped(*outs: Out) -> Act:
    return lambda proxy: proxy.drop(*outs)


def silent(part: str = "") -> Act:
    """Nothing more comes on the connections that there are, of what has this in it."""

    async def act(proxy: Proxy) -> None:
        for link in proxy.links:
            link.silent = part

    return act


def late(seconds: float) -> Act:
    async def act(proxy: Proxy) -> None:
        for link in proxy.links:
            link.delay = seconds

    return act


def answered(change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Act:
    """A new connection on which what was asked for is answered like this."""

    async def act(proxy: Proxy) -> None:
        proxy.control = change
        await proxy.drop()

    return act


def no_rest(status: int) -> Act:
    """A new connection, while REST does not answer three times."""

    async def act(proxy: Proxy) -> None:
        left = [3]

        def answers(endpoint: str, query: dict[str, str], answer: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                answer.status, answer.body = status, b"<html></html>"
            return answer

        proxy.answers = answers
        await proxy.drop()

    return act


_101 = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

ACTS: dict[str, Act] = {
    "cut": dropped(),
    "closed politely": dropped(Cut(1000)),
    "cut within a frame": dropped(Bytes(ws_frame(1, b"x" * 500)[:300]), Cut()),
    "handshakes answered with 503": redial(http(503)),
    "handshakes answered with 404": redial(http(404)),
    "handshakes answered with 403": redial(http(403), 2),
    "handshakes answered with 429": redial(http(429), 2),
    "handshakes answered with a page": redial(http(200), 2),
    "handshakes sent elsewhere": redial(http(301, Location="/v5/public/linear"), 2),
    "handshakes sent to nowhere": redial(http(302, Location="http://[::1"), 2),
    "handshakes reset": redial(raw(b"")),
    "handshakes answered with nonsense": redial(raw(b"\x00\xff\x13\x37" * 99), 2),
    "handshakes with a wrong key": redial(raw(_101 + b"Sec-WebSocket-Accept: wrong\r\n\r\n"), 2),
    "handshakes without a key": redial(raw(_101 + b"\r\n"), 2),
    "handshakes cut in half": redial(raw(_101[:40]), 2),
    "a status that is no number": redial(raw(b"HTTP/1.1 yes Fine\r\n\r\n"), 2),
    "a header of a megabyte": redial(raw(_101 + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n"), 1),
    "a header that is no UTF-8": redial(raw(_101 + b"X: \xff\xfe\r\n\r\n"), 1),
    "a slow refusal": redial(slow(1.0), 1),
    "accepted, then cut": redial(accepted(Cut())),
    "accepted, then closed": redial(accepted(Cut(1013))),
    "accepted, then nonsense": redial(accepted(Bytes(b"\x00\xff" * 50), Cut()), 2),
    "accepted, then silence": redial(accepted(seconds=30.0), 1),
    "accepted, then pings alone": redial(accepted(Bytes(ws_frame(9, b"")), seconds=30.0), 1),
    "accepted, and never answered": redial(accepted("{}", seconds=30.0), 1),
    "silence": silent(),
    "silence about bars": silent('"kline.15'),
    "every frame late": late(0.02),
    "subscriptions that are never answered": answered(lambda told: []),
    "subscriptions answered twice": answered(lambda told: [told, told]),
    "subscriptions refused although they are granted": answered(
        lambda told: [told | {"success": False, "ret_msg": "error:handler not found"}]
    ),
    "subscriptions answered without a name": answered(lambda told: [told | {"req_id": ""}]),
    "subscriptions answered with nonsense": answered(lambda told: [told | {"success": 3, "ret_msg": []}]),
    "cut while REST answers 500": no_rest(500),
    "cut while REST answers 429": no_rest(429),
}

CONNECTIONS = [Kind(name=f"before a close, {name}", act=act) for name, act in ACTS.items()]
