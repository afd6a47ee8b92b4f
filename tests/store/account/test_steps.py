import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.errors import BrokenInvariant, StoreError
from bot.market import Instrument, Notice
from bot.store.account.state import load_instruments
from bot.store.account.steps import StepWriter, begin_session, end_session, save_instruments
from bot.store.database import Database, Identity
from bot.trading.events import FundingPayment, Rejection, Step, Transfer
from tests.factories import (
    START_MS,
    a_bar,
    a_fill,
    a_neighbor,
    a_position,
    a_recollection,
    a_signal,
    a_step,
    an_equity,
    an_instrument,
    an_order,
)

DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal("10000"))
TABLES = (
    *("bars", "signals", "neighbors", "orders", "fills", "funding", "transfers"),
    *("positions", "equity", "events"),
)


def a_full_step(number: int = 0) -> Step:
    """A Step with a row in every table."""
    bar = a_bar(number)
    order = an_order(id=number + 1, signal_id=number + 1)
    return a_step(
        number,
        signal=a_signal(),
        recollection=a_recollection(a_neighbor(), a_neighbor(similarity=0.7)),
        orders=(order,),
        rejections=(Rejection(order=order, rule="lot_size", reason="below one lot"),),
        fills=(a_fill(number + 1, order_id=number + 1),),
        funding=(
            FundingPayment(
                symbol="BTCUSDT",
                time_ms=bar.start_ms,
                rate=Decimal("0.0001"),
                mark_price=Decimal("100"),
                quantity=Decimal("0.5"),
                payment=Decimal("-0.005"),
            ),
        ),
        transfers=(Transfer(id=number + 1, time_ms=bar.start_ms, amount=Decimal("-5"), reason="rent"),),
        positions=(a_position(),),
        notices=(Notice(kind="gap", time_ms=bar.start_ms, symbol="BTCUSDT", detail="one bar"),),
    )


async def written(path: Path, do: Callable[[Database, StepWriter], Awaitable[Any]], batch: int = 1) -> Any:
    async with Database.open(path, DEMO) as database:
        session = await begin_session(database, "demo", "{}", START_MS)
        return await do(database, StepWriter(database, session, batch_bars=batch))


