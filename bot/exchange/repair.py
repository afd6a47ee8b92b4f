"""What may pass to the core, what is missing, and what REST is asked for, and when. Pure: no I/O, no clock.

Every question and every answer comes with the local time, ``now``, in seconds that pass evenly.
"""

from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from bot.exchange.clock import Heartbeat, Pace
from bot.exchange.sequence import BarSequence, CloseOrder
from bot.exchange.symbol_feed import SymbolFeed
from bot.market import INTERVAL_MS, Bar, minute_text

MAX_PAGE_BARS = 999
"""At most so many bars are asked for at once."""
_PATIENCE_BARS = 0.25
_MAX_PATIENCE_SECONDS = 1.0
"""So long symbols of one close wait for each other, that they enter in order."""
_HOLE_LOOKS = 6
"""Answers that show a hole as one before it counts as never published, or that contradict the stream."""
_REPAIRS_BEFORE_REBUILD = 3
_JUST_NOW_BARS = 0.5
_JUST_NOW_SECONDS = (0.25, 2.0)
_FAILED_SECONDS = (0.5, 30.0)
_REFUSED_SECONDS = 600.0
"""What the exchange will not answer is put aside for longer and longer, up to this."""
_GRACE_BARS = 0.2
_MAX_GRACE_SECONDS = 1.0
"""A confirmation may come so long after the next bar's first push."""
_MAX_LOOK_SECONDS = 30.0
_MAX_FIRST_LOOKS_SECONDS = 4.0


class Ask(Struct, frozen=True, kw_only=True):
    """What REST is asked for: bars with starts from ``first_ms`` to ``last_ms``, or what closed last (None)."""

    symbol: str
    number: int
    first_ms: int | None = None
    last_ms: int = 0


class Finding(Struct, frozen=True):
    """Something that a person will want to know."""

    kind: Literal["backfill", "gap", "refused"]
    detail: str


class Findings(Struct, frozen=True, kw_only=True):
    """What an answer has shown. ``rebuild``: the connection loses messages, or may be as old as before a sleep.

    ``doubtful``: the symbol may be traded no longer.
    """

    told: tuple[Finding, ...] = ()
    rebuild: bool = False
    doubtful: bool = False


@dataclass(slots=True)
class _Judgement:
    """What an answer leads to, while it is being looked at."""

    told: list[Finding] = field(default_factory=list)
    rebuild: bool = False
    doubtful: bool = False

    def findings(self) -> Findings:
        return Findings(told=tuple(self.told), rebuild=self.rebuild, doubtful=self.doubtful)


