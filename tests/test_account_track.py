"""What a restart takes up of the account's track is what all rows of the database come to."""

import asyncio
import signal
from pathlib import Path

from bot.store.account.tables import ROUND_TRIPS
from bot.store.account.track import Fold, read_track
from bot.store.database import Database
from bot.store.rows import read
from tests.books import audit, rows
from tests.bot_process import QUICK, run, start, wait_for


async def _both(path: Path):
    async with Database.open(path, readonly=True) as database, database.transaction():
        fold = Fold(database)
        folded = [row async for row in fold.rows()]
        stored = await read(database, ROUND_TRIPS, "ORDER BY id")
        return folded, fold.state, await read_track(database), {trip.id: trip for trip in stored}


def test_the_stored_track_equals_the_fold_over_all_rows_after_a_kill_a_transfer_and_restarts(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK)
    log, path = tmp_path / "log", tmp_path / "demo.db"
    with start(tmp_path, "--demo", log=log) as process:
        wait_for(log, '"bar_decided"', 25)
        process.send_signal(signal.SIGKILL)
    run(tmp_path, "transfer", "--db", "demo.db", "90000")
    assert run(tmp_path, "--demo", "--max-bars", "8").code == 0
    run(tmp_path, "transfer", "--db", "demo.db", "--", "-4000")
    assert run(tmp_path, "--demo", "--max-bars", "8").code == 0
    audit(path)
    folded, state, stored, trips = asyncio.run(_both(path))
    assert trips
    assert trips == {trip.id: trip for row in folded for trip in row.trips}
    assert stored == state
    for row, kept in zip(folded, rows(path, "SELECT * FROM equity ORDER BY id"), strict=True):
        assert (row.id, str(row.unit_value)) == (kept["id"], kept["unit_value"])
