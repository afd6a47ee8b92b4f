"""Live events in order: connect, resume, fill gaps. No bar is lost, repeated or reordered on its way in."""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any

from bot.errors import FeedError
from bot.exchange import wire
from bot.exchange.config import ExchangeConfig
from bot.exchange.funding import FundingWatch
from bot.exchange.funding_schedule import FundingSchedule
from bot.exchange.listings import ListingWatch
from bot.exchange.rest import PAGE_BARS, BybitRest, RequestRefused
from bot.exchange.rules_watch import RulesWatch
from bot.exchange.sequence import CloseOrder
from bot.exchange.socket import Socket
from bot.exchange.subscriptions import Subscriptions
from bot.exchange.symbol_feed import SymbolFeed
from bot.market import (
    INTERVAL_MS,
    TRADING,
    Bar,
    Book,
    Category,
    Instrument,
    Listing,
    Notice,
    Quote,
    grid_start_ms,
    minute_text,
)
from bot.trading.events import Input
from bot.trading.held import LookBack

_FUTURE_TOLERANCE_MS = 5_000
_PATIENCE_SECONDS = 5.0
_QUOTE_EVERY_MS = 1_000
_BOOK_EVERY_MS = 200
"""Depth changes fifty times a second and is worth a hundred quotes; so often it is handed on."""
_DEPTH = "orderbook.50"
_CONNECTS = 300
_CONNECTS_SECONDS = 300.0
"""At most so many connections in so long; Bybit allows 500 in five minutes."""
_PAUSE_SECONDS = (0.1, 30.0)
_HOLE_ATTEMPTS = 6
"""Looks at a hole that the exchange's own list shows as a hole before it counts as never published."""
_REPAIRS_BEFORE_REBUILD = 3
_OUTBOX_EVENTS = 5_000