def counts(path: Path) -> dict[str, int]:
    """Rows a table, as another program sees them."""
    other = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {table: other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    finally:
        other.close()


def test_a_live_step_is_on_the_disk_in_every_table_when_append_returns(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> dict[str, int]:
        await steps.append(a_full_step())
        return counts(database.path)

    one_each = dict.fromkeys(TABLES, 1) | {"neighbors": 2, "events": 2}
    assert asyncio.run(written(tmp_path / "a.db", do)) == one_each


@pytest.mark.parametrize("table", TABLES)
def test_a_step_that_fails_in_any_table_leaves_nothing_in_the_others(tmp_path: Path, table: str) -> None:
    async def do(database: Database, steps: StepWriter) -> None:
        await steps.append(a_full_step(0))
        trigger = f"CREATE TRIGGER stop BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'stopped'); END"
        await database.fetch(trigger)
        before = counts(database.path)
        with pytest.raises(BrokenInvariant, match="stopped"):
            await steps.append(a_full_step(1))
        assert counts(database.path) == before
        await database.fetch("DROP TRIGGER stop")
        await steps.append(a_full_step(1))
        assert counts(database.path)["equity"] == before["equity"] + 1

    asyncio.run(written(tmp_path / "a.db", do))


def test_a_full_disk_is_one_line_and_leaves_the_last_commit_intact(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    appended: list[int] = []

    async def append_for_ever(steps: StepWriter) -> None:
        for number in count():
            await steps.append(a_full_step(number))
            appended.append(number)

    async def do(database: Database, steps: StepWriter) -> None:
        pages = await database.value("PRAGMA page_count")
        await database.fetch(f"PRAGMA max_page_count = {pages + 12}")
        with pytest.raises(StoreError) as caught:
            await append_for_ever(steps)
        assert str(caught.value).startswith(f"no room left to write {path}")
        assert "\n" not in str(caught.value)

    asyncio.run(written(path, do))
    assert appended
    found = counts(path)
    assert {found[table] for table in ("bars", "signals", "fills", "equity")} == {len(appended)}
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_offline_steps_wait_for_their_batch_and_for_flush(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> list[int]:
        seen = []
        for number in range(7):
            await steps.append(a_step(number))
            seen.append(counts(database.path)["signals"])
        await steps.flush()
        return [*seen, counts(database.path)["signals"]]

    assert asyncio.run(written(tmp_path / "a.db", do, batch=3)) == [0, 0, 3, 3, 3, 6, 6, 7]


def test_an_empty_step_writes_nothing(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> dict[str, int]:
        await steps.append(Step(time_ms=START_MS))
        return counts(database.path)

    assert asyncio.run(written(tmp_path / "a.db", do)) == dict.fromkeys(TABLES, 0)


def test_deciding_twice_on_one_bar_is_a_broken_invariant(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> None:
        await steps.append(a_step(0))
        with pytest.raises(BrokenInvariant, match="UNIQUE constraint failed: signals"):
            await steps.append(a_step(0, signal_id=2))
        assert counts(database.path)["equity"] == 1

    asyncio.run(written(tmp_path / "a.db", do))


def test_a_signal_without_its_bar_is_a_broken_invariant(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> None:
        lonely = msgspec.structs.replace(a_step(0), bar=None)
        with pytest.raises(BrokenInvariant, match="without its bar"):
            await steps.append(lonely)
        await steps.flush()
        assert counts(database.path) == dict.fromkeys(TABLES, 0)

    asyncio.run(written(tmp_path / "a.db", do))


def test_a_bar_known_from_history_is_decided_on_and_stored_once(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> dict[str, int]:
        await steps.insert_history([a_bar(0, source="history"), a_bar(1, source="history")])
        await steps.append(a_step(1))
        await steps.append(a_step(2))
        return counts(database.path)

    found = asyncio.run(written(tmp_path / "a.db", do))
    assert (found["bars"], found["signals"], found["events"]) == (3, 2, 0)


def test_the_first_bar_stands_and_a_differing_one_is_an_event(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> tuple[Any, Any]:
        await steps.append(a_step(0))
        again = [a_bar(close="100.00"), a_bar(close="101", open="101", high="102")]
        inserted = await steps.insert_history(again)
        assert (inserted.added, inserted.known, inserted.differing) == (0, 2, 1)
        return (
            await database.fetch("SELECT close FROM bars"),
            await database.fetch("SELECT session_id, time_ms, kind, symbol, detail FROM events"),
        )

    closes, events = asyncio.run(written(tmp_path / "a.db", do))
    assert closes == [("100",)]
    assert [event[:4] for event in events] == [(1, START_MS, "bar_differs", "BTCUSDT")]
    assert "kept 100 100 100 100 volume 100000," in events[0][4]
    assert "refused 101 102 101 101 volume 10" in events[0][4]


def test_an_order_is_updated_in_place_and_stays_with_its_session(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def place(database: Database, steps: StepWriter) -> None:
        await steps.append(a_step(0, orders=(an_order(id=1),)))

    async def fill(database: Database, steps: StepWriter) -> list[Any]:
        await steps.append(
            Step(time_ms=START_MS + 5, orders=(an_order(id=1, status="filled", updated_ms=START_MS + 5),))
        )
        return await database.fetch("SELECT session_id, status, created_ms, updated_ms FROM orders")

    asyncio.run(written(path, place))
    assert asyncio.run(written(path, fill)) == [(1, "filled", START_MS, START_MS + 5)]


def test_a_signal_row_says_what_was_known_and_when(tmp_path: Path) -> None:
    signal = a_signal(
        "long",
        reason="no gate was passed",
        confidence=0.7,
        expected_return=0.004,
        return_std=0.011,
        positive_ratio=0.62,
        horizon_bars=24,
        stop_distance=2.5,
        detail={"gate": "cost"},
    )

    async def do(database: Database, steps: StepWriter) -> list[Any]:
        recollection = a_recollection(a_neighbor(), a_neighbor(symbol="ETHUSDT", weight=0.5))
        await steps.append(a_step(0, signal=signal, recollection=recollection, bar=a_bar(late=True)))
        return [
            (await database.fetch("SELECT * FROM signals"))[0],
            await database.fetch("SELECT rank, symbol, weight FROM neighbors"),
        ]

    row, neighbors = asyncio.run(written(tmp_path / "a.db", do))
    figures = (0.7, 0.004, 0.011, 0.62)
    close_ms = a_bar().close_ms
    assert row[:15] == (
        *(1, 1, "BTCUSDT", "15", START_MS, "long", *figures),
        *("up calm", 24, "no gate was passed", 1, close_ms),
    )
    detail = msgspec.json.decode(row[15])
    assert detail["gate"] == "cost"
    assert detail["stop_distance"] == 2.5
    assert detail["recollection"]["forecast"]["base_ratio"] == 0.51
    assert neighbors == [(1, "BTCUSDT", 1.0), (2, "ETHUSDT", 0.5)]


def test_a_plain_hold_has_an_empty_detail(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> Any:
        await steps.append(a_step(0))
        return await database.value("SELECT detail_json FROM signals")

    assert asyncio.run(written(tmp_path / "a.db", do)) == "{}"


def test_a_position_row_shows_its_entry_price_and_a_flat_one_stays_with_zero(tmp_path: Path) -> None:
    async def do(database: Database, steps: StepWriter) -> list[Any]:
        rows = []
        for position in (a_position("-0.5", "-50.25"), a_position("0", "0")):
            await steps.append(Step(time_ms=START_MS, positions=(position,), equity=(an_equity(),)))
            rows += await database.fetch("SELECT symbol, quantity, entry_price, cost FROM positions")
        return rows

    assert asyncio.run(written(tmp_path / "a.db", do)) == [
        ("BTCUSDT", "-0.5", "100.5", "-50.25"),
        ("BTCUSDT", "0", "0", "0"),
    ]


def test_sessions_ascend_and_end_with_their_reason(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        async with Database.open(tmp_path / "a.db", DEMO) as database:
            first = await begin_session(database, "demo", '{"run":{}}', 5, checkpoint_sha256="ab")
            await end_session(database, first, 9, "max bars reached")
            await begin_session(database, "demo", "{}", 10)
            return [row[:8] for row in await database.fetch("SELECT * FROM sessions")]

    assert asyncio.run(main()) == [
        (1, 5, 9, "demo", '{"run":{}}', "ab", None, "max bars reached"),
        (2, 10, None, "demo", "{}", None, None, None),
    ]


def test_instruments_come_back_as_last_saved(tmp_path: Path) -> None:
    old = an_instrument("BTCUSDT", tick_size="0.50")
    new = an_instrument("BTCUSDT", tick_size="0.10", max_market_quantity="119.000", known_ms=7)

    async def main() -> dict[str, Instrument]:
        async with Database.open(tmp_path / "a.db", DEMO) as database:
            await save_instruments(database, [old])
            await save_instruments(database, [new, an_instrument("ETHUSDT", category="spot")])
            return await load_instruments(database)

    found = asyncio.run(main())
    assert found == {"BTCUSDT": new, "ETHUSDT": an_instrument("ETHUSDT", category="spot")}
    assert str(found["BTCUSDT"].tick_size) == "0.10"
