"""What was held when, as far as a settlement may ask for it, and which settlements were charged on it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from msgspec import Struct

from bot.exact import EXACT, ZERO
from bot.market.funding import settlement_ms

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_BY_THE_MINUTE_MS = 7 * 24 * _HOUR_MS
"""So far back changes are kept by the minute, and beyond by the hour, on which every settlement falls."""

_NEIGHBOURS = 3
"""So many intervals on either side say how short one may be."""

_BEFORE_ALL = -(2**63)


class Settled(Struct, frozen=True, kw_only=True):
    """A symbol's :class:`Held` as a value.

    At ``settled_ms`` the position was ``quantity``, and no settlement until then is charged any more.
    ``changes`` are the (time, change of quantity) since, ``charged`` the times of the settlements that
    were charged.
    """

    settled_ms: int
    quantity: Decimal
    changes: tuple[tuple[int, Decimal], ...]
    charged: tuple[int, ...] = ()


class Held:
    """One symbol's position just before every full minute, whenever a settlement's rate becomes known.

    Nothing is forgotten: what changed within one minute, further back than a week within one hour, is kept
    as one change. Two of the same fills and payments are equal, in whatever order those came.
    """

    def __init__(self, state: Settled | None = None) -> None:
        self._settled_ms = _BEFORE_ALL if state is None else state.settled_ms
        self._quantity = ZERO if state is None else state.quantity
        # Minutes in which the position changed, ascending, and what it was after each.
        self._minutes: list[int] = []
        self._quantities: list[Decimal] = []
        self._by_the_hour_ms = _BEFORE_ALL
        self._charged: set[int] = set() if state is None else set(state.charged)
        for time_ms, change in () if state is None else state.changes:
            self.record(time_ms, change)

    def snapshot(self) -> Settled:
        """All of it as a value."""
        changes, before = [], self._quantity
        for minute, quantity in zip(self._minutes, self._quantities, strict=True):
            changes.append((minute, EXACT.subtract(quantity, before)))
            before = quantity
        return Settled(
            settled_ms=self._settled_ms,
            quantity=self._quantity,
            changes=tuple(changes),
            charged=tuple(sorted(self._charged)),
        )

    def record(self, time_ms: int, change: Decimal) -> None:
        """The position changed at this time; mostly the newest one."""
        minute = time_ms - time_ms % _MINUTE_MS
        place = bisect_left(self._minutes, minute)
        if place == len(self._minutes) or self._minutes[place] != minute:
            before = self._quantities[place - 1] if place else self._quantity
            self._minutes.insert(place, minute)
            self._quantities.insert(place, before)
        for later in range(place, len(self._quantities)):
            self._quantities[later] = EXACT.add(self._quantities[later], change)
        newest = self._minutes[-1] - _BY_THE_MINUTE_MS
        newest -= newest % _HOUR_MS
        if newest > self._by_the_hour_ms:
            self._keep_by_the_hour(self._by_the_hour_ms, newest)
            self._by_the_hour_ms = newest
        elif minute < self._by_the_hour_ms:
            hour = minute - minute % _HOUR_MS
            self._keep_by_the_hour(hour, hour + _HOUR_MS)

    def before(self, time_ms: int) -> Decimal:
        """What was held just before a settlement."""
        place = bisect_left(self._minutes, settlement_ms(time_ms))
        return self._quantities[place - 1] if place else self._quantity

    def charge(self, time_ms: int) -> None:
        """The settlement has been charged."""
        self._charged.add(settlement_ms(time_ms))

    def is_charged(self, time_ms: int) -> bool:
        """Whether this settlement may not be charged any more."""
        time_ms = settlement_ms(time_ms)
        return time_ms <= self._settled_ms or time_ms in self._charged

    def uncharged_since(self, every_ms: int, until_ms: int) -> int | None:
        """The time after which a settlement may not have been charged; None where nothing was held since.

        That is the last charged one, or where the position was first held after it, however long ago; or
        before it the last ahead of a first that may be missing, by the shortest interval around it
        (``every_ms`` where there is none). A position that is still held is held until ``until_ms``. It may be
        too early, where an interval has changed. Of the last week all that was held is looked at: a rate may have
        been late where an interval changed, which no other interval shows.
        """
        lately_ms = until_ms - _BY_THE_MINUTE_MS
        known = (self._not_charged(every_ms, until_ms), self._held_since(lately_ms))
        return min((time_ms for time_ms in known if time_ms is not None), default=None)

    def _held_since(self, time_ms: int) -> int | None:
        """From when on something was held at this time or first after it; None where nothing was."""
        for begin_ms, end_ms in self._stretches():
            if end_ms is None or end_ms > time_ms:
                return max(begin_ms, time_ms)
        return None

    def _not_charged(self, every_ms: int, until_ms: int) -> int | None:
        charged = sorted(self._charged)
        newest = charged[-1] if charged else self._settled_ms
        for begin_ms, end_ms in self._stretches():
            last_ms = min(until_ms if end_ms is None else end_ms, newest)
            times = charged[bisect_right(charged, begin_ms) : bisect_right(charged, last_ms)]
            gap_ms = _first_gap(begin_ms, times, last_ms, every_ms)
            if gap_ms is not None:
                return gap_ms
            if end_ms is None or end_ms > newest:
                return max(begin_ms, newest)
        return None

    def _stretches(self) -> Iterator[tuple[int, int | None]]:
        """After which minute, and until which inclusively, something was held; None where it still is."""
        begin_ms = None
        for minute, quantity in zip(self._minutes, self._quantities, strict=True):
            if quantity and begin_ms is None:
                begin_ms = minute
            elif not quantity and begin_ms is not None:
                yield begin_ms, minute
                begin_ms = None
        if begin_ms is not None:
            yield begin_ms, None

    def _keep_by_the_hour(self, first_ms: int, end_ms: int) -> None:
        """Of the changes in each full hour of [first_ms, end_ms) only the last is kept, with what it led to."""
        first, end = bisect_left(self._minutes, first_ms), bisect_left(self._minutes, end_ms)
        last_of = {self._minutes[place] // _HOUR_MS: place for place in range(first, end)}
        if len(last_of) < end - first:
            kept = list(last_of.values())
            self._minutes[first:end] = [self._minutes[place] for place in kept]
            self._quantities[first:end] = [self._quantities[place] for place in kept]


def _first_gap(begin_ms: int, times: list[int], last_ms: int, every_ms: int) -> int | None:
    """After which time a settlement may be missing among those charged while something was held."""
    if not times:
        return begin_ms if last_ms - last_ms % every_ms > begin_ms else None
    intervals = [later - sooner for sooner, later in pairwise(times)]
    # One past the end: what is settled at the very end was held over too.
    for place, (sooner, later) in enumerate(pairwise((begin_ms, *times, last_ms + 1))):
        around = intervals[max(0, place - 1 - _NEIGHBOURS) : max(0, place - 1)]
        around += intervals[place : place + _NEIGHBOURS]
        if later - sooner > min(around, default=every_ms):
            return sooner
    return None


@dataclass(frozen=True, slots=True)
class LookBack:
    """Where a symbol's funding is taken up.

    ``since_ms`` is None for a symbol that never traded: of it only the newest rate is wanted. Of what was
    settled until ``until_ms``, where the account's past ends, only what ``held`` still owes is wanted.
    """

    until_ms: int = 0
    since_ms: int | None = None
    held: Held | None = None

    def wants(self, time_ms: int) -> bool:
        """Whether a settlement at this time may move money."""
        if time_ms > self.until_ms:
            return True
        held = self.held
        return held is not None and not held.is_charged(time_ms) and bool(held.before(time_ms))
