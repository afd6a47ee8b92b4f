"""A recorded session, replayed, is the session; and a database that differs from it is told where."""

import json
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.cli import main
from bot.errors import ConfigError, InputError
from bot.market import INTERVAL_MS, Bar
from bot.store.recording.entries import Observed
from bot.store.recording.reader import Recording
from bot.strategy import Situation
from bot.testing import replay
from bot.trading.events import Signal
from tests.bot_process import QUICK, run, start, wait_for
from tests.eager import ALLOWED
from tests.recordings.renew import FOLDER, NAMES, told
from tests.store.recording.test_recording import recorded


@pytest.fixture(scope="module")
def sessions(tmp_path_factory) -> Path:
    """A folder with ``demo.db`` and the recordings of its sessions: killed, interrupted, killed, complete."""
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "config.toml").write_text(QUICK)
    log = folder / "log"
    for bars, stop in ((40, signal.SIGKILL), (25, signal.SIGINT), (31, signal.SIGKILL)):
        with start(folder, "--demo", log=log) as process:
            wait_for(log, '"bar_decided"', bars)
            process.send_signal(stop)
    assert run(folder, "--demo", "--max-bars", "15").code == 0
    return folder


def recordings(folder: Path) -> list[Path]:
    found = sorted(
        (folder / "var" / "recordings").iterdir(), key=lambda path: int(path.name.split(".")[0][17:])
    )
    assert len(found) == 4
    return found


def verify(recording: Path, database: Path, out: Path, capsys) -> tuple[int, dict]:
    """Exit code, and what ``--json`` says."""
    arguments = ["replay", str(recording), "--db", str(out), "--verify", str(database), "--json"]
    code = main(arguments, ALLOWED)
    told = capsys.readouterr()
    return code, json.loads(told.out) if told.out else {"error": told.err}


@pytest.fixture
def verified(sessions, tmp_path, capsys) -> Callable[[int, str], tuple[int, dict]]:
    """Verify the ``number``-th session against the database after some SQL has been done to it."""

    def after(number: int, sql: str) -> tuple[int, dict]:
        database = tmp_path / "changed.db"
        with sqlite3.connect(sessions / "demo.db") as source, sqlite3.connect(database) as copy:
            source.backup(copy)
            copy.executescript(sql)
        source.close()
        copy.close()
        return verify(recordings(sessions)[number - 1], database, tmp_path / "replay.db", capsys)

    return after


def test_every_session_of_a_killed_and_restarted_demo_verifies(sessions, tmp_path, capsys):
    database = sessions / "demo.db"
    with sqlite3.connect(database) as connection:
        stored = connection.execute("SELECT id, recording, exit_reason FROM sessions ORDER BY id").fetchall()
    connection.close()
    assert [reason for _, _, reason in stored] == [None, "SIGINT", None, "15 bars"]
    for (id, named, _), recording in zip(stored, recordings(sessions), strict=True):
        assert sessions / named == recording
        code, result = verify(recording, database, tmp_path / "replay.db", capsys)
        assert (code, result["verify"]["difference"]) == (0, None)
        assert result["session_id"] == id
        rows = result["verify"]["rows"]
        assert min(rows[table] for table in ("signals", "neighbors", "orders", "fills", "equity")) > 5
        assert rows["positions"] == (2 if id == 4 else 0)


