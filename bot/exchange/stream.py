"""Live events in order: what the connection brings and what REST answers, as the policy lets them pass."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any

from bot.exchange import plausible, wire
from bot.exchange.clock import ExchangeClock, jump_text, local_seconds
from bot.exchange.config import ExchangeConfig
from bot.exchange.connection import Connection
from bot.exchange.funding import FundingWatch
from bot.exchange.funding_schedule import FundingSchedule
from bot.exchange.listings import ListingWatch
from bot.exchange.notices import Notices
from bot.exchange.outbox import Outbox
from bot.exchange.repair import RepairPolicy
from bot.exchange.repairs import Repairs
from bot.exchange.rest import BybitRest
from bot.exchange.rules_watch import RulesWatch
from bot.exchange.silences import Silences
from bot.exchange.socket import Socket
from bot.exchange.subscriptions import Subscriptions
from bot.exchange.symbol_quotes import SymbolQuotes
from bot.market import (
    INTERVAL_MS,
    TRADING,
    Category,
    Instrument,
    Listing,
    grid_start_ms,
    minute_text,
)
from bot.trading.events import Input
from bot.trading.held import LookBack

_FUTURE_TOLERANCE_MS = 5_000
_DEPTH = "orderbook.50"


class MarketStream:
    """The market as the core sees it: bars in order without holes, quotes, funding, and notices.

    ``last_starts`` holds the newest bar that the core already knows for each symbol; everything
    closed since comes first, over REST. What is handed on is judged as it is taken: a bar behind which a
    newer one has closed is late, and a quote does not pass a bar that is missing.
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
        now = local_seconds()
        self._rest = rest
        self._config = config
        self._interval = interval
        self._step = rest.times.interval_ms = INTERVAL_MS[interval]
        self._url = f"{ws_url.rstrip('/')}/v5/public/{category}"
        self._waits = waits
        self._silences = Silences(0.5 * config.silence_seconds)
        self._notices = Notices(config, self.hand_in, local_seconds, lambda: self.clock_ms)
        self._notice = self._notices.tell
        rest.on_refused = lambda symbol, what: self._notice("refused", what, symbol)
        self._policy = RepairPolicy(interval, now, time.time())
        for symbol, last in sorted(last_starts.items()):
            self._policy.add(symbol, last, now)
        self._quotes = {symbol: SymbolQuotes(symbol, config) for symbol in self._policy.symbols}
        kinds = (f"kline.{interval}", "orderbook.1" if category == "spot" else "tickers")
        self._subscriptions = Subscriptions(
            kinds + (_DEPTH,) * depth, list(self._policy.symbols), local_seconds
        )
        self._connection = Connection(
            self._url,
            category,
            config,
            proxy=rest.proxy,
            opened=self._on_opened,
            read=self._on_frame,
            live=lambda: self._notice("connected", self._url),
            idle=self._on_idle,
            ended=self._notice,
        )
        self._listings = ListingWatch(rest, instruments, self._on_listing, lambda: self.clock_ms)
        self._ended: dict[str, int | None] = {}
        every = {symbol: rules.funding_interval_minutes * 60_000 for symbol, rules in instruments.items()}
        self._funding = FundingWatch(
            rest,
            interval,
            FundingSchedule(every, look_backs, config.max_jump),
            emit=self._notices.emit,
            spawn=self._spawn,
            clock_ms=lambda: self.clock_ms,
        )
        self._rules = RulesWatch(rest, instruments, emit=self._notices.emit, clock_ms=lambda: self.clock_ms)
        known = [start + self._step for start in last_starts.values() if start is not None]
        self._clock = ExchangeClock(max(known, default=0))
        self._outbox = Outbox(self._policy.may_pass, config.max_waiting_events)
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._repairs = Repairs(
            rest,
            interval,
            self._policy,
            beat=self._beat,
            tell=self._notice,
            suspect=self._listings.suspect,
            quotes=self._quotes,
            rebuild=self._connection.rebuild,
            passes=self._filled.set,
            spawn=self._spawn,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stopped = False

    async def __aenter__(self) -> "MarketStream":
        watches = self._funding.run(), self._rules.run(), self._listings.run()
        for work in (self._connection.run(), self._repairs.run(), *watches):
            self._spawn(work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[Input]:
        while not self._stopped:
            self._idle.clear()
            self._filled.clear()
            event = await self._next()
            if self._stopped:
                return
            if event is not None:
                yield event
            elif self._failure is not None:
                raise self._failure
            else:
                self._idle.set()
                await self._filled.wait()

    def stop(self) -> None:
        """End the iteration after the event that it is at; what has not been handed on comes again later."""
        self._stopped = True
        self._filled.set()

    async def caught_up(self) -> None:
        """Wait until the core has taken all that may pass of what has come."""
        await self._connection.drained()
        while self._filled.is_set() or not self._idle.is_set():  # noqa: ASYNC110 two states, of which either may change
            await asyncio.sleep(0.001)

    @property
    def clock_ms(self) -> int:
        """The newest time that the exchange has told, at first the last known bar's close."""
        return self._clock.time_ms

    @property
    def live(self) -> bool:
        """Whether the exchange has told its time since the stream began."""
        return self._clock.told

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._filled.set()

    def _beat(self) -> float:
        """The local time; a jump of it is told of, and makes all that waits doubtful."""
        now = local_seconds()
        self._notices.tell_counted(now)
        if jumped := self._policy.beat(now, time.time()):
            self._notice("woke", jump_text(jumped))
            self._repairs.look.set()
        return now

    # Handing on.

    def hand_in(self, event: Input) -> None:
        """Put an event behind those that wait to be handed on."""
        self._outbox.put(event)
        self._filled.set()

    async def _next(self) -> Input | None:
        """What may pass to the core now, if anything."""
        bar = self._policy.next_bar(self._beat())
        event = self._outbox.take_before(bar)
        if event is not None or bar is None:
            return event
        # The bar is judged by all that has come by now.
        self._outbox.drain(True)
        await self._connection.drained()
        self._outbox.drain(False)
        bar = self._policy.take(self._beat())
        if bar is not None:
            self._clock.passed(bar.close_ms)
            self._funding.bar(bar)
            self._rules.bar()
        return bar

    # Symbols that come and go.

    @property
    def symbols(self) -> tuple[str, ...]:
        """Those that bars and quotes come of."""
        return self._policy.symbols

    def add(self, rules: Instrument, last_start_ms: int | None, look_back: LookBack) -> None:
        """Stream a symbol too, from behind the bar that the core knows of it."""
        symbol = rules.symbol
        self._policy.add(symbol, last_start_ms, local_seconds())
        self._quotes[symbol] = SymbolQuotes(symbol, self._config)
        self._funding.add(symbol, rules.funding_interval_minutes * 60_000, look_back)
        self._listings.add(rules)
        self._rules.add(symbol)
        self._subscriptions.add(symbol)
        self._repairs.look.set()

    def remove(self, symbol: str) -> None:
        """Stream a symbol no longer: nothing of it is handed on any more."""
        self._silence(symbol)
        self._listings.remove(symbol)

    def _silence(self, symbol: str) -> int | None:
        """End a symbol's stream; start of its last bar that was handed on."""
        if self._quotes.pop(symbol, None) is None:
            return None
        self._subscriptions.remove(symbol)
        self._rules.remove(symbol)
        self._outbox.forget(symbol)
        return self._policy.remove(symbol)

    def _on_listing(self, listing: Listing, rules: Instrument | None) -> None:
        """The exchange trades a symbol no longer, or again: what closed meanwhile is late."""
        symbol = listing.symbol
        is_streamed = symbol in self._quotes
        self.hand_in(listing)
        if listing.status != TRADING:
            if is_streamed:
                self._ended[symbol] = self._silence(symbol)
        elif not is_streamed and rules is not None:
            self.add(rules, self._ended.get(symbol), LookBack())

    # Frames.

    def _on_opened(self, socket: Socket) -> None:
        self._policy.connected(self._beat())
        for quotes in self._quotes.values():
            quotes.begin()
        self._silences.begin()
        self._subscriptions.begin(socket)
        self._rules.connected()

    async def _on_frame(self, raw: bytes) -> bool:
        if self._outbox.is_full:
            self._notice("behind", "exchange.max_waiting_events wait to be decided on")
        await self._outbox.room()
        now, topic = self._beat(), ""
        try:
            message = wire.frame(raw, 1_000 * self._config.max_frame_kb)
            topic = message.topic
            if topic:
                return self._on_topic(message, now)
            if message.op == "subscribe" and (refused := self._subscriptions.answer(message)):
                # Until it is granted its bars come over REST.
                self._notice("subscription_refused", message.ret_msg, wire.symbol_of(refused))
                self._listings.suspect(wire.symbol_of(refused))
        except wire.MalformedFrame as error:
            self._on_refused(topic, error, now)
        return False

    def _on_refused(self, topic: str, error: wire.MalformedFrame, now: float) -> None:
        """A message is not believed: it is counted, and missed where nothing else comes of its topic."""
        symbol = wire.symbol_of(topic)
        if symbol in self._quotes:
            self._notice(error.kind, f"{topic.partition('.')[0]}: {error}", symbol)
            self._silences.refused(topic, now)
        else:
            self._notice(error.kind, f"frame: {error}")
        if isinstance(error, plausible.FarTime):
            self._repairs.doubt_time(now)

    def _on_idle(self, now: float) -> None:
        self._subscriptions.ask_again(now)
        for topic, text in self._silences.due(now):
            symbol = wire.symbol_of(topic)
            if (quotes := self._quotes.get(symbol)) is not None:
                self._notice("silent", f"{topic.partition('.')[0]}: {text}", symbol)
                quotes.begin()
                self._subscriptions.renew(symbol)

    def _on_topic(self, message: wire.Frame, now: float) -> bool:
        """Take in an update; whether it is one, for nothing that is refused tells the time."""
        kind, _, rest = message.topic.partition(".")
        symbol = wire.symbol_of(message.topic)
        quotes = self._quotes.get(symbol)
        if quotes is None:
            if not self._listings.was_watched(symbol):
                raise wire.MalformedFrame(f"a topic that nobody asked for: {plausible.shown(message.topic)}")
            return False
        told_ms, times = plausible.time_ms(message.ts), self._rest.times
        anew = times.judge(told_ms)
        if not (is_now := anew or not times.is_old(told_ms)):
            self._repairs.doubt_time(now)
        if kind == "kline":
            if rest.partition(".")[0] != self._interval:
                raise wire.MalformedFrame(f"a bar of another interval: {plausible.shown(message.topic)}")
            believed = [
                self._on_kline(symbol, entry, told_ms, now) for entry in wire.kline_entries(message.data)
            ]
            if not any(believed):
                self._silences.refused(message.topic, now)
                return False
        elif message.topic.startswith(_DEPTH):
            self._on_depth(quotes, message, is_now=is_now)
        elif kind in ("tickers", "orderbook"):
            quote = quotes.ticker.ticker(message) if kind == "tickers" else quotes.ticker.book(message)
            self._funding.announce(symbol, quotes.ticker.next_funding_ms, message.ts)
            if (
                quote is not None
                and is_now
                and self._policy.is_known(symbol)
                and quotes.is_due(quote, waited_for=self._waits(symbol))
            ):
                self.hand_in(quote)
        else:
            return False
        times.believe(told_ms, anew=anew)
        self._silences.believed(message.topic, now)
        self._clock.hear(told_ms)
        self._policy.heard(told_ms, now)
        return True

    def _on_kline(
        self, symbol: str, entry: wire.KlineEntry | wire.MalformedFrame, ts: int, now: float
    ) -> bool:
        """Take in a bar that is open, or has closed; whether it can be believed."""
        try:
            if isinstance(entry, wire.MalformedFrame):
                raise entry
            if not entry.confirm:
                on_grid = grid_start_ms(entry.start, self._interval) == entry.start
                if on_grid and entry.start <= ts + _FUTURE_TOLERANCE_MS:
                    self._policy.pushed(symbol, entry.start, now)
                    self._quotes[symbol].hear_running(entry)
                    return True
                return False
            bar = wire.bar_from_kline(entry, symbol, self._interval)
            if bar.close_ms > ts + _FUTURE_TOLERANCE_MS:
                raise wire.MalformedFrame("the bar closes in the exchange's future")
            self._quotes[symbol].check_bar(bar)
        except wire.MalformedFrame as error:
            self._notice(error.kind, f"bar: {error}", symbol)
            self._policy.refused(symbol, entry.start if isinstance(entry, wire.KlineEntry) else None)
            self._repairs.look.set()
            return False
        if self._policy.confirmed(bar, ts, now):
            self._notice("revision", f"{minute_text(bar.start_ms)} came again with other figures", symbol)
        if self._policy.has_hole(symbol):
            self._repairs.look.set()
        self._filled.set()
        return True

    def _on_depth(self, quotes: SymbolQuotes, message: wire.Frame, *, is_now: bool) -> None:
        try:
            book = quotes.book.message(message)
        except wire.BookGap:
            # Only a new subscription brings a snapshot, on which later deltas can build.
            self._connection.rebuild()
            raise
        if book is None or not is_now or not self._policy.is_known(book.symbol):
            return
        if self._waits(book.symbol) and quotes.is_book_due(book):
            self.hand_in(book)
