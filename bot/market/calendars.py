"""Which bar follows which: markets that never close, and markets with sessions.

A calendar is a value. It gives each time its place on the *market's clock*, which runs while bars do and
stands still while the market is closed: one bar follows another where its start is one interval later on
that clock, nights, weekends, holidays and early closes notwithstanding. A bar that was expected and is not
there takes its time on the clock, so it is a gap. Whatever counts bars, counts on this clock.

A time's place depends on what was expected up to then and on nothing later: bars that come after it, or
do not, move no clock reading before them.
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from heapq import merge
from itertools import groupby, pairwise
from statistics import median
from zoneinfo import ZoneInfo

from msgspec import Struct

from bot.market.times import DAY_MS, INTERVAL_MS, grid_start_ms, minute_text

NEVER_CLOSES = "24/7"
OBSERVED = "observed"

SESSIONS_A_YEAR = 252
"""What is reckoned as a year of a market with sessions."""

_DAYS_A_YEAR = 365.25
_MINUTE_MS = 60_000

_REMEMBERED_SESSIONS = 20
"""A slot is regular where more than half of so many sessions before had a bar in it."""

_LONGEST_CLOSE_DAYS = 14
"""What lies so many days apart has a gap between; exchanges close for less (ten days at a new year)."""


class Calendar:
    """A market that never closes: its clock is UTC's. ``zone`` is that of its days."""

    name = NEVER_CLOSES
    zone = "UTC"
    never_closes = True
    days_a_year = _DAYS_A_YEAR
    """How many days with bars a year is reckoned to have."""

    def clock_ms(self, time_ms: int) -> int:
        """The market's clock at a time in UTC milliseconds."""
        return time_ms

    def start_ms(self, clock_ms: int) -> int:
        """The start, in UTC milliseconds, of the bar that began when the clock showed ``clock_ms``."""
        return clock_ms

    def bars_between(self, since_ms: int, until_ms: int, interval_ms: int) -> int:
        """How many bars the market had between two times, those that had only begun included."""
        return -((since_ms - until_ms) // interval_ms)

    def bars_a_day(self, time_ms: int, interval: str) -> float:
        """How many bars a day with bars has, as known at that time."""
        return DAY_MS / INTERVAL_MS[interval]

    def bars_a_year(self, time_ms: int, interval: str) -> float:
        """How many bars a year has, as known at that time."""
        return _DAYS_A_YEAR * DAY_MS / INTERVAL_MS[interval]

    def until_text(self, clock_ms: int, now_ms: int, interval: str) -> str:
        """``clock_ms``, a time to come, as text."""
        return f"{minute_text(clock_ms)} UTC"


ALWAYS_OPEN = Calendar()


class SessionCalendar(Calendar):
    """A market with sessions: ``starts`` are the starts of all its expected bars, ascending, UTC milliseconds.

    Before the first of them its clock is UTC's; it stops behind the last one.
    """

    never_closes = False
    days_a_year = float(SESSIONS_A_YEAR)

    def __init__(self, name: str, interval: str, starts: Sequence[int], zone: str) -> None:
        if not starts:
            raise ValueError("a market without any bar has no calendar")
        self.name, self.zone = name, zone
        self._starts = list(starts)
        self._interval_ms = INTERVAL_MS[interval]
        self._firsts: list[int] = []

    def clock_ms(self, time_ms: int) -> int:
        place = bisect_right(self._starts, time_ms) - 1
        if place < 0:
            return time_ms
        into_ms = min(time_ms - self._starts[place], self._interval_ms)
        return self._starts[0] + place * self._interval_ms + into_ms

    def bars_between(self, since_ms: int, until_ms: int, interval_ms: int) -> int:
        return super().bars_between(self.clock_ms(since_ms), self.clock_ms(until_ms), interval_ms)

    def start_ms(self, clock_ms: int) -> int:
        place, into_ms = divmod(clock_ms - self._starts[0], self._interval_ms)
        return self._starts[place] + into_ms if 0 <= place < len(self._starts) else clock_ms

    def bars_a_day(self, time_ms: int, interval: str) -> float:
        """The median of the sessions before, at most 20; within the first one, what it has had so far."""
        if not self._firsts:
            days = session_days(self._starts, interval, self.zone)
            self._firsts = [i for i, day in enumerate(days) if not i or day != days[i - 1]]
        place = bisect_right(self._starts, time_ms - 1) - 1
        session = bisect_right(self._firsts, place) - 1
        known = self._firsts[max(0, session - _REMEMBERED_SESSIONS) : session + 1]
        if len(known) < 2:
            return float(max(1, place + 1))
        return float(median(end - first for first, end in pairwise(known)))

    def bars_a_year(self, time_ms: int, interval: str) -> float:
        return SESSIONS_A_YEAR * self.bars_a_day(time_ms, interval)

    def until_text(self, clock_ms: int, now_ms: int, interval: str) -> str:
        """As bars: when those will be, only later sessions tell."""
        bars = -(-(clock_ms - self.clock_ms(now_ms)) // self._interval_ms)
        return f"{max(0, bars)} more bars"


class Session(Struct, frozen=True, kw_only=True):
    """One session of an exchange: its date, and the stretches (from, to), UTC milliseconds, in which it trades."""

    day: date
    open_ms: tuple[tuple[int, int], ...]


def session_days(starts: Iterable[int], interval: str, zone: str) -> list[date]:
    """The market's own date of each bar. A daily bar is labelled 00:00 UTC of its date, wherever it trades."""
    local = _zone(interval, zone)
    return [datetime.fromtimestamp(start / 1000, local).date() for start in starts]


def expected_of(sessions: Iterable[Session], interval: str) -> Iterator[int]:
    """The starts of the bars that sessions have: all on the interval's grid that share time with one.

    The first bar of a session may thus begin before it: at 60 the one labelled 09:00 holds 09:30 to 10:00.
    """
    last = -1
    for session in sessions:
        if interval == "D":
            starts = [int(datetime(*session.day.timetuple()[:3], tzinfo=UTC).timestamp()) * 1000]
        else:
            step = INTERVAL_MS[interval]
            starts = [
                start
                for since, until in session.open_ms
                for start in range(grid_start_ms(since, interval), until, step)
            ]
        for start in starts:
            if start > last:
                yield start
                last = start


def scheduled(
    name: str, interval: str, bars: Iterable[int], sessions: Iterable[Session], zone: str
) -> Calendar:
    """The calendar of an exchange's sessions, between the first bar and the last.

    ``bars`` are the starts of the bars at hand. Those outside of any session are expected as well.
    """
    if interval == "W":
        return ALWAYS_OPEN
    known = sorted(set(bars))
    starts = [
        start
        for start, _ in groupby(merge(known, expected_of(sessions, interval)))
        if known[0] <= start <= known[-1]
    ]
    return SessionCalendar(name, interval, starts, zone)


def observed(interval: str, bars: Iterable[int], zone: str) -> Calendar:
    """The calendar that the bars at hand tell of themselves; ``bars`` are their starts, of all symbols.

    A slot, a time of day in the market's own ``zone``, is regular where more than half of the last 20
    sessions had a bar in it. On a day with any bars, a regular slot before its last bar that has none is a
    gap. A session that ends sooner than others closed early, and a day without any bar was a holiday;
    but 14 days without any are a gap. Within the first day every slot between two bars is taken for regular.
    What is expected of a day is thus known from the days before it.
    """
    return (
        ALWAYS_OPEN
        if interval == "W"
        else SessionCalendar(OBSERVED, interval, list(_expected(interval, sorted(set(bars)), zone)), zone)
    )


def _expected(interval: str, bars: Sequence[int], zone: str) -> Iterator[int]:
    """The bars themselves and, between them, the regular slots that have none."""
    local, step = _zone(interval, zone), INTERVAL_MS[interval]
    sessions: deque[frozenset[int]] = deque(maxlen=_REMEMBERED_SESSIONS)
    counts: Counter[int] = Counter()
    days: deque[date] = deque(maxlen=_REMEMBERED_SESSIONS)

    def slot_of(start: int) -> tuple[date, int]:
        at = datetime.fromtimestamp(start / 1000, local)
        return at.date(), (at.hour * 60 + at.minute) * _MINUTE_MS

    def regular() -> list[int]:
        return sorted(slot for slot, count in counts.items() if 2 * count > len(sessions))

    last: date | None = None
    for day, of_day in groupby(((*slot_of(start), start) for start in bars), key=lambda bar: bar[0]):
        usual = regular()
        if last is not None and (day - last).days > _LONGEST_CLOSE_DAYS:
            weekdays = {one.weekday() for one in days}
            for ahead in range(1, (day - last).days):
                missing = last + timedelta(days=ahead)
                if missing.weekday() in weekdays:
                    midnight = datetime(missing.year, missing.month, missing.day, tzinfo=local)
                    yield from (int(midnight.timestamp() * 1000) + slot for slot in usual)
        had: list[int] = []
        for _, slot, start in of_day:
            if sessions:
                since = had[-1] if had else -1
                yield from (start - slot + other for other in usual if since < other < slot)
            elif had:
                yield from range(start - slot + had[-1] + step, start, step)
            yield start
            had.append(slot)
        if len(sessions) == _REMEMBERED_SESSIONS:
            counts.subtract(sessions[0])
        sessions.append(frozenset(had))
        counts.update(sessions[-1])
        days.append(day)
        last = day


def _zone(interval: str, zone: str) -> ZoneInfo:
    return ZoneInfo("UTC" if interval == "D" else zone)
