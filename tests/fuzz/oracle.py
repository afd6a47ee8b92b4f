"""What any input may lead to: a known exit code and at most one line about it, in time and in memory."""

import contextlib
import io
import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

import structlog

from bot.cli import main
from strategies import STRATEGIES

CODES = {0, 1, 2, 130}
LONGEST_SECONDS = 20.0
MOST_BYTES = 3 << 30
"""Of address space beyond what the process has at the start."""
LONGEST_LINE = 2_000


class TooLong(BaseException):
    """Nothing that the bot catches."""


@dataclass
class Findings:
    """What went wrong, one example a place, and how many inputs were tried."""

    tried: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)

    def add(self, place: str, example: str) -> None:
        """Note one; further ones at its place are counted."""
        self.times[place] += 1
        self.wrong.setdefault(place, example)

    def __str__(self) -> str:
        lines = [f"{self.tried} inputs, exit codes {dict(self.codes)}, {len(self.wrong)} places of failure"]
        for place, times in self.times.most_common():
            lines.append(f"{times} times {place}\n    {self.wrong[place]}")
        return "\n".join(lines)


def rounds(seed: int, seconds: float) -> Iterator[Random]:
    """A generator of random choices for each input, until the time is over; the n-th is the same for one seed."""
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        yield Random(f"{seed} {number}")
        number += 1


@contextlib.contextmanager
def bounded(seconds: float = LONGEST_SECONDS) -> Iterator[None]:
    """TooLong after so many seconds, MemoryError beyond so many bytes."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MOST_BYTES, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def judge(
    findings: Findings, arguments: Sequence[str], what: str, *, seconds: float = LONGEST_SECONDS
) -> int | None:
    """Run a command in this process; its exit code, None where it went wrong, which is added to ``findings``."""
    out, err = io.StringIO(), io.StringIO()
    output = os.dup(1)
    findings.tried += 1
    example = f"{what}: {' '.join(map(repr, arguments))[:300]}"
    try:
        with bounded(seconds), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments, STRATEGIES)
    except SystemExit as ended:
        # argparse's own way, with the usage above its line.
        code = ended.code if isinstance(ended.code, int) else 1
        findings.codes[code] += 1
        return code
    except (Exception, TooLong) as error:
        findings.add(place_of(error), f"{example}\n    {type(error).__name__}: {str(error)[:300]}")
        return None
    finally:
        structlog.reset_defaults()
        # A command that could not write its result gives up this process's own output.
        os.dup2(output, 1)
        os.close(output)
    findings.codes[code] += 1
    told = err.getvalue()
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    if code not in CODES:
        findings.add(f"exit code {code}", example)
    elif "Traceback" in told:
        findings.add("a traceback is printed", f"{example}\n    {told[-300:]}")
    elif "cannot write the result" in told:
        findings.add("what failed is taken for the output", f"{example}\n    {told[-300:]}")
    elif code == 2 and (len(lines) != 1 or len(lines[0]) > LONGEST_LINE):
        findings.add("no one line says why", f"{example}\n    {told[:300]!r}")
    else:
        return code
    return None


def place_of(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/bot/" in frame.filename]
    if not frames:
        return f"{type(error).__name__} outside the bot"
    last = frames[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} {last.name}"


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
