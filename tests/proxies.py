"""A small real proxy on loopback: HTTP CONNECT and SOCKS5 at one port, with or without a password."""

import asyncio
import base64
import struct
from contextlib import suppress


class Proxy:
    """``async with Proxy() as proxy``: it listens at ``proxy.port`` and keeps whom it was asked to connect to.

    ``credentials`` as ``user:password`` are required where given. ``refuses`` answers every request with a refusal.
    """

    def __init__(self, credentials: str = "", *, refuses: bool = False) -> None:
        self.port = 0
        self.asked: list[tuple[str, int]] = []
        self._credentials = credentials
        self._refuses = refuses
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            first = await reader.readexactly(1)
            target = await (
                self._socks(reader, writer) if first == b"\x05" else self._http(first, reader, writer)
            )
            if target is not None:
                await self._carry(target, first == b"\x05", reader, writer)
        writer.close()

    async def _http(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, int] | None:
        head = first + await reader.readuntil(b"\r\n\r\n")
        method, name, _ = head.split(b"\r\n")[0].decode().split()
        expected = base64.b64encode(self._credentials.encode())
        if self._credentials and b"Basic " + expected not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        elif self._refuses or method != "CONNECT":
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        else:
            host, _, port = name.rpartition(":")
            return host, int(port)
        await writer.drain()
        return None

    async def _socks(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, int] | None:
        await reader.readexactly((await reader.readexactly(1))[0])
        if self._credentials:
            writer.write(b"\x05\x02")
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            good = f"{user.decode()}:{password.decode()}" == self._credentials
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                await writer.drain()
                return None
        else:
            writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 1:
            host = ".".join(str(part) for part in await reader.readexactly(4))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        if self._refuses:
            writer.write(b"\x05\x02\x00\x01" + bytes(6))
            await writer.drain()
            return None
        return host, port

    async def _carry(
        self, target: tuple[str, int], socks: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.asked.append(target)
        far_reader, far_writer = await asyncio.open_connection(*target)
        writer.write(b"\x05\x00\x00\x01" + bytes(6) if socks else b"HTTP/1.1 200 OK\r\n\r\n")

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while part := await source.read(65_536):
                    sink.write(part)
                    await sink.drain()
                sink.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
