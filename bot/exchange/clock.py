"""Time: the exchange's own, how fast its market runs, and whether this process has slept."""

import time

_WHILE_ASLEEP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux stops the monotonic clock while the machine is suspended."""
_MIN_JUMP_SECONDS = 0.25
"""A shorter pause is the machine's own business, however short the market's bars are."""
_MAX_BEAT_SECONDS = 1.0
_UNMEASURED_SECONDS = 2.0
"""As long as nobody knows how fast the market is, a longer pause is told of."""
_MIN_PACE_SECONDS = 0.25
"""Over less local time a burst of frames looks like a fast market."""
_SURE_PACE_SECONDS = 10.0
"""And over so much no frame's delay counts."""
_PACE_BARS = 64
_SETTLE_SECONDS = 0.25


def local_seconds() -> float:
    """Seconds that pass evenly, also while the machine is suspended, from no certain beginning."""
    return time.clock_gettime(_WHILE_ASLEEP)


def jump_text(jumped: float) -> str:
    """How far the local clock has jumped, as a person would say it."""
    way, seconds = "on" if jumped > 0 else "back", abs(jumped)
    unit, size = next(((u, n) for u, n in (("h", 3600.0), ("min", 60.0)) if seconds >= n), ("s", 1.0))
    return f"the local clock went {way} by {seconds / size:.1f} {unit}; asking what closed meanwhile"


class ExchangeClock:
    """The newest time that the exchange has told: ``time_ms``, and whether it has told any yet: ``told``."""

    def __init__(self, known_ms: int) -> None:
        self.time_ms = known_ms
        self.told = False

    def hear(self, time_ms: int) -> None:
        """The exchange says that it is so late."""
        self.time_ms, self.told = max(self.time_ms, time_ms), True

    def passed(self, time_ms: int) -> None:
        """What has been handed on shows that it is so late, though the exchange has not said so."""
        self.time_ms = max(self.time_ms, time_ms)


class Pace:
    """Local seconds that a bar takes: ``seconds_per_bar``. A market may stream a minute in 50 ms.

    The exchange's time against the local clock's, over the last one to two hundred bars, so that neither
    a pause nor the burst after it is taken for the market's pace. Never slower than the bars' own time,
    which it is taken for until it is ``measured``.
    """

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self.seconds_per_bar = interval_ms / 1000
        self.measured = False
        self._anchors: list[tuple[float, int]] = []
        self._heard: tuple[float, int] | None = None
        self._settled = 0.0

    def hear(self, time_ms: int, now: float) -> None:
        """The exchange's time at a local one."""
        self._heard = now, time_ms
        if now < self._settled:
            return
        since, since_ms = self._anchors[0] if self._anchors else (now, time_ms)
        if not self._anchors or now < since or time_ms < since_ms - self._interval_ms:
            self._anchors = [(now, time_ms)]
            return
        bars, seconds = (time_ms - since_ms) / self._interval_ms, now - since
        if seconds >= _SURE_PACE_SECONDS or (seconds >= _MIN_PACE_SECONDS and bars >= 1):
            slowest = self._interval_ms / 1000
            self.seconds_per_bar = max(0.001, seconds / max(bars, seconds / slowest))
            self.measured = True
        newest, newest_ms = self._anchors[-1]
        if now - newest >= _MIN_PACE_SECONDS and time_ms - newest_ms >= _PACE_BARS * self._interval_ms:
            self._anchors = [*self._anchors[-1:], (now, time_ms)]

    def estimate_ms(self, now: float) -> float | None:
        """The exchange's time by the last that it told; None where that says nothing."""
        if self._heard is None or not self.measured:
            return None
        heard, time_ms = self._heard
        return time_ms + (now - heard) / self.seconds_per_bar * self._interval_ms

    def begin_again(self, settled: float) -> None:
        """What passed in between is not measured, nor what comes in a burst before that local time."""
        self._anchors.clear()
        self._heard, self._settled = None, settled


class Heartbeat:
    """Notices that the local clocks have jumped, as they do over a freeze or a sleep, or where they are set.

    Whoever does anything beats; between two beats less than ``interval`` passes while all is well.
    """

    def __init__(self, now: float, wall: float) -> None:
        self._last, self._wall = now, wall

    @staticmethod
    def limit(pace: Pace) -> float:
        """The longest pause that is not told of: a bar."""
        longest = pace.seconds_per_bar if pace.measured else min(_UNMEASURED_SECONDS, pace.seconds_per_bar)
        return max(longest, _MIN_JUMP_SECONDS)

    @classmethod
    def interval(cls, pace: Pace) -> float:
        """How often somebody has to beat."""
        return min(_MAX_BEAT_SECONDS, 0.5 * cls.limit(pace))

    def beat(self, now: float, wall: float, pace: Pace) -> float:
        """How far a clock has jumped since the last beat, forward or (negative) back; 0 while it runs evenly."""
        passed, shown = now - self._last, wall - self._wall
        self._last, self._wall = now, wall
        limit = self.limit(pace)
        if abs(passed) > limit:
            return passed
        return shown - passed if abs(shown - passed) > limit else 0.0

    @staticmethod
    def settles(now: float) -> float:
        """When what waited through a jump will have come."""
        return now + _SETTLE_SECONDS
