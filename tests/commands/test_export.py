import asyncio
import csv
import json
import os
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from bot.cli import main
from bot.commands import export, export_table
from bot.config import Config, RunConfig
from bot.errors import InputError, StoreError
from bot.store.account.exported import TABLES
from bot.store.account.steps import StepWriter, begin_session
from bot.store.database import Database, Identity
from tests.factories import START_MS, a_bar, a_fill, a_signal, a_step, an_order

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal(10000))


def a_database(folder: Path, *, bars: int = 2) -> Path:
    """Bars without turnover, and one decision that was traded."""
    path = folder / "demo.db"
    reason = 'said "up",\nthen went'
    step = a_step(
        bars,
        signal=a_signal("long", confidence=0.1 + 0.2, reason=reason),
        orders=(an_order(id=1, status="filled"),),
        fills=(a_fill(1, price="100.50", fee="0.0000000276375"),),
    )

    async def write() -> None:
        async with Database.open(path, DEMO) as database:
            writer = StepWriter(database, await begin_session(database, "demo", "{}", START_MS))
            await writer.insert_history(a_bar(n, close="100.10") for n in range(bars))
            await writer.append(step)

    asyncio.run(write())
    return path


def exported(path: Path, table: str, out: Path | None = None, **options: bool) -> int:
    return asyncio.run(export_table.export(path, table, None if out is None else str(out), **options))


def test_a_table_goes_out_under_its_header_with_the_exact_text_of_every_figure(
    tmp_path: Path, capsys
) -> None:
    path = a_database(tmp_path)
    assert exported(path, "fills") == 0
    header, row = csv.reader(capsys.readouterr().out.splitlines())
    fill = dict(zip(header, row, strict=True))
    assert (fill["price"], fill["fee"], fill["time_ms"]) == (
        "100.50",
        "0.0000000276375",
        str(START_MS + 1000),
    )


def test_text_is_quoted_floats_keep_their_bits_and_nothing_is_an_empty_cell(tmp_path: Path) -> None:
    path = a_database(tmp_path)
    out = tmp_path / "signals.csv"
    exported(path, "signals", out)
    with out.open(newline="") as file:
        (signal,) = csv.DictReader(file)
    assert signal["reason"] == 'said "up",\nthen went'
    assert float(signal["confidence"]) == 0.1 + 0.2
    assert signal["expected_return"] == ""


def test_json_is_an_object_a_line(tmp_path: Path, capsys) -> None:
    exported(a_database(tmp_path), "bars", json=True)
    first, *others = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["close"], first["turnover"], first["start_ms"]) == ("100.10", None, START_MS)
    assert len(others) == 2


@pytest.mark.parametrize("table", TABLES)
def test_every_table_can_be_exported_an_empty_one_as_its_header(table: str, tmp_path: Path, capsys) -> None:
    path = a_database(tmp_path)
    exported(path, table)
    lines = list(csv.reader(capsys.readouterr().out.splitlines(keepends=True)))
    with sqlite3.connect(path) as other:
        assert len(lines) == 1 + other.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        assert lines[0] == [column[0] for column in other.execute(f"SELECT * FROM {table}").description]


BOOKKEEPING = {
    *("meta", "risk_state", "account_state", "known_funding", "marks", "opening", "pauses", "watched"),
}


def test_all_that_the_schema_holds_can_be_exported_but_its_bookkeeping(tmp_path: Path) -> None:
    with sqlite3.connect(a_database(tmp_path)) as other:
        names = other.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
        )
        assert {name for (name,) in names} - BOOKKEEPING == set(TABLES)


def test_an_unknown_table_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no table 'trade'; there are sessions, .*, trade_log"):
        exported(a_database(tmp_path), "trade")


def test_a_file_is_written_and_said_apart_from_the_output(tmp_path: Path, capsys) -> None:
    out = tmp_path / "bars.csv"
    exported(a_database(tmp_path), "bars", out)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"3 rows of bars written to {out}\n")
    assert len(out.read_text().splitlines()) == 4


def test_no_slip_of_the_hand_overwrites_the_account(tmp_path: Path) -> None:
    path = a_database(tmp_path)
    before = path.read_bytes()
    link = tmp_path / "other.csv"
    link.symlink_to(path)
    for out in (path, link):
        with pytest.raises(InputError, match="that is the database itself"):
            exported(path, "bars", out)
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    path = a_database(tmp_path)
    with pytest.raises(InputError, match="No such file or directory; name a file that can be written"):
        exported(path, "bars", tmp_path / "none" / "bars.csv")
    with pytest.raises(StoreError, match="cannot write to /dev/full: No space left on device"):
        exported(path, "bars", Path("/dev/full"))


@pytest.mark.parametrize("words", [["export", "bars"], ["export", "fills"], ["status"]])
def test_a_reader_that_has_seen_enough_ends_any_command_quietly(words: list[str], tmp_path: Path) -> None:
    # More than a pipe holds, and less.
    path = a_database(tmp_path, bars=5000)
    command = [sys.executable, "run_bot.py", *words, "--db", str(path)]
    # Unbuffered output would be refused sooner than most people's.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered)
    assert running.stdout is not None
    assert running.stderr is not None
    if "bars" in words:
        assert running.stdout.readline().startswith(b"symbol,")
    running.stdout.close()
    assert running.wait(20) == 0
    assert running.stderr.read() == b""
    running.stderr.close()


def test_the_command_takes_its_mode_before_or_behind_it(tmp_path: Path, monkeypatch, capsys) -> None:
    a_database(tmp_path)
    monkeypatch.setenv("BOT__RUN__DATABASE", str(tmp_path / "{mode}.db"))
    for arguments in (["--demo", "export", "fills"], ["export", "fills", "--demo"]):
        assert main(arguments, {}) == 0
        assert capsys.readouterr().out.startswith("id,order_id,")
    assert main(["export", "fills", "--mainnet"], {}) == 2
    assert "mainnet.db" in capsys.readouterr().err


def test_without_a_mode_the_only_live_database_is_meant(tmp_path: Path, capsys) -> None:
    a_database(tmp_path)
    options = export.Options(table="positions")
    config = Config(run=RunConfig(database=str(tmp_path / "{mode}.db"), runs=str(tmp_path / "runs")))
    assert export.run(options, config, {}) == 0
    assert capsys.readouterr().out.startswith("symbol,quantity,")