def test_a_replay_needs_only_the_recording(sessions, tmp_path):
    shutil.copy(recordings(sessions)[2], tmp_path / "alone.rec.zst")
    ended = run(tmp_path, "replay", "alone.rec.zst", "--strategy", "tests.eager:Eager")
    assert (ended.code, ended.err) == (0, "")
    assert "Session 3 (replay) ended: end of recording" in ended.out
    with sqlite3.connect(tmp_path / "var" / "replay.db") as connection:
        count, cash, opening, booked = connection.execute(
            """SELECT (SELECT count(*) FROM signals), (SELECT cash FROM equity ORDER BY id DESC LIMIT 1),
            (SELECT value FROM meta WHERE key = 'starting_cash'),
            (SELECT total(realized_pnl) - total(fee) FROM fills) + (SELECT total(payment) FROM funding)"""
        ).fetchone()
    connection.close()
    assert count >= 31
    assert float(cash) == pytest.approx(float(opening) + booked, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "table", "column"),
    [
        (
            "UPDATE signals SET confidence = confidence + 1e-16 * 8 WHERE id = {signal}",
            "signals",
            "confidence",
        ),
        ("UPDATE signals SET reason = reason || ' ' WHERE id = {signal}", "signals", "reason"),
        ("UPDATE neighbors SET rank = rank + 100 WHERE signal_id = {signal}", "neighbors", None),
        ("UPDATE neighbors SET weight = -weight WHERE signal_id = {signal}", "neighbors", "weight"),
        ("UPDATE orders SET quantity = quantity || '0' WHERE id = {order}", "orders", "quantity"),
        ("UPDATE fills SET fee = fee || '0' WHERE order_id = {order}", "fills", "fee"),
        ("DELETE FROM fills WHERE order_id = {order}", "fills", None),
        ("UPDATE equity SET cash = cash || '0' WHERE session_id = 2", "equity", "cash"),
        ("UPDATE equity SET session_id = 1 WHERE id = {equity}", "equity", None),
        ("DELETE FROM signals WHERE id = {signal}", "signals", None),
    ],
)
def test_what_differs_is_named(sessions, verified, change, table, column):
    with sqlite3.connect(sessions / "demo.db") as connection:
        found = connection.execute(
            "SELECT s.id, o.id, s.bar_start_ms, (SELECT max(id) FROM equity WHERE session_id = 2) "
            "FROM signals s JOIN orders o ON o.signal_id = s.id WHERE s.session_id = 2 AND o.session_id = 2 "
            "AND o.status = 'filled' AND EXISTS (SELECT 1 FROM neighbors n WHERE n.signal_id = s.id) LIMIT 1"
        ).fetchone()
    connection.close()
    signal_id, order_id, bar_start_ms, equity_id = found
    code, result = verified(2, change.format(signal=signal_id, order=order_id, equity=equity_id))
    assert code == 1
    difference = result["verify"]["difference"]
    assert (difference["table"], difference["column"]) == (table, column)
    assert "rows were probably changed afterwards" in result["verify"]["cause"]
    if table in ("signals", "neighbors", "orders", "fills"):
        assert difference["bar_start_ms"] == bar_start_ms


def test_the_earliest_difference_comes_first(verified):
    sql = (
        "UPDATE equity SET cash = '1' WHERE session_id = 1 AND id % 5 = 4;"
        "UPDATE signals SET reason = '' WHERE session_id = 1 AND id > 20;"
    )
    code, result = verified(1, sql)
    assert code == 1
    assert result["verify"]["difference"]["table"] == "equity"
    assert result["verify"]["difference"]["key"] == {"id": 4}
    assert result["verify"]["difference"]["in_database"] == "1"


def test_positions_are_compared_for_the_last_session_alone(verified):
    sql = "UPDATE positions SET cost = cost || '0' WHERE symbol = 'ETHUSDT'"
    assert verified(2, sql)[0] == 0
    code, result = verified(4, sql)
    assert code == 1
    assert result["verify"]["difference"]["key"] == {"symbol": "ETHUSDT"}


def ahead(recording: Path, folder: Path) -> Path:
    """The same recording with two more bars: what a bot had recorded when it died before their commits."""
    whole = Recording.read(recording)
    entries = list(whole)
    last = next(entry for entry in reversed(entries) if isinstance(entry, Bar))
    more = [replace(last, start_ms=last.start_ms + n * INTERVAL_MS[last.interval]) for n in (1, 2)]
    return recorded(folder, [*entries, *more], header=whole.header)


