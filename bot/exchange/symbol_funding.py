"""One symbol's settlements on their way to the core: what is known, expected, missing. Pure: no I/O, no clock."""

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from msgspec import Struct

from bot.market import Funding, MarkSource, Notice, minute_text
from bot.market.funding import Pace, unknown_funding
from bot.trading.held import LookBack

_HOUR_MS = 3_600_000
_PAUSE_SECONDS = (0.25, 60.0)
"""Local seconds before anything is asked for again: doubled each time, up to the longest."""
_RATE_LOOKS = 5
_PRICE_LOOKS: dict[MarkSource, int] = {"mark": 4, "index": 3, "close": 3}
"""Answers that did not show a price before another stands for it."""
_PRICE_FAILURES = 30
"""Requests that failed before another price stands for it: more than a ban's ten minutes take."""
_FRESH_MS = 120_000
"""A mark price may be late itself: so long after a settlement no other stands for it."""
_LATE_MS = 5 * 60_000
"""So long after its time a rate that is not published is told of."""
_MISSING_MS = _HOUR_MS
"""So long after its time it holds nothing back any more; it is asked for with the next one, and at a start."""
_DAY_MS = 24 * _HOUR_MS
_LATELY_MS = 7 * _DAY_MS
"""Until so long after its time a missing rate is asked for with each next one, and not only at a start."""
_NEXT_SOURCE: dict[MarkSource, MarkSource] = {"mark": "index", "index": "close"}


class RatesWanted(Struct, frozen=True, kw_only=True):
    """Settled rates in (since_ms, until_ms]; the newest page where ``since_ms`` is None."""

    symbol: str
    since_ms: int | None
    until_ms: int


class PriceWanted(Struct, frozen=True, kw_only=True):
    """The price that a settlement is charged at."""

    symbol: str
    time_ms: int
    source: MarkSource


Ask = RatesWanted | PriceWanted
News = Funding | Notice


@dataclass(slots=True)
class _Settlement:
    """A known rate on its way to the core."""

    rate: Decimal
    source: MarkSource = "mark"
    price: Decimal | None = None
    doubted: Decimal | None = None
    """The last answer where that was too far from the market to be believed by itself."""
    looks: int = 0
    failures: int = 0
    ask_at: float = 0.0


@dataclass(slots=True)
class _Expected:
    """A settlement whose time has passed; ``firm`` where the exchange announced it, or others around it show it."""

    firm: bool
    looks: int = 0
    told: bool = False


