"""Recorder: writes down what the core is about to see, ahead of each commit."""

import asyncio
import errno
import os
from collections.abc import AsyncIterable, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import TypeVar

from bot.errors import InputError, StoreError
from bot.store.recording.entries import Entry, Observed, Written, write_entry
from bot.store.recording.format import PREAMBLE, Framer
from bot.store.recording.header import Header
from bot.trading.events import History, Input

_GATHERED = 1_000
"""Entries of one record: what comes without a commit for long must not fill the memory."""

EventT = TypeVar("EventT", bound=Input)


class Recorder:
    """Writes one session's recording. Made by :func:`record` alone."""

    def __init__(self, path: Path, file: FileIO, framer: Framer) -> None:
        self.path = path
        self._file = file
        self._framer = framer
        self._entries: list[Written] = []
        self._sealed: list[bytes] = []
        # One thread: what it is given is written in that order, whatever is cancelled meanwhile.
        self._thread = ThreadPoolExecutor(1, "recorder")
        self._broken = False

    def note(self, entry: Entry) -> None:
        """Take down what the core is about to see."""
        if isinstance(entry, History):
            self._entries += [write_entry(Observed(bar)) for bar in entry.bars]
        else:
            self._entries.append(write_entry(entry))
        if len(self._entries) >= _GATHERED:
            self._seal()

    async def tap(self, events: AsyncIterable[EventT]) -> AsyncIterator[EventT]:
        """Hand events on, each noted before anybody has seen it."""
        async for event in events:
            self.note(event)
            yield event

    async def commit(self) -> None:
        """Bring everything noted onto the disk. StoreError where that fails."""
        self._seal()
        if self._sealed:
            block = b"".join(self._sealed)
            self._sealed.clear()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, block)

    async def close(self) -> None:
        """Commit what is left, unless the disk has failed before: after half a record comes nothing more."""
        try:
            if not self._broken:
                await self.commit()
        finally:
            self._thread.submit(self._file.close)
            self._thread.shutdown()

    def _seal(self) -> None:
        if self._entries:
            self._sealed.append(self._framer.record(self._entries))
            self._entries.clear()

    def _write(self, block: bytes) -> None:
        try:
            _write_through(self._file, block)
        except OSError as error:
            self._broken = True
            raise StoreError(
                f"cannot write {self.path}: {error.strerror}; the session cannot be recorded"
            ) from error


@asynccontextmanager
async def record(folder: Path, header: Header) -> AsyncIterator[Recorder]:
    """A new recording in ``folder``, its header on the disk, for the length of a ``with`` block.

    Raises InputError where no file can be made there, StoreError where the disk fails.
    """
    framer = Framer()
    path, file = _new_file(folder, header, PREAMBLE + framer.record(header))
    recorder = Recorder(path, file, framer)
    try:
        yield recorder
    finally:
        await recorder.close()


def _new_file(folder: Path, header: Header, content: bytes) -> tuple[Path, FileIO]:
    started = header.started_ms // 1000
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            stamp = datetime.fromtimestamp(started, UTC).strftime("%Y%m%dT%H%M%SZ")
            path = folder / f"{stamp}-{header.session_id}.rec.zst"
            try:
                file = FileIO(path, "xb")
            except FileExistsError:
                # Another account's session of this number began in the same second.
                started += 1
                continue
            _write_through(file, content)
            # A new name is safe only once its folder has been written too.
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            return path, file
    except OSError as error:
        kind = StoreError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else InputError
        raise kind(
            f'cannot record into {folder}: {error.strerror}; name another run.recordings, or "" to record nothing'
        ) from error


def _write_through(file: FileIO, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
    os.fsync(file.fileno())
