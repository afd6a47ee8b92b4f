"""The three standard streams of a process, made so that whoever is at their other end cannot hurt it."""

import atexit
import codecs
import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable

_MOST_WAITING = 1 << 20
"""Bytes for standard error that may wait for whoever reads them."""

_RETRY_SECONDS = 1.0
_DRAIN_SECONDS = 1.0

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
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain_letters")
    sys.stderr.flush()
    sys.stderr = io.TextIOWrapper(
        QueuedWriter(sys.stderr.fileno()),
        encoding=sys.stderr.encoding,
        errors="plain_letters",
        line_buffering=True,
        write_through=True,
    )
    # What Python says of an exception that nobody took comes after everything else.
    atexit.register(finish)


def give_up_output(error: OSError) -> bool:
    """Write nothing more to standard output, which raised this; whether its reader just had seen enough."""
    # Python would complain once more while it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if isinstance(error, BrokenPipeError):
        return True
    print(f"error: cannot write the result: {error.strerror}", file=sys.stderr)
    return False


def finish() -> None:
    """Before the process ends: let what was said get there, as far as somebody reads it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        give_up_output(error)
    if isinstance(sys.stderr, io.TextIOWrapper) and isinstance(sys.stderr.buffer, QueuedWriter):
        sys.stderr.buffer.drain(_DRAIN_SECONDS)


def on_drops(describe: Callable[[int], str]) -> None:
    """How standard error tells of lines that were dropped, once it is read again: their number to a line."""
    if isinstance(sys.stderr, io.TextIOWrapper) and isinstance(sys.stderr.buffer, QueuedWriter):
        sys.stderr.buffer.describe_drops = describe


def _plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(letter) or repr(letter.encode("unicode_escape"))[2:-1] for letter in letters
    ), error.end


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
