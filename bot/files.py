"""Opens files that anybody may have written: regular ones, and no more of them than was agreed."""

import errno
import gzip
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

from bot.errors import InputError

MEGABYTE = 1_000_000
MAX_DATA_BYTES = 4_000 * MEGABYTE
"""What a file of data may unpack to where nobody says otherwise."""

_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path | str, what: str) -> Iterator[BinaryIO]:
    """A regular file, to be read. InputError where there is none, or a folder, a pipe or a device instead.

    ``what`` it should be, as "the recording", for the one line.
    """
    try:
        # Without O_NONBLOCK a pipe that nobody writes into would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise unreadable(path, what, error) from error
    kind = os.fstat(descriptor)
    # Nothing at all is an empty file to everybody.
    nothing = stat.S_ISCHR(kind.st_mode) and kind.st_rdev == os.stat(os.devnull).st_rdev
    if not (stat.S_ISREG(kind.st_mode) or nothing):
        os.close(descriptor)
        is_a = "a folder" if stat.S_ISDIR(kind.st_mode) else "a pipe or a device"
        raise InputError(f"cannot read {what} {_shown(path)}: it is {is_a}, not a file; check the path")
    with open(descriptor, "rb") as file:
        try:
            yield file
        except gzip.BadGzipFile:
            # What stands in it, not the reading of it.
            raise
        except OSError as error:
            raise unreadable(path, what, error) from error


@contextmanager
def unpacked(path: Path | str, what: str, limit_bytes: int, setting: str) -> Iterator[BinaryIO]:
    """As :func:`opened`, unpacked where it is gzipped, and an InputError once that comes to more than agreed.

    ``setting`` is what a person may raise.
    """
    with opened(path, what) as file:
        # By content, not by suffix: a renamed file is no mistake.
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        source = gzip.GzipFile(fileobj=file) if packed else file
        refusal = (
            f"{what} {_shown(path)} unpacks to more than {setting} allows; raise it if you trust the file"
        )
        yield BufferedReader(_Bounded(source, limit_bytes, refusal), 1 << 16)


class _Bounded(RawIOBase):
    """Hands on no more bytes than were agreed."""

    def __init__(self, source: BinaryIO | gzip.GzipFile, limit: int, refusal: str) -> None:
        self._source = source
        self._left = limit
        self._refusal = refusal

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._source.read(len(buffer))
        self._left -= len(part)
        if self._left < 0:
            raise InputError(self._refusal)
        buffer[: len(part)] = part
        return len(part)


def content(path: Path | str, what: str, limit_bytes: int) -> bytes:
    """All of a small file. InputError as from :func:`opened`, and where it is larger than agreed."""
    with opened(path, what) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise InputError(f"{what} {_shown(path)} is larger than {limit_bytes:,} bytes, which none is")
    return data


def unreadable(path: Path | str, what: str, error: OSError | ValueError) -> InputError:
    """An operating system's refusal in one line."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        why = "it is no file"
    return InputError(f"cannot read {what} {_shown(path)}: {why}; check the path")


def _shown(path: Path | str) -> str:
    return repr(str(path)) if not str(path).isprintable() else str(path)
