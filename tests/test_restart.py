import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.market import Bar
from bot.model.memory.moments import MemoryConfig
from bot.model.similarity import SimilarityModel
from bot.sessions import warm_up
from bot.store.account.steps import StepWriter
from bot.store.database import Database, Identity
from tests.books import audit, rows
from tests.core import merged
from tests.lives import MARKET, SYMBOLS, after_a_bar, feed, session, settings

TABLES = {
    "signals": "id", "neighbors": "signal_id, rank", "orders": "id", "fills": "id", "equity": "id",
    "funding": "symbol, time_ms", "positions": "symbol", "bars": "symbol, start_ms",
}  # fmt: skip


def table(path: Path, name: str) -> list[dict]:
    found = rows(path, f"SELECT * FROM {name} ORDER BY {TABLES[name]}")
    return [{key: value for key, value in row.items() if key != "session_id"} for row in found]


@pytest.mark.parametrize("strategy", ["eager", "historical_similarity", "moving_average_cross"])
@pytest.mark.parametrize("memory_size", [60, 100_000])
def test_a_session_cut_in_two_writes_the_same_rows_as_one_that_was_not(tmp_path, strategy, memory_size):
    config = settings(strategy, memory_size)
    events = feed(3_000, 120)
    asyncio.run(session(tmp_path / "whole.db", config, events))
    if strategy == "eager":
        assert len(table(tmp_path / "whole.db", "fills")) > 50
        assert len(table(tmp_path / "whole.db", "funding")) > 2
    for bars in (40, 41, 42):
        for cut in (after_a_bar(events, bars), after_a_bar(events, bars) + 2):
            path = tmp_path / f"{cut}.db"
            asyncio.run(session(path, config, events[:cut]))
            asyncio.run(session(path, config, events[cut:]))
            for name in TABLES:
                assert table(path, name) == table(tmp_path / "whole.db", name), (name, cut)
            audit(path)


def test_the_cuts_meet_waiting_orders_and_open_positions(tmp_path):
    """What the test above is about does happen in it."""
    events, config = feed(3_000, 120), settings("eager")
    waiting = held = 0
    for bars in (40, 41, 42):
        path = tmp_path / f"{bars}.db"
        asyncio.run(session(path, config, events[: after_a_bar(events, bars)]))
        waiting += len(rows(path, "SELECT 1 FROM orders WHERE status = 'open'"))
        held += len(rows(path, "SELECT 1 FROM positions WHERE quantity != '0'"))
    assert waiting > 0
    assert held > 0


def test_a_strategy_that_looks_a_thousand_bars_back_still_does_after_a_restart(tmp_path):
    config = settings("moving_average_cross", 60)
    config = replace(config, strategy=replace(config.strategy, options={"fast": 10, "slow": 900}))
    config = replace(config, memory=replace(config.memory, warmup_bars=1_000))
    events = feed(3_000, 120)
    asyncio.run(session(tmp_path / "whole.db", config, events))
    # Less warm-up than before: what is stored counts, not what would be fetched.
    shorter = replace(config, memory=replace(config.memory, warmup_bars=100))
    cut = after_a_bar(events, 60)
    asyncio.run(session(tmp_path / "cut.db", config, events[:cut]))
    asyncio.run(session(tmp_path / "cut.db", shorter, events[cut:]))
    assert table(tmp_path / "cut.db", "signals") == table(tmp_path / "whole.db", "signals")
    assert {row["action"] for row in table(tmp_path / "whole.db", "signals")} <= {"long", "short"}


def test_missed_bars_fill_what_was_resting_at_the_next_open_and_open_nothing(tmp_path):
    path, config, events = tmp_path / "demo.db", settings("eager"), feed(3_000, 120)
    cut = after_a_bar(events, 41)
    asyncio.run(session(path, config, events[:cut]))
    resting = {row["id"]: row for row in table(path, "orders") if row["status"] == "open"}
    assert resting
    missed = [
        replace(event, late=True, source="backfill") for event in events[cut:] if isinstance(event, Bar)
    ][:10]
    asyncio.run(session(path, config, missed))
    found = audit(path)
    assert found.late == 10
    assert found.late_fills == len(resting)
    late = [row for row in table(path, "fills") if row["late"]]
    opens = {(bar.symbol, bar.start_ms): format(bar.open, "f") for bar in missed}
    assert [(row["order_id"], row["rule"], row["reference_price"]) for row in late] == [
        (id, "next_open", opens[order["symbol"], order["created_ms"]]) for id, order in resting.items()
    ]
    assert not rows(path, "SELECT 1 FROM orders WHERE status = 'open'")
    assert {row["action"] for row in table(path, "signals")[-10:]} == {"hold"}
    assert max(row["id"] for row in table(path, "orders")) == max(resting)


