"""Runs the whole program many times with its streams on what a stranger's terminal may be.

One process imports the bot and forks for each run, which starts with the streams that the case names and ends as
Python ends, so that a run costs little more than its command.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bot_process import ROOT, Ended, environment

SINKS = ("file", "gone", "full", "closed", "unread")
"""Where a stream may lead: to a file, a pipe whose reader went away, a full disk, nowhere, or a full pipe that
somebody holds and does not read."""


@dataclass(frozen=True)
class Case:
    """A command with its streams."""

    arguments: tuple[str, ...]
    out: str = "file"
    err: str = "file"
    stdin: str = "file"
    encoding: str = "utf-8"
    seconds: float = 30.0


def run_all(folder: Path, cases: list[Case], **env: str) -> list[Ended]:
    """What became of each case; code -9 where it did not end in its time."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.sinks"],
        input=json.dumps([asdict(case) for case in cases]),
        cwd=folder, env=environment(PYTHONPATH=str(ROOT), **env), text=True, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return [Ended(**ended) for ended in json.loads(process.stdout)]


def _opened(sink: str, path: Path) -> int | None:
    if sink == "closed":
        return None
    if sink == "file":
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    if sink == "full":
        return os.open("/dev/full", os.O_WRONLY)
    ours, theirs = os.pipe()
    if sink == "gone":
        os.close(ours)
    else:
        os.set_blocking(theirs, False)
        try:
            while True:
                os.write(theirs, b"\n" * 4096)
        except BlockingIOError:
            os.set_blocking(theirs, True)
        # Never read, never closed.
        os.dup2(ours, 100, inheritable=True)
    return theirs


def _become(case: Case) -> None:
    for number, sink in enumerate((case.stdin, case.out, case.err)):
        opened = _opened(sink, Path(f"stream{number}"))
        if opened is not None and opened != number:
            os.dup2(opened, number)
            os.close(opened)
    # Not before: what is opened next would take their place.
    for number, sink in enumerate((case.stdin, case.out, case.err)):
        if sink == "closed":
            os.close(number)
    # As Python finds them when it starts.
    streams = [
        None if sink == "closed" else open(number, mode, encoding=case.encoding, closefd=False)  # noqa: SIM115
        for number, (sink, mode) in enumerate(((case.stdin, "r"), (case.out, "w"), (case.err, "w")))
    ]
    sys.stdin, sys.stdout, sys.stderr = streams  # type: ignore[assignment]
    sys.argv = ["run_bot.py", *case.arguments]


def _serve() -> None:
    import importlib
    import pkgutil
    import signal
    import time

    import bot.commands
    from bot.__main__ import main

    for module in pkgutil.iter_modules(bot.commands.__path__):
        importlib.import_module(f"bot.commands.{module.name}")
    ended = []
    for case in [Case(**one) for one in json.loads(sys.stdin.read())]:
        if (child := os.fork()) == 0:
            _become(case)
            sys.exit(main())
        deadline, status = time.monotonic() + case.seconds, None
        while status is None:
            pid, code = os.waitpid(child, os.WNOHANG)
            if pid:
                status = os.waitstatus_to_exitcode(code)
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                deadline = float("inf")
            else:
                time.sleep(0.005)
        shown = [
            Path(f"stream{number}")
            .read_bytes()
            .decode("latin-1" if case.encoding == "cp1252" else case.encoding)
            if sink == "file"
            else ""
            for number, sink in ((1, case.out), (2, case.err))
        ]
        ended.append({"code": status, "out": shown[0], "err": shown[1]})
    print(json.dumps(ended))


if __name__ == "__main__":
    _serve()
