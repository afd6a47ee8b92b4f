"""What waits to be handed on beside bars: in the order in which it came, quotes on their side of each bar."""

import asyncio
from collections import deque
from collections.abc import Callable

from bot.market import Bar, Book, Quote
from bot.trading.events import Input


class Outbox:
    """Events on their way to the core; ``may_pass(symbol, time_ms)`` says whether a quote of that time may go."""

    def __init__(self, may_pass: Callable[[str, int], bool], max_events: int) -> None:
        self._may_pass = may_pass
        self._max_events = max_events
        self._events: deque[Input] = deque()
        self._room = asyncio.Event()
        self._draining = False

    @property
    def is_full(self) -> bool:
        """Whether the core is so far behind that no more is read."""
        return len(self._events) > self._max_events

    def put(self, event: Input) -> None:
        """Put an event behind the others."""
        self._events.append(event)

    def take_before(self, bar: Bar | None) -> Input | None:
        """The next event that goes before ``bar``, which is the next one that may pass.

        A quote that may not pass now is dropped: another comes, and what it would have met waits for that.
        """
        while self._events:
            event = self._events[0]
            if isinstance(event, Quote | Book):
                if bar is not None and event.time_ms >= bar.close_ms:
                    break
                if not self._may_pass(event.symbol, event.time_ms):
                    self._pop()
                    continue
            return self._pop()
        return None

    def _pop(self) -> Input:
        if not self.is_full:
            self._room.set()
        return self._events.popleft()

    def forget(self, symbol: str) -> None:
        """Drop what waits of a symbol's market."""
        self._events = deque(
            event
            for event in self._events
            if not (isinstance(event, Quote | Book) and event.symbol == symbol)
        )

    async def room(self) -> None:
        """Wait while the core is far behind, unless it waits itself for what is still to come in."""
        while self.is_full and not self._draining:
            self._room.clear()
            await self._room.wait()

    def drain(self, draining: bool) -> None:
        """Whether the core waits for what is still to come in."""
        self._draining = draining
        self._room.set()
