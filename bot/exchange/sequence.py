"""Which bars are next: every symbol's bars in order, once each, and symbols of one close together. Pure."""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from bot.market import INTERVAL_MS, Bar

Verdict = Literal["new", "duplicate", "revision"]

_REMEMBERED = 16
"""Released bars kept to tell a repeated confirmation from one that differs."""


class BarSequence:
    """One symbol's closed bars on their way into the core.

    ``last_start_ms`` is the newest bar already known to the core, None where there is none: the first
    bar offered then begins the sequence. Bars may be offered in any order and any number of times;
    :meth:`take` gives each start once, ascending, without a hole.
    """

    def __init__(self, symbol: str, interval: str, last_start_ms: int | None) -> None:
        self.symbol = symbol
        self._step = INTERVAL_MS[interval]
        self._last = last_start_ms
        self._newest_closed = last_start_ms
        self._waiting: dict[int, Bar] = {}
        self._released: dict[int, Bar] = {}
        self._never: dict[int, int] = {}

    @property
    def last_start_ms(self) -> int | None:
        """Start of the last bar released."""
        return self._last

    @property
    def newest_closed_ms(self) -> int | None:
        """Start of the newest bar known to have closed, released or not."""
        return self._newest_closed

    @property
    def all_released(self) -> bool:
        """Whether no bar that is known to have closed is still to come."""
        return self._last == self._newest_closed

    def running(self, start_ms: int) -> None:
        """The bar of ``start_ms`` is open, so its predecessor has closed."""
        closed = start_ms - self._step
        if self._newest_closed is None:
            # Nothing is known yet: what closed before the first look is history, not a gap.
            self._last = self._newest_closed = closed
        elif closed > self._newest_closed:
            self._newest_closed = closed

    def offer(self, bar: Bar) -> Verdict:
        """Take note of a closed bar. The first valid confirmation of a start stands."""
        known = self._waiting.get(bar.start_ms) or self._released.get(bar.start_ms)
        if known is not None:
            return "duplicate" if _same_figures(known, bar) else "revision"
        if self._last is not None and bar.start_ms <= self._last:
            return "duplicate"
        if self._last is None:
            self._last = bar.start_ms - self._step
        self._waiting[bar.start_ms] = bar
        if self._newest_closed is None or bar.start_ms > self._newest_closed:
            self._newest_closed = bar.start_ms
        return "new"

    def missing(self) -> tuple[int, int] | None:
        """The first hole: starts (first, last) of bars that have closed and are not here."""
        if self._last is None or self._newest_closed is None:
            return None
        first = self._after(self._last)
        while first in self._waiting:
            first = self._after(first)
        if first > self._newest_closed:
            return None
        later = [start for start in self._waiting if start > first]
        return first, (min(later) - self._step if later else self._newest_closed)

    def skip(self, first_ms: int, last_ms: int) -> None:
        """The exchange never published these bars: go on behind them."""
        self._never[first_ms] = last_ms

    def disbelieve(self, after_ms: int) -> None:
        """Nothing has closed after this start: what claimed so was wrong, and its bars are dropped."""
        self._waiting = {start: bar for start, bar in self._waiting.items() if start <= after_ms}
        if self._newest_closed is not None:
            self._newest_closed = min(self._newest_closed, after_ms)

    def _after(self, start_ms: int) -> int:
        """The start that follows, behind what was never published."""
        following = start_ms + self._step
        while (last := self._never.get(following)) is not None:
            following = last + self._step
        return following

    @property
    def head(self) -> Bar | None:
        """The next bar, if it is here."""
        return None if self._last is None else self._waiting.get(self._after(self._last))

    def take(self) -> Bar:
        """Release :attr:`head`, marked late where a newer bar of the symbol has closed."""
        bar = self.head
        assert bar is not None
        assert self._newest_closed is not None
        del self._waiting[bar.start_ms]
        self._last = bar.start_ms
        self._never = {first: last for first, last in self._never.items() if last > bar.start_ms}
        if bar.start_ms < self._newest_closed:
            bar = msgspec.structs.replace(bar, late=True)
        self._released[bar.start_ms] = bar
        if len(self._released) > _REMEMBERED:
            del self._released[next(iter(self._released))]
        return bar


def _same_figures(one: Bar, other: Bar) -> bool:
    return (one.open, one.high, one.low, one.close, one.volume, one.turnover) == (
        other.open, other.high, other.low, other.close, other.volume, other.turnover,
    )  # fmt: skip


class CloseOrder:
    """Releases the bars of many symbols by (close, symbol), waiting for each other within ``patience``.

    A symbol whose bar has not come after so many seconds without any news of it is left behind, so
    that one broken feed does not stop the others; it is waited for again once it has caught up.
    """

    def __init__(self, sequences: Iterable[BarSequence], patience_seconds: float) -> None:
        self._sequences = sorted(sequences, key=lambda sequence: sequence.symbol)
        self._patience = patience_seconds
        self._news: dict[str, float] = {}
        self._behind: set[str] = set()
        self._held: tuple[int, float] = (-1, 0.0)
        self._released_ms: int | None = None

    def add(self, sequence: BarSequence) -> None:
        """Wait for this symbol too, once it is in step with the others."""
        self._sequences = sorted((*self._sequences, sequence), key=lambda each: each.symbol)
        self._behind.add(sequence.symbol)

    def remove(self, symbol: str) -> None:
        """Wait for this symbol no longer."""
        self._sequences = [sequence for sequence in self._sequences if sequence.symbol != symbol]

    def heard(self, symbol: str, now: float) -> None:
        """There is news of a symbol's bars at ``now`` (local seconds)."""
        self._news[symbol] = now

    def release(self, now: float) -> Iterator[Bar]:
        """Every bar that may go now, in order."""
        while (sequence := self._next(now)) is not None:
            bar = sequence.take()
            self._released_ms = max(bar.start_ms, self._released_ms or bar.start_ms)
            if bar.start_ms == self._released_ms:
                self._behind.discard(bar.symbol)
            yield bar

    def wait_seconds(self, now: float) -> float | None:
        """How long until patience with a missing symbol ends; None where nobody is waited for."""
        first = self._first_ready()
        absent = [] if first is None or first.head is None else self._awaited(first.head.start_ms)
        return max((self._patience - self._silence(late, now) for late in absent), default=None)

    def _first_ready(self) -> BarSequence | None:
        ready = [sequence for sequence in self._sequences if sequence.head is not None]
        return min(ready, key=lambda sequence: sequence.head.start_ms, default=None)  # type: ignore[union-attr]

    def _awaited(self, start_ms: int) -> list[BarSequence]:
        """Symbols in step that have neither released nor ready a bar of this start."""
        return [
            sequence
            for sequence in self._sequences
            if sequence.symbol not in self._behind
            and sequence.head is None
            and (sequence.last_start_ms is None or sequence.last_start_ms < start_ms)
        ]

    def _silence(self, absent: BarSequence, now: float) -> float:
        """Seconds since the others began to wait, or since there was news of this symbol."""
        return now - max(self._held[1], self._news.get(absent.symbol, self._held[1]))

    def _next(self, now: float) -> BarSequence | None:
        first = self._first_ready()
        if first is None or first.head is None:
            return None
        if first.head.start_ms != self._held[0]:
            self._held = (first.head.start_ms, now)
        absent = self._awaited(first.head.start_ms)
        if any(self._silence(symbol, now) < self._patience for symbol in absent):
            return None
        self._behind.update(symbol.symbol for symbol in absent)
        return first
