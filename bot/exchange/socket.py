"""One websocket connection through pybit, with everything that makes pybit's streams die silently taken out.

pybit reconnects, resubscribes and dispatches in its own thread, and any surprise there (a frame that
is no JSON, a refused or early answer, an error while reconnecting) ends that thread without a word
(github.com/bybit-exchange/pybit/issues/333). Here pybit only connects, pings and reads: raw frames
cross into asyncio, the end of the connection is told, and whoever holds it builds a new one.
"""

import asyncio
import logging
import select
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any

import websocket
import websocket._abnf
import websocket._core
from pybit.unified_trading import WebSocket

from bot.errors import FeedError
from bot.exchange.config import ExchangeConfig
from bot.exchange.proxy import Proxy, websocket_options

_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 0.01
_CUT_AT = 4
"""A frame so many times larger than the largest that is read ends the connection before it has come."""
_INBOX_LARGEST = 64
"""So many frames of the largest size may wait."""


class _Reader(websocket.WebSocketApp):
    """A client that hands every frame on as bytes: to check a megabyte of text takes it 0.6 s, letter by letter."""

    def run_forever(self, **options: Any) -> bool:  # type: ignore[override] # pybit names what it asks for
        return super().run_forever(skip_utf8_validation=True, **options)


# pybit makes its client by this name, and gives its sockets no timeout: a server that accepts and never
# answers would hold the thread.
websocket.WebSocketApp = _Reader  # type: ignore[misc]
websocket.setdefaulttimeout(_CONNECT_SECONDS)
# Their trouble is told once, by the stream, as weather.
for _name in ("pybit", "websocket"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class _BoundedFrames(websocket._abnf.frame_buffer):
    """websocket-client's reader of frames, which takes whatever length a frame claims to have."""

    max_bytes = 0

    def recv_length(self) -> None:
        super().recv_length()
        if self.length is not None and self.length > self.max_bytes:
            raise websocket.WebSocketPayloadException(
                f"a frame of {self.length} bytes, above {self.max_bytes} (4 times exchange.max_frame_kb)"
            )


class _BoundedMessages(websocket._abnf.continuous_frame):
    """websocket-client's joiner of fragments, of which there may be any number."""

    def add(self, frame: websocket.ABNF) -> None:
        super().add(frame)
        if self.cont_data is not None and len(self.cont_data[1]) > _BoundedFrames.max_bytes:
            raise websocket.WebSocketPayloadException(
                f"a message in fragments of more than {_BoundedFrames.max_bytes} bytes"
            )


# The connection makes its own, and takes no class for them.
websocket._core.frame_buffer = _BoundedFrames  # type: ignore[attr-defined]
websocket._core.continuous_frame = _BoundedMessages  # type: ignore[attr-defined]


class _Connection(WebSocket):  # type: ignore[misc]
    """pybit's WebSocket that hands every raw frame to ``inbox`` and never raises in its own thread."""

    def __init__(self, url: str, category: str, inbox: "_Inbox", proxy: Proxy | None) -> None:
        self._url = url
        self._inbox = inbox
        self._proxy = proxy
        # The host comes with the url; ``testnet`` would only choose one of pybit's own.
        super().__init__(category, testnet=False, restart_on_error=False, callback_function=inbox.put)

    def _connect(self, _url: str) -> None:
        """Connect once. pybit would use the environment's proxy only, and hide why it could not."""
        self.endpoint = self._url
        self.ws = websocket.WebSocketApp(
            self._url,
            on_message=lambda _, message: self._on_message(message),
            on_error=lambda _, error: self._on_error(error),
            on_close=lambda _, *status: self._on_close(),
            on_pong=lambda _, *message: self._on_pong(),
        )
        options = websocket_options(self._proxy, _CONNECT_SECONDS)
        self.wst = threading.Thread(
            target=lambda: self.ws.run_forever(
                ping_interval=self.ping_interval, ping_timeout=self.ping_timeout, **options
            ),
            daemon=True,
        )
        self.wst.start()
        while self.wst.is_alive() and not self.is_connected():
            time.sleep(_LOOK_SECONDS)
        if not self.is_connected():
            self.exit()
            raise websocket.WebSocketException(self._inbox.reason or "the connection failed")
        self._send_initial_ping()

    def _on_message(self, message: bytes) -> None:
        self._inbox.put(message)

    def _on_error(self, error: Exception) -> None:
        # What a handshake was answered with may be long; a proxy's refusal says who refused.
        told = (str(error) or type(error).__name__).partition(" -+-+- ")[0]
        self._inbox.end(told if self._proxy is None else f"{told} (through the proxy {self._proxy})")

    def _on_close(self) -> None:
        self._inbox.end("closed")

    def send(self, text: str) -> None:
        self.ws.send(text)

    def is_readable(self) -> bool:
        """Whether the machine holds bytes that pybit's thread has not read yet."""
        sock = getattr(self.ws.sock, "sock", None)
        if sock is None or sock.fileno() < 0:  # it has ended meanwhile
            return False
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return any(event & select.POLLIN for _, event in poll.poll(0))


class _Inbox:
    """Frames on their way from pybit's thread into the event loop: bounded, never blocking either."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_frames: int = 20_000, max_bytes: int = 64_000_000
    ) -> None:
        self._loop = loop
        self._max_frames, self._max_bytes = max_frames, max_bytes
        self._bytes = 0
        self._frames: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._woken = False
        self._ended: str | None = None

    def put(self, raw: bytes) -> None:
        # A reader so far behind is cut off: what it missed comes over REST, and memory stays bounded.
        if len(self._frames) >= self._max_frames or self._bytes > self._max_bytes:
            self.end(
                f"{len(self._frames)} frames of {self._bytes} bytes behind (exchange.max_waiting_frames)"
            )
            return
        self._bytes += len(raw)
        self._frames.append(raw)
        self._wake()

    def end(self, reason: str) -> None:
        if self._ended is None:
            self._ended = reason
            self._wake()

    @property
    def reason(self) -> str | None:
        """Why it has ended, None while it has not."""
        return self._ended

    def _wake(self) -> None:
        # Once until the loop comes to it: each call is a byte in a pipe that others tell the loop by too.
        # The loop may be gone while pybit's thread still winds down.
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake_reader)

    def _wake_reader(self) -> None:
        self._woken = False
        self._filled.set()

    @property
    def is_empty(self) -> bool:
        return not self._frames

    @property
    def has_ended(self) -> bool:
        return self._ended is not None

    async def get(self) -> bytes:
        while not self._frames:
            if self._ended is not None:
                raise FeedError(f"websocket {self._ended}")
            self._filled.clear()
            await self._filled.wait()
        raw = self._frames.popleft()
        self._bytes -= len(raw)
        return raw


class Socket:
    """An open connection: ``async with Socket(url, category) as socket``, then ``receive`` and ``send``.

    ``url`` is whole (``ws://host/v5/public/linear``). Every failure is a FeedError; leaving never waits
    for the other side. ``config`` bounds frames and how many of them wait. It goes through the ``proxy``, if any.
    """

    def __init__(
        self, url: str, category: str, config: ExchangeConfig | None = None, *, proxy: Proxy | None = None
    ) -> None:
        config = ExchangeConfig() if config is None else config
        self._proxy = proxy
        self._url = url
        self._category = category
        self._max_frames = config.max_waiting_frames
        self._max_bytes = 1_000 * config.max_frame_kb
        self._connection: _Connection | None = None
        self._inbox: _Inbox | None = None

    async def __aenter__(self) -> "Socket":
        loop = asyncio.get_running_loop()
        _BoundedFrames.max_bytes = _CUT_AT * self._max_bytes
        inbox = _Inbox(loop, self._max_frames, _INBOX_LARGEST * self._max_bytes)
        opened: asyncio.Future[_Connection] = loop.create_future()

        def settle(connection: _Connection | None, error: Exception | None) -> None:
            if opened.done():
                if connection is not None:
                    _leave(connection)
            elif connection is not None:
                opened.set_result(connection)
            else:
                opened.set_exception(FeedError(f"cannot connect to {self._url}: {error}"))

        def connect() -> None:
            try:
                connection, problem = _Connection(self._url, self._category, inbox, self._proxy), None
            except (websocket.WebSocketException, OSError) as error:
                connection, problem = None, error
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, connection, problem)

        threading.Thread(target=connect, daemon=True, name="bybit-connect").start()
        try:
            async with asyncio.timeout(2 * _CONNECT_SECONDS):
                self._connection = await opened
        except TimeoutError:
            opened.cancel()
            raise FeedError(f"cannot connect to {self._url}: no answer") from None
        self._inbox = inbox
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            _leave(self._connection)

    @property
    def has_waiting(self) -> bool:
        """Whether frames have come that nobody has received yet."""
        assert self._inbox is not None
        assert self._connection is not None
        if not self._inbox.is_empty:
            return True
        return not self._inbox.has_ended and self._connection.is_readable()

    async def receive(self) -> bytes:
        """The next raw frame. Raises FeedError once the connection has ended and all frames are read."""
        assert self._inbox is not None
        return await self._inbox.get()

    def send(self, text: str) -> None:
        """Send one text frame. Raises FeedError where the connection has ended."""
        assert self._connection is not None
        try:
            self._connection.send(text)
        except (websocket.WebSocketException, OSError, AttributeError) as error:
            raise FeedError(f"websocket send: {error}") from error


def _leave(connection: Any) -> None:
    # pybit's exit waits for the other side's close frame, and then for its own thread, without end.
    threading.Thread(target=connection.exit, daemon=True, name="bybit-exit").start()
