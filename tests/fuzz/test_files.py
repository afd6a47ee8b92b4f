"""Files of bars, funding rates and trading rules, gzipped or not, that hold anything, and what is no file at all."""

import gzip
import json
import os
from pathlib import Path
from random import Random

from tests.fuzz.absurd import TEXTS, damaged, within
from tests.fuzz.oracle import Findings, judge, rounds

START_MS, HOUR_MS = 1_700_002_800_000, 3_600_000
CONFIG = '[run]\nmax_data_mb = 5\n[strategy]\nname = "buy_and_hold"\n[model]\ncheckpoint = ""\n'
HEADERS = (
    "start_ms,open,high,low,close,volume,turnover",
    "date,open,high,low,close,volume",
    "Date;Open;High;Low;Close;Volume",
    "timestamp\topen\thigh\tlow\tclose\tvol",
    "time_ms,rate",
    "open,high,low,close",
    "",
)
CELLS = (
    *TEXTS,
    "100",
    "100.5",
    "1e400",
    "1e-400",
    "-5",
    "0x10",
    "1_000",
    "1,5",
    "2024-01-01",
    "NaN",
    '"',
    '"a\n',
)
NAMES = (*["BTCUSDT_x_1h.csv"] * 6, "BTCUSDT_x_1h.csv.gz", "BTC_USDT-1h.json", "AAPL_us_1d.csv", "x", "=")
SAID = (
    *["BTCUSDT"] * 4,
    "tick_size=0.1,lot_size=0.1",
    "tick_size=0.1",
    "tick_size=1e999,lot_size=1",
    "=",
    "a=b=c",
)
COMMANDS = (
    ("import", "{file}"),
    ("import", "{file}", "--symbol", "{text}"),
    ("backtest", "--data", "{file}", "--db", "b.db"),
    ("backtest", "--data", "{text}={file}", "--db", "b.db"),
    ("backtest", "--data", "{text}", "--db", "b.db"),
    ("backtest", "--data", "BTCUSDT_sound_1h.csv", "--funding", "{file}", "--db", "b.db"),
    ("backtest", "--data", "BTCUSDT_sound_1h.csv", "--funding", "{text}={file}", "--db", "b.db"),
    ("backtest", "--data", "BTCUSDT_sound_1h.csv", "--instrument", "{file}", "--db", "b.db"),
    ("backtest", "--data", "BTCUSDT_sound_1h.csv", "--instrument", "BTCUSDT:{text}", "--db", "b.db"),
    ("evaluate", "--data", "{file}", "--quick", "--out", "e"),
    ("train", "--data", "{file}", "--steps", "1", "--out", "t"),
    ("--demo", "--data", "{file}", "--db", "d.db", "--max-bars", "1"),
)


def bars(count: int, separator: str = ",") -> list[str]:
    rows = []
    for hour in range(count):
        price = 100 + hour * 7 % 23 - hour * 5 % 17
        cells = (START_MS + hour * HOUR_MS, price, price + 2, price - 2, price + 1, 10, "")
        rows.append(separator.join(map(str, cells)))
    return rows


def rates(count: int) -> list[str]:
    return [f"{START_MS + hour * 8 * HOUR_MS},0.000{hour % 9}" for hour in range(count)]


def table(random: Random, *, of_rates: bool) -> bytes:
    """Rows of bars or of rates, some of them changed."""
    header = random.choice(HEADERS) if random.random() < 0.1 else HEADERS[0]
    rows = bars(random.choice((0, 1, 30, 30, 30, 30, 30))) if "rate" not in header else rates(30)
    if of_rates and random.random() < 0.95:
        header, rows = "time_ms,rate", rates(30)
    for _ in range(random.choice((0, 0, 1, 3))):
        if not rows:
            break
        place = random.randrange(len(rows))
        cells = rows[place].split(",")
        cells[random.randrange(len(cells))] = random.choice(CELLS)
        match random.randrange(8):
            case 0:
                rows[place] = ",".join(cells[:-1])
            case 1:
                rows.insert(place, rows[-1])
            case 2:
                rows[place] = random.choice(CELLS)
            case 3:
                rows[place] = '"' + "\n" * random.choice((10, 2_000)) + rows[place]
            case _:
                rows[place] = ",".join(cells)
    end = random.choice(("\n", "\n", "\r\n", "\r"))
    text = end.join([header, *rows]) + random.choice((end, ""))
    encoding = random.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"))
    return text.encode(encoding, "replace")


