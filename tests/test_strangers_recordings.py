"""A stranger's recording is data: it imports nothing, fits into memory, and holds nothing impossible."""

import os
import struct
import zlib
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import zstandard
from msgspec.structs import replace

from bot.cli import main
from bot.errors import InputError
from bot.store.recording.entries import Observed
from bot.store.recording.reader import Recording
from strategies import STRATEGIES
from tests.store.recording.test_recording import recorded

CLEAN = Path(__file__).parent / "recordings" / "clean.rec.zst"
PREAMBLE = b"\x93BOTREC\x01"


def refused(capsys, path: Path, *arguments: str, command: str = "replay") -> str:
    """The one line that a command refuses a recording in; it leaves nothing behind."""
    database = path.parent / "out" / "r.db"
    assert main([command, str(path), "--db", str(database), *arguments], STRATEGIES) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("error: ")
    assert not database.exists()
    assert not database.with_name("r.db.part").exists()
    return line


@pytest.mark.parametrize("command", ["replay", "parity"])
@pytest.mark.parametrize(
    "strategy",
    [
        "os:system",
        "stranger:Trap",
        "stranger",
        "strategies.buy_and_hold:ConfigError",
        "",
        ":",
        "strategies:STRATEGIES",
    ],
)
def test_what_a_header_names_is_not_imported_unless_it_is_named_here_too(
    tmp_path, capsys, monkeypatch, command, strategy
):
    (tmp_path / "stranger.py").write_text("open('imported', 'w')\nclass Trap: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    recording = Recording.read(CLEAN)
    path = recorded(tmp_path, list(recording), header=replace(recording.header, strategy=strategy))
    assert "--strategy" in refused(capsys, path, command=command)
    assert not (tmp_path / "imported").exists()


def written(path: Path, *contents: bytes) -> Path:
    """Records of any content, with right checksums around it."""
    compressor = zstandard.ZstdCompressor().compressobj()
    data = PREAMBLE
    for content in contents:
        body = compressor.compress(content) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        size = struct.pack(">I", len(body))
        data += size + struct.pack(">II", zlib.crc32(size), zlib.crc32(body)) + body
    path.write_bytes(data)
    return path


def header() -> bytes:
    return msgspec.msgpack.encode(Recording.read(CLEAN).header)


@pytest.mark.parametrize("place", [0, 1])
def test_a_record_that_unpacks_to_more_than_any_is_refused_before_it_is_unpacked(tmp_path, place):
    contents = [header(), b"\0" * 500_000_000]
    path = written(tmp_path / "bomb.rec.zst", *contents[place:])
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="longer than any"):
        Recording.read(path)


def test_many_records_that_unpack_to_more_than_was_agreed_are_refused(tmp_path):
    path = written(tmp_path / "bomb.rec.zst", header(), *[msgspec.msgpack.encode([])] * 2_000)
    assert Recording.read(path).entries == 0
    with pytest.raises(InputError, match=r"run\.max_recording_mb"):
        Recording.read(path, max_bytes=len(header()) + 1_000)


BARS = {
    "high below low": {"high": Decimal(1)},
    "not finite": {"close": Decimal("NaN")},
    "off the grid": {"start_ms": 1},
    "before time": {"start_ms": -(10**15)},
    "year 10000": {"start_ms": 253_402_300_800_000},
    "huge digits": {"volume": Decimal("1e400")},
    "many digits": {"open": Decimal("1." + "1" * 200), "high": Decimal("2e20")},
    "huge exponent": {"turnover": Decimal("1e999999")},
    "negative": {"volume": Decimal(-1)},
    "another interval": {"interval": "7"},
    "another symbol": {"symbol": "NOBODY"},
    "the same again": {},
}


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("change", BARS.values(), ids=BARS)
def test_impossible_bars_are_one_line(tmp_path, capsys, change, observed):
    recording = Recording.read(CLEAN)
    entries = list(recording)
    bar = next(entry for entry in reversed(entries) if hasattr(entry, "close_ms"))
    changed = replace(bar, **change)
    if observed and not change:
        return  # A bar observed twice is only known already.
    path = recorded(tmp_path, [*entries, Observed(changed) if observed else changed], header=recording.header)
    if observed and "symbol" in change:
        return  # History of a symbol that is not traded moves nothing.
    refused(capsys, path)


def deep(header, *path_and_value):
    """The header with one field, however deep, replaced."""
    name, *rest = path_and_value
    if not rest:
        return name
    return replace(header, **{name: deep(getattr(header, name), *rest)})


HEADERS = [
    ("equity", Decimal("NaN")),
    ("equity", Decimal("1e999999")),
    ("session_id", 2**63 - 1),
    ("session_id", -(2**63)),
    ("started_ms", 253_402_300_800_000),
    ("config_json", "{"),
    ("config_json", "[]"),
    ("config_json", "[" * 90_000),
    ("config_json", '{"memory": {"size": 1000000000000}}'),
    ("opening", "next_order_id", 2**62),
    ("opening", "ledger", "cash", Decimal("1e30")),
    ("opening", "ledger", "cash", Decimal("sNaN")),
    ("strategy", "x" * 1_000_000),
]


@pytest.mark.parametrize("change", HEADERS, ids=lambda change: ".".join(str(part)[:20] for part in change))
def test_impossible_headers_are_one_line(tmp_path, capsys, change):
    changed = msgspec.msgpack.encode(deep(Recording.read(CLEAN).header, *change))
    refused(capsys, written(tmp_path / "crafted.rec.zst", changed))


@pytest.mark.parametrize("kind", ["pipe", "folder", "zero"])
def test_what_is_no_file_is_one_line(tmp_path, capsys, kind):
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert "not a file" in refused(capsys, path)
