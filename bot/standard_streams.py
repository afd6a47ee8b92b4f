"""The three standard streams of a process, made so that whoever is at their other end cannot hurt it."""

import atexit
import codecs
import io
import os
import select
import sys
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from bot.errors import StoreError

_MOST_WAITING = 1 << 20
"""Bytes for standard error that may wait for whoever reads them."""

_RETRY_SECONDS = 1.0
_DRAIN_SECONDS = 1.0
_STUCK_SECONDS = 0.25
"""What a stream takes nothing for so long is waited for by nobody."""

# What texts and drawings here use beyond ASCII, for a terminal that cannot show it.
_PLAIN = {
    "±": "+-",
    "…": "...",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "·": "|",
    "│": "|",
    "▏": "|",
    "\u00d7": "x",
    **dict(zip("▁▂▃▄▅▆▇█", "_.-=+*%#", strict=True)),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212─━╸╺", "-"),
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
}


def secure() -> None:
    """Give the process streams that are open, take every letter, and on standard error never wait nor fail.

    A stream that was closed is opened on nothing, so that no file opened later is written to in its place.
    """
    codecs.register_error("plain_letters", _plain_letters)
    codecs.register_error("json_letters", _json_letters)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
    sys.stderr.flush()
    errors = QueuedWriter(2)
    results = io.BufferedWriter(ResultWriter(1, errors))
    at_once = sys.stdout.line_buffering or getattr(sys.stdout, "write_through", False)
    sys.stdout = _text(results, sys.stdout.encoding, line_buffering=bool(at_once))
    sys.stderr = _text(errors, sys.stderr.encoding, line_buffering=True)
    # What Python says of an exception that nobody took comes after everything else.
    atexit.register(finish)


def _text(stream: Any, encoding: str, *, line_buffering: bool) -> TextIO:
    return io.TextIOWrapper(
        stream, encoding=encoding, errors="plain_letters", line_buffering=line_buffering, write_through=True
    )


def never_wait_for_results(seconds: float) -> None:
    """A reader of the results who reads nothing for so long is taken for one that went away."""
    if (results := _results()) is not None:
        results.patience = seconds


def results_are_json() -> None:
    """Where the reader knows few letters, the others are escaped as JSON does, not written with similar ones."""
    if _results() is not None and codecs.lookup(sys.stdout.encoding).name != "utf-8":
        sys.stdout.reconfigure(encoding="ascii", errors="json_letters")  # type: ignore[union-attr]


def lines_lost() -> int:
    """How many lines of standard error nobody will have read."""
    errors = _errors()
    if errors is None:
        return 0
    errors.drain(_STUCK_SECONDS)
    return errors.dropped + errors.stuck


def finish() -> None:
    """Before the process ends: let what was said get there, as far as somebody reads it."""
    if (errors := _errors()) is not None:
        errors.drain(_DRAIN_SECONDS)


def on_terminal(stream: TextIO) -> bool:
    """Whether a person sees it on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def styled(stream: TextIO) -> bool:
    """Whether colours and bold letters are welcome there."""
    return on_terminal(stream) and not os.environ.get("NO_COLOR")


def on_drops(describe: Callable[[int], str]) -> None:
    """How standard error tells of lines that were dropped, once it is read again: their number to a line."""
    if (errors := _errors()) is not None:
        errors.describe_drops = describe


def _errors() -> "QueuedWriter | None":
    stream = getattr(sys.stderr, "buffer", None)
    return stream if isinstance(stream, QueuedWriter) else None


def _results() -> "ResultWriter | None":
    stream = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return stream if isinstance(stream, ResultWriter) else None


def _plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(letter: str) -> str:
    alike = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return _PLAIN.get(letter) or alike or letter.encode("ascii", "backslashreplace").decode()


def _json_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


class ReaderGone(BrokenPipeError):
    """Whoever reads the results has seen enough, which is nobody's failure."""