def test_a_killed_sessions_recording_may_be_ahead_of_its_database(sessions, tmp_path, capsys):
    killed = ahead(recordings(sessions)[2], tmp_path)
    code, result = verify(killed, sessions / "demo.db", tmp_path / "replay.db", capsys)
    assert (code, result["verify"]["difference"]) == (0, None)


def test_a_session_that_ended_cleanly_has_all_that_was_recorded(sessions, tmp_path, capsys):
    interrupted = ahead(recordings(sessions)[1], tmp_path)
    code, result = verify(interrupted, sessions / "demo.db", tmp_path / "replay.db", capsys)
    assert code == 1
    # A bar more is a decision more; where an order rested, that may have changed first.
    assert result["verify"]["difference"]["table"] in ("signals", "orders")


def test_another_version_and_another_configuration_are_named_as_the_cause(sessions, tmp_path, capsys):
    path = recordings(sessions)[0]
    recording = Recording.read(path)
    fees = recording.header.config_json.replace('"taker_fee":"0.00055"', '"taker_fee":"0.00056"')
    for change, cause in (
        (
            {"made_with": {**recording.header.made_with, "numpy": "1.0"}, "config_json": fees},
            "with numpy 1.0, here",
        ),
        ({"config_json": fees}, "under another configuration"),
    ):
        changed = recorded(tmp_path, list(recording), header=replace(recording.header, **change))
        code, result = verify(changed, sessions / "demo.db", tmp_path / "replay.db", capsys)
        assert code == 1
        assert result["verify"]["difference"]["table"] == "fills"
        assert result["verify"]["difference"]["column"] == "fee"
        assert cause in result["verify"]["cause"]


def test_a_recording_of_another_database_is_a_users_mistake(sessions, tmp_path, capsys):
    code, result = verify(FOLDER / "clean.rec.zst", sessions / "demo.db", tmp_path / "replay.db", capsys)
    assert code == 2
    assert "has no demo linear session 1 that began at" in result["error"]
    assert not (tmp_path / "replay.db").exists()


@settings(max_examples=12, deadline=None)
@given(cut=st.integers(2000, (FOLDER / "killed.rec.zst").stat().st_size))
def test_cut_at_any_byte_a_session_replays_up_to_there(tmp_path_factory, cut):
    whole = replay(FOLDER / "killed.rec.zst")
    path = tmp_path_factory.mktemp("cut") / "cut.rec.zst"
    path.write_bytes((FOLDER / "killed.rec.zst").read_bytes()[:cut])
    part = replay(path)
    assert part.signals == whole.signals[: len(part.signals)]
    assert part.fills == whole.fills[: len(part.fills)]
    assert part.equity == whole.equity[: len(part.equity)]


