"""The bot as its users start it: a process of its own, in a folder of its own."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

QUICK = """
[run]
database = "{mode}.db"

[memory]
warmup_bars = 400
neighbors = 8

[strategy]
name = "tests.eager:Eager"
horizon_bars = 4

[broker]
latency_ms = 60000
"""
"""A configuration that starts fast, recalls early, trades all the time, and lets its orders wait."""


@dataclass(frozen=True)
class Ended:
    """A finished process."""

    code: int
    out: str
    err: str


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without any setting of the bot's but the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOT__")}
    return {**kept, **changes}


class Started(subprocess.Popen[str]):
    """A process that a ``with`` block which fails does not wait for."""

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, trace)


def start(folder: Path, *arguments: str, log: Path | None = None, **env: str) -> Started:
    """Start the bot; its standard error goes to ``log`` where that is named."""
    command = [sys.executable, str(ROOT / "run_bot.py"), *arguments]
    if log is None:
        return Started(
            command, cwd=folder, env=environment(**env), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    with log.open("w") as file:
        return Started(
            command, cwd=folder, env=environment(**env), text=True, stdout=subprocess.PIPE, stderr=file
        )


def run(folder: Path, *arguments: str, seconds: float = 40.0, **env: str) -> Ended:
    """Start the bot and wait for its end."""
    with start(folder, *arguments, **env) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Ended(process.returncode, out, err)


def on_terminal(folder: Path, columns: int, *arguments: str) -> list[str]:
    """The lines that a command shows on a terminal so wide, without their colours."""
    ours, theirs = pty.openpty()
    # Rows, columns, and a size in pixels that nobody asks for.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_bot.py"), *arguments], cwd=folder, env=kept, stdout=theirs
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # so Linux says that the other end is closed
        while part := os.read(ours, 65_536):
            shown += part
    os.close(ours)
    assert process.wait() == 0
    return re.sub(r"\x1b\[\d*m", "", shown.decode()).splitlines()


def wait_for(log: Path, text: str, times: int = 1, seconds: float = 30.0) -> None:
    """Wait until ``text`` stands in a growing log so often; AssertionError if it never does."""
    deadline = time.monotonic() + seconds
    while log.read_text().count(text) < times:
        assert time.monotonic() < deadline, f"{text} did not come {times} times:\n{log.read_text()[-2000:]}"
        time.sleep(0.005)
