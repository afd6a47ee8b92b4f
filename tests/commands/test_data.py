import argparse
import asyncio
import gzip
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from bot.commands import data
from bot.config import Config
from bot.errors import InputError
from bot.store.database import Database, Identity

OFFLINE = Identity(mode="backtest", category="linear", starting_cash=Decimal("10000"))
HEADER = "start_ms,open,high,low,close,volume,turnover\n"
FIRST = HEADER + "1704067200000,1.0,2,0.50,1.5,10,\n1704070800000,1.5,1.5,1.5,1.5,0,\n"


def a_file(folder: Path, text: str = FIRST, name: str = "BTCUSDT_bybit-perp_1h_2024.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def stored(db: Path) -> list[tuple[object, ...]]:
    other = sqlite3.connect(db)
    try:
        return other.execute("SELECT symbol, interval, start_ms, low, source FROM bars").fetchall()
    finally:
        other.close()


def imported(*paths: Path, db: Path, **options) -> int:
    return asyncio.run(data.import_files(paths, db, identity=OFFLINE, **options))


def test_import_stores_each_bar_once_and_says_so(tmp_path: Path, capsys) -> None:
    db, path = tmp_path / "a.db", a_file(tmp_path)
    assert imported(path, db=db) == 0
    assert (
        f"{path}: 2 new bars of BTCUSDT 60 (2024-01-01 00:00 to 2024-01-01 01:00 UTC)"
        in capsys.readouterr().out
    )
    path.write_text(FIRST + "1704074400000,1,1,1,1,1,\n")
    assert imported(path, db=db) == 0
    assert "1 new bars of BTCUSDT 60" in (told := capsys.readouterr().out)
    assert "2 were there already" in told
    assert stored(db) == [
        ("BTCUSDT", "60", 1704067200000, "0.50", "import"),
        ("BTCUSDT", "60", 1704070800000, "1.5", "import"),
        ("BTCUSDT", "60", 1704074400000, "1", "import"),
    ]


def test_import_leaves_stored_bars_as_they_were_and_counts_those_that_differ(tmp_path: Path, capsys) -> None:
    db, path = tmp_path / "a.db", a_file(tmp_path)
    imported(path, db=db)
    path.write_text(FIRST.replace("0.50", "0.25"))
    capsys.readouterr()
    assert imported(path, db=db, json=True) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["added"], told["known"], told["differing"]) == (0, 2, 1)
    assert stored(db)[0][3] == "0.50"


def test_one_bad_row_in_the_last_file_imports_nothing_of_any(tmp_path: Path) -> None:
    db, good = tmp_path / "a.db", a_file(tmp_path)
    bad = a_file(tmp_path, FIRST + "1704074400000,1,0.5,0.5,1,1,\n", "ETHUSDT_bybit-perp_1h_2024.csv")
    with pytest.raises(InputError, match="line 4: high is below"):
        imported(good, bad, db=db)
    assert stored(db) == []


def test_a_bad_first_file_leaves_no_database_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1 must be the header"):
        imported(a_file(tmp_path, "nonsense"), db=tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()


def test_one_symbol_cannot_name_two_files(tmp_path: Path) -> None:
    one, two = a_file(tmp_path), a_file(tmp_path, name="ETHUSDT_bybit-perp_1h_2024.csv")
    with pytest.raises(InputError, match="--symbol names a single file"):
        imported(one, two, db=tmp_path / "a.db", symbol="BTCUSDT")


def test_import_goes_into_an_existing_database_of_any_mode(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    live = Identity(mode="mainnet", category="spot", starting_cash=Decimal("5"))

    async def identity(wanted: Identity | None) -> Identity:
        async with Database.open(db, wanted) as database:
            return database.identity

    asyncio.run(identity(live))
    imported(a_file(tmp_path), db=db)
    assert asyncio.run(identity(None)) == live
    assert len(stored(db)) == 2


def test_import_takes_the_arguments_of_the_command_line(tmp_path: Path, capsys) -> None:
    config = Config()
    path = tmp_path / "prices.gz"
    path.write_bytes(gzip.compress(FIRST.encode()))
    args = argparse.Namespace(mode=None, files=[str(path)], symbol="SOLUSDT", interval="60", json=False)
    config = config.__class__(run=config.run.__class__(database=str(tmp_path / "{mode}.db")))
    assert asyncio.run(data.run(args, config)) == 0
    assert [row[:2] for row in stored(tmp_path / "backtest.db")] == [("SOLUSDT", "60")] * 2
