"""A database that an older version of the bot left behind is resumed by this one."""

import asyncio
import gzip
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from bot.sessions.assembly import opening_of
from bot.store.account.funnel import load_decision_report
from bot.store.account.schema import SCHEMA_VERSION
from bot.store.account.state import load_account, load_instruments
from bot.store.account.status import load_status
from bot.store.account.trade_log import load_trades
from bot.store.database import Database, Identity
from bot.trading.risk import NOTHING_YET
from tests.books import audit, rows

OLD = {version: Path(__file__).parent / f"version{version}.db.gz" for version in range(1, SCHEMA_VERSION)}
"""Demos by schema version. From 2 on: a halt, a deposit and a resume while stopped, a second session, a halt."""

FILLS = {1: 16, 2: 9, 3: 9, 4: 10}
KEPT = ("signals", "bars", "orders", "fills", "funding", "transfers", "positions", "equity", "events")
DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000))


def unpacked(version: int, folder: Path) -> Path:
    """A database of that schema version."""
    found = folder / "demo.db"
    found.write_bytes(gzip.decompress(OLD[version].read_bytes()))
    with sqlite3.connect(found) as plain:
        assert plain.execute("PRAGMA user_version").fetchone() == (version,)
    return found


@pytest.fixture
def path(tmp_path) -> Path:
    """A demo's database of schema version 1: 30 bars a symbol, 16 fills, and an order that was resting."""
    return unpacked(1, tmp_path)


async def migrate(path: Path) -> None:
    async with Database.open(path, DEMO):
        pass


@pytest.mark.parametrize("version", OLD)
def test_its_rows_are_kept_and_its_books_still_balance(version, tmp_path):
    path = unpacked(version, tmp_path)
    kept = {table: rows(path, f"SELECT * FROM {table}") for table in KEPT}
    asyncio.run(migrate(path))
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    for table, before in kept.items():
        after = rows(path, f"SELECT * FROM {table}")
        assert [{name: row[name] for name in before[0]} for row in after] == before
    assert audit(path).fills == FILLS[version]


@pytest.mark.parametrize("version", OLD)
def test_its_account_is_taken_up_with_its_cash_positions_and_halt(version, tmp_path):
    path = unpacked(version, tmp_path)
    (last,) = rows(path, "SELECT cash FROM equity ORDER BY id DESC LIMIT 1")
    held = {row["symbol"]: row["quantity"] for row in rows(path, "SELECT * FROM positions")}

    async def main():
        async with Database.open(path, DEMO) as database:
            account = await load_account(database)
            return account, opening_of(account)

    account, opening = asyncio.run(main())
    assert opening.ledger.cash == Decimal(last["cash"])
    assert {p.symbol: str(p.quantity) for p in opening.ledger.positions} == held
    assert (account.risk.halt is not None) == (version >= 2)


@pytest.mark.parametrize("version", OLD)
def test_its_decisions_are_counted_and_what_was_not_kept_is_not_made_up(version, tmp_path):
    path = unpacked(version, tmp_path)
    (bars,) = rows(path, "SELECT count(*) AS n, sum(action <> 'hold') AS entries FROM signals")

    async def main():
        await migrate(path)
        async with Database.open(path, readonly=True) as database:
            return (await load_decision_report(database, None)).funnels.total

    total = asyncio.run(main())
    assert total.count("decisions") == bars["n"]
    assert total.count("signals") == (bars["entries"] or 0)
    outcomes = {kind: n for counts in total.outcomes.values() for kind, n in counts.items()}
    assert outcomes.get("filled", 0) > 0
    assert set(outcomes) <= {
        "filled",
        "unfilled",
        "open",
        "halted",
        "rejected",
        "partly_filled",
        "already_there",
        "not_stated",
    }


def test_what_was_filled_was_filled_whole_by_the_market_of_its_own_time(path):
    asyncio.run(migrate(path))
    for order in rows(path, "SELECT * FROM orders"):
        assert order["filled_quantity"] == (order["quantity"] if order["status"] == "filled" else "0")
        assert (order["time_in_force"], order["parent_id"]) == ("gtc", None)
    for fill in rows(path, "SELECT * FROM fills"):
        assert fill["reference_ms"] == fill["time_ms"]
        assert Decimal(fill["slippage"]) == abs(Decimal(fill["price"]) - Decimal(fill["reference_price"]))
        assert Decimal(fill["slippage"]) > 0
        assert fill["preset"] == ""


def test_the_account_resumes_with_the_order_that_was_resting(path):
    async def main():
        async with Database.open(path, DEMO) as database:
            account = await load_account(database)
            return account, opening_of(account), await load_instruments(database)

    account, opening, instruments = asyncio.run(main())
    (order,) = opening.open_orders
    assert (order.status, order.filled_quantity) == ("open", 0)
    assert opening.risk == NOTHING_YET
    assert len(account.fills) == 16
    assert {rules.tiers for rules in instruments.values()} == {()}


def test_it_is_read_like_any_other_once_it_was_migrated(path):
    async def main():
        await migrate(path)
        async with Database.open(path, readonly=True) as database:
            return await load_status(database), await load_trades(database)

    status, trades = asyncio.run(main())
    assert len(status.open_orders) == 1
    assert len(trades) == 16
