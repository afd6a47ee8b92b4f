"""A pretend Bybit on loopback: v5 public REST and websocket, streaming a generated market or a file's bars.

It speaks the real protocol, so that the very same client code runs against it, and misbehaves on
request as the real one does. Its clock is the market's own: it runs with the streamed bars, at
whatever pace, and the local clock only paces the stream.

Left out: topics and intervals other than the source's (refused as unknown ones are), trades, order
books of depths other than 1 and 50, and Bybit's limits on requests and idle connections.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from types import TracebackType
from typing import Any, get_args

import msgspec
from aiohttp import WSMsgType, web

from bot.demo.connection import Connection
from bot.demo.faults import (
    ERROR_TEXTS,
    NO_FAULTS,
    ConfirmFault,
    Faults,
    GarbageFrame,
    RestFault,
    corrupt_rows,
    garbage_frame,
)
from bot.demo.feed import Feed
from bot.demo.funding import FundingBook
from bot.demo.rest_api import Refused, RestApi
from bot.demo.sources import source_of
from bot.demo.subscriptions import Subscriptions
from bot.demo.symbol_state import SymbolState
from bot.market import CLOSED, INTERVAL_MS, Bar, Category, Instrument, grid_start_ms
from bot.synthetic import SyntheticMarket

_HTML = "<html>\r\n<head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></center></body>\r\n</html>"


class DemoExchange:
    """The exchange: ``async with DemoExchange(...) as exchange``, then talk to ``rest_url`` and ``ws_url``.

    ``source`` is a generated market, or ascending bars for each symbol, where a missing bar is simply
    never published. Everything before ``live_from_ms`` (a bar's start) is history. Time stands still
    there until a client subscribes to a kline topic; then bars are streamed, one in ``bar_seconds`` of
    local time, until the source or ``max_bars`` is over and ``exhausted`` is set; REST still serves.
    With ``pause_when_alone``, the default, time stands still again while nobody listens to klines, so
    that a demo waits for a bot that restarts; without it bars go on closing, as on a real exchange.
    ``before_push`` is awaited before each push and confirmation, with the bar's start and the number of
    pushes that it has had: it holds the market's time up for as long as it takes.

    ``rules`` are those of listed bars' symbols; without them their prices say how fine they are.

    The bars that it is right about are :meth:`closed_bars`, whatever ``faults`` make of them on their
    way. The methods ``fault_confirmation``, ``fail_rest``, ``refuse``, ``refuse_connections``, ``cut``,
    ``silence``, ``publish``, ``alter`` and ``send_garbage`` do single faults while it runs. Raises ValueError
    where symbols have no bars or ``live_from_ms`` is off the grid.
    """

    def __init__(
        self,
        source: SyntheticMarket | Mapping[str, list[Bar]],
        category: Category,
        symbols: tuple[str, ...],
        interval: str,
        *,
        live_from_ms: int,
        bar_seconds: float,
        max_bars: int | None = None,
        pause_when_alone: bool = True,
        before_push: Callable[[int, int], Awaitable[None]] | None = None,
        faults: Faults = NO_FAULTS,
        rules: Mapping[str, Instrument] | None = None,
    ) -> None:
        if grid_start_ms(live_from_ms, interval) != live_from_ms:
            raise ValueError(f"live_from_ms {live_from_ms} is no start of a bar of interval {interval}")
        self.category = category
        self.symbols = tuple(sorted(symbols))
        self.interval = interval
        self.live_from_ms = live_from_ms
        self.requests: Counter[str] = Counter()
        """REST requests so far by endpoint."""
        self.rest_url = ""
        self.ws_url = ""
        self._interval_ms = INTERVAL_MS[interval]
        self._faults = faults
        self._source = source_of(source, self.symbols, interval, rules or {})
        last_ms = self._source.last_start_ms(self.symbols)
        if max_bars is not None:
            end_ms = live_from_ms + (max_bars - 1) * self._interval_ms
            last_ms = end_ms if last_ms is None else min(last_ms, end_ms)
        self.funding = FundingBook(faults)
        self._states = {
            symbol: SymbolState(self._source, self._source.instrument(symbol, category), self.funding)
            for symbol in self.symbols
        }
        self._subscriptions = Subscriptions(
            self._states, category, interval, faults, clock=lambda: self.clock_ms
        )
        self._feed = Feed(
            self._states,
            self._subscriptions,
            interval,
            live_from_ms=live_from_ms,
            last_ms=last_ms,
            bar_seconds=bar_seconds,
            pause_when_alone=pause_when_alone,
            before_push=before_push,
            after_push=self._misbehave,
            faults=faults,
        )
        self.exhausted = self._feed.exhausted
        self.endpoints = RestApi(
            self._source, self._states, category, interval, last_ms=last_ms, clock=lambda: self.clock_ms
        ).endpoints
        """What answers a path after ``/v5/market/``; one that is taken out is unknown from then on."""
        self._connections: set[Connection] = set()
        self._handshakes = 0
        self._pushes = 0
        self._rest_failures: deque[tuple[RestFault, str]] = deque()
        self._refused_connections = 0

    async def __aenter__(self) -> "DemoExchange":
        app = web.Application()
        app.router.add_get("/v5/market/{endpoint:.+}", self._rest)
        app.router.add_get("/v5/public/{category:linear|spot}", self._websocket)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.rest_url, self.ws_url = f"http://{host}:{port}", f"ws://{host}:{port}"
        for state in self._states.values():
            state.begin(self.live_from_ms)
        self._feed_task = asyncio.create_task(self._feed.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed_task.cancel()
        self.cut(close_frame=False)
        await self._runner.cleanup()
        with suppress(asyncio.CancelledError):
            await self._feed_task

    @property
    def clock_ms(self) -> int:
        """The exchange's time."""
        return self._feed.clock_ms

    @property
    def connections(self) -> int:
        """Open websockets."""
        return len(self._connections)

    def closed_bars(self, symbol: str) -> list[Bar]:
        """The truth: every bar that has closed since ``live_from_ms``, ascending."""
        last_ms = self._feed.closed_until_ms - self._interval_ms
        count = (self._feed.closed_until_ms - self.live_from_ms) // self._interval_ms
        return self._source.newest(symbol, self.live_from_ms, last_ms, count) if count else []

    # Single faults, for tests.

    def fault_confirmation(self, symbol: str, *kinds: ConfirmFault) -> None:
        """Let the symbol's next confirmations go wrong, one by one."""
        self._feed.fault_confirmation(symbol, *kinds)

    def fail_rest(self, kind: RestFault, times: int = 1, endpoint: str = "") -> None:
        """Let the next requests fail, of one endpoint (``kline``, ``funding/history`` …) or of any."""
        self._rest_failures.extend([(kind, endpoint)] * times)

    def change_rules(self, symbol: str, **rules: Any) -> None:
        """Let other trading rules hold from now on, as in ``tick_size=Decimal("0.5")``."""
        self._states[symbol].instrument = msgspec.structs.replace(self._states[symbol].instrument, **rules)

    def delist(self, symbol: str, status: str = CLOSED, price: Decimal | None = None) -> None:
        """Trade a symbol no more; where it is closed, its contracts are delivered at ``price``, if any is given."""
        delivery_ms = self.clock_ms if status == CLOSED else 0
        self.change_rules(symbol, status=status, delivery_ms=delivery_ms)
        self._states[symbol].delivery_price = price
        self._subscriptions.remove_symbol(symbol)

    def forget(self, symbol: str) -> None:
        """Know a symbol no more."""
        self.delist(symbol)
        del self._states[symbol]

    def refuse(self, topic: str, times: int = 1) -> None:
        """Refuse the next requests that contain this topic; -1 refuses them for ever."""
        self._subscriptions.refuse(topic, times)

    def refuse_connections(self, times: int = 1) -> None:
        """Answer the next websocket handshakes with HTTP 503."""
        self._refused_connections = times

    def cut(self, *, close_frame: bool = False) -> None:
        """Drop every websocket, with a close frame or without."""
        for connection in list(self._connections):
            self._forget(connection)
            if close_frame:
                connection.close()
            else:
                connection.abort()

    def silence(self, seconds: float, topic: str = "") -> None:
        """Send no data for ``seconds``, of topics that begin with ``topic`` or of any; pings are answered."""
        self._subscriptions.silence(seconds, topic)

    def publish(self, topic: str, message: bytes) -> None:
        """Send a message of any content to whoever listens to the topic."""
        self._subscriptions.publish(topic, message)

    def alter(self, change: Callable[[str, bytes], bytes] | None) -> None:
        """Let ``change``, given a topic and its message, make what is sent; None leaves messages as they are."""
        self._subscriptions.alter = change

    def send_garbage(self, kind: GarbageFrame) -> None:
        """Send every connection a frame that no client expects."""
        for connection in self._connections:
            connection.send(garbage_frame(kind, connection.topics))

    def _misbehave(self) -> None:
        """Garbage, cuts and silences, as often as the faults say."""
        faults = self._faults
        self._pushes += 1
        if not (faults.garbage or faults.cut or faults.silence):
            return
        draws = random.Random(f"{faults.seed}/push/{self._pushes}")
        if draws.random() < faults.garbage:
            self.send_garbage(draws.choice(get_args(GarbageFrame)))
        if draws.random() < faults.cut:
            self.cut(close_frame=draws.random() < 0.5)
        if draws.random() < faults.silence:
            self.silence(faults.silence_seconds)

    # Websocket.

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        self._handshakes += 1
        draws = random.Random(f"{self._faults.seed}/dial/{self._handshakes}")
        if self._refused_connections or draws.random() < self._faults.refused_connections:
            self._refused_connections = max(0, self._refused_connections - 1)
            raise web.HTTPServiceUnavailable
        # The timeout bounds how long a close waits for the other side's.
        socket = web.WebSocketResponse(compress=False, timeout=0.2)
        await socket.prepare(request)
        assert request.transport is not None
        connection = Connection(socket, request.transport, self._handshakes)
        self._connections.add(connection)
        writer = asyncio.create_task(connection.write())
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._subscriptions.answer(connection, message.data, request.match_info["category"])
        finally:
            self._forget(connection)
            # A close frame on its way out is left to go.
            if not connection.leaving:
                writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
        return socket

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._subscriptions.remove(connection)

    # REST.

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        self.requests[endpoint] += 1
        fault = self._rest_fault(endpoint)
        if fault == "slow":
            await asyncio.sleep(self._faults.slow_seconds)
        elif fault == "dropped":
            assert request.transport is not None
            request.transport.abort()
        elif fault is not None and fault.startswith("http"):
            status = int(fault[4:])
            return web.Response(status=status, text=_HTML.format(status), content_type="text/html")
        elif fault is not None and fault.startswith("code"):
            reset = {"X-Bapi-Limit-Reset-Timestamp": str(self.clock_ms + 200)}
            return self._json(int(fault[4:]), ERROR_TEXTS[fault], {}, reset if fault == "code10006" else {})
        handler = self.endpoints.get(endpoint)
        if handler is None:
            return self._json(10017, "Route not found.", {})
        try:
            result = handler(request.query)
        except Refused as refusal:
            return self._json(10001, str(refusal), {})
        if "list" in result and fault == "empty":
            result["list"] = []
        if endpoint == "kline" and fault in ("missing_bar", "broken_row"):
            corrupt_rows(result["list"], fault, self._feed.closed_until_ms)
        response = self._json(0, "OK", result)
        if fault == "broken_json":
            assert isinstance(response.body, bytes)
            response.body = response.body[: len(response.body) // 2]
        return response

    def _rest_fault(self, endpoint: str) -> RestFault | None:
        for planned in self._rest_failures:
            if planned[1] in ("", endpoint):
                self._rest_failures.remove(planned)
                return planned[0]
        if not self._faults.rest:
            return None
        draws = random.Random(f"{self._faults.seed}/rest/{self.requests.total()}")
        return draws.choice(self._faults.rest_kinds) if draws.random() < self._faults.rest else None

    def _json(
        self, code: int, message: str, result: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> web.Response:
        envelope = {
            "retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": self.clock_ms,
        }  # fmt: skip
        return web.Response(
            body=msgspec.json.encode(envelope), content_type="application/json", headers=headers or {}
        )
