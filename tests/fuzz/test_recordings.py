"""Recordings with bytes changed, and with right checksums around entries and headers that no session has written."""

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from bot.store.recording.reader import Recording
from tests.fuzz.absurd import damaged, within
from tests.fuzz.oracle import Findings, judge, rounds
from tests.test_strangers_recordings import written

RECORDINGS = Path(__file__).parents[1] / "recordings"
SOUND = tuple(sorted(RECORDINGS.glob("*.rec.zst")))
FEW = 40
"""Entries of a crafted recording: those of one warm-up's end and some that lived."""


@cache
def parts(path: Path) -> tuple[Any, tuple[Any, ...]]:
    """A recording's header, and some of its entries, as the plain values that they are written as."""
    from bot.store.recording.entries import write_entry

    recording = Recording.read(path)
    entries = list(recording)
    first = next((n for n, each in enumerate(entries) if type(each).__name__ != "Observed"), 0)
    kept = entries[max(0, first - FEW) : first + FEW]
    encode = msgspec.msgpack.Encoder().encode
    plain = tuple(msgspec.msgpack.decode(encode(write_entry(each))) for each in kept)
    return msgspec.msgpack.decode(encode(recording.header)), plain


def craft(random: Random, path: Path) -> str:
    """Write a recording in which some of what a sound one says is another; what was done."""
    header, entries = parts(random.choice(SOUND))
    told, changed = "entries", list(entries)
    if random.random() < 0.45:
        header, told = within(random, header), "header"
        if isinstance(header, dict) and random.random() < 0.3:
            config = header.get("config_json")
            if isinstance(config, str) and config[:1] == "{":
                header = {
                    **header,
                    "config_json": msgspec.json.encode(within(random, msgspec.json.decode(config))).decode(),
                }
                told = "configuration"
    else:
        for _ in range(random.choice((1, 1, 2, 5))):
            place = random.randrange(len(changed))
            match random.randrange(6):
                case 0:
                    changed.insert(random.randrange(len(changed)), changed[place])
                case 1:
                    del changed[place]
                case _:
                    changed[place] = within(random, changed[place])
    encode = msgspec.msgpack.Encoder().encode
    try:
        content = encode(header), encode(changed)
    except (OverflowError, UnicodeEncodeError, ValueError):
        return ""
    written(path, *content)
    return told


def test_no_recording_is_more_than_one_line_and_a_refused_one_leaves_nothing(
    tmp_path, monkeypatch, seed, seconds
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text('[model]\ncheckpoint = ""\n')
    path, database = tmp_path / "a.rec.zst", tmp_path / "r.db"
    findings = Findings()
    for random in rounds(seed, seconds):
        if random.random() < 0.3:
            path.write_bytes(damaged(random, random.choice(SOUND).read_bytes()))
            done = "bytes"
        else:
            done = craft(random, path)
        command = random.choice((("replay", path.name, "--db", database.name), ("parity", path.name)))
        code = judge(findings, command, done, seconds=60.0)
        if code == 2 and database.exists():
            findings.add("a refused recording left a database", done)
        database.unlink(missing_ok=True)
    print(findings)
    assert not findings.wrong, findings
