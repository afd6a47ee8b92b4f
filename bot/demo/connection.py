"""One websocket of a pretend exchange: its topics, and the frames on their way to it."""

import asyncio
from contextlib import suppress

from aiohttp import web

_QUEUE_FRAMES = 20_000
"""A reader so far behind is cut off, as a real exchange does; the market does not wait for it."""


class Connection:
    """One websocket: its topics, and the frames on their way to it."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, number: int) -> None:
        self.topics: set[str] = set()
        self.id = f"demo-{number:06d}"
        self.leaving = False
        self._socket = socket
        self._transport = transport
        self._frames: asyncio.Queue[str | bytes | None] = asyncio.Queue(_QUEUE_FRAMES)

    def send(self, frame: str | bytes) -> None:
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.abort()

    def close(self) -> None:
        """Say good-bye with a close frame, after what is still queued."""
        self.leaving = True
        with suppress(asyncio.QueueFull):
            self._frames.put_nowait(None)

    def abort(self) -> None:
        """Drop the connection without a close frame."""
        self._transport.abort()

    async def write(self) -> None:
        """Send what is queued until the connection ends."""
        with suppress(ConnectionError):
            while (frame := await self._frames.get()) is not None:
                if isinstance(frame, bytes):
                    await self._socket.send_bytes(frame)
                else:
                    await self._socket.send_str(frame)
            await self._socket.close(code=1001)
