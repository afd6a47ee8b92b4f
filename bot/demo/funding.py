"""When a pretend exchange settles funding, what it publishes of that and when, and which prices it lacks. Pure."""

import random
import zlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from bot.demo.faults import NO_FAULTS, Faults

_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000


class FundingBook:
    """Settlements of one exchange: every 8 hours, but for what ``faults`` say of its symbols."""

    def __init__(self, faults: Faults = NO_FAULTS) -> None:
        self._faults = faults
        self._lost: set[tuple[str, str, int]] = set()
        # Since when which interval holds; each begins where the one before it settles.
        self._courses = ((0, 8 * _HOUR_MS), *((at, hours * _HOUR_MS) for at, hours in faults.funding_hours))

    def interval_ms(self, time_ms: int) -> int:
        """The interval that holds after this time."""
        return next(interval_ms for since, interval_ms in reversed(self._courses) if since <= time_ms)

    def next_ms(self, time_ms: int) -> int:
        """The first settlement after this time."""
        interval_ms = self.interval_ms(time_ms)
        due = time_ms - time_ms % interval_ms + interval_ms
        later = next((since for since, _ in self._courses if since > time_ms), None)
        return due if later is None else min(due, later)

    def settled(self, symbol: str, first_ms: int, last_ms: int, now_ms: int) -> Iterator[tuple[int, Decimal]]:
        """Stamps and rates within [first_ms, last_ms] as published by now, newest first."""
        time_ms = self._last_before(min(last_ms, now_ms) + _MINUTE_MS)
        while time_ms > max(0, first_ms - _MINUTE_MS):
            stamp = time_ms + self._noise_ms(symbol, time_ms)
            if time_ms + self._delay_ms(symbol, time_ms) <= now_ms and first_ms <= stamp <= last_ms:
                yield stamp, self.rate(symbol, time_ms)
            time_ms = self._last_before(time_ms)

    def rate(self, symbol: str, time_ms: int) -> Decimal:
        """What is settled then, between -0.01 % and 0.03 %."""
        drawn = zlib.crc32(f"{symbol}/{time_ms}".encode())
        return Decimal(drawn % 401 - 100).scaleb(-6)

    def lose_price(self, source: Literal["mark", "index"], symbol: str, minute_ms: int) -> None:
        """Never show the mark or index price of this minute."""
        self._lost.add((source, symbol, minute_ms))

    def lacks_price(self, source: Literal["mark", "index"], symbol: str, minute_ms: int) -> bool:
        """Whether the mark or index price of this minute is missing for ever."""
        if (source, symbol, minute_ms) in self._lost:
            return True
        share = self._faults.mark_missing if source == "mark" else self._faults.index_missing
        return (
            bool(share)
            and random.Random(f"{self._faults.seed}/{source}/{symbol}/{minute_ms}").random() < share
        )

    def _last_before(self, time_ms: int) -> int:
        """The last settlement before this time, 0 where there was none."""
        since, interval_ms = next(course for course in reversed(self._courses) if course[0] < time_ms)
        return max((time_ms - 1) - (time_ms - 1) % interval_ms, since)

    def _noise_ms(self, symbol: str, time_ms: int) -> int:
        aside = self._faults.funding_noise_ms
        return (
            random.Random(f"{self._faults.seed}/stamp/{symbol}/{time_ms}").randint(0, aside) if aside else 0
        )

    def _delay_ms(self, symbol: str, time_ms: int) -> int:
        """How long after its time the rate is published."""
        longest = self._faults.funding_late_ms
        return (
            random.Random(f"{self._faults.seed}/late/{symbol}/{time_ms}").randint(0, longest)
            if longest
            else 0
        )
