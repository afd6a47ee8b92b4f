"""The connection: a websocket that is held for ever, read frame by frame, and built again when it ends."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

from bot.errors import FeedError
from bot.exchange.clock import local_seconds
from bot.exchange.config import ExchangeConfig
from bot.exchange.proxy import Proxy
from bot.exchange.socket import Socket

_CONNECTS = 300
_CONNECTS_SECONDS = 300.0
"""At most so many connections in so long; Bybit allows 500 in five minutes."""
_PAUSE_SECONDS = (0.1, 30.0)
_LOOK_SECONDS = 1.0
_DRAIN_SECONDS = 0.5


class Connection:
    """Sole owner of the websocket that stands now, which goes through the ``proxy``, if any.

    ``opened`` is told of each new one, ``live`` once it has brought an update. ``read`` gets each frame, may let it
    wait, and says whether it was an update; after ``silence_seconds`` of ``config`` without any the connection is
    built again. ``idle`` is called at least once a second. ``ended`` is told that one which had brought an
    update is ``disconnected``, or that there is ``no_connection``, and why.
    """

    def __init__(
        self,
        url: str,
        category: str,
        config: ExchangeConfig,
        *,
        proxy: Proxy | None,
        opened: Callable[[Socket], None],
        read: Callable[[bytes], Awaitable[bool]],
        live: Callable[[], None],
        idle: Callable[[float], None],
        ended: Callable[[str, str], None],
    ) -> None:
        self._url = url
        self._category = category
        self._config = config
        self._proxy = proxy
        self._opened = opened
        self._read = read
        self._live = live
        self._idle = idle
        self._ended = ended
        self._socket: Socket | None = None
        self._rebuild = False
        self._updated = False

    async def drained(self) -> None:
        """Wait until all that has come by now is read, or for half a second where it never pauses."""
        until = local_seconds() + _DRAIN_SECONDS
        # Each turn of the loop lets the reader go on, and the client's thread.
        while (socket := self._socket) is not None and socket.has_waiting and local_seconds() < until:  # noqa: ASYNC110
            await asyncio.sleep(0)

    def rebuild(self) -> None:
        """End the connection that stands now: another shows what this one does not."""
        self._rebuild = True

    async def run(self) -> None:
        """Hold a connection for ever: build it, read it, and build another when it ends."""
        failures = 0
        connects: deque[float] = deque(maxlen=_CONNECTS)
        while True:
            if len(connects) == _CONNECTS:
                await asyncio.sleep(max(0.0, connects[0] + _CONNECTS_SECONDS - local_seconds()))
            connects.append(local_seconds())
            self._updated = False
            try:
                await self._connect_and_read()
            except FeedError as error:
                self._ended("disconnected" if self._updated else "no_connection", str(error))
            failures = 0 if self._updated else failures + 1
            shortest, longest = _PAUSE_SECONDS
            pause = min(longest, shortest * 2.0 ** min(failures, 30))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _connect_and_read(self) -> None:
        async with Socket(self._url, self._category, self._config, proxy=self._proxy) as socket:
            self._socket, self._rebuild = socket, False
            try:
                self._opened(socket)
                last = local_seconds()
                while True:
                    now = local_seconds()
                    # What waits is read first: a process that was frozen has been silent itself.
                    if now - last >= self._config.silence_seconds and not socket.has_waiting:
                        raise FeedError(f"silent for {now - last:.0f} s")
                    if self._rebuild:
                        raise FeedError("a topic went silent, or lost a message, while others go on")
                    self._idle(now)
                    try:
                        async with asyncio.timeout(self._seconds_left(last, now)):
                            raw = await socket.receive()
                    except TimeoutError:
                        continue
                    if await self._read(raw):
                        if not self._updated:
                            self._live()
                        self._updated, last = True, local_seconds()
            finally:
                self._socket = None

    def _seconds_left(self, last: float, now: float) -> float:
        """How long to wait for a frame before anything else is looked at."""
        return max(0.001, min(_LOOK_SECONDS, last + self._config.silence_seconds - now))