class ResultWriter(io.RawIOBase):
    """Standard output. A reader that went away is a ReaderGone, what cannot be written a StoreError, each once.

    What was said on standard error before is written first. ``patience`` is how many seconds a reader who reads
    nothing is waited for; None: as Unix tools do, for ever.
    """

    def __init__(self, descriptor: int, errors: "QueuedWriter") -> None:
        super().__init__()
        self.patience: float | None = None
        self._descriptor = descriptor
        self._errors = errors
        self._over = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        if self._over:
            # Python would try once more while it ends.
            return len(data)
        if not self._errors.stuck:
            self._errors.drain(_STUCK_SECONDS)
        try:
            while True:
                # A pipe that takes anything takes so much at once.
                part = data if self.patience is None else data[: select.PIPE_BUF]
                if self.patience is not None and not self._ready(self.patience):
                    raise BrokenPipeError
                try:
                    return os.write(self._descriptor, part)
                except BlockingIOError:
                    self._ready(_RETRY_SECONDS)
        except OSError as error:
            self._over = True
            if isinstance(error, BrokenPipeError) or self.isatty():
                raise ReaderGone from error
            raise StoreError(f"cannot write the result: {error.strerror}") from error

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([], [self._descriptor], [], seconds)[1])


class QueuedWriter(io.RawIOBase):
    """Writes to a file descriptor from a thread of its own: whoever writes never waits, and no failure reaches him.

    Beyond ``most_waiting`` bytes, and where the other end takes nothing (a full disk, nobody there), what comes
    is dropped and its lines are counted; ``describe_drops`` makes the line that tells it once writing works again.
    """

    def __init__(self, descriptor: int, most_waiting: int = _MOST_WAITING) -> None:
        super().__init__()
        self.describe_drops: Callable[[int], str] = "{} lines were dropped here: nobody read them".format
        self.dropped = 0
        self._descriptor = descriptor
        self._most_waiting = most_waiting
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._moved = time.monotonic()
        self._accepted = self._written = 0
        self._untold, self._untold_after, self._failing = 0, 0, False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        chunk = bytes(data)
        if not chunk:
            return 0
        with self._changed:
            if self._waiting + len(chunk) > self._most_waiting:
                self._drop(chunk)
                return len(chunk)
            if not self._chunks:
                self._moved = time.monotonic()
            self._chunks.append(chunk)
            self._accepted += 1
            self._waiting += len(chunk)
            if self._thread is None:
                # A daemon: a reader that never comes back does not keep the process.
                self._thread = threading.Thread(target=self._write_out, name="standard error", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return len(chunk)

    def drain(self, seconds: float) -> None:
        """Wait until all is written, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, seconds)

    @property
    def stuck(self) -> int:
        """Lines that wait for a reader who has read nothing for a while."""
        with self._changed:
            if not self._chunks or time.monotonic() - self._moved < _STUCK_SECONDS:
                return 0
            return sum(max(chunk.count(b"\n"), 1) for chunk in self._chunks)

    def _drop(self, chunk: bytes) -> None:
        lines = max(chunk.count(b"\n"), 1)
        self.dropped += lines
        self._untold += lines
        self._untold_after = self._accepted

    def _write_out(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or (self._untold and not self._failing))
                # After what was said before them, or with the next words where nothing could be written at all.
                told = self._untold if self._failing or self._written >= self._untold_after else 0
                chunk = self._chunks[0] if self._chunks else b""
            gap = f"{self.describe_drops(told)}\n".encode() if told else b""
            done = self._write(gap + chunk)
            with self._changed:
                self._failing = not done
                if done:
                    self._untold -= told
                if chunk:
                    self._chunks.popleft()
                    self._moved = time.monotonic()
                    self._written += 1
                    self._waiting -= len(chunk)
                    if not done:
                        self._drop(chunk)
                self._changed.notify_all()

    def _write(self, chunk: bytes) -> bool:
        """Whether all of it was taken."""
        while chunk:
            try:
                chunk = chunk[os.write(self._descriptor, chunk) :]
            except BlockingIOError:
                # Another process has set the terminal not to wait.
                select.select([], [self._descriptor], [], _RETRY_SECONDS)
            except OSError:
                return False
        return True
