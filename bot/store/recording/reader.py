"""Recording: a session's inputs, read again from its file, which anybody may have written."""

import os
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Self

import msgspec
import zstandard

from bot import files
from bot.errors import InputError
from bot.market import Bar, Instrument
from bot.store.recording.entries import Entry, Observed, Written, read_entry
from bot.store.recording.format import FORMAT_VERSION, HEAD, MAGIC, PREAMBLE, checksum
from bot.store.recording.header import Header, read_header
from bot.store.recording.recorded import Unpacked, problem_of
from bot.trading.events import Input

_MAX_BODY = 1 << 26
_MAX_WINDOW = 1 << 23
MAX_BYTES = 4_000 * files.MEGABYTE
_BLOCK_BARS = 500


def is_recording(path: Path | str) -> bool:
    """Whether a file says of itself that it is one. InputError where it cannot be read."""
    with files.opened(path, "the recording") as file:
        return file.read(len(MAGIC)) == MAGIC


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
        self.position = len(PREAMBLE)
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
        preamble = self._file.read(len(PREAMBLE))
        if preamble[: len(MAGIC)] != MAGIC[: len(preamble)] or not preamble:
            raise InputError(f"{self._path} is not a recording of this bot; they are named *.rec.zst")
        if len(preamble) < len(PREAMBLE):
            raise InputError(f"{self._path} is cut off within its header, so nothing can be replayed")
        if preamble[-1] != FORMAT_VERSION:
            raise InputError(
                f"{self._path} has format version {preamble[-1]}, this bot reads version {FORMAT_VERSION}; "
                "replay it with the bot that recorded it"
            )

    def _payload(self) -> bytes | None:
        """The next record's content; None where no whole record is left."""
        left = self.end - self.position
        head = self._file.read(min(left, HEAD.size))
        if len(head) >= 8 and head[4:8] != checksum(head[:4]):
            raise self._damaged("a length does not match its checksum")
        if len(head) < HEAD.size:
            return None
        length, _, stated = HEAD.unpack(head)
        if length > _MAX_BODY:
            raise self._damaged(f"a record of {length} bytes is longer than any")
        if length > left - HEAD.size:
            return None
        body = self._file.read(length)
        if checksum(body) != stated:
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
        self.position += HEAD.size + length
        return payload

    def _damaged(self, what: str) -> InputError:
        return InputError(f"{self._path} is damaged at byte {self.position}: {what}; use another copy of it")
