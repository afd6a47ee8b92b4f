"""Configuration files, environment variables and command lines that say anything."""

import argparse
import json
import os
import tomllib
from pathlib import Path
from random import Random
from typing import Any

from bot.cli import main
from bot.commands.parser import complete_parser
from strategies import STRATEGIES
from tests.fuzz.absurd import FLOATS, INTEGERS, TEXTS, damaged, value
from tests.fuzz.oracle import Findings, judge, rounds
from tests.fuzz.test_files import CONFIG, HEADERS, bars

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "config.toml").read_text()
SETTINGS: dict[str, dict[str, Any]] = tomllib.loads(SHIPPED)
KEYS = [f"{section}.{key}" for section, keys in SETTINGS.items() for key in keys]

DEEP = (
    "x = " + "[" * 3_000,
    "x = " + "[" * 300 + "]" * 300,
    "x = " + "{a=" * 3_000,
    ".".join("a" * 100_000) + " = 1",
    ".".join("a" * 400) + " = 1",
    "[" + ".".join("a" * 50_000) + "]",
    "x = " + "9" * 5_000,
    "x = 0x" + "f" * 100_000,
    "x = 1e" + "9" * 5_000,
    "x = " + "0." + "1" * 500_000,
    "x = 99999-99-99",
    'x = "' + "y" * 900_000 + '"',
    'x = """' + "\n" * 100_000 + '"""',
    "#" * 2_000_000,
    "\n" * 900_000,
    "[run]\n" * 2,
    "[[run]]",
    "run = 1",
    "run = []",
    "\ufeff[run]",
    "[run]\r\ninterval = '15'\r\n",
    "x = '\\ud800'",
)


def literal(random: Random) -> str:
    """A value in TOML's own writing, or none."""
    match random.randrange(8):
        case 0:
            return str(random.choice(INTEGERS))
        case 1:
            return repr(random.choice(FLOATS))
        case 2:
            return random.choice(
                ("nan", "inf", "-inf", "true", "[]", "{}", "[[]]", "1979-05-27", "07:32:00", "''")
            )
        case 3:
            return json.dumps([str(value(random))[:100] for _ in range(random.choice((1, 2, 500)))])
        case 4:
            return random.choice(
                ("9" * 5_000, "-" + "9" * 4_000, "1e400", "1e-400", "0x" + "F" * 5_000, "1_0")
            )
        case _:
            return json.dumps(random.choice(TEXTS)[:5_000])


