"""Symbols that join a running session or leave it: warmed up beside the others, let go once flat."""

import asyncio
from functools import partial

from msgspec.structs import replace

from bot.errors import FeedError
from bot.exchange.rest import BybitRest
from bot.exchange.stream import MarketStream
from bot.market import INTERVAL_MS, TRADING, Bar
from bot.sessions import warm_up
from bot.store import bars as bar_store
from bot.store.account.requests import ChangeSymbols
from bot.store.account.steps import StepWriter
from bot.store.database import Database
from bot.trading.events import Answer, History, Step, Watch
from bot.trading.held import LookBack

_BLOCK_BARS = 256
_TURN_SECONDS = 0.02
"""Between two blocks of a new symbol's history the others have their turn."""


class Joining:
    """Carries out what a person asks of the symbols; ``wanted`` says how much history a new one gets."""

    def __init__(
        self,
        stream: MarketStream,
        rest: BybitRest,
        database: Database,
        steps: StepWriter,
        wanted: warm_up.Wanted,
    ) -> None:
        self._stream = stream
        self._rest = rest
        self._database = database
        self._steps = steps
        self._wanted = wanted
        self._known = set(wanted.symbols)
        self._tasks: set[asyncio.Task[None]] = set()

    def change(self, asked: ChangeSymbols) -> None:
        """Add the symbol, which takes a while, or let it only be closed."""
        if not asked.add:
            drop = Watch(id=asked.id, time_ms=self._stream.clock_ms, drop=(asked.symbol,), note=_note(asked))
            self._stream.hand_in(drop)
            return
        task = asyncio.create_task(self._add(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def follow(self, step: Step) -> None:
        """Let go what a Step says is flat."""
        for one in step.watched:
            if one.state == "let_go":
                self._stream.remove(one.symbol)

    def cancel(self) -> None:
        """Nothing joins any more: what was not finished is asked for again at the next start."""
        for task in self._tasks:
            task.cancel()

    async def _add(self, asked: ChangeSymbols) -> None:
        symbol, stream = asked.symbol, self._stream
        try:
            rules = await warm_up.persist(partial(self._rest.instrument, symbol), "instruments")
            if rules is None or rules.status != TRADING:
                status = "" if rules is None else f", its status is {rules.status}"
                self._refuse(
                    asked, f"Bybit does not trade {symbol} in category {self._rest.category}{status}"
                )
                return
            welcome = Watch(id=asked.id, time_ms=stream.clock_ms, add=(rules,), note=_note(asked))
            if symbol in stream.symbols:
                stream.hand_in(welcome)
                return
            wanted = replace(self._wanted, symbols=(symbol,), joining=frozenset({symbol}), held=frozenset())
            starts = await warm_up.download(self._rest, self._database, self._steps, wanted, _unseen)
            last = starts[symbol]
            stream.hand_in(replace(welcome, time_ms=stream.clock_ms))
            await self._observe(symbol, last)
            closed_ms = 0 if last is None else last + INTERVAL_MS[self._wanted.interval]
            stream.add(rules, last, LookBack(closed_ms))
        except FeedError as error:
            self._refuse(asked, str(error))

    async def _observe(self, symbol: str, last_ms: int | None) -> None:
        """Hand the new symbol's history to the core, with room for the others between its blocks."""
        since_ms = 0
        if last_ms is not None:
            since_ms = last_ms - self._wanted.bars * INTERVAL_MS[self._wanted.interval]
        if symbol in self._known:
            # What the core has seen of it needs not be told again.
            decided = await bar_store.last_decided(self._database, symbol, self._wanted.interval)
            since_ms = since_ms if decided is None else max(since_ms, decided + 1)
        self._known.add(symbol)
        block: list[Bar] = []
        async for bar in bar_store.load_bars(
            self._database, (symbol,), self._wanted.interval, since_ms=since_ms
        ):
            if last_ms is not None and bar.start_ms <= last_ms:
                block.append(bar)
            if len(block) == _BLOCK_BARS:
                self._stream.hand_in(History(bars=tuple(block)))
                block = []
                await asyncio.sleep(_TURN_SECONDS)
        if block:
            self._stream.hand_in(History(bars=tuple(block)))

    def _refuse(self, asked: ChangeSymbols, why: str) -> None:
        self._stream.hand_in(Answer(id=asked.id, time_ms=self._stream.clock_ms, error=why))


def _note(asked: ChangeSymbols) -> str:
    return f"by hand: {asked.note}" if asked.note else "by hand"


def _unseen(what: str, done: int, total: int) -> None:
    """A running session shows its bars, no progress."""
