"""Whoever is at the other end of the standard streams cannot stop, hang or blind the bot."""

import os
import select
import sqlite3
import subprocess
import sys
import time

import pytest

from bot.standard_streams import QueuedWriter
from tests.bot_process import QUICK, ROOT, environment, run

COMMANDS = (
    ["status", "--demo"],
    ["trades", "--demo"],
    ["report", "--demo"],
    ["explain", "--demo"],
    ["doctor", "--demo"],
    ["export", "fills", "--demo"],
    ["runs"],
    ["show-config"],
    ["--help"],
)
SINKS = {
    "a closed standard output": ">&-",
    "closed standard streams": "<&- >&- 2>&-",
    "a closed standard error": "2>&-",
    "a reader who leaves": "| true",
    "a full disk under the log": "2>/dev/full",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a demo was run."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "config.toml").write_text(QUICK)
    assert run(folder, "--demo", "--max-bars", "20").code == 0
    return folder


def in_shell(folder, command, sink, **env):
    words = " ".join([sys.executable, str(ROOT / "run_bot.py"), *command])
    return subprocess.run(
        ["bash", "-c", f"{words} {sink}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("sink", SINKS.values(), ids=SINKS)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_ends_quietly_whatever_its_streams_are(folder, command, sink):
    ended = in_shell(folder, command, sink)
    assert ended.returncode in (0, 141), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr


@pytest.mark.parametrize("command", COMMANDS[:-1], ids=" ".join)
def test_a_result_that_cannot_be_written_is_one_line(folder, command):
    ended = in_shell(folder, command, ">/dev/full")
    assert "No space left on device" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.returncode == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_is_readable_in_every_encoding(folder, command, encoding):
    env = {"PYTHONIOENCODING": encoding, "COLUMNS": "40", "TERM": "dumb", "NO_COLOR": "1", "LANG": "C"}
    words = [sys.executable, str(ROOT / "run_bot.py"), *command]
    ended = subprocess.run(words, cwd=folder, env=environment(**env), capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    shown = ended.stdout.decode(encoding)
    assert "\x1b" not in shown
    assert "\\u" not in shown
    assert "\\x" not in shown


@pytest.mark.parametrize("sink", [*SINKS.values(), ">/dev/full 2>/dev/full"])
def test_a_live_session_decides_its_bars_whoever_listens(tmp_path, sink):
    (tmp_path / "config.toml").write_text(QUICK)
    in_shell(tmp_path, ["--demo", "--max-bars", "5"], sink)
    with sqlite3.connect(tmp_path / "demo.db") as database:
        assert database.execute("SELECT count(*) FROM signals").fetchone() == (10,)
        assert database.execute("SELECT exit_reason FROM sessions").fetchone() == ("5 bars",)


def test_a_live_session_does_not_wait_for_a_reader_who_reads_nothing(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK)
    command = [sys.executable, str(ROOT / "run_bot.py"), "--demo", "--max-bars", "400"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE) as process:
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        # More than a pipe holds was said; what is in it is what came first.
        assert len(process.stderr.read()) > 50_000
    with sqlite3.connect(tmp_path / "demo.db") as database:
        assert database.execute("SELECT count(*) FROM signals").fetchone() == (800,)


def read_until(descriptor, end, seconds=20.0):
    text, until = b"", time.monotonic() + seconds
    while not text.endswith(end) and time.monotonic() < until:
        if select.select([descriptor], [], [], 0.1)[0]:
            text += os.read(descriptor, 1 << 20)
    return text.splitlines()


def test_what_nobody_reads_is_dropped_by_the_line_and_told_once_somebody_does():
    reader, writer = os.pipe()
    log = QueuedWriter(writer, most_waiting=100_000)
    for index in range(20_000):
        log.write(b"%09d\n" % index)
    assert log.dropped > 0
    *kept, told = read_until(reader, b"nobody read them\n")
    log.write(b"after\n")
    (after,) = read_until(reader, b"after\n")
    assert kept == sorted(set(kept))
    assert len(kept) + log.dropped == 20_000
    assert told == b"%d lines were dropped here: nobody read them" % log.dropped
    assert after == b"after"
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_a_reader_who_went_away_is_no_failure():
    reader, writer = os.pipe()
    os.close(reader)
    log = QueuedWriter(writer)
    log.write(b"nobody\nthere\n")
    log.drain(5.0)
    assert log.dropped == 2
    os.close(writer)


def test_an_exception_that_nobody_took_is_shown_whole(tmp_path):
    script = (
        "from bot import __main__, cli\n"
        "def broken(*_): raise RuntimeError('the cause')\n"
        "cli.main = broken\n"
        "__main__.main()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert shown.returncode == 1
    assert shown.stderr.startswith("Traceback")
    assert shown.stderr.endswith("RuntimeError: the cause\n")
