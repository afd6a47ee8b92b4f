"""The pretend exchange's clock: bar after bar, pushes along the way and a confirmation at each close."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from bot.demo.faults import BROKEN, ConfirmFault, Faults, break_confirmation
from bot.demo.messages import book_push, kline_entry, kline_message, kline_topic, quote_message, ticker_push
from bot.demo.subscriptions import Subscriptions
from bot.demo.symbol_state import SymbolState
from bot.market import INTERVAL_MS

_CONFIRM_AFTER_MS = 12
"""From a bar's end to its confirmation."""
_EDGE = 0.002
"""The first and the last push come this fraction of a bar after its open and before its close."""
_LAG = 0.25
"""The fraction of a bar that the stream may be behind its due time; the rest of a stall is never made up."""


class Feed:
    """Streams the bars of ``states`` from ``live_from_ms`` to ``last_ms``, or for ever where that is None.

    ``clock_ms`` is the exchange's time. It stands still until somebody listens to klines and, with
    ``pause_when_alone``, again while nobody does. ``before_push`` is awaited before each push and
    confirmation, with the bar's start and the number of pushes that it has had; ``after_push`` is called
    after each push.
    """

    def __init__(
        self,
        states: Mapping[str, SymbolState],
        subscriptions: Subscriptions,
        interval: str,
        *,
        live_from_ms: int,
        last_ms: int | None,
        bar_seconds: float,
        pause_when_alone: bool,
        before_push: Callable[[int, int], Awaitable[None]] | None,
        after_push: Callable[[], None],
        faults: Faults,
    ) -> None:
        self.clock_ms = live_from_ms
        self.closed_until_ms = live_from_ms
        """Bars that end by then have closed."""
        self.exhausted = asyncio.Event()
        """Set once the last bar has closed."""
        self._states = states
        self._subscriptions = subscriptions
        self._interval = interval
        self._interval_ms = INTERVAL_MS[interval]
        self._live_from_ms = live_from_ms
        self._last_ms = last_ms
        self._bar_seconds = bar_seconds
        self._pause_when_alone = pause_when_alone
        self._before_push = before_push
        self._after_push = after_push
        self._faults = faults
        self._planned: dict[str, deque[ConfirmFault]] = {symbol: deque() for symbol in states}
        # A long bar is pushed about once a second, as on the real exchange, a short one a few times.
        pushes = min(max(4, int(bar_seconds)), 120)
        self._fractions = [_EDGE + (1.0 - 2.0 * _EDGE) * k / (pushes - 1) for k in range(pushes)]
        self._held_back: list[tuple[int, int, str, bytes]] = []

    def fault_confirmation(self, symbol: str, *kinds: ConfirmFault) -> None:
        """Let the symbol's next confirmations go wrong, one by one."""
        self._planned[symbol].extend(kinds)

    async def run(self) -> None:
        """Publish bar after bar until the last one."""
        loop, listened = asyncio.get_running_loop(), self._subscriptions.listened
        start_ms, due = self._live_from_ms, 0.0
        while self._last_ms is None or start_ms <= self._last_ms:
            states = [state for state in self._states.values() if state.trades and state.begin(start_ms)]
            passed = 0.0
            for number, fraction in enumerate((*self._fractions, 1.0)):
                if not listened.is_set() and (self._pause_when_alone or not due):
                    await listened.wait()
                    due = loop.time()
                # A stall of the machine is not made up for by a burst, which would leave bars behind.
                due = max(due, loop.time() - _LAG * self._bar_seconds)
                due += (fraction - passed) * self._bar_seconds
                passed = fraction
                await asyncio.sleep(max(0.0, due - loop.time()))
                if self._before_push is not None:
                    await self._before_push(start_ms, number)
                if fraction == 1.0:
                    break
                self.clock_ms = start_ms + int(fraction * self._interval_ms)
                for state in states:
                    self._push(state)
                if number == 0:
                    self._release(start_ms, 0)
                self._after_push()
            self._close(states, start_ms)
            start_ms += self._interval_ms
        for *_, topic, message in self._held_back:
            self._subscriptions.publish(topic, message)
        self._held_back.clear()
        self.exhausted.set()

    def _push(self, state: SymbolState) -> None:
        """The open bar and the quotes as they are now, to whoever listens to them."""
        assert state.bar is not None
        symbol, publish = state.instrument.symbol, self._subscriptions.publish
        topic = kline_topic(self._interval, symbol)
        if topic in self._subscriptions:
            entry = kline_entry(
                state.open_bar(state.bar, self.clock_ms), self._interval, self.clock_ms, confirm=False
            )
            publish(topic, kline_message(topic, entry, self.clock_ms))
        state.updates += 1
        for kind, message_of in (
            ("tickers", ticker_push), ("orderbook.1", quote_message), ("orderbook.50", book_push),
        ):  # fmt: skip
            topic = f"{kind}.{symbol}"
            if topic in self._subscriptions:
                publish(topic, message_of(state, self.clock_ms))

    def _close(self, states: list[SymbolState], start_ms: int) -> None:
        """Confirm the bars of one close, or let that go wrong."""
        self.closed_until_ms = start_ms + self._interval_ms
        self.clock_ms = self.closed_until_ms + _CONFIRM_AFTER_MS
        for state in states:
            symbol = state.instrument.symbol
            planned = self._planned[symbol]
            fault = planned.popleft() if planned else self._faults.confirmation(symbol, start_ms)
            self._confirm(state, start_ms, fault)
        self._release(start_ms, 1)

    def _confirm(self, state: SymbolState, start_ms: int, fault: ConfirmFault | None) -> None:
        assert state.bar is not None
        topic, publish = kline_topic(self._interval, state.instrument.symbol), self._subscriptions.publish
        bar = state.open_bar(state.bar, self.closed_until_ms)
        entry = kline_entry(bar, self._interval, self.clock_ms, confirm=True)
        message = kline_message(topic, entry, self.clock_ms)
        if fault is None:
            publish(topic, message)
        elif fault == "repeat":
            publish(topic, message)
            publish(topic, message)
        elif fault == "revise":
            publish(topic, message)
            revised = entry | {"close": entry["low"], "volume": "1"}
            publish(topic, kline_message(topic, revised, self.clock_ms))
        elif fault in ("late", "reorder", "delay"):
            bars = 1 if fault != "delay" else 2 + (start_ms // self._interval_ms) % 4
            stage = 0 if fault == "late" else 1
            self._held_back.append((start_ms + bars * self._interval_ms, stage, topic, message))
        elif fault in BROKEN:
            # A confirmation of a symbol that nobody asked for comes where the right one should have.
            shown = topic if fault != "unknown_symbol" else kline_topic(self._interval, "NOBODYUSDT")
            broken = break_confirmation(entry, fault, self._interval_ms)
            publish(topic, kline_message(shown, broken, self.clock_ms))

    def _release(self, start_ms: int, stage: int) -> None:
        """Send the confirmations that were held back until now: 0 after a bar's first push, 1 after its close."""
        due = [held for held in self._held_back if held[:2] <= (start_ms, stage)]
        self._held_back = [held for held in self._held_back if held[:2] > (start_ms, stage)]
        for *_, topic, message in due:
            self._subscriptions.publish(topic, message)
