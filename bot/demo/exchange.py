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

from bot.demo.books import book_message, depth_message
from bot.demo.connection import Connection, control_answer
from bot.demo.faults import (
    BROKEN,
    ERROR_TEXTS,
    NO_FAULTS,
    ConfirmFault,
    Faults,
    GarbageFrame,
    RestFault,
    break_confirmation,
    garbage_frame,
    spoil_rows,
)
from bot.demo.funding import FundingBook
from bot.demo.rest_api import Desk, Refused
from bot.demo.symbol_state import Board, GeneratedSource, ListedSource, RunningBar, Source
from bot.market import CLOSED, INTERVAL_MS, Bar, Category, Instrument, grid_start_ms, plain
from bot.synthetic import SyntheticMarket

_CONFIRM_AFTER_MS = 12
"""A confirmation is made so long after the bar's end."""
_EDGE = 0.002
"""The first and the last push come this share of a bar after its open and before its close."""
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
    way. The methods ``misconfirm``, ``fail_rest``, ``refuse``, ``refuse_connections``, ``cut``,
    ``silence`` and ``garble`` do single faults while it runs. Raises ValueError where symbols have no
    bars or ``live_from_ms`` is off the grid.
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
        self.category = category
        self.symbols = tuple(sorted(symbols))
        self.interval = interval
        self.live_from_ms = live_from_ms
        self.clock_ms = live_from_ms
        """The exchange's time."""
        self.exhausted = asyncio.Event()
        self.requests: Counter[str] = Counter()
        """REST requests so far by endpoint."""
        self.rest_url = ""
        self.ws_url = ""
        self._interval_ms = INTERVAL_MS[interval]
        if grid_start_ms(live_from_ms, interval) != live_from_ms:
            raise ValueError(f"live_from_ms {live_from_ms} is no start of a bar of interval {interval}")
        if isinstance(source, SyntheticMarket):
            if source.interval != interval:
                raise ValueError(f"the market generates bars of interval {source.interval}, not {interval}")
            self._source: Source = GeneratedSource(source)
        else:
            if missing := [symbol for symbol in self.symbols if not source.get(symbol)]:
                raise ValueError(f"no bars of {', '.join(missing)}")
            self._source = ListedSource(source, interval, rules or {})
        last_ms = self._source.last_start_ms(self.symbols)
        if max_bars is not None:
            end_ms = live_from_ms + (max_bars - 1) * self._interval_ms
            last_ms = end_ms if last_ms is None else min(last_ms, end_ms)
        self._last_ms = last_ms
        self._bar_seconds = bar_seconds
        self._pause_when_alone = pause_when_alone
        self._before_push = before_push
        self._faults = faults
        self.funding = FundingBook(faults)
        self._boards = {
            symbol: Board(self._source, self._source.instrument(symbol, category), self.funding)
            for symbol in self.symbols
        }
        # A long bar is pushed about once a second, as on the real exchange, a short one a few times.
        pushes = min(max(4, int(bar_seconds)), 120)
        self._fractions = [_EDGE + (1.0 - 2.0 * _EDGE) * k / (pushes - 1) for k in range(pushes)]
        self._closed_until_ms = live_from_ms
        self._held: list[tuple[int, int, str, bytes]] = []
        self._pushes = 0
        self._dials = 0
        self._listeners: dict[str, set[Connection]] = {}
        self._listened = asyncio.Event()
        self._connections: set[Connection] = set()
        self._silences: list[tuple[float, str]] = []
        self._misconfirms: dict[str, deque[ConfirmFault]] = {symbol: deque() for symbol in self.symbols}
        self._rest_failures: deque[tuple[RestFault, str]] = deque()
        self._refusals: dict[str, int] = {}
        self._refused_connections = 0
        self._endpoints = Desk(
            self._source, self._boards, category, interval, last_ms=last_ms, clock=lambda: self.clock_ms
        ).endpoints

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
        for board in self._boards.values():
            board.begin(self.live_from_ms)
        self._stream_task = asyncio.create_task(self._stream())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream_task.cancel()
        self.cut(close_frame=False)
        await self._runner.cleanup()
        with suppress(asyncio.CancelledError):
            await self._stream_task

    @property
    def connections(self) -> int:
        """Open websockets."""
        return len(self._connections)

    def closed_bars(self, symbol: str) -> list[Bar]:
        """The truth: every bar that has closed since ``live_from_ms``, ascending."""
        last_ms = self._closed_until_ms - self._interval_ms
        count = (self._closed_until_ms - self.live_from_ms) // self._interval_ms
        return self._source.newest(symbol, self.live_from_ms, last_ms, count) if count else []

    # Single faults, for tests.

    def misconfirm(self, symbol: str, *kinds: ConfirmFault) -> None:
        """Let the symbol's next confirmations go wrong, one by one."""
        self._misconfirms[symbol].extend(kinds)

    def fail_rest(self, kind: RestFault, times: int = 1, endpoint: str = "") -> None:
        """Let the next requests fail, of one endpoint (``kline``, ``funding/history`` …) or of any."""
        self._rest_failures.extend([(kind, endpoint)] * times)

    def change_rules(self, symbol: str, **rules: Any) -> None:
        """Let other trading rules hold from now on, as in ``tick_size=Decimal("0.5")``."""
        self._boards[symbol].instrument = msgspec.structs.replace(self._boards[symbol].instrument, **rules)

    def delist(self, symbol: str, status: str = CLOSED, price: Decimal | None = None) -> None:
        """Trade a symbol no more; where it is closed, its contracts are delivered at ``price``, if any is told."""
        delivery_ms = self.clock_ms if status == CLOSED else 0
        self.change_rules(symbol, status=status, delivery_ms=delivery_ms)
        self._boards[symbol].delivery_price = price
        for topic in [topic for topic in self._listeners if topic.endswith(f".{symbol}")]:
            for connection in list(self._listeners[topic]):
                self._unlisten(connection, topic)

    def forget(self, symbol: str) -> None:
        """Know a symbol no more."""
        self.delist(symbol)
        del self._boards[symbol]

    def refuse(self, topic: str, times: int = 1) -> None:
        """Refuse the next requests that contain this topic; -1 refuses them for ever."""
        self._refusals[topic] = times

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
        """Send no data for so long, of topics that begin with ``topic`` or of any; pings are answered."""
        self._silences.append((asyncio.get_running_loop().time() + seconds, topic))

    def garble(self, kind: GarbageFrame) -> None:
        """Send every connection a frame that no client expects."""
        for connection in self._connections:
            connection.send(garbage_frame(kind, connection.topics))

    # The stream.

    async def _stream(self) -> None:
        """Publish bar after bar, with pushes along the way and a confirmation at its close."""
        loop = asyncio.get_running_loop()
        start_ms, due = self.live_from_ms, 0.0
        while self._last_ms is None or start_ms <= self._last_ms:
            running = [board for board in self._boards.values() if board.trades and board.begin(start_ms)]
            passed = 0.0
            for number, fraction in enumerate((*self._fractions, 1.0)):
                if not self._listened.is_set() and (self._pause_when_alone or not due):
                    await self._listened.wait()
                    due = loop.time()
                # A stall of the machine is not made up for by a burst, which would leave bars behind.
                due = max(due, loop.time() - 0.25 * self._bar_seconds)
                due += (fraction - passed) * self._bar_seconds
                passed = fraction
                await asyncio.sleep(max(0.0, due - loop.time()))
                if self._before_push is not None:
                    await self._before_push(start_ms, number)
                if fraction == 1.0:
                    break
                self.clock_ms = start_ms + int(fraction * self._interval_ms)
                self._push(running)
                if number == 0:
                    self._release(start_ms, 0)
                self._misbehave()
            self._close(running, start_ms)
            start_ms += self._interval_ms
        for *_, topic, message in self._held:
            self._publish(topic, message)
        self._held.clear()
        self.exhausted.set()

    def _push(self, boards: list[Board]) -> None:
        """Running bars and quotes as they stand now."""
        for board in boards:
            bar, symbol = board.bar, board.instrument.symbol
            assert bar is not None
            topic = self._kline_topic(symbol)
            if topic in self._listeners:
                self._publish(
                    topic, self._kline_message(topic, self._entry(board.running(bar, self.clock_ms), False))
                )
            board.updates += 1
            if f"tickers.{symbol}" in self._listeners:
                self._publish(f"tickers.{symbol}", self._ticker_message(board))
            if f"orderbook.1.{symbol}" in self._listeners:
                self._publish(f"orderbook.1.{symbol}", book_message(board, self.clock_ms))
            if f"orderbook.50.{symbol}" in self._listeners:
                self._publish(f"orderbook.50.{symbol}", depth_message(board, self.clock_ms))

    def _close(self, boards: list[Board], start_ms: int) -> None:
        """Confirm the bars of one close, or let that go wrong."""
        end_ms = start_ms + self._interval_ms
        self.clock_ms = end_ms + _CONFIRM_AFTER_MS
        self._closed_until_ms = end_ms
        for board in boards:
            bar, symbol = board.bar, board.instrument.symbol
            assert bar is not None
            queued = self._misconfirms[symbol]
            fault = queued.popleft() if queued else self._faults.confirmation(symbol, start_ms)
            topic = self._kline_topic(symbol)
            entry = self._entry(board.running(bar, end_ms), True)
            message = self._kline_message(topic, entry)
            if fault is None:
                self._publish(topic, message)
            elif fault == "repeat":
                self._publish(topic, message)
                self._publish(topic, message)
            elif fault == "revise":
                self._publish(topic, message)
                self._publish(
                    topic, self._kline_message(topic, entry | {"close": entry["low"], "volume": "1"})
                )
            elif fault in ("late", "reorder", "delay"):
                bars = 1 if fault != "delay" else 2 + (start_ms // self._interval_ms) % 4
                stage = 0 if fault == "late" else 1
                self._held.append((start_ms + bars * self._interval_ms, stage, topic, message))
            elif fault in BROKEN:
                # A confirmation of a symbol that nobody asked for comes where the right one should have.
                shown = topic if fault != "unknown_symbol" else self._kline_topic("NOBODYUSDT")
                broken = break_confirmation(entry, fault, self._interval_ms)
                self._publish(topic, self._kline_message(shown, broken))
        self._release(start_ms, 1)

    def _release(self, start_ms: int, stage: int) -> None:
        """Send the confirmations that were held back until now: 0 after a bar's first push, 1 after its close."""
        due = [held for held in self._held if held[:2] <= (start_ms, stage)]
        self._held = [held for held in self._held if held[:2] > (start_ms, stage)]
        for *_, topic, message in due:
            self._publish(topic, message)

    def _misbehave(self) -> None:
        """Garbage, cuts and silences, as often as the faults say."""
        faults = self._faults
        self._pushes += 1
        if not (faults.garbage or faults.cut or faults.silence):
            return
        draws = random.Random(f"{faults.seed}/push/{self._pushes}")
        if draws.random() < faults.garbage:
            self.garble(draws.choice(get_args(GarbageFrame)))
        if draws.random() < faults.cut:
            self.cut(close_frame=draws.random() < 0.5)
        if draws.random() < faults.silence:
            self.silence(faults.silence_seconds)

    def _publish(self, topic: str, message: bytes) -> None:
        listeners = self._listeners.get(topic)
        if not listeners:
            return
        if self._silences:
            now = asyncio.get_running_loop().time()
            self._silences = [silence for silence in self._silences if silence[0] > now]
            if any(topic.startswith(prefix) for _, prefix in self._silences):
                return
        text = message.decode()
        for connection in list(listeners):
            connection.send(text)

    # Messages.

    def _kline_topic(self, symbol: str) -> str:
        return f"kline.{self.interval}.{symbol}"

    def _entry(self, bar: RunningBar, confirm: bool) -> dict[str, Any]:
        end_ms = bar.start_ms + self._interval_ms - 1
        return {
            "start": bar.start_ms,
            "end": end_ms,
            "interval": self.interval,
            "open": plain(bar.open),
            "close": plain(bar.close),
            "high": plain(bar.high),
            "low": plain(bar.low),
            "volume": plain(bar.volume),
            "turnover": plain(bar.turnover),
            "confirm": confirm,
            "timestamp": max(bar.start_ms, min(self.clock_ms, end_ms) - 23),
        }

    def _kline_message(self, topic: str, entry: Any) -> bytes:
        return msgspec.json.encode({"topic": topic, "data": [entry], "ts": self.clock_ms, "type": "snapshot"})

    def _ticker_message(self, board: Board) -> bytes:
        """A delta of what changed since the last push on linear, all of it on spot."""
        fields = board.ticker(self.clock_ms)
        changed = {
            name: value
            for name, value in fields.items()
            if name == "symbol" or board.shown.get(name) != value
        }
        board.shown = fields
        if self.category == "spot":
            return self._ticker(board, "snapshot", fields)
        return self._ticker(board, "delta", changed)

    def _ticker(self, board: Board, kind: str, fields: dict[str, str]) -> bytes:
        message = {"topic": f"tickers.{board.instrument.symbol}", "type": kind, "data": fields}
        return msgspec.json.encode(message | {"cs": 24_000_000_000 + board.updates, "ts": self.clock_ms})

    # Websocket.

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        self._dials += 1
        draws = random.Random(f"{self._faults.seed}/dial/{self._dials}")
        if self._refused_connections or draws.random() < self._faults.refused_connections:
            self._refused_connections = max(0, self._refused_connections - 1)
            raise web.HTTPServiceUnavailable
        # The timeout bounds how long a close waits for the other side's.
        socket = web.WebSocketResponse(compress=False, timeout=0.2)
        await socket.prepare(request)
        assert request.transport is not None
        connection = Connection(socket, request.transport, self._dials)
        self._connections.add(connection)
        writer = asyncio.create_task(connection.write())
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._control(connection, message.data, request.match_info["category"])
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
        for topic in list(connection.topics):
            self._unlisten(connection, topic)

    def _unlisten(self, connection: Connection, topic: str) -> None:
        connection.topics.discard(topic)
        listeners = self._listeners.get(topic, set())
        listeners.discard(connection)
        if not listeners:
            self._listeners.pop(topic, None)
        if not any(topic.startswith("kline.") for topic in self._listeners):
            self._listened.clear()

    def _control(self, connection: Connection, text: str | bytes, category: str) -> None:
        """Answer one control frame."""
        try:
            frame = msgspec.json.decode(text)
        except msgspec.MsgspecError:
            frame = None
        if not isinstance(frame, dict):
            connection.send(
                control_answer(connection, "", "", "Failed to decode incoming data", success=False)
            )
            return
        op, request_id, topics = frame.get("op"), str(frame.get("req_id", "")), frame.get("args", [])
        if op == "ping":
            connection.send(control_answer(connection, "ping", request_id, "pong"))
            return
        if op not in ("subscribe", "unsubscribe"):
            connection.send(
                control_answer(connection, str(op or ""), request_id, "error:invalid op", success=False)
            )
            return
        known = isinstance(topics, list) and all(isinstance(topic, str) for topic in topics)
        problem = self._problem(connection, topics, category) if known else "error:invalid args"
        if op == "subscribe" and problem:
            connection.send(control_answer(connection, op, request_id, problem, success=False))
            return
        agreed = "subscribe" if op == "subscribe" and category == "spot" else ""
        connection.send(control_answer(connection, op, request_id, agreed))
        for topic in topics:
            if op == "subscribe":
                self._subscribe(connection, topic)
            else:
                self._unlisten(connection, topic)

    def _problem(self, connection: Connection, topics: list[str], category: str) -> str | None:
        """Why a subscription is refused as a whole: the first bad topic, in Bybit's words."""
        if category == "spot" and len(topics) > 10:
            return "args size >10"
        for topic in topics:
            kind, _, symbol = topic.rpartition(".")
            kinds = (f"kline.{self.interval}", "tickers", "orderbook.1", "orderbook.50")
            if category != self.category or kind not in kinds or not self._trades(symbol):
                return f"error:handler not found,topic:{topic}"
            if topic in connection.topics:
                return f"error:already subscribed,topic:{topic}"
            left = self._refusals.setdefault(topic, self._faults.refused_subscriptions)
            if left:
                self._refusals[topic] = left - 1 if left > 0 else left
                return f"error:handler not found,topic:{topic}"
        return None

    def _trades(self, symbol: str) -> bool:
        return symbol in self._boards and self._boards[symbol].trades

    def _subscribe(self, connection: Connection, topic: str) -> None:
        kind, _, symbol = topic.rpartition(".")
        connection.topics.add(topic)
        self._listeners.setdefault(topic, set()).add(connection)
        board = self._boards[symbol]
        if kind.startswith("kline"):
            self._listened.set()
        elif board.bar is not None and kind == "tickers":
            # Deltas are shared and go on from what was pushed last; for a first listener, from now.
            if len(self._listeners[topic]) == 1:
                board.shown = board.ticker(self.clock_ms)
            connection.send(self._ticker(board, "snapshot", board.shown).decode())
        elif board.bar is not None and kind == "orderbook.50":
            # As with tickers: deltas are shared, and build on what was pushed last.
            if len(self._listeners[topic]) == 1:
                board.depth = board.levels(board.running(board.bar, self.clock_ms).close)
            connection.send(depth_message(board, self.clock_ms, snapshot=True).decode())
        elif board.bar is not None:
            connection.send(book_message(board, self.clock_ms).decode())

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
        handler = self._endpoints.get(endpoint)
        if handler is None:
            return self._json(10017, "Route not found.", {})
        try:
            result = handler(request.query)
        except Refused as refusal:
            return self._json(10001, str(refusal), {})
        if "list" in result and fault == "empty":
            result["list"] = []
        if endpoint == "kline" and fault in ("missing_bar", "broken_row"):
            spoil_rows(result["list"], fault, self._closed_until_ms)
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