def changed(random: Random, setting: Any) -> str:
    """A value near the shipped one, so that it is often taken."""
    if isinstance(setting, bool):
        return random.choice(("true", "false"))
    if isinstance(setting, int | float) and random.random() < 0.5:
        return repr(random.choice((setting * 2, setting // 2, setting + 1, -setting, 0, 1)))
    return literal(random)


def configuration(random: Random) -> bytes:
    kind = random.random()
    if kind < 0.15:
        return damaged(random, SHIPPED.encode())
    if kind < 0.3:
        return random.choice(DEEP).encode("utf-8", "surrogatepass")
    tree = {section: dict.fromkeys(keys) for section, keys in SETTINGS.items()}
    lines = []
    for section in random.sample(sorted(tree), random.choice((1, 1, 2))):
        lines.append(f"[{section}]")
        for key in random.sample(sorted(tree[section]), min(len(tree[section]), random.choice((1, 1, 3)))):
            lines.append(f"{key} = {changed(random, SETTINGS[section][key])}")
        if random.random() < 0.05:
            lines.append(random.choice(("x", "Symbols", '""', "a.b")) + " = 1")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def placed(folder: Path, random: Random) -> None:
    """A configuration file of any content, or something that is no file."""
    path = folder / "config.toml"
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    match random.randrange(80):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(random.choice(("/dev/zero", "/dev/null", "nowhere", "config.toml")))
        case 3:
            return
        case _:
            path.write_bytes(configuration(random))


EFFECTS = (
    ("show-config",),
    ("show-config", "--json"),
    ("show-config",),
    ("status",),
    ("runs",),
    ("trades", "--db", "none.db"),
    ("backtest", "--data", "BTCUSDT_sound_1h.csv", "--db", "b.db"),
)


def sound_folder(folder: Path) -> None:
    """Bars to trade on; and the kernels, which a fresh clone compiles for longer than any input may take."""
    (folder / "BTCUSDT_sound_1h.csv").write_text("\n".join([HEADERS[0], *bars(30)]))
    assert main(["backtest", "--data", "BTCUSDT_sound_1h.csv", "--db", "warm.db"], STRATEGIES) == 0


def test_no_configuration_file_is_more_than_one_line(tmp_path, monkeypatch, seed, seconds):
    monkeypatch.chdir(tmp_path)
    sound_folder(tmp_path)
    findings = Findings()
    for random in rounds(seed, seconds):
        placed(tmp_path, random)
        command = random.choice(EFFECTS)
        path = tmp_path / "config.toml"
        text = path.read_bytes()[:600] if path.is_file() and not path.is_symlink() else b""
        judge(findings, command, repr(text))
    print(findings)
    assert not findings.wrong, findings


def test_no_environment_variable_is_more_than_one_line(tmp_path, monkeypatch, seed, seconds):
    monkeypatch.chdir(tmp_path)
    sound_folder(tmp_path)
    findings = Findings()
    for random in rounds(seed, seconds):
        with monkeypatch.context() as environment:
            said = {}
            for _ in range(random.choice((1, 1, 2))):
                key = random.choice(KEYS) if random.random() < 0.9 else random.choice(TEXTS)[:100]
                name = "BOT__" + key.replace(".", "__").upper().replace("\0", "").replace("=", "")
                told = literal(random) if random.random() < 0.5 else random.choice(TEXTS)
                said[name] = told.strip('"').replace("\0", "")[:100_000]
                environment.setenv(name, said[name])
            judge(findings, random.choice(EFFECTS), str(said)[:600])
    print(findings)
    assert not findings.wrong, findings


NEVER = {"--help", "-h", "--version", "--mainnet", "--testnet", "--demo", "--market", "--traceback"}
"""What has no value, goes out to the exchange, or takes its time with any."""

USUAL = {
    "--db": ("a.db", "b.db", "."),
    "--config": ("config.toml", "nowhere.toml"),
    "--symbols": ("BTCUSDT", "BTCUSDT,ETHUSDT"),
    "--interval": ("60", "1h"),
    "--data": ("BTCUSDT_sound_1h.csv",),
    "--strategy": (
        "buy_and_hold",
        "moving_average_cross",
        "os:system",
        "tests.eager:Eager",
        "x:y:z",
        "a..b:C",
    ),
    "--category": ("linear", "spot", "equity", "inverse"),
}
ALWAYS = {
    "": ("--demo", "--max-bars", "1", "--db", "d.db"),
    "doctor": ("--demo",),
    "train": ("--steps", "0"),
    "evaluate": ("--quick", "--out", "e", "--data", "nowhere.csv"),
    "fetch": ("--since", "never"),
}
POSITIONAL = (
    "1",
    "7",
    "bars",
    "trade_log",
    "a.db",
    "BTCUSDT",
    "BTCUSDT_sound_1h.csv",
    "-5",
    "10",
    "first",
    "1e9",
)


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if not NEVER & set(action.option_strings)]


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The bot's own by command, without one "" for live sessions."""
    whole, commands = complete_parser()
    return {"": whole, **commands}


def word(random: Random, action: argparse.Action) -> str:
    kind = random.random()
    name = action.option_strings[0] if action.option_strings else ""
    if action.choices and kind < 0.5:
        return str(random.choice(list(action.choices)))
    if kind < 0.35:
        return random.choice(USUAL.get(name, POSITIONAL))
    if kind < 0.6:
        return str(random.choice((*INTEGERS, *FLOATS)))
    return random.choice(TEXTS).replace("\0", "")[:50_000]


def line_of(random: Random, command: str, parser: argparse.ArgumentParser) -> list[str]:
    """A command line with some of the options that the command knows, and any values."""
    known = [each for each in options(parser) if not isinstance(each, argparse._SubParsersAction)]
    words = [command] if command else []
    for action in random.sample(known, min(len(known), random.choice((0, 1, 1, 2, 4)))):
        if not action.option_strings:
            continue
        words.append(random.choice(action.option_strings))
        if action.nargs != 0:
            words.append(word(random, action))
    for action in known:
        if not action.option_strings and random.random() < 0.9:
            words.append(word(random, action))
    return [*words, *ALWAYS.get(command, ())]


def test_no_command_line_is_more_than_one_line(tmp_path, monkeypatch, seed, seconds):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)
    sound_folder(tmp_path)
    known = parsers()
    findings = Findings()
    for random in rounds(seed, seconds):
        # A demo takes a second to come up.
        command = random.choice(sorted(known) if random.random() < 0.05 else sorted(known)[1:])
        judge(findings, line_of(random, command, known[command]), "command line", seconds=60.0)
    print(findings)
    assert not findings.wrong, findings
