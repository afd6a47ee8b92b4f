"""A live session ends when it is told to, whatever it is at, and says why."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bot.commands.stopping import Stop
from bot.exchange.socket import _Inbox
from tests.books import rows
from tests.bot_process import QUICK, ROOT, environment, run, start, wait_for

NOBODY = "http://127.0.0.1:9"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS = 2.0
STUBBORN = """
import asyncio
from bot.commands.stopping import Stop

async def main():
    with Stop().on_signals():
        print("up", flush=True)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

asyncio.run(main())
"""
SLOW_LOOKUP = "import socket, time\nsocket.getaddrinfo = lambda *_, **__: time.sleep(30)\n"


def ended_by(process, number: int) -> tuple[float, str]:
    """Send the signal; the seconds until the process has ended, and its output."""
    began = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    return time.monotonic() - began, out


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_ends_a_live_session_cleanly(tmp_path, number):
    (tmp_path / "config.toml").write_text(QUICK)
    log = tmp_path / "log"
    with start(tmp_path, "--demo", "--json", log=log) as process:
        wait_for(log, '"bar_decided"', 6)
        seconds, out = ended_by(process, number)
    assert (process.returncode, seconds < SECONDS) == (0, True)
    assert json.loads(out)["exit_reason"] == number.name
    (session,) = rows(tmp_path / "demo.db", "SELECT * FROM sessions")
    assert session["exit_reason"] == number.name
    assert session["ended_ms"] is not None


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_ends_the_waiting_for_an_exchange_that_is_down(tmp_path, number):
    log = tmp_path / "log"
    with start(tmp_path, "--testnet", log=log, BOT__EXCHANGE__REST_URL=NOBODY) as process:
        wait_for(log, "waiting_for_exchange")
        seconds, _ = ended_by(process, number)
    assert (process.returncode, seconds < SECONDS) == (0, True), log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_host_that_is_still_being_looked_up_is_not_waited_for(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SLOW_LOOKUP)
    log = tmp_path / "log"
    settings = {"PYTHONPATH": str(tmp_path), "BOT__EXCHANGE__REST_URL": "http://nobody.invalid"}
    with start(tmp_path, "--testnet", "--run-for", "2s", log=log, **settings) as process:
        process.communicate(timeout=15)
    assert process.returncode == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_ends_a_warm_up(tmp_path, number):
    (tmp_path / "config.toml").write_text(QUICK.replace("warmup_bars = 400", "warmup_bars = 40000"))
    log = tmp_path / "log"
    with start(tmp_path, "--demo", "--json", log=log) as process:
        deadline = time.monotonic() + 30
        while not has_session(tmp_path / "demo.db"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        seconds, out = ended_by(process, number)
    assert (process.returncode, seconds < SECONDS) == (0, True), log.read_text()
    assert '"warmed_up"' not in log.read_text()
    assert json.loads(out)["exit_reason"] == number.name


def has_session(database: Path) -> bool:
    return database.exists() and bool(
        rows(database, "SELECT 1 FROM sqlite_master WHERE name = 'sessions'")
        and rows(database, "SELECT 1 FROM sessions")
    )


def test_a_run_time_is_over_though_the_exchange_never_answered(tmp_path):
    began = time.monotonic()
    ended = run(tmp_path, "--testnet", "--run-for", "2s", BOT__EXCHANGE__REST_URL=NOBODY)
    assert ended.code == 0
    assert time.monotonic() - began < 10
    assert "run time over" in ended.err


def test_a_signal_is_heard_after_a_stall_in_which_frames_came_by_the_thousand():
    async def stalled() -> str:
        stop = Stop()
        inbox = _Inbox(asyncio.get_running_loop())

        def deliver() -> None:
            for _ in range(5_000):
                inbox.put("{}")

        with stop.on_signals():
            thread = threading.Thread(target=deliver)
            thread.start()
            thread.join()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(5)
        return stop.reason

    began = time.monotonic()
    assert asyncio.run(stalled()) == "SIGTERM"
    assert time.monotonic() - began < 1


def test_a_second_signal_ends_at_once_what_does_not_end_by_itself(tmp_path):
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    command, env = [sys.executable, str(script)], environment(PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 2
