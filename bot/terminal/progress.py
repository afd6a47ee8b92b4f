"""Progress on standard error: bars on a terminal, a line every few seconds elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from bot.standard_streams import on_terminal

_LINE_SECONDS = 5.0
"""How often a line is written where no terminal can show a bar; what takes less says nothing."""


class Progress:
    """``with Progress() as progress: progress("history BTCUSDT", 1000, 10000)``."""

    def __init__(self) -> None:
        self._on_terminal = on_terminal(sys.stderr)
        self._bars = RichProgress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=not self._on_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._written = time.monotonic()

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """``what`` is done so far; ``total`` is how much there is."""
        now = time.monotonic()
        seconds = now - self._began.setdefault(what, now)
        rate = done / seconds if seconds > 0 else 0.0
        if self._on_terminal:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total, rate="")
            self._bars.update(self._tasks[what], completed=done, total=total, rate=_rate_text(rate))
        elif now - self._written >= _LINE_SECONDS:
            self._written = now
            left = f", {(total - done) / rate:,.0f} s left" if rate and done < total else ""
            print(f"{what}: {done:,} of {total:,}{_rate_text(rate, ', ')}{left}", file=sys.stderr, flush=True)


def _rate_text(rate: float, before: str = "") -> str:
    return f"{before}{rate:,.0f} a second" if rate >= 1 else ""
