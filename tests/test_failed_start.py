"""A live start that never came to a session leaves no database behind, and takes none that was there."""

import signal
import time
from pathlib import Path

import pytest

from tests.bot_process import run, start

NOBODY = "http://127.0.0.1:9"


def interrupted_before_any_session(folder: Path, mode: str) -> int:
    """Start against an exchange that does not answer, stop by hand once it is waited for; the exit code."""
    log = folder / "log.txt"
    with start(folder, f"--{mode}", log=log, BOT__EXCHANGE__REST_URL=NOBODY) as process:
        until = time.monotonic() + 30
        while "waiting_for_exchange" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        assert "waiting_for_exchange" in log.read_text()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    return process.returncode


@pytest.mark.parametrize("mode", ["mainnet", "testnet"])
def test_a_start_that_came_to_no_session_leaves_no_database(tmp_path, mode):
    interrupted_before_any_session(tmp_path, mode)
    assert not list(tmp_path.glob(f"var/{mode}.db*"))


def test_a_second_start_that_fails_takes_nothing_of_the_account_that_is_there(tmp_path):
    assert run(tmp_path, "--demo", "--max-bars", "2", BOT__MEMORY__WARMUP_BARS="300").code == 0
    kept = tmp_path / "var" / "demo.db"
    before = run(tmp_path, "status", "--db", str(kept)).out
    assert run(tmp_path, "--demo", BOT__BROKER__STARTING_CASH="5000").code == 2
    assert run(tmp_path, "status", "--db", str(kept)).out == before
