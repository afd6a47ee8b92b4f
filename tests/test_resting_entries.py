"""Entries that rest live, are replayed, survive a kill and are met by a backtest: the same in all of them."""

import asyncio
import re
import sqlite3

from msgspec.structs import replace

from bot.commands.parity_session import compare
from bot.market import Bar
from bot.store.recording.reader import Recording
from tests.books import audit, rows
from tests.bot_process import QUICK, run, start, wait_for
from tests.eager import ALLOWED
from tests.lives import after_a_bar, feed, session, settings
from tests.test_restart import TABLES, table

BIDS = QUICK.replace("tests.eager:Eager", "tests.bids:Bids").replace("60000", "250")
ENTRIES = "SELECT * FROM orders WHERE parent_id IS NULL AND type = 'limit'"


def test_a_session_cut_while_entries_rest_goes_on_as_one_that_was_not(tmp_path):
    config, events = settings("bids"), feed(3_000, 120)
    asyncio.run(session(tmp_path / "whole.db", config, events))
    entries = rows(tmp_path / "whole.db", ENTRIES)
    told = " ".join(order["reason"] for order in entries)
    for words in (
        "then expired: valid for 2 bars",
        "then expired: valid for 3 bars",
        "shortened: to 0.5",
    ):
        assert words in told
    assert {order["time_in_force"] for order in entries if order["status"] == "filled"} == {
        "gtc",
        "ioc",
        "post_only",
    }
    assert rows(tmp_path / "whole.db", "SELECT 1 FROM signals WHERE no_order LIKE 'already_ordered: order %'")
    resting = 0
    for bars in (40, 41, 42, 43):
        for cut in (after_a_bar(events, bars), after_a_bar(events, bars) + 2):
            path = tmp_path / f"{cut}.db"
            asyncio.run(session(path, config, events[:cut]))
            resting += len(rows(path, f"{ENTRIES} AND status = 'open' AND valid_until_ms IS NOT NULL"))
            asyncio.run(session(path, config, events[cut:]))
            for name in TABLES:
                assert table(path, name) == table(tmp_path / "whole.db", name), (name, cut)
            audit(path)
    assert resting > 2


def test_an_entry_whose_time_passes_while_the_bot_is_down_is_met_by_the_bars_until_then_and_no_later(
    tmp_path,
):
    config, events = settings("bids"), feed(3_000, 120)
    found = 0
    for bars in range(40, 60):
        path, cut = tmp_path / f"{bars}.db", after_a_bar(events, bars)
        asyncio.run(session(path, config, events[:cut]))
        resting = rows(path, f"{ENTRIES} AND status = 'open' AND valid_until_ms IS NOT NULL")
        if not resting:
            continue
        missed = [
            replace(event, late=True, source="backfill") for event in events[cut:] if isinstance(event, Bar)
        ]
        asyncio.run(session(path, config, missed[:10]))
        for order in resting:
            (after,) = rows(path, f"SELECT * FROM orders WHERE id = {order['id']}")
            assert after["status"] in ("filled", "cancelled")
            for fill in rows(path, f"SELECT * FROM fills WHERE order_id = {order['id']}"):
                assert fill["time_ms"] < order["valid_until_ms"]
            if after["status"] == "cancelled":
                assert re.search(r"then expired: valid for \d bars$", after["reason"])
                assert after["updated_ms"] == order["valid_until_ms"]
                found += 1
    assert found > 2


def test_a_demo_killed_with_resting_entries_goes_on_with_them_and_its_replays_agree(tmp_path):
    (tmp_path / "config.toml").write_text(BIDS)
    with start(tmp_path, "--demo", log=tmp_path / "log") as process:
        wait_for(tmp_path / "log", "bar_decided", times=60)
        process.kill()
    with sqlite3.connect(tmp_path / "demo.db") as plain:
        was_open = [
            id
            for (id,) in plain.execute(
                "SELECT id FROM orders WHERE status IN ('open', 'pending', 'partially_filled')"
            )
        ]
    ended = run(tmp_path, "--demo", "--max-bars", "40")
    assert ended.code == 0, ended.err
    books = audit(tmp_path / "demo.db")
    assert books.fills > 5
    entries = rows(tmp_path / "demo.db", ENTRIES)
    assert any("expired: valid for" in order["reason"] for order in entries)
    assert any(order["status"] == "filled" for order in entries)
    _, second = sorted((tmp_path / "var/recordings").glob("*.rec.zst"))
    opening = Recording.read(second, allowed=ALLOWED.values()).header.opening
    assert [order.id for order in opening.open_orders] == was_open
    for recording in sorted((tmp_path / "var/recordings").glob("*.rec.zst")):
        replayed = run(
            tmp_path, "replay", str(recording), "--db", f"{recording.stem}.db", "--verify", "demo.db"
        )
        assert replayed.code == 0, replayed.out + replayed.err
    expired = next(order for order in entries if "expired: " in order["reason"])
    explained = run(tmp_path, "explain", str(expired["signal_id"]), "--db", "demo.db")
    assert "expired unfilled: " in explained.out
    assert "limit_not_reached" in explained.out


def test_a_backtest_over_a_sessions_bars_fills_and_ends_the_same_entries(tmp_path):
    (tmp_path / "config.toml").write_text(BIDS)
    assert run(tmp_path, "--demo", "--max-bars", "60", BOT__BROKER__FILL_MODEL="bar").code == 0
    assert any("expired: " in order["reason"] for order in rows(tmp_path / "demo.db", ENTRIES))
    (recording,) = (tmp_path / "var" / "recordings").iterdir()
    found = compare(Recording.read(recording, allowed=ALLOWED.values()))
    assert found.findings == ()
    assert found.decisions >= 120
