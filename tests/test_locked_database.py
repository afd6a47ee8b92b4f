"""A running bot whose database another program locks."""

import sqlite3
import time

from tests.books import audit, rows
from tests.bot_process import QUICK, start, wait_for

LIMIT = '[run]\ndatabase = "{mode}.db"\nlock_seconds = '


def lock(database) -> sqlite3.Connection:
    """Take its write lock between two of the bot's commits."""
    other = sqlite3.connect(database, isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_bot_decides_on_while_its_database_is_locked_and_its_books_are_those_of_all_its_bars(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK)
    database, log = tmp_path / "demo.db", tmp_path / "log"
    with start(tmp_path, "--demo", "--max-bars", "150", log=log) as process:
        wait_for(log, '"bar_decided"', 20)
        other = lock(database)
        wait_for(log, "another program keeps it locked", seconds=10)
        (before,) = rows(database, "SELECT count(*) AS n FROM signals")
        time.sleep(4)
        (after,) = rows(database, "SELECT count(*) AS n FROM signals")
        other.close()
        assert process.wait(60) == 0, log.read_text()[-2000:]
    assert before == after
    found = audit(database)
    assert all(len(starts) >= 150 for starts in found.decided.values())
    # Bars went on being decided as they came: none was late.
    assert rows(database, "SELECT count(*) AS n FROM signals WHERE late") == [{"n": 0}]
    assert rows(database, "SELECT kind FROM events WHERE kind = 'database_locked'")


def test_a_lock_that_never_ends_is_one_line_and_the_next_start_goes_on(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK.replace('[run]\ndatabase = "{mode}.db"\n', LIMIT + "3\n"))
    database, log = tmp_path / "demo.db", tmp_path / "log"
    with start(tmp_path, "--demo", log=log) as process:
        wait_for(log, '"bar_decided"', 20)
        other = lock(database)
        assert process.wait(30) == 1
        other.close()
    lines = log.read_text().splitlines()
    assert "locked by another program" in lines[-1]
    assert "Traceback" not in log.read_text()
    audit(database)
    with start(tmp_path, "--demo", "--max-bars", "20", log=log) as process:
        assert process.wait(60) == 0, log.read_text()[-2000:]
    audit(database)