def candles(random: Random) -> bytes:
    rows = [[START_MS + hour * HOUR_MS, 100, 102, 98, 101, 5] for hour in range(random.choice((0, 1, 20)))]
    text = json.dumps(within(random, rows) if random.random() < 0.8 else rows)
    if random.random() < 0.2:
        text = random.choice(
            ("[" * 50_000, text[:-1], f"{text},", "[[1" + "0" * 100_000 + "]]", "[NaN]", "[{}]")
        )
    return text.encode()


def rules(random: Random) -> bytes:
    one = {"tick_size": "0.1", "lot_size": "0.001", "min_notional": "5", "funding_interval_minutes": 480}
    tree = within(random, {random.choice(("BTCUSDT", "X", "")): one})
    if random.random() < 0.5 or not isinstance(tree, dict):
        return json.dumps(tree).encode()
    lines = [f"[{name}]" for name in tree]
    return "\n".join([*lines, *(f"{key} = {json.dumps(each)}" for key, each in one.items())]).encode()


def content(random: Random, command: tuple[str, ...]) -> bytes:
    """What the command asks for, most of the time, changed in some way or not."""
    kind = random.random()
    if kind < 0.1:
        data = candles(random)
    elif "--instrument" in command and kind < 0.9:
        data = rules(random)
    else:
        data = table(random, of_rates="--funding" in command)
    if random.random() < 0.2:
        data = damaged(random, data)
    if random.random() < 0.25:
        data = gzip.compress(data, 1) * random.choice((1, 1, 2))
        if random.random() < 0.3:
            data = damaged(random, data)
    if random.random() < 0.01:
        data = random.choice((b"", HEADERS[0].encode() + b"\n"))
        bomb = random.choice((b"\0", b"1,", b"x\n", b"1,1,1,1,1,1,1\n", b"[", b'"', b" ")) * (20_000_000 // 2)
        data = gzip.compress(data + bomb, 1)
    return data


def put(random: Random, path: Path, command: tuple[str, ...]) -> None:
    """A file with any content, or what is none."""
    match random.randrange(60):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(random.choice(("/dev/zero", "/dev/null", "/dev/tty", "nowhere", path.name)))
        case 3:
            return
        case _:
            path.write_bytes(content(random, command))


def test_no_file_is_more_than_one_line_and_none_is_half_read(tmp_path, monkeypatch, seed, seconds):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "BTCUSDT_sound_1h.csv").write_text("\n".join([HEADERS[0], *bars(30)]))
    kept = {path.name for path in tmp_path.iterdir()}
    findings = Findings()
    for random in rounds(seed, seconds):
        for path in tmp_path.iterdir():
            if path.name in kept:
                continue
            if path.is_dir() and not path.is_symlink():
                for inner in sorted(path.rglob("*"), reverse=True):
                    inner.rmdir() if inner.is_dir() else inner.unlink()
                path.rmdir()
            else:
                path.unlink()
        name = random.choice(NAMES)
        # Starting a demo or a training takes its time.
        command = random.choice(COMMANDS[:-3] if random.random() < 0.97 else COMMANDS)
        put(random, tmp_path / name, command)
        text = random.choice(random.choice((SAID, TEXTS)))
        arguments = [word.format(file=name, text=text.replace("\0", "")) for word in command]
        code = judge(findings, arguments, name)
        if code == 2 and ((tmp_path / "b.db").exists() or (tmp_path / "var" / "history.db").exists()):
            findings.add("something was written though it was refused", f"{name}: {arguments}")
    print(findings)
    assert not findings.wrong, findings
