"""Which bars are next: every symbol's bars in order, once each, and symbols of one close together. Pure."""

from collections.abc import Callable
from typing import Literal

import msgspec

from bot.market import INTERVAL_MS, Bar

Verdict = Literal["new", "duplicate", "revision"]

MayGo = Callable[["BarSequence", float], bool]

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
    def next_start_ms(self) -> int | None:
        """Start of the bar that is released next, None where the sequence has not begun."""
        return None if self._last is None else self._after(self._last)

    @property
    def is_next_late(self) -> bool:
        """Whether the bar behind the next one is known to have closed."""
        following = self.next_start_ms
        return following is not None and self._newest_closed is not None and following < self._newest_closed

    def is_open(self, time_ms: int) -> bool:
        """Whether a time lies in the bar that is released next, and none behind that is known to have closed."""
        following = self.next_start_ms
        if following is None or self._last is None or self._newest_closed is None:
            return False
        return (
            self._last + self._step <= time_ms < following + self._step and following >= self._newest_closed
        )

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
    """Releases the bars of many symbols by (close, symbol), waiting for each other within ``patience`` seconds.

    Only a symbol whose next bar is of the same close is waited for. Where that bar has not come in time
    the symbol is left behind, and waited for again once it has caught up. ``may_go`` says of a sequence
    whether its next bar may be released at a local time, ``now``.
    """

    def __init__(self) -> None:
        self._sequences: list[BarSequence] = []
        self._behind: set[str] = set()
        self._held: dict[int, float] = {}
        """Since when the first bar of each start waits."""
        self._released_ms: int | None = None

    def add(self, sequence: BarSequence) -> None:
        """Release this symbol's bars too."""
        self._sequences = sorted((*self._sequences, sequence), key=lambda each: each.symbol)

    def remove(self, symbol: str) -> None:
        """Release and wait for this symbol no longer."""
        self._sequences = [sequence for sequence in self._sequences if sequence.symbol != symbol]
        self._behind.discard(symbol)

    def begin_again(self) -> None:
        """The local clock has jumped: what waits has waited for no certain time."""
        self._held.clear()

    def next(self, now: float, patience: float, may_go: MayGo) -> Bar | None:
        """The bar that may be released now, if any."""
        first = self._first(now, may_go)
        return None if first is None or self._waits_until(first, now, patience, may_go) > now else first.head

    def take(self, now: float, patience: float, may_go: MayGo) -> Bar | None:
        """Release the bar that :meth:`next` shows."""
        first = self._first(now, may_go)
        if first is None or first.head is None or self._waits_until(first, now, patience, may_go) > now:
            return None
        self._behind.update(each.symbol for each in self._awaited(first.head.start_ms, now, may_go))
        bar = first.take()
        self._released_ms = max(bar.start_ms, self._released_ms or bar.start_ms)
        if bar.start_ms == self._released_ms:
            self._behind.discard(bar.symbol)
        self._held = {start: since for start, since in self._held.items() if start >= bar.start_ms}
        return bar

    def patience_ends(self, now: float, patience: float, may_go: MayGo) -> float | None:
        """When the next bar may be released whoever is still awaited; None where none is ready."""
        first = self._first(now, may_go)
        return None if first is None else self._waits_until(first, now, patience, may_go)

    def _first(self, now: float, may_go: MayGo) -> BarSequence | None:
        ready = [
            sequence for sequence in self._sequences if sequence.head is not None and may_go(sequence, now)
        ]
        return min(ready, key=lambda sequence: sequence.head.start_ms, default=None)  # type: ignore[union-attr]

    def _waits_until(self, first: BarSequence, now: float, patience: float, may_go: MayGo) -> float:
        """Until when the first bar waits for others, at the latest; now or before where it may go."""
        assert first.head is not None
        since = self._held.setdefault(first.head.start_ms, now)
        return since + patience if self._awaited(first.head.start_ms, now, may_go) else now

    def _awaited(self, start_ms: int, now: float, may_go: MayGo) -> list[BarSequence]:
        """Symbols in step whose bar of this start is not ready."""
        return [
            sequence
            for sequence in self._sequences
            if sequence.symbol not in self._behind
            and sequence.next_start_ms == start_ms
            and (sequence.head is None or not may_go(sequence, now))
        ]
