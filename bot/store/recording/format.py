"""A session's recording: all that the core saw, in order, so that the session runs again from this file alone.

After a magic and the format's version come records: the body's length, a checksum of that, a checksum
of the body, the body. The bodies are blocks of one zstandard stream, flushed after each record, so
that what repeats costs little. The first holds the :class:`Header`, every other a list of entries, in
msgpack. A record is on the disk before the commit that it leads to.
"""

import struct
import zlib

import msgspec
import zstandard

from bot.store.recording.entries import Written
from bot.store.recording.header import Header

FORMAT_VERSION = 1

MAGIC = b"\x93BOTREC"
PREAMBLE = MAGIC + bytes([FORMAT_VERSION])
HEAD = struct.Struct(">I4s4s")
_LEVEL = 3


class Framer:
    """Makes records of contents; each may only be understood after those before it."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._encode = msgspec.msgpack.Encoder().encode

    def record(self, content: Header | list[Written]) -> bytes:
        """The record that holds this, checksums and all."""
        body = self._compressor.compress(self._encode(content))
        body += self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return HEAD.pack(len(body), checksum(struct.pack(">I", len(body))), checksum(body)) + body


def checksum(data: bytes) -> bytes:
    """The CRC-32 of these bytes, as a record holds it."""
    return struct.pack(">I", zlib.crc32(data))
