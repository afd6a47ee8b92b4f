"""Who writes to a database: one process at a time, named in a file beside it."""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from bot.errors import InputError, StoreError
from bot.market import utc_text

# A reader may hold the lock file for an instant while it looks whether anybody runs.
_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.1


class Holder(Struct, frozen=True, kw_only=True):
    """The process that writes to a database; its pid is 0 where it could not say who it is."""

    pid: int
    since_ms: int

    def __str__(self) -> str:
        return f"process {self.pid} since {utc_text(self.since_ms)} UTC" if self.pid else "another process"


def holder(path: Path | str) -> Holder | None:
    """Who writes to this database right now, or None."""
    with disk_failures(_lock_path(Path(path))):
        try:
            file = _lock_path(Path(path)).open()
        except FileNotFoundError:
            return None
        with file:
            return None if _flock(file, fcntl.LOCK_SH) else _read_holder(file)


@contextmanager
def disk_failures(path: Path) -> Iterator[None]:
    """A file that cannot be used, in this bot's words."""
    try:
        yield
    except OSError as error:
        kind = StoreError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else InputError
        raise kind(f"cannot use {path}: {error.strerror}; check the path and its permissions") from error


def _lock_path(path: Path) -> Path:
    return Path(f"{path}.lock")


async def lock(path: Path) -> TextIO:
    """Take the lock of a database, until :func:`release`; InputError where another process holds it."""
    lock_path = _lock_path(path)
    held_by = Holder(pid=0, since_ms=0)
    with disk_failures(lock_path):
        for _ in range(_LOCK_TRIES):
            file = lock_path.open("a+")
            # A file that its last holder has deleted meanwhile protects nothing.
            if _flock(file, fcntl.LOCK_EX) and _stands_at(file, lock_path):
                file.truncate(0)
                file.write(f"{os.getpid()} {time.time_ns() // 1_000_000}\n")
                file.flush()
                return file
            with file:
                held_by = _read_holder(file)
            await asyncio.sleep(_LOCK_PAUSE_S)
    raise InputError(f"{path} is in use by {held_by}; stop it or use another --db")


def _stands_at(file: TextIO, path: Path) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _flock(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def release(path: Path, file: TextIO) -> None:
    """Give the lock back."""
    with disk_failures(path), file:
        _lock_path(path).unlink(missing_ok=True)


def _read_holder(file: TextIO) -> Holder:
    file.seek(0)
    words = file.read().split()
    if len(words) == 2 and all(word.isdecimal() for word in words):
        return Holder(pid=int(words[0]), since_ms=int(words[1]))
    return Holder(pid=0, since_ms=0)
