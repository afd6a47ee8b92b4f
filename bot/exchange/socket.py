"""One websocket connection through pybit, with everything that makes pybit's streams die silently taken out.

pybit reconnects, resubscribes and dispatches in its own thread, and any surprise there (a frame that
is no JSON, a refused or early answer, an error while reconnecting) ends that thread without a word
(github.com/bybit-exchange/pybit/issues/333). Here pybit only connects, pings and reads: raw frames
cross into asyncio, the end of the connection is told, and whoever holds it builds a new one.
"""

import asyncio
import logging
import threading
from collections import deque
from types import TracebackType
from typing import Any

import websocket
from pybit.unified_trading import WebSocket

from bot.errors import FeedError

_CONNECT_SECONDS = 10.0
_INBOX_FRAMES = 20_000
"""A reader so far behind is cut off: what it missed comes over REST, and memory stays bounded."""

# pybit gives its sockets no timeout; a server that accepts and never answers would hold the thread.
websocket.setdefaulttimeout(_CONNECT_SECONDS)
# Their trouble is told once, by the stream, as weather.
for _name in ("pybit", "websocket"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class _Connection(WebSocket):  # type: ignore[misc]
    """pybit's WebSocket that hands every raw frame to ``inbox`` and never raises in its own thread."""

    def __init__(self, url: str, category: str, inbox: "_Inbox") -> None:
        self._url = url
        self._inbox = inbox
        # retries=1 always raises in pybit, even once connected; 2 means one real attempt.
        # The host comes with the url; ``testnet`` would only choose one of pybit's own.
        super().__init__(
            category, testnet=False, retries=2, restart_on_error=False, callback_function=inbox.put
        )

    def _connect(self, _url: str) -> None:
        super()._connect(self._url)

    def _on_message(self, message: str | bytes) -> None:
        self._inbox.put(message)

    def _on_error(self, error: Exception) -> None:
        self._inbox.end(str(error) or type(error).__name__)

    def _on_close(self) -> None:
        self._inbox.end("closed")

    def send(self, text: str) -> None:
        self.ws.send(text)


class _Inbox:
    """Frames on their way from pybit's thread into the event loop: bounded, never blocking either."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._frames: deque[str | bytes] = deque()
        self._filled = asyncio.Event()
        self._woken = False
        self._ended: str | None = None

    def put(self, raw: str | bytes) -> None:
        if len(self._frames) >= _INBOX_FRAMES:
            self.end(f"{_INBOX_FRAMES} frames behind")
            return
        self._frames.append(raw)
        self._wake()

    def end(self, reason: str) -> None:
        if self._ended is None:
            self._ended = reason
            self._wake()

    def _wake(self) -> None:
        # Once until the loop comes to it: each call is a byte in a pipe that others tell the loop by too.
        # The loop may be gone while pybit's thread still winds down.
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake_reader)

    def _wake_reader(self) -> None:
        self._woken = False
        self._filled.set()

    async def get(self) -> str | bytes:
        while not self._frames:
            if self._ended is not None:
                raise FeedError(f"websocket {self._ended}")
            self._filled.clear()
            await self._filled.wait()
        return self._frames.popleft()


class Socket:
    """An open connection: ``async with Socket(url, category) as socket``, then ``receive`` and ``send``.

    ``url`` is whole (``ws://host/v5/public/linear``). Every failure is a FeedError; leaving never waits
    for the other side.
    """

    def __init__(self, url: str, category: str) -> None:
        self._url = url
        self._category = category
        self._connection: _Connection | None = None
        self._inbox: _Inbox | None = None

    async def __aenter__(self) -> "Socket":
        loop = asyncio.get_running_loop()
        inbox = _Inbox(loop)
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
                connection, problem = _Connection(self._url, self._category, inbox), None
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

    async def receive(self) -> str | bytes:
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
