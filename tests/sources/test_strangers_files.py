"""A stranger's file of data fits into memory, ends, and is refused in one line where it is no such file."""

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.cli import main
from bot.errors import InputError
from bot.sources.csv_bars import check_bars
from bot.sources.csv_funding import read_funding
from strategies import STRATEGIES

HEADER = b"start_ms,open,high,low,close,volume,turnover\n"
ROW = b"1704067200000,100,101,99,100,1,\n"
MEGABYTES = 40


def repeated(part: bytes) -> bytes:
    return part * (MEGABYTES * 1_000_000 // len(part))


BOMBS = {
    "zeros": HEADER + repeated(b"\0"),
    "one line": HEADER + repeated(b"1,"),
    "bad rows": HEADER + repeated(b"x\n"),
    "an open quotation": HEADER + b'"' + repeated(b"\n"),
    "one row of many lines": HEADER + repeated(b'"\n",'),
    "one value": HEADER + b'"' + repeated(b"9"),
    "header": repeated(b"open,"),
    "nesting": repeated(b"["),
    "candles": b"[" + repeated(b"[1704067200000,1,1,1,1,1]," * 100),
    "a candle": b"[[" + repeated(b"1,"),
    "spaces": b"[" + repeated(b" "),
}


def refused(read: Callable[..., object], *arguments: object, **options: int) -> str:
    with pytest.raises(InputError) as caught:
        read(*arguments, **options)
    told = str(caught.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("read", [check_bars, read_funding])
def test_what_unpacks_to_much_is_refused_within_little_memory(tmp_path, read, content):
    path = tmp_path / "BTCUSDT_x_15m.csv.gz"
    path.write_bytes(gzip.compress(content, 1))
    tracemalloc.start()
    try:
        told = refused(read, path, max_bytes=MEGABYTES * 1_000_000 // 2)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 12_000_000
    assert len(told) < 1_000


def test_the_limit_is_a_setting_that_the_line_names(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = b"".join(b"%d,100,101,99,100,1,\n" % (1_704_067_200_000 + n * 60_000) for n in range(40_000))
    Path("BTCUSDT_x_1m.csv.gz").write_bytes(gzip.compress(HEADER + rows))
    monkeypatch.setenv("BOT__RUN__MAX_DATA_MB", "1")
    assert main(["import", "BTCUSDT_x_1m.csv.gz"], STRATEGIES) == 2
    assert "run.max_data_mb" in capsys.readouterr().err
    assert not Path("var").exists()
    monkeypatch.setenv("BOT__RUN__MAX_DATA_MB", "2")
    assert main(["import", "BTCUSDT_x_1m.csv.gz"], STRATEGIES) == 0


@pytest.mark.parametrize("kind", ["pipe", "folder", "zero", "loop", "nothing"])
@pytest.mark.parametrize(
    "command",
    [
        ("import", "BTCUSDT_x_15m"),
        ("backtest", "--data", "BTCUSDT_x_15m"),
        ("backtest", "--data", "sound_x_15m.csv", "--symbol", "X", "--funding", "X=BTCUSDT_x_15m"),
        ("backtest", "--data", "sound_x_15m.csv", "--symbol", "X", "--instrument", "BTCUSDT_x_15m"),
    ],
    ids=["import", "data", "funding", "instrument"],
)
def test_what_is_no_file_is_one_line_at_once(tmp_path, monkeypatch, capsys, command, kind):
    monkeypatch.chdir(tmp_path)
    Path("sound_x_15m.csv").write_bytes(HEADER + ROW + ROW.replace(b"67200", b"68100"))
    path = Path("BTCUSDT_x_15m")
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "zero":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
    assert main(command, STRATEGIES) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "BTCUSDT_x_15m" in line


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (b"1." + b"1" * 200, "longer than any number"),
        (b"9" * 100_000, "longer than any number"),
        (b"9" * 200_000, "field larger than field limit"),
        (b"1e400", "out of any market's range"),
        (b"1\0", "is no number"),
    ],
)
def test_a_number_of_any_length_is_one_short_line(tmp_path, cell, words):
    path = tmp_path / "BTCUSDT_x_15m.csv"
    path.write_bytes(HEADER + ROW.replace(b"100,1,", cell + b",1,"))
    told = refused(check_bars, path)
    assert words in told
    assert len(told) < 500


def test_candles_are_read_a_few_at_a_time_and_to_their_very_end(tmp_path):
    rows = [[1_704_067_200_000 + n * 900_000, 100.5, 101, 99, 100, 1] for n in range(20_000)]
    path = tmp_path / "BTC_USDT-15m.json"
    for text in (json.dumps(rows), json.dumps(rows, indent=1), json.dumps(rows, separators=(",", ":"))):
        path.write_text(f" {text}\n")
        assert check_bars(path).count == len(rows)
    for ending in ("", "]]", "],", "] x"):
        path.write_text(json.dumps(rows)[:-1] + ending)
        assert "is no JSON of candles" in refused(check_bars, path)
