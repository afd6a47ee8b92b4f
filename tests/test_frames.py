"""Every column that a frame may have is documented, with the dtype that its stored values have."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pandas
import pytest

from bot.errors import InputError
from bot.frames.bars import bars_frame, bars_of_frame
from bot.frames.columns import COLUMNS, INDEXES, column_name
from bot.frames.tables import frame_of, table_frame
from bot.store.account.exported import TABLES, read_table
from bot.store.database import Database, Identity
from tests.factories import a_bar

STORED = {"time": "INTEGER", "integer": "INTEGER", "flag": "INTEGER", "number": "REAL"}


@pytest.fixture
def columns(tmp_path: Path) -> dict[str, list[tuple[str, str]]]:
    """The name and stored type of each column of each table."""

    async def read() -> dict[str, list[tuple[str, str]]]:
        identity = Identity(mode="demo", category="linear", starting_cash=Decimal(1000))
        async with Database.open(tmp_path / "new.db", identity) as database:
            found = {}
            for table in TABLES:
                sql = "SELECT name, type FROM pragma_table_info(?) ORDER BY cid"
                found[table] = [(name, kind) for name, kind in await database.fetch(sql, (table,))]
                names, rows = await read_table(database, table)
                assert list(table_frame(table, names, rows).reset_index().columns) == [
                    *INDEXES[table],
                    *(each for each in map(column_name, names) if each not in INDEXES[table]),
                ]
            with pytest.raises(InputError, match="no table 'meta'"):
                await read_table(database, "meta")
            return found

    return asyncio.run(read())


def test_every_column_of_every_table_is_documented_as_it_is_stored(columns):
    for table, found in columns.items():
        for name, stored in found:
            column = COLUMNS[column_name(name)]
            assert (stored or "TEXT") == STORED.get(column.kind, "TEXT"), f"{table}.{name}"
            assert (column.kind == "time") == name.endswith("_ms"), f"{table}.{name}"


def test_cells_have_their_dtype_and_what_is_unknown_is_missing():
    frame = frame_of(
        {"closed": [0, None], "net": ["-0.10", ""], "bars": [3, None], "late": [1, 0], "reason": ["x", None]}
    )
    assert [str(dtype) for dtype in frame.dtypes] == [
        *("datetime64[ms, UTC]", "float64", "Int64", "bool", "object"),
    ]
    assert frame.isna().iloc[1].tolist() == [True, True, True, False, True]
    assert frame_of({"net": ["-0.10"]}, exact=True).net[0].as_tuple() == Decimal("-0.10").as_tuple()


def test_bars_of_any_frame_are_read_with_the_digits_that_give_each_float():
    frame = pandas.DataFrame(
        {"Open": [1e-7, 0.3], "High": [0.3, 0.3], "Low": [1e-7, 0.1], "Close": [0.1, 0.2], "Volume": [5, 0]},
        index=pandas.to_datetime(["2024-01-01 00:00", "2024-01-01 04:00"]),
    )
    bars = bars_of_frame(frame, "BTCUSDT", None)
    assert [bar.interval for bar in bars] == ["240", "240"]
    assert [bar.open for bar in bars] == [Decimal("0.0000001"), Decimal("0.3")]
    zoned = frame.tz_localize("Europe/Berlin")
    assert [bar.start_ms for bar in bars_of_frame(zoned, "BTCUSDT", "60")] == [
        bar.start_ms - 3_600_000 for bar in bars
    ]
    column = frame.reset_index(names="Date")
    assert [bar.start_ms for bar in bars_of_frame(column, "BTCUSDT", "4h")] == [bar.start_ms for bar in bars]


def test_exact_bars_keep_every_digit():
    bar = a_bar(close="101.500")
    frame = bars_frame([bar], exact=True)
    assert frame.close.iloc[0].as_tuple() == Decimal("101.500").as_tuple()
    assert bars_of_frame(frame, bar.symbol, bar.interval)[0].close.as_tuple() == bar.close.as_tuple()