class RepairPolicy:
    """Each symbol's bars on their way from stream and REST into the core: once each, in order, without a hole.

    A bar is fresh only if it is its symbol's newest closed one as it is taken, by all that is known then;
    others are late. After a sleep that is not known until REST has answered, or a connection that was
    opened since has shown it. No symbol waits for another for longer than a part of a bar.
    """

    def __init__(self, interval: str, now: float, wall: float) -> None:
        self._interval = interval
        self._interval_ms = INTERVAL_MS[interval]
        self._pace = Pace(self._interval_ms)
        self._heartbeat = Heartbeat(now, wall)
        self._order = CloseOrder()
        self._feeds: dict[str, SymbolFeed] = {}
        self._asked = 0
        self._awakening = 0
        self._connected_since = 0
        """The awakening since which the connection stands."""

    def add(self, symbol: str, last_start_ms: int | None, now: float) -> None:
        """Follow a symbol from behind the bar that the core knows, from the first that closes if it is None."""
        sequence = BarSequence(symbol, self._interval, last_start_ms)
        self._feeds[symbol] = SymbolFeed(sequence, progress=now, ask_at=now, hole_since=now)
        self._order.add(sequence)

    def remove(self, symbol: str) -> int | None:
        """Follow a symbol no longer; start of the last bar that was taken of it."""
        feed = self._feeds.pop(symbol)
        self._order.remove(symbol)
        return feed.sequence.last_start_ms

    def has_hole(self, symbol: str) -> bool:
        """Whether a bar is missing that is known to have closed."""
        return self._feeds[symbol].sequence.missing() is not None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Those that are followed."""
        return tuple(self._feeds)

    # What is heard.

    def beat(self, now: float, wall: float) -> float:
        """Whoever does anything says so first: how far the local clocks have jumped, 0 where they have not.

        After a jump what waits may be old: what closed last has to be found out anew.
        """
        jumped = self._heartbeat.beat(now, wall, self._pace)
        if jumped:
            self._awakening += 1
            self._order.begin_again()
            self._pace.begin_again(Heartbeat.settles(now))
            for feed in self._feeds.values():
                # What was asked before shows what was: its answer is not waited for.
                feed.known = feed.answered = feed.pushed = feed.asking = None
                feed.wants_newest = True
                feed.progress = feed.ask_at = feed.hole_since = now
        return jumped

    def connected(self, now: float) -> None:
        """A connection has been opened: what comes over it is of now."""
        self._connected_since = self._awakening
        self._pace.begin_again(now)
        for feed in self._feeds.values():
            feed.pushed = None

    def heard(self, time_ms: int, now: float) -> None:
        """The exchange has told its time."""
        self._pace.hear(time_ms, now)

    def pushed(self, symbol: str, start_ms: int, now: float) -> None:
        """The stream shows a symbol's bar as open."""
        feed = self._feeds[symbol]
        newest_ms = feed.sequence.newest_closed_ms
        feed.sequence.running(start_ms)
        # One that is known to have closed comes late, or from before a sleep.
        if (newest_ms is None or start_ms > newest_ms) and self._believes_stream(feed):
            feed.running_ms, feed.pushed, feed.known = start_ms, now, now

    def confirmed(self, bar: Bar, time_ms: int, now: float) -> bool:
        """The stream brings a closed bar at a time of the exchange's; whether it contradicts an earlier one."""
        feed = self._feeds[bar.symbol]
        feed.repairs = 0
        verdict = self._offer(feed, bar, now)
        # One that comes when the bar behind it has closed too does not show what closed last.
        is_newest = bar.start_ms == feed.sequence.newest_closed_ms
        if is_newest and time_ms < bar.close_ms + self._interval_ms and self._believes_stream(feed):
            feed.known = now
        return verdict == "revision"

    def refused(self, symbol: str, start_ms: int | None) -> None:
        """A closed bar came that cannot be: its figures are wrong, but that the open one has closed is believed."""
        feed = self._feeds[symbol]
        if start_ms is not None and start_ms == feed.running_ms:
            feed.sequence.running(start_ms + self._interval_ms)
        feed.wants_newest = True

    def _believes_stream(self, feed: SymbolFeed) -> bool:
        """Whether what the stream shows as new is of now: over a connection since, or beyond what REST has shown."""
        return self._connected_since == self._awakening or feed.known is not None

    def _offer(self, feed: SymbolFeed, bar: Bar, now: float) -> str:
        verdict = feed.sequence.offer(bar)
        if verdict == "new":
            feed.progress = now
        return verdict

    # What may pass.

    def next_bar(self, now: float) -> Bar | None:
        """The bar that may pass next; None where none may."""
        return self._order.next(now, self._patience, self._may_go)

    def take(self, now: float) -> Bar | None:
        """Hand on what :meth:`next_bar` shows, late where a newer bar of its symbol is known to have closed."""
        return self._order.take(now, self._patience, self._may_go)

    def may_pass(self, symbol: str, time_ms: int) -> bool:
        """Whether a quote of that time may pass: behind every bar that had closed by then, before all others."""
        feed = self._feeds.get(symbol)
        return feed is not None and feed.known is not None and feed.sequence.is_open(time_ms)

    def is_known(self, symbol: str) -> bool:
        """Whether it is known what closed last, so that what comes of the symbol is of now."""
        feed = self._feeds.get(symbol)
        return feed is not None and feed.known is not None

    @property
    def _patience(self) -> float:
        return min(_MAX_PATIENCE_SECONDS, _PATIENCE_BARS * self._pace.seconds_per_bar)

    def _may_go(self, sequence: BarSequence, now: float) -> bool:
        """Whether the symbol's next bar is late for certain, or as certainly the newest that has closed."""
        return sequence.is_next_late or self._is_sure(self._feeds[sequence.symbol], now)

    def _is_sure(self, feed: SymbolFeed, now: float) -> bool:
        """Whether what is known to have closed last still is: shown just now, or the bar behind it is still open."""
        newest_ms = feed.sequence.newest_closed_ms
        if feed.known is None or newest_ms is None:
            return False
        exchange_ms = self._pace.estimate_ms(now)
        if exchange_ms is not None and exchange_ms < newest_ms + 2 * self._interval_ms:
            return True
        since = feed.known if exchange_ms is None else feed.answered
        return since is not None and now - since <= self._just_now

    @property
    def _just_now(self) -> float:
        """How long what has been shown counts as what is, with no clock to tell: as long as a busy core may take."""
        shortest, longest = _JUST_NOW_SECONDS
        return min(longest, max(shortest, _JUST_NOW_BARS * self._pace.seconds_per_bar * self._pace.measured))

    # What to ask.

    def asks(self, now: float) -> list[Ask]:
        """What is to be asked now. Each is answered by one of the three methods below."""
        asks = []
        for symbol, feed in self._feeds.items():
            if feed.asking is None and self._due(feed, now) <= now:
                self._asked += 1
                feed.asking = self._asked
                asks.append(self._ask(symbol, feed, now))
        return asks

    def _ask(self, symbol: str, feed: SymbolFeed, now: float) -> Ask:
        """What closed last is asked for before any hole, for it may close more."""
        hole = feed.sequence.missing() if self._is_sure(feed, now) else None
        if hole is None:
            return Ask(symbol=symbol, number=self._asked)
        first, last = hole
        last = min(last, first + (MAX_PAGE_BARS - 1) * self._interval_ms)
        return Ask(symbol=symbol, number=self._asked, first_ms=first, last_ms=last)

    def wake(self, now: float) -> float:
        """Local time by which to look again at what may pass and what is to be asked, and to beat."""
        times = [now + Heartbeat.interval(self._pace)]
        times += [self._due(feed, now) for feed in self._feeds.values() if feed.asking is None]
        if (patience := self._order.patience_ends(now, self._patience, self._may_go)) is not None:
            times.append(patience)
        return min(times)

    def newest(self, ask: Ask, closed_ms: int | None, now: float) -> Findings:
        """REST shows the bar of this start as the newest that has closed, or none at all, which says nothing."""
        feed, found = self._answered(ask), _Judgement()
        if feed is None:
            return found.findings()
        if closed_ms is not None:
            following = closed_ms + self._interval_ms
            # While the stream shows a bar as open, it is, whatever the exchange's clock says.
            shown = feed.pushed is not None and now - feed.pushed <= self._just_now
            feed.sequence.running(min(following, feed.running_ms) if shown else following)
            feed.known = feed.answered = now
            feed.wants_newest = False
            self._compare(feed, following, feed.sequence.newest_closed_ms or 0, found)
            if feed.sequence.head is not None:
                # It passes now; where the core is too busy to take it, it is not left waiting longer each time.
                feed.looks = 0
        hole = feed.sequence.missing()
        if hole is not None and feed.known is not None:
            # Nobody is waited for to bring what REST shows already.
            if feed.hole != hole[0]:
                feed.hole, feed.looks, feed.absent = hole[0], 0, 0
            feed.hole_since, feed.ask_at = now - _MAX_GRACE_SECONDS, now
            return found.findings()
        self._look_again(feed, now, found, longest=_MAX_LOOK_SECONDS)
        found.rebuild = self._would_help(feed)
        return found.findings()

    def page(self, ask: Ask, bars: list[Bar], refused: list[str], newest_ms: int, now: float) -> Findings:
        """REST brings bars that were missing; ``refused`` says what was wrong with others.

        ``newest_ms`` is the newest start that it shows, of a bar that may still be open, 0 for an empty answer.
        """
        feed, found = self._answered(ask), _Judgement()
        if feed is None or ask.first_ms is None:
            return found.findings()
        sequence, first, last = feed.sequence, ask.first_ms, ask.last_ms
        found.told += [Finding("refused", f"bar over REST: {problem}") for problem in refused]
        news = [bar for bar in bars if self._offer(feed, bar, now) == "new"]
        if newest_ms:
            self._compare(feed, newest_ms, last, found)
        if news:
            span = f"{minute_text(news[0].start_ms)} to {minute_text(news[-1].start_ms)}"
            found.told.append(Finding("backfill", f"{len(news)} bars over REST, {span}"))
            feed.looks, feed.ask_at = 0, now
            feed.repairs += 1
            if feed.repairs >= _REPAIRS_BEFORE_REBUILD and len(news) < MAX_PAGE_BARS // 2:
                found.rebuild, feed.repairs = True, 0
            return found.findings()
        if newest_ms > last and not refused:
            # A hole may have grown since: what closed later has been looked for less often.
            feed.absent_last_ms = min(last, feed.absent_last_ms) if feed.absent else last
            feed.absent += 1
        if feed.absent >= _HOLE_LOOKS:
            last = feed.absent_last_ms
            count = (last - first) // self._interval_ms + 1
            text = f"{count} bars never published, {minute_text(first)} to {minute_text(last)}"
            found.told.append(Finding("gap", text))
            sequence.skip(first, last)
            feed.looks, feed.absent, feed.ask_at = 0, 0, now
            return found.findings()
        patient = feed.looks < _HOLE_LOOKS
        longest = _MAX_FIRST_LOOKS_SECONDS if patient else _MAX_LOOK_SECONDS
        self._look_again(feed, now, found, longest=longest)
        return found.findings()

    def failed(self, ask: Ask, now: float, jitter: float, *, refused: bool = False) -> Findings:
        """REST did not answer, or ``refused`` to; ``jitter`` (0.5 to 1) spreads what many ask again."""
        feed = self._feeds.get(ask.symbol)
        if feed is None or feed.asking != ask.number:
            return Findings()
        feed.asking = None
        feed.failures += 1
        first, longest = _FAILED_SECONDS[0], _REFUSED_SECONDS if refused else _FAILED_SECONDS[1]
        feed.ask_at = now + _growing(first, feed.failures, longest=longest) * jitter
        return Findings(rebuild=self._would_help(feed))

    def _would_help(self, feed: SymbolFeed) -> bool:
        """Whether a new connection shows what REST does not: what closed last."""
        return feed.known is None and self._connected_since != self._awakening

    def _answered(self, ask: Ask) -> SymbolFeed | None:
        """The feed that was asked for; None where nobody wants the answer any more."""
        feed = self._feeds.get(ask.symbol)
        if feed is None or feed.asking != ask.number:
            return None
        feed.asking, feed.failures = None, 0
        return feed

    def _compare(self, feed: SymbolFeed, newest_ms: int, closed_ms: int, found: _Judgement) -> None:
        """Disbelieve what the stream says has closed where answer after answer shows no bar so late."""
        feed.contradicted = feed.contradicted + 1 if closed_ms > newest_ms + self._interval_ms else 0
        if feed.contradicted >= _HOLE_LOOKS:
            text = f"nothing after {minute_text(newest_ms)} has closed yet"
            found.told.append(Finding("refused", text))
            feed.sequence.disbelieve(newest_ms)
            feed.looks = feed.contradicted = 0

    def _look_again(self, feed: SymbolFeed, now: float, found: _Judgement, *, longest: float) -> None:
        """An answer did not show what was asked for."""
        feed.looks += 1
        found.doubtful = feed.looks >= _HOLE_LOOKS
        short = min(2.0, max(0.05, 0.5 * self._pace.seconds_per_bar))
        feed.ask_at = now + _growing(short, feed.looks, longest=longest)

    def _due(self, feed: SymbolFeed, now: float) -> float:
        """When a symbol is to be asked for: where it is in doubt, a hole after a grace, silence when overdue."""
        hole, bar_seconds = feed.sequence.missing(), self._pace.seconds_per_bar
        first = None if hole is None else hole[0]
        if first != feed.hole:
            feed.hole, feed.hole_since, feed.looks, feed.absent = first, now, 0, 0
            if not feed.failures:
                feed.ask_at = min(feed.ask_at, now)
        if feed.wants_newest or (feed.sequence.head is not None and not self._may_go(feed.sequence, now)):
            return feed.ask_at
        if first is None:
            slack = min(5.0, max(0.5, 0.5 * bar_seconds))
            return max(feed.ask_at, feed.progress + bar_seconds + slack)
        return max(feed.ask_at, feed.hole_since + min(_MAX_GRACE_SECONDS, _GRACE_BARS * bar_seconds))


def _growing(first: float, times: int, *, longest: float) -> float:
    """A pause that doubles each time, up to the longest."""
    return min(longest, first * 2.0 ** min(times, 30))
