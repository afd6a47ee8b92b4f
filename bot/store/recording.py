"""A session's recording: all that the core saw, in order, so that the session runs again from this file alone.

After a magic and the format's version come records: the body's length, a checksum of that, a checksum
of the body, the body. The bodies are blocks of one zstandard stream, flushed after each record, so
that what repeats costs little. The first holds the :class:`Header`, every other a list of entries, in
msgpack. A record is on the disk before the commit that it leads to.
"""

import asyncio
import errno
import os
import struct
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

import msgspec
import zstandard

from bot import files
from bot.errors import InputError, StoreError
from bot.market import Bar, Instrument
from bot.store.entries import Entry, Observed, Written, read_entry, write_entry
from bot.store.header import Header, read_header
from bot.store.recorded import Unpacked, problem_of
from bot.trading.events import History, Input

FORMAT_VERSION = 1

_MAGIC = b"\x93BOTREC"
_PREAMBLE = _MAGIC + bytes([FORMAT_VERSION])
_HEAD = struct.Struct(">I4s4s")
_MAX_BODY = 1 << 26
_MAX_WINDOW = 1 << 23
MAX_BYTES = 4_000 * files.MEGABYTE
_BLOCK_BARS = 500
_GATHERED = 1_000
"""Entries of one record: what comes without a commit for long must not fill the memory."""
_LEVEL = 3


EventT = TypeVar("EventT", bound=Input)


class _Framer:
    """Makes records of contents; each may only be understood after those before it."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._encode = msgspec.msgpack.Encoder().encode

    def record(self, content: Header | list[Written]) -> bytes:
        body = self._compressor.compress(self._encode(content))
        body += self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return _HEAD.pack(len(body), _checksum(struct.pack(">I", len(body))), _checksum(body)) + body


class Recorder:
    """Writes one session's recording. Made by :func:`record` alone."""

    def __init__(self, path: Path, file: FileIO, framer: _Framer) -> None:
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
    framer = _Framer()
    path, file = _new_file(folder, header, _PREAMBLE + framer.record(header))
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


def is_recording(path: Path | str) -> bool:
    """Whether a file says of itself that it is one. InputError where it cannot be read."""
    with files.opened(path, "the recording") as file:
        return file.read(len(_MAGIC)) == _MAGIC


class Recording:
    """A recorded session, known to be sound up to its last whole record. Iterate for what the core saw.

    ``entries`` counts that; ``cut_bytes`` is the length of what was left off at the end, behind the
    last whole record. Made by :meth:`read`; iterating holds one record in memory at a time.
    """

    def __init__(self, path: Path, header: Header, limit: int, allowed: Collection[str]) -> None:
        self.path = path
        self.header = header
        self._limit = limit
        self._allowed = allowed
        self.entries = 0
        self.cut_bytes = 0
        self._end = 0

    @classmethod
    def read(cls, path: Path | str, *, max_bytes: int = MAX_BYTES, allowed: Collection[str] = ()) -> Self:
        """Check a recording from end to end. Only a strategy of ``allowed`` (``module:Class``) may be its own.

        Raises InputError for a file that is missing, no recording, of a newer format, cut within its
        header, damaged anywhere, holding what no session can have seen, or of more than ``max_bytes``.
        """
        path = Path(path)
        with files.opened(path, "the recording") as file:
            records = _Records(path, file, os.fstat(file.fileno()).st_size, max_bytes)
            recording = cls(path, records.header, max_bytes, allowed)
            for entries in records:
                recording.entries += len(entries)
                records.check(entries)
            recording._end = records.position
            recording.cut_bytes = records.end - records.position
        return recording

    @property
    def strategy(self) -> str:
        """The recorded strategy's ``module:Class``. InputError unless whoever reads this has named it too."""
        path = self.header.strategy
        if path not in self._allowed:
            named = repr(path[:100])
            raise InputError(
                f"{self.path} was recorded with the strategy {named}, and a file does not say what is imported here; "
                f"if you know it, name it: --strategy {named}"
            )
        return path

    def __iter__(self) -> Iterator[Entry]:
        with files.opened(self.path, "the recording") as file:
            for entries in _Records(self.path, file, self._end, self._limit):
                for written in entries:
                    yield read_entry(written)

    def lived(self, observe: Callable[[list[Bar]], None]) -> Iterator[Input]:
        """All but the history that was only observed, which goes to ``observe`` in blocks, in its place."""
        history: list[Bar] = []
        for entry in self:
            if isinstance(entry, Observed):
                history.append(entry.bar)
                if len(history) == _BLOCK_BARS:
                    observe(history)
                    history = []
                continue
            if history:
                observe(history)
                history = []
            yield entry
        if history:
            observe(history)

    @cached_property
    def instruments(self) -> dict[str, Instrument]:
        """The trading rules that were in force, by symbol."""
        return {rules.symbol: rules for rules in self.header.instruments}