class MarketStream:
    """The market as the core sees it: bars in order without holes, quotes, funding, and notices.

    ``last_starts`` holds the newest bar that the core already knows for each symbol; everything
    closed since comes first, over REST, and where a newer bar has closed it is marked late.
    ``look_backs`` say where each symbol's funding is taken up. ``waits(symbol)`` says whether an order
    waits for a quote; without one, quotes are conflated to one a second of the exchange's time. With
    ``depth``, books come too while an order waits, at most five a second. ``async with`` it, then iterate.
    """

    def __init__(
        self,
        config: ExchangeConfig,
        ws_url: str,
        rest: BybitRest,
        *,
        category: Category,
        interval: str,
        instruments: dict[str, Instrument],
        last_starts: dict[str, int | None],
        look_backs: Mapping[str, LookBack],
        waits: Callable[[str], bool],
        depth: bool = False,
    ) -> None:
        now = time.monotonic()
        self._config = config
        self._rest = rest
        self._category = category
        self._interval = interval
        self._step = rest.times.interval_ms = INTERVAL_MS[interval]
        self._url = f"{ws_url.rstrip('/')}/v5/public/{category}"
        self._waits = waits
        self._depth = depth
        self._symbols = {
            symbol: SymbolFeed(symbol, interval, last, now) for symbol, last in sorted(last_starts.items())
        }
        self._order = CloseOrder((state.sequence for state in self._symbols.values()), _PATIENCE_SECONDS)
        kinds = (f"kline.{interval}", "orderbook.1" if category == "spot" else "tickers")
        self._subscriptions = Subscriptions(kinds + (_DEPTH,) * depth, sorted(self._symbols))
        self._listings = ListingWatch(rest, instruments, self._on_listing, lambda: self._clock_ms)
        self._ended: dict[str, int | None] = {}
        every = {symbol: rules.funding_interval_minutes * 60_000 for symbol, rules in instruments.items()}
        self._funding = FundingWatch(
            rest,
            interval,
            FundingSchedule(every, look_backs),
            emit=self.hand_in,
            spawn=self._spawn,
            clock_ms=lambda: self._clock_ms,
        )
        self._rules = RulesWatch(rest, instruments, emit=self.hand_in, clock_ms=lambda: self._clock_ms)
        self._seconds_per_bar = self._step / 1000
        self._paced = False
        known = [start + self._step for start in last_starts.values() if start is not None]
        self._clock_ms = max(known, default=0)
        self._heard, self._rebuild = now, False
        self._outbox: deque[Input] = deque()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._look = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stopped = False
        self.live = False  # Whether the exchange has told its time since the stream began.

    async def __aenter__(self) -> "MarketStream":
        watches = self._funding.run(), self._rules.run(), self._listings.run()
        for work in (self._stay_connected(), self._watch(), *watches):
            self._spawn(work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[Input]:
        while True:
            while not self._outbox and not self._stopped:
                if self._failure is not None:
                    raise self._failure
                self._filled.clear()
                await self._filled.wait()
            if self._stopped:
                return
            if len(self._outbox) <= _OUTBOX_EVENTS:
                self._drained.set()
            yield self._outbox.popleft()

    def stop(self) -> None:
        """End the iteration after the event that it is at; what has not been handed on comes again later."""
        self._stopped = True
        self._filled.set()

    @property
    def clock_ms(self) -> int:
        """The newest time that the exchange has told, at first the last known bar's close."""
        return self._clock_ms

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._filled.set()

    def hand_in(self, event: Input) -> None:
        """Put an event behind those that wait to be handed on."""
        self._outbox.append(event)
        self._filled.set()

    def _notice(self, kind: str, detail: str, symbol: str | None = None) -> None:
        self.hand_in(Notice(kind=kind, time_ms=self._clock_ms, symbol=symbol, detail=detail))

    # The connection.

    async def _stay_connected(self) -> None:
        """Hold a connection for ever: build it, read it, and build another when it ends."""
        failures = 0
        connects: deque[float] = deque(maxlen=_CONNECTS)
        while True:
            if len(connects) == _CONNECTS:
                await asyncio.sleep(max(0.0, connects[0] + _CONNECTS_SECONDS - time.monotonic()))
            connects.append(time.monotonic())
            heard = self._heard
            try:
                await self._connect_and_read()
            except FeedError as error:
                self._notice("disconnected", str(error))
            failures = 0 if self._heard > heard else failures + 1
            shortest, longest = _PAUSE_SECONDS
            await asyncio.sleep(_growing(shortest, failures, longest=longest) * random.uniform(0.5, 1.0))

    async def _connect_and_read(self) -> None:
        async with Socket(self._url, self._category) as socket:
            self._rebuild = False
            opened = time.monotonic()
            self._subscriptions.begin(socket)
            for state in self._symbols.values():
                # A missing field of a delta is unchanged since a snapshot of this connection only.
                state.ticker, state.quoted_ms = wire.TickerState(state.sequence.symbol), 0
                state.book = wire.BookState(state.sequence.symbol)
            self._notice("connected", self._url)
            self._rules.connected()
            last = opened
            while True:
                now = time.monotonic()
                if now - last >= self._config.silence_seconds:
                    raise FeedError(f"silent for {now - last:.0f} s")
                if self._rebuild:
                    raise FeedError("a topic went silent, or lost a message, while others go on")
                self._subscriptions.ask_again(now)
                try:
                    async with asyncio.timeout(min(1.0, last + self._config.silence_seconds - now)):
                        raw = await socket.receive()
                except TimeoutError:
                    continue
                await self._room()
                try:
                    message = wire.frame(raw)
                    if message.topic:
                        last = self._heard = time.monotonic()
                        self._on_topic(message)
                    elif message.op == "subscribe" and (topic := self._subscriptions.answer(message)):
                        # Until it is granted its bars come over REST.
                        self._notice("subscription_refused", message.ret_msg, wire.symbol_of(topic))
                        self._listings.suspect(wire.symbol_of(topic))
                except wire.MalformedFrame as error:
                    self._notice("refused", f"frame: {error}")

    async def _room(self) -> None:
        """Read no further while the core is far behind."""
        while len(self._outbox) > _OUTBOX_EVENTS:
            self._drained.clear()
            await self._drained.wait()

    # Symbols that come and go.

    @property
    def symbols(self) -> tuple[str, ...]:
        """Those that bars and quotes come of."""
        return tuple(self._symbols)

    def add(self, rules: Instrument, last_start_ms: int | None, look_back: LookBack) -> None:
        """Stream a symbol too, from behind the bar that the core knows of it."""
        symbol = rules.symbol
        state = SymbolFeed(symbol, self._interval, last_start_ms, time.monotonic())
        self._symbols[symbol] = state
        self._order.add(state.sequence)
        self._funding.add(symbol, rules.funding_interval_minutes * 60_000, look_back)
        self._listings.add(rules)
        self._rules.add(symbol)
        self._subscriptions.add(symbol)
        self._look.set()

    def remove(self, symbol: str) -> None:
        """Stream a symbol no longer: nothing of it is handed on any more."""
        self._silence(symbol)
        self._listings.remove(symbol)

    def _silence(self, symbol: str) -> None:
        if self._symbols.pop(symbol, None) is not None:
            self._order.remove(symbol)
            self._subscriptions.remove(symbol)
            self._rules.remove(symbol)
            left = [event for event in self._outbox if not _is_of(event, symbol)]
            self._outbox.clear()
            self._outbox.extend(left)

    def _on_listing(self, listing: Listing, rules: Instrument | None) -> None:
        """The exchange trades a symbol no longer, or again: what closed meanwhile is late."""
        state = self._symbols.get(listing.symbol)
        self.hand_in(listing)
        if listing.status != TRADING:
            if state is not None:
                self._ended[listing.symbol] = state.sequence.last_start_ms
            self._silence(listing.symbol)
        elif state is None and rules is not None:
            self.add(rules, self._ended.get(listing.symbol), LookBack())

    # Frames.

    def _on_topic(self, message: wire.Frame) -> None:
        kind, _, rest = message.topic.partition(".")
        self._clock_ms, self.live = max(self._clock_ms, message.ts), True
        state = self._symbols.get(wire.symbol_of(message.topic))
        if kind == "kline":
            interval = rest.partition(".")[0]
            if state is None and self._listings.was_watched(wire.symbol_of(message.topic)):
                return
            if state is None or interval != self._interval:
                self._notice("refused", f"bar of a topic nobody asked for: {message.topic}")
                return
            for entry in wire.kline_entries(message.data):
                self._on_kline(state, entry, message.ts)
            self._release()
        elif state is not None and message.topic.startswith(_DEPTH):
            self._on_depth(state, message)
        elif state is not None and kind in ("tickers", "orderbook"):
            quote = state.ticker.ticker(message) if kind == "tickers" else state.ticker.book(message)
            self._funding.announce(state.sequence.symbol, state.ticker.next_funding_ms, message.ts)
            if quote is not None:
                self._on_quote(state, quote)

    def _on_kline(self, state: SymbolFeed, entry: wire.KlineEntry | wire.MalformedFrame, ts: int) -> None:
        symbol = state.sequence.symbol
        try:
            if isinstance(entry, wire.MalformedFrame):
                raise entry
            if not entry.confirm:
                on_grid = grid_start_ms(entry.start, self._interval) == entry.start
                if on_grid and entry.start <= ts + _FUTURE_TOLERANCE_MS:
                    state.running_ms, state.pushed = entry.start, time.monotonic()
                    state.sequence.running(entry.start)
                return
            bar = wire.bar_from_kline(entry, symbol, self._interval)
            if bar.close_ms > ts + _FUTURE_TOLERANCE_MS:
                raise wire.MalformedFrame("the bar closes in the exchange's future")
        except wire.MalformedFrame as error:
            self._notice("refused", f"bar: {error}", symbol)
            if isinstance(entry, wire.KlineEntry) and entry.start == state.running_ms:
                # Its figures are wrong, but that it has closed is believed.
                state.sequence.running(entry.start + self._step)
            state.suspect = True
            self._look.set()
            return
        state.repairs_in_a_row = 0
        self._offer(state, bar)

    def _offer(self, state: SymbolFeed, bar: Bar) -> bool:
        """Hand a closed bar to its sequence; whether it was news."""
        now = time.monotonic()
        verdict = state.sequence.offer(bar)
        if verdict == "revision":
            self._notice("revision", f"{minute_text(bar.start_ms)} came again with other figures", bar.symbol)
        if verdict != "new":
            return False
        if bar.source == "stream":
            self._measure_pace(now - state.progress)
        state.progress = now
        self._order.heard(bar.symbol, now)
        return True

    def _measure_pace(self, seconds: float) -> None:
        """Local seconds that a bar takes; a market may stream a minute in 50 ms."""
        seconds = min(max(seconds, 0.001), self._step / 1000)
        self._seconds_per_bar += (0.2 if self._paced else 1.0) * (seconds - self._seconds_per_bar)
        self._paced = True

    def _on_depth(self, state: SymbolFeed, message: wire.Frame) -> None:
        try:
            book = state.book.message(message)
        except wire.BookGap:
            # Only a new subscription brings a snapshot, on which later deltas can build.
            self._rebuild = True
            raise
        if book is None or not state.is_caught_up() or not self._waits(book.symbol):
            return
        if book.time_ms - state.book_ms >= _BOOK_EVERY_MS:
            state.book_ms = book.time_ms
            self.hand_in(book)

    def _on_quote(self, state: SymbolFeed, quote: Quote) -> None:
        if not state.is_caught_up():
            return
        if quote.time_ms < state.quoted_ms:
            return
        if quote.time_ms - state.quoted_ms >= _QUOTE_EVERY_MS or self._waits(quote.symbol):
            state.quoted_ms = quote.time_ms
            self.hand_in(quote)

    def _release(self) -> None:
        for bar in self._order.release(time.monotonic()):
            self.hand_in(bar)
            if bar.close_ms > self._clock_ms:
                self._clock_ms = bar.close_ms
            self._funding.bar(bar)
            self._rules.bar()
        # A hole that is still open is looked at by the watch.
        if any(state.sequence.missing() for state in self._symbols.values()):
            self._look.set()

    # Repair.

    async def _watch(self) -> None:
        """Look after holes, overdue bars and patience, as often as any of them needs it."""
        while True:
            now = time.monotonic()
            wake = now + 1.0
            for state in self._symbols.values():
                due = state.repair_due(now, self._seconds_per_bar)
                if due is not None and due <= now:
                    state.repairing, state.suspect = True, False
                    self._spawn(self._repair(state))
                elif due is not None:
                    wake = min(wake, due)
            self._release()
            self._look.clear()
            if (patience := self._order.wait_seconds(now)) is not None:
                wake = min(wake, now + patience)
            try:
                async with asyncio.timeout(max(0.002, wake - time.monotonic())):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _repair(self, state: SymbolFeed) -> None:
        try:
            pause = await self._fetch_missing(state)
            state.failures = 0
        except FeedError as error:
            if isinstance(error, RequestRefused):
                self._listings.suspect(state.sequence.symbol)
            state.failures += 1
            pause = _growing(0.5, state.failures, longest=30.0) * random.uniform(0.5, 1.0)
            self._notice("rest_failed", str(error), state.sequence.symbol)
        finally:
            state.repairing = False
        state.repair_at = time.monotonic() + pause
        self._release()
        self._look.set()

    async def _fetch_missing(self, state: SymbolFeed) -> float:
        """Ask for what is missing, or whether anything has closed since; seconds until another look."""
        sequence, step = state.sequence, self._step
        short = min(2.0, max(0.05, 0.5 * self._seconds_per_bar))
        if sequence.missing() is None:
            closed = await self._rest.newest_closed(sequence.symbol, self._interval)
            if closed is not None:
                # While the stream shows a bar as open, it is, whatever the exchange's clock says.
                fresh = time.monotonic() - state.pushed < 1.5 * self._seconds_per_bar
                sequence.running(min(closed + step, state.running_ms) if fresh else closed + step)
        hole = sequence.missing()
        if hole is None:
            state.looks += 1
            if state.looks >= _HOLE_ATTEMPTS:
                self._listings.suspect(sequence.symbol)
            return _growing(short, state.looks, longest=30.0)
        first, last = hole[0], min(hole[1], hole[0] + (PAGE_BARS - 2) * step)
        bars, refused, newest = await self._rest.bars(
            sequence.symbol, self._interval, first, last, "backfill"
        )
        for problem in refused:
            self._notice("refused", f"bar over REST: {problem}", sequence.symbol)
        news = [bar for bar in bars if self._offer(state, bar)]
        if news:
            span = f"{minute_text(news[0].start_ms)} to {minute_text(news[-1].start_ms)}"
            self._notice("backfill", f"{len(news)} bars over REST, {span}", sequence.symbol)
            state.repairs_in_a_row += 1
            if state.repairs_in_a_row >= _REPAIRS_BEFORE_REBUILD and len(news) < PAGE_BARS // 2:
                self._rebuild, state.repairs_in_a_row = True, 0
            return 0.0
        state.looks += 1
        if state.looks >= _HOLE_ATTEMPTS:
            self._listings.suspect(sequence.symbol)
        if newest > last and not refused and state.looks >= _HOLE_ATTEMPTS:
            count = (last - first) // step + 1
            self._notice(
                "gap",
                f"{count} bars never published, {minute_text(first)} to {minute_text(last)}",
                sequence.symbol,
            )
            sequence.skip(first, last)
            state.looks = 0
            return 0.0
        if newest and last > newest + step and state.looks >= _HOLE_ATTEMPTS:
            self._notice("refused", f"nothing after {minute_text(newest)} has closed yet", sequence.symbol)
            sequence.disbelieve(newest)
            state.looks = 0
        return _growing(short, state.looks, longest=4.0 if state.looks < _HOLE_ATTEMPTS else 30.0)


def _growing(first: float, times: int, *, longest: float) -> float:
    """A pause that doubles each time, up to the longest."""
    return min(longest, first * 2.0 ** min(times, 30))


def _is_of(event: Input, symbol: str) -> bool:
    """Whether this is the market of that symbol."""
    return isinstance(event, Bar | Quote | Book) and event.symbol == symbol
