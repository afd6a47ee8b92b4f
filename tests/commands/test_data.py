import asyncio
import gzip
import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.commands import import_
from bot.config import Config, RunConfig
from bot.errors import InputError
from bot.store.database import Database, Identity

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


def imported(*paths: Path, db: Path, **options: Any) -> int:
    given = import_.Options(files=tuple(map(str, paths)), db=str(db), **options)
    return import_.run(given, Config(run=RunConfig(database=str(db.parent / "{mode}.db"))), {})


def test_import_stores_each_bar_once_and_says_so(tmp_path: Path, capsys) -> None:
    db, path = tmp_path / "a.db", a_file(tmp_path)
    assert imported(path, db=db) == 0
    assert (
        f"{path}: 2 new bars of BTCUSDT 60 (bybit-perp, 2024-01-01 00:00 to 2024-01-01 01:00 UTC)"
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
    assert not db.exists()


def test_a_bad_first_file_leaves_no_database_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1 must be the header"):
        imported(a_file(tmp_path, "nonsense"), db=tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()


def test_one_symbol_cannot_name_two_files(tmp_path: Path) -> None:
    one, two = a_file(tmp_path), a_file(tmp_path, name="ETHUSDT_bybit-perp_1h_2024.csv")
    with pytest.raises(InputError, match="--symbol names a single file"):
        imported(one, two, db=tmp_path / "a.db", symbol="BTCUSDT")


def test_import_belongs_to_no_account(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="belongs to no account"):
        imported(a_file(tmp_path), db=tmp_path / "a.db", mode="mainnet")
    asyncio.run(an_account(tmp_path / "b.db"))
    with pytest.raises(InputError, match="is not a history store"):
        imported(a_file(tmp_path), db=tmp_path / "b.db")


async def an_account(path: Path) -> None:
    identity = Identity(mode="mainnet", category="linear", starting_cash=Decimal("5"))
    async with Database.open(path, identity):
        pass


def test_symbol_and_interval_are_given_where_a_name_does_not_say_them(tmp_path: Path) -> None:
    path = tmp_path / "prices.gz"
    path.write_bytes(gzip.compress(FIRST.encode()))
    assert imported(path, db=tmp_path / "a.db", symbol="SOLUSDT", interval="60") == 0
    assert [row[:2] for row in stored(tmp_path / "a.db")] == [("SOLUSDT", "60")] * 2


@pytest.mark.parametrize(
    ("name", "venue", "found"),
    [
        ("BTCUSDT_binance-perp_1h_2024.csv", None, "binance-perp"),
        ("BTCUSDT_binance-perp_1h_2024.csv", "mine", "mine"),
    ],
)
def test_bars_are_filed_under_the_venue_that_the_name_or_the_option_says(
    tmp_path, name, venue, found
) -> None:
    imported(a_file(tmp_path, name=name), db=tmp_path / "a.db", venue=venue)
    with sqlite3.connect(tmp_path / "a.db") as other:
        assert other.execute("SELECT DISTINCT venue, category FROM bars").fetchall() == [(found, "linear")]