class _Records:
    """Whole records up to ``end``, read once; ``position`` is behind the last one read."""

    def __init__(self, path: Path, file: BinaryIO, end: int, limit: int) -> None:
        self.end = end
        self._left = limit
        self.position = len(_PREAMBLE)
        self._path = path
        self._file = file
        self._unpacked = Unpacked()
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        self._decompress = decompressor.stream_writer(self._unpacked).write
        self._decoder = msgspec.msgpack.Decoder(list[Written])
        self._check_preamble()
        payload = self._payload()
        if payload is None:
            raise InputError(f"{path} is cut off within its header, so nothing can be replayed")
        try:
            self.header = read_header(payload)
        except (msgspec.MsgspecError, ArithmeticError, LookupError, ValueError) as error:
            raise self._damaged(f"its header does not hold what one holds ({error})") from error
        if (problem := problem_of(self.header)) is not None:
            raise self._damaged(f"its header holds what no session began with: {problem}")

    def check(self, entries: list[Written]) -> None:
        """InputError where one of them is nothing that a session can have seen."""
        for entry in entries:
            if (problem := problem_of(entry)) is not None:
                raise self._damaged(f"it holds what no session has seen: {problem}")

    def __iter__(self) -> Iterator[list[Written]]:
        while (payload := self._payload()) is not None:
            try:
                entries = self._decoder.decode(payload)
            except msgspec.MsgspecError as error:
                raise self._damaged(f"a record does not hold what one holds ({error})") from error
            yield entries

    def _check_preamble(self) -> None:
        preamble = self._file.read(len(_PREAMBLE))
        if preamble[: len(_MAGIC)] != _MAGIC[: len(preamble)] or not preamble:
            raise InputError(f"{self._path} is not a recording of this bot; they are named *.rec.zst")
        if len(preamble) < len(_PREAMBLE):
            raise InputError(f"{self._path} is cut off within its header, so nothing can be replayed")
        if preamble[-1] != FORMAT_VERSION:
            raise InputError(
                f"{self._path} has format version {preamble[-1]}, this bot reads version {FORMAT_VERSION}; "
                "replay it with the bot that recorded it"
            )

    def _payload(self) -> bytes | None:
        """The next record's content; None where no whole record is left."""
        left = self.end - self.position
        head = self._file.read(min(left, _HEAD.size))
        if len(head) >= 8 and head[4:8] != _checksum(head[:4]):
            raise self._damaged("a length does not match its checksum")
        if len(head) < _HEAD.size:
            return None
        length, _, checksum = _HEAD.unpack(head)
        if length > _MAX_BODY:
            raise self._damaged(f"a record of {length} bytes is longer than any")
        if length > left - _HEAD.size:
            return None
        body = self._file.read(length)
        if _checksum(body) != checksum:
            raise self._damaged("a record does not match its checksum")
        try:
            self._decompress(body)
        except (zstandard.ZstdError, OverflowError) as error:
            raise self._damaged(f"a record cannot be unpacked ({error})") from error
        payload = self._unpacked.take()
        self._left -= len(payload)
        if self._left < 0:
            raise InputError(
                f"{self._path} unpacks to more than run.max_recording_mb allows; raise it if you trust the file"
            )
        self.position += _HEAD.size + length
        return payload

    def _damaged(self, what: str) -> InputError:
        return InputError(f"{self._path} is damaged at byte {self.position}: {what}; use another copy of it")


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))
