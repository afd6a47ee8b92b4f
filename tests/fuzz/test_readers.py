"""What reads strangers' text and bytes, without a command around it: many more inputs a second.

Each gives a value or raises the error that the one who handed it over is shown, in one line.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from bot.config import load
from bot.errors import ConfigError, InputError, printable
from bot.sources.csv_bars import check_bars
from bot.sources.csv_funding import read_funding
from bot.sources.instruments import read_given
from bot.store.recording.reader import Recording
from tests.fuzz.absurd import TEXTS, damaged
from tests.fuzz.oracle import LONGEST_LINE, Findings, bounded, place_of, rounds
from tests.fuzz.test_files import SAID, candles, rules, table
from tests.fuzz.test_recordings import SOUND, craft
from tests.fuzz.test_settings import KEYS, configuration, literal

Reader = Callable[[Random, Path], object]
"""Makes an input in a folder, and reads it."""

MOST_BYTES = 5_000_000


def file_of_settings(random: Random, folder: Path) -> object:
    path = folder / "config.toml"
    path.write_bytes(configuration(random))
    return load(path, {}, {})


def environment(random: Random, folder: Path) -> object:
    said = {}
    for _ in range(random.choice((1, 1, 2))):
        key = random.choice(KEYS) if random.random() < 0.9 else random.choice(TEXTS)[:100]
        told = literal(random) if random.random() < 0.5 else random.choice(TEXTS)
        said["BOT__" + key.replace(".", "__").upper()] = told.strip('"')[:100_000]
    return load(folder / "sound.toml", {}, said)


def options(random: Random, folder: Path) -> object:
    said = {random.choice(KEYS): random.choice(TEXTS)[:100_000] for _ in range(random.choice((1, 1, 2)))}
    return load(folder / "sound.toml", said, {})


def bars(random: Random, folder: Path) -> object:
    path = folder / random.choice(("BTCUSDT_x_1h.csv", "BTC_USDT-1h.json"))
    data = candles(random) if path.suffix == ".json" else table(random, of_rates=False)
    path.write_bytes(damaged(random, data) if random.random() < 0.2 else data)
    return list(check_bars(path, max_bytes=MOST_BYTES))


def rates(random: Random, folder: Path) -> object:
    path = folder / "BTCUSDT_x_funding.csv"
    data = table(random, of_rates=True)
    path.write_bytes(damaged(random, data) if random.random() < 0.2 else data)
    return list(read_funding(path, "BTCUSDT", MOST_BYTES))


def trading_rules(random: Random, folder: Path) -> object:
    path = folder / "rules.toml"
    data = rules(random)
    path.write_bytes(damaged(random, data) if random.random() < 0.2 else data)
    given = [str(path), f"BTCUSDT:{random.choice((*SAID, *TEXTS))[:10_000]}"]
    return read_given(random.sample(given, random.choice((1, 1, 2))))


def recording(random: Random, folder: Path) -> object:
    path = folder / "a.rec.zst"
    path.unlink(missing_ok=True)
    if random.random() < 0.2:
        path.write_bytes(damaged(random, random.choice(SOUND).read_bytes()))
    elif not craft(random, path):
        return None
    found = Recording.read(path, max_bytes=4 * MOST_BYTES)
    return found.header, list(found)


READERS: tuple[Reader, ...] = (file_of_settings, environment, options, bars, rates, trading_rules, recording)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_what_reads_gives_a_value_or_one_line(reader, tmp_path, monkeypatch, seed, seconds):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sound.toml").write_text('[run]\nsymbols = ["BTCUSDT"]\n')
    findings = Findings()
    for random in rounds(seed, seconds / 2):
        findings.tried += 1
        try:
            with bounded():
                reader(random, tmp_path)
            findings.codes[0] += 1
        except (ConfigError, InputError) as error:
            findings.codes[2] += 1
            line = printable(str(error))
            if "\n" in line or len(line) > LONGEST_LINE:
                findings.add("no one line", repr(line[:500]))
        except Exception as error:
            findings.add(place_of(error), f"input {findings.tried - 1} of seed {seed}: {str(error)[:300]}")
    print(f"{reader.__name__}: {findings}")
    assert findings.codes[0], "none of them was sound"
    assert findings.codes[2], "none of them was refused"
    assert not findings.wrong, findings