def test_bars_that_an_import_stored_after_the_last_decision_are_still_to_be_decided_on(tmp_path):
    config, events = settings("eager"), feed(3_000, 60)
    cut = after_a_bar(events, 30) + 2
    asyncio.run(session(tmp_path / "whole.db", config, events))
    path = tmp_path / "demo.db"
    asyncio.run(session(path, config, events[:cut]))

    async def store_the_rest() -> None:
        async with Database.open(path) as database:
            bars = [event for event in events[cut:] if isinstance(event, Bar)]
            await StepWriter(database, 1).insert_history(bars)

    asyncio.run(store_the_rest())
    asyncio.run(session(path, config, events[cut:]))
    for name in ("signals", "neighbors", "fills", "bars"):
        assert table(path, name) == table(tmp_path / "whole.db", name)


@pytest.mark.parametrize(("calibration_bars", "needed"), [(0, 3_507), (1_000, 3_507 + 1_009)])
def test_a_restart_observes_what_the_memory_came_from_even_where_one_symbol_has_fewer_bars(
    tmp_path, calibration_bars, needed
):
    """A memory that is full of two symbols' moments has more of the one that is listed longer.

    Votes that still count were cast by the memory of their time: then it held the longer one's alone.
    """

    async def main() -> list[Bar]:
        identity = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000))
        async with Database.open(tmp_path / "demo.db", identity) as database:
            steps = StepWriter(database, 1)
            await steps.insert_history(MARKET.bars("BTCUSDT", 0, 6_000))
            await steps.insert_history(MARKET.bars("ETHUSDT", 5_500, 500))
            wanted = warm_up.Wanted(
                symbols=SYMBOLS,
                interval="15",
                bars=100,
                memory_size=3_000,
                horizon_bars=7,
                calibration_bars=calibration_bars,
            )
            blocks: list[tuple[list[Bar], int]] = []
            await warm_up.observe(
                lambda bars, first_query_ms: blocks.append((list(bars), first_query_ms)),
                database,
                wanted,
                lambda *_: None,
            )
        # Nothing is asked before the bars that follow these.
        assert {asked for _, asked in blocks} == {MARKET.start_ms(5_999)}
        assert len(blocks) > 5
        return [bar for bars, _ in blocks for bar in bars]

    seen = asyncio.run(main())
    # Moments of one alone: the other's have no state yet.
    assert sum(bar.symbol == "BTCUSDT" for bar in seen) == needed
    assert sum(bar.symbol == "ETHUSDT" for bar in seen) == 500
    assert seen == merged(seen)


@pytest.mark.parametrize("outage", [(1_500, 1_900), (2_350, 2_700)])
def test_after_an_outage_of_one_symbol_a_restart_recalls_and_believes_the_same_bit_for_bit(tmp_path, outage):
    """The memory that cast a vote was another where it was not filled from as far back."""
    bars = merged(
        MARKET.bars("BTCUSDT", 0, 3_100),
        MARKET.bars("ETHUSDT", 0, outage[0]),
        MARKET.bars("ETHUSDT", outage[1], 3_100 - outage[1]),
    )
    cut = next(i for i, bar in enumerate(bars) if bar.start_ms == MARKET.start_ms(3_000))
    memory = MemoryConfig(size=600, neighbors=8, calibration_bars=640)

    def a_model() -> SimilarityModel:
        return SimilarityModel(memory, interval="15", horizon_bars=7)

    async def restarted() -> SimilarityModel:
        identity, model = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000)), a_model()
        async with Database.open(tmp_path / "demo.db", identity) as database:
            await StepWriter(database, 1).insert_history(bars[:cut])
            wanted = warm_up.Wanted(
                symbols=SYMBOLS,
                interval="15",
                bars=100,
                memory_size=memory.size,
                horizon_bars=7,
                calibration_bars=memory.calibration_bars,
            )
            observed = await warm_up.observe(model.observe_all, database, wanted, lambda *_: None)
            assert observed < cut
        return model

    running, again = a_model(), asyncio.run(restarted())
    running.observe_all(bars[:cut])
    calibrations = set()
    for bar in bars[cut:]:
        answer = running.observe(bar)
        assert again.observe(bar) == answer
        if answer.forecast is not None:
            calibrations.add(answer.forecast.calibration)
    assert len(calibrations) > 1