def test_a_damaged_recording_writes_nothing(tmp_path, capsys):
    damaged = bytearray((FOLDER / "killed.rec.zst").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.rec.zst").write_bytes(damaged)
    code = main(
        ["replay", str(tmp_path / "damaged.rec.zst"), "--db", str(tmp_path / "new" / "r.db")], ALLOWED
    )
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert "is damaged at byte" in error
    assert not (tmp_path / "new").exists()


def test_a_replay_replaces_an_earlier_replay_and_nothing_else(sessions, tmp_path, capsys):
    out = tmp_path / "replay.db"
    for name in ("clean", "killed"):
        assert main(["replay", str(FOLDER / f"{name}.rec.zst"), "--db", str(out)], ALLOWED) == 0
    with sqlite3.connect(out) as connection:
        assert connection.execute("SELECT count(*) FROM signals").fetchone() == (60,)
    connection.close()
    for kept, what in (
        (sessions / "demo.db", "holds demo, no replay"),
        (tmp_path / "text", "is not a database"),
    ):
        if not kept.exists():
            kept.write_text("dear diary, " * 100)
        before = kept.read_bytes()
        capsys.readouterr()
        assert main(["replay", str(FOLDER / "clean.rec.zst"), "--db", str(kept)], ALLOWED) == 2
        assert what in capsys.readouterr().err
        assert kept.read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_kept_recordings_come_to_the_same_decisions_and_money(name):
    session = replay(FOLDER / f"{name}.rec.zst")
    assert told(session) == (FOLDER / f"{name}.txt").read_text().splitlines()


def test_history_is_observed_in_blocks_and_in_its_place():
    recording = Recording.read(FOLDER / "clean.rec.zst")
    blocks: list[int] = []
    seen: list[object] = []

    def observe(bars: list[Bar]) -> None:
        blocks.append(len(bars))
        seen.extend(Observed(bar) for bar in bars)

    for entry in recording.lived(observe):
        seen.append(entry)
    assert seen == list(recording)
    assert sum(blocks) == 600
    assert max(blocks) == 500


def test_a_restarted_session_goes_on_with_the_orders_and_the_account_of_the_killed_one():
    killed, restarted = replay(FOLDER / "killed.rec.zst"), replay(FOLDER / "restarted.rec.zst")
    opening = restarted.header.opening
    assert opening.next_signal_id == len(killed.signals) + 1
    assert opening.open_orders == tuple(order for order in killed.orders if order.status == "open")
    assert opening.ledger.cash == killed.equity[-1].cash
    assert {one.symbol: one for one in opening.ledger.positions} == killed.positions
    assert [order.status for order in restarted.orders if order.id == opening.open_orders[0].id] == ["filled"]


def test_a_strategy_of_ones_own_trades_a_recorded_market():
    class Contrarian:
        """Sells when the last bar rose, buys when it fell."""

        needs_memory = False

        def decide(self, situation: Situation) -> Signal:
            rose = situation.bar.close > situation.bar.open
            return Signal(action="short" if rose else "long", reason="against the last bar", confidence=0.5)

    session = replay(FOLDER / "clean.rec.zst", strategy=Contrarian())
    assert len(session.signals) == len(session.bars) == 200
    assert {signal.action for signal in session.signals} == {"long", "short"}
    assert len(session.fills) > 50
    for bar, decided in zip(session.bars, session.signals, strict=True):
        assert decided.action == ("short" if bar.close > bar.open else "long")


def test_overrides_stand_in_for_the_recorded_configuration():
    session = replay(FOLDER / "clean.rec.zst", config={"strategy.name": "strategies.buy_and_hold:BuyAndHoldStrategy",
                                                       "strategy.options": {}, "broker.taker_fee": "0"})  # fmt: skip
    assert [fill.side for fill in session.fills] == ["buy", "buy"]
    assert [fill.fee for fill in session.fills] == [0, 0]
    assert replay(FOLDER / "clean.rec.zst", config={}) == replay(FOLDER / "clean.rec.zst")


def test_wrong_overrides_are_named():
    clean = FOLDER / "clean.rec.zst"
    with pytest.raises(ConfigError, match="override: unknown key"):
        replay(clean, config={"broker.fee": 1})
    with pytest.raises(ConfigError, match="taker_fee must be between"):
        replay(clean, config={"broker.taker_fee": "-1"})
    with pytest.raises(ConfigError, match="a replay keeps the symbols"):
        replay(clean, config={"run.symbols": ["BTCUSDT"]})
    with pytest.raises(InputError, match="cannot read the recording"):
        replay("none.rec.zst")


def test_an_empty_folder_name_records_nothing(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK.replace("[run]", '[run]\nrecordings = ""'))
    assert run(tmp_path, "--demo", "--max-bars", "2").code == 0
    assert not (tmp_path / "var").exists()
    with sqlite3.connect(tmp_path / "demo.db") as connection:
        assert connection.execute("SELECT recording FROM sessions").fetchall() == [(None,)]
    connection.close()