@dataclass(slots=True)
class SymbolFunding:
    """What is known of one symbol's settlements."""

    symbol: str
    pace: Pace
    look_back: LookBack
    max_jump: Decimal
    """A price further than so many times from the last close before it is believed once another answer agrees."""
    closed_ms: int = 0
    """Close of the newest bar that was handed on: nothing later is settled."""
    first_closed_ms: int | None = None
    """Close of the first bar that was handed on: before it nothing can have been entered."""
    closes: deque[tuple[int, Decimal]] = field(default_factory=deque)
    announced_ms: int | None = None
    announced_at_ms: int = 0
    begun: bool = False
    """Whether all since the look-back is known, but for what is expected."""
    back_until_ms: int | None = None
    """Where the newest page does not reach far enough back: what else is asked for ends here."""
    floor_ms: int = 0
    """Nothing up to here is wanted but what is missing."""
    handed_ms: int = 0
    """The newest that was handed on."""
    known_ms: int | None = None
    """The newest that is known."""
    known: set[int] = field(default_factory=set)
    waiting: dict[int, _Settlement] = field(default_factory=dict)
    expected: dict[int, _Expected] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    probed_ms: int = 0
    probing: bool = False
    asking: bool = False
    pricing: bool = False
    ask_at: float = 0.0
    looks: int = 0
    failures: int = 0

    # What to ask.

    def expect(self) -> None:
        """Settlements that must have been by now: announced ones, and those that the pace foretells."""
        if not self.begun:
            return
        if self.announced_ms is not None and self.announced_ms <= self.closed_ms:
            self.must_have(self.announced_ms, firm=True)
        if self.known_ms is None:
            # Of a contract that never settled nothing is expected, but it may begin to.
            grid_ms = self.closed_ms - self.closed_ms % self.pace.every_ms
            self.probing = self.probing or grid_ms > self.probed_ms
            self.probed_ms = grid_ms
            return
        due_ms = max(self.known_ms, *self.expected, *self.missing, 0) + self.pace.every_ms
        while due_ms <= self.closed_ms:
            # Where the exchange announced a later one, there is none before it.
            later = self.announced_ms is not None and self.announced_at_ms < due_ms < self.announced_ms
            if not later:
                self.must_have(due_ms, firm=False)
            due_ms += self.pace.every_ms

    def must_have(self, time_ms: int, *, firm: bool) -> None:
        """A settlement was due then; ``firm`` where more than the pace says so."""
        if time_ms <= self.floor_ms or time_ms in self.known or time_ms in self.missing:
            return
        if time_ms not in self.expected:
            self.expected[time_ms] = _Expected(firm)
            if not self.failures:
                self.ask_at = 0.0
        elif firm:
            self.expected[time_ms].firm = True

    def rates_wanted(self) -> RatesWanted | None:
        """What rates to ask for, if any."""
        if self.asking or (self.begun and not self.expected and not self.probing):
            return None
        if not self.begun:
            since_ms = None if self.back_until_ms is None else self.look_back.since_ms
            return RatesWanted(
                symbol=self.symbol, since_ms=since_ms, until_ms=self.back_until_ms or self.closed_ms
            )
        lately = [at for at in self.missing if at > self.closed_ms - _LATELY_MS]
        # A day further back than needed: what was published behind a later one shows up too.
        since_ms = min((self.handed_ms - _DAY_MS, *(at - 1 for at in (*self.expected, *lately))))
        return RatesWanted(symbol=self.symbol, since_ms=since_ms, until_ms=self.closed_ms)

    def price_wanted(self) -> tuple[float, int] | None:
        """When which settlement's price is asked for next."""
        if self.pricing:
            return None
        unpriced = (
            (one.ask_at, at) for at, one in self.waiting.items() if one.price is None and at <= self.closed_ms
        )
        return min(unpriced, default=None)

    # What was answered.

    def take(self, rates: Mapping[int, Decimal], now: float, clock_ms: int) -> list[News]:
        """Settled rates, as asked for."""
        news: list[News] = []
        again_ms = None
        if not self.begun:
            if not rates and self.back_until_ms is None:
                # An empty answer says nothing, but a new contract has no settlement yet.
                self.looks += 1
                self.ask_at = now + growing(self.looks)
                if self.looks < _RATE_LOOKS:
                    return news
            again_ms = self._begin(rates)
        for at in sorted(rates):
            before = self.pace.every_ms
            self.pace.settled(at)
            if self.begun and before and self.pace.every_ms != before:
                detail = f"every {_hours(self.pace.every_ms)} instead of every {_hours(before)}"
                news.append(Notice(kind="funding_interval", time_ms=at, symbol=self.symbol, detail=detail))
            self.expected.pop(at, None)
            fresh = at in self.missing or (at > self.floor_ms and at not in self.known)
            self.missing.discard(at)
            self.known.add(at)
            if at == again_ms or (fresh and self.look_back.wants(at)):
                self.waiting[at] = _Settlement(rates[at])
        self.known_ms = max((at for at in (self.known_ms, *rates) if at is not None), default=None)
        if self.begun:
            news += self._still_expected(now, clock_ms)
        elif self.back_until_ms is None:
            for at in self._holes(self.floor_ms) if self.look_back.since_ms is not None else ():
                self.must_have(at, firm=True)
            self.begun, self.probed_ms = True, self.closed_ms
        return news + self.ready()

    def _begin(self, rates: Mapping[int, Decimal]) -> int | None:
        """Where to go on from; the newest rate is wanted in any case, for it is part of what a trade costs."""
        since_ms = self.look_back.since_ms
        if self.back_until_ms is not None:
            self.back_until_ms = None
            return None
        newest_ms = max((at for at in rates if at <= self.closed_ms), default=None)
        if since_ms is not None:
            self.floor_ms = self.handed_ms = since_ms
            if rates and min(rates) > since_ms + 1:
                self.back_until_ms = min(rates) - 1
        else:
            # The answer may have been long in coming: what was settled meanwhile may be owed.
            first_ms = self.closed_ms if self.first_closed_ms is None else self.first_closed_ms
            self.floor_ms = self.handed_ms = first_ms if newest_ms is None else min(first_ms, newest_ms - 1)
        return newest_ms

    def _holes(self, since_ms: int) -> set[int]:
        """What others around it show to be missing, as far as it is wanted."""
        holes = unknown_funding(self.symbol, self.known, since_ms, self.known_ms or since_ms)
        return {at for hole in holes for at in hole.times_ms if self.look_back.wants(at)}

    def _still_expected(self, now: float, clock_ms: int) -> list[News]:
        """What an answer did not show: wait, tell, and at last go on without it."""
        news: list[News] = []
        holes = self._holes(self.floor_ms) if self.expected else set()
        for at, one in sorted(self.expected.items()):
            one.looks += 1
            one.firm = one.firm or at in holes
            overtaken = not one.firm and self.known_ms is not None and at < self.known_ms
            missing = one.looks >= _RATE_LOOKS and clock_ms - at >= _MISSING_MS
            if overtaken or missing:
                del self.expected[at]
            if missing and not overtaken:
                news.append(self._missing(at, clock_ms, "is not published"))
            elif not one.told and one.looks > 1 and _LATE_MS <= clock_ms - at < _MISSING_MS:
                one.told = True
                detail = f"the rate of {minute_text(at)} is not published yet; it is asked for until it is"
                news.append(Notice(kind="funding_late", time_ms=clock_ms, symbol=self.symbol, detail=detail))
        fewest = min((one.looks for one in self.expected.values()), default=0)
        self.ask_at = now + growing(fewest)
        return news

    def _missing(self, at: int, clock_ms: int, why: str) -> Notice:
        self.missing.add(at)
        detail = (
            f"the rate of {minute_text(at)} {why}: nothing is charged for now, "
            "and it is asked for again with the next one and at each start"
        )
        return Notice(kind="funding_missing", time_ms=clock_ms, symbol=self.symbol, detail=detail)

    def take_price(self, at: int, price: Decimal | None, now: float, clock_ms: int) -> list[News]:
        """A price as asked for, None where the answer did not show it."""
        one = self.waiting[at]
        news: list[News] = []
        if price is not None:
            if self._is_believed(at, price, one.doubted):
                one.price = price
                return self.ready()
            one.doubted = price
            detail = (
                f"the {one.source} price {price:f} of the settlement at {minute_text(at)} is more than "
                f"{self.max_jump:f} times the last close, or less than its {self.max_jump:f}th"
            )
            news.append(Notice(kind="doubted", time_ms=clock_ms, symbol=self.symbol, detail=detail))
        one.looks += 1
        one.ask_at = now + growing(one.looks)
        fresh = one.source == "mark" and clock_ms - at < _FRESH_MS and one.doubted is None
        if one.looks < _PRICE_LOOKS[one.source] or fresh:
            return news
        return news + self._other_price(at, now, clock_ms)

    def _is_believed(self, at: int, price: Decimal, doubted: Decimal | None) -> bool:
        """Whether a price is near the last close before it, if any is known, or near the answer before."""
        close = self._close_before(at)
        return any(
            other is not None and price <= other * self.max_jump and other <= price * self.max_jump
            for other in (close or price, doubted)
        )

    def _close_before(self, at: int) -> Decimal | None:
        place = bisect_right(self.closes, at, key=lambda close: close[0])
        return self.closes[place - 1][1] if place else None

    def price_failed(self, at: int, now: float, clock_ms: int) -> list[News]:
        """The request for a price failed."""
        one = self.waiting[at]
        one.failures += 1
        one.ask_at = now + growing(one.failures)
        return [] if one.failures < _PRICE_FAILURES else self._other_price(at, now, clock_ms)

    def _other_price(self, at: int, now: float, clock_ms: int) -> list[News]:
        one = self.waiting[at]
        if one.source == "close":
            del self.waiting[at]
            return [self._missing(at, clock_ms, "has no price"), *self.ready()]
        one.source, one.looks, one.failures, one.ask_at = _NEXT_SOURCE[one.source], 0, 0, now
        one.doubted = None
        if one.source == "close":
            one.price = self._close_before(at)
        return self.ready()

    def ready(self) -> list[News]:
        """What can be handed on: in order, nothing ahead of one that is still expected or has no price yet."""
        news: list[News] = []
        if not self.begun:
            return news
        while self.waiting:
            at = min(self.waiting)
            one = self.waiting[at]
            if one.price is None or any(other < at for other in self.expected):
                break
            del self.waiting[at]
            self.handed_ms = max(self.handed_ms, at)
            if one.source != "mark" and self.look_back.wants(at):
                stands = "the index price" if one.source == "index" else "the last close"
                detail = f"no mark price at {minute_text(at)}: {stands} {one.price:f} stands for it"
                news.append(Notice(kind="mark_price", time_ms=at, symbol=self.symbol, detail=detail))
            assert one.price is not None
            news.append(
                Funding(
                    symbol=self.symbol,
                    time_ms=at,
                    rate=one.rate,
                    mark_price=one.price,
                    mark_source=one.source,
                )
            )
        while len(self.closes) > 1 and self.closes[1][0] <= min((self.handed_ms, *self.waiting)):
            self.closes.popleft()
        self.floor_ms = max(self.floor_ms, self.closed_ms - _LATELY_MS)
        self.known = {at for at in self.known if at > self.floor_ms}
        return news


def growing(times: int) -> float:
    """Seconds to pause after so many vain questions."""
    first, longest = _PAUSE_SECONDS
    return min(longest, first * 2.0 ** min(times - 1, 30))


def _hours(interval_ms: int) -> str:
    return f"{interval_ms / _HOUR_MS:g} h"
