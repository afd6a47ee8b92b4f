"""Why and when a live session ends."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from bot.exchange.stream import MarketStream

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AFTER_THE_END_SECONDS = 3.0
"""How long a finite market is waited for after its last bar, for what is still on its way."""
_AT_ONCE_SECONDS = 1.0
"""What a second signal leaves for what is being cancelled; then the process ends where it is."""


class Stop:
    """Why and when to end: a signal, a limit, or the end of a finite market.

    While the session is still coming up, ending cancels it; once it is live, the loop finishes the
    event that it is at. A second signal cancels that too: what was not committed comes again.
    """

    def __init__(self) -> None:
        self.reason = "stopped"
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._stream: MarketStream | None = None
        self._helpers: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._at_once: threading.Timer | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP end the session cleanly; a second one does so at once.

        A signal that the process was told to ignore, as ``nohup`` does, stays ignored.
        """
        heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        # Python's own handlers: asyncio's are told by a byte in a pipe, which a stall may have filled.
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        try:
            yield
        except asyncio.CancelledError:
            if self.reason == "stopped":
                raise
            print(f"{self.reason}: stopped at once", file=sys.stderr)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for helper in self._helpers:
                helper.cancel()
            if self._timer is not None:
                self._timer.cancel()
            if self._at_once is not None:
                self._at_once.cancel()

    def now(self, reason: str) -> None:
        """End: cleanly if live, by cancelling what is being set up if not."""
        if self.reason != "stopped":
            return
        self.reason = reason
        if self._stream is not None:
            self._stream.stop()
        elif self._task is not None:
            self._task.cancel()

    def _on_signal(self, number: int, _frame: object) -> None:
        """Between two instructions of whatever runs, so that the loop is only told."""
        self._loop.call_soon_threadsafe(self._signalled, signal.Signals(number))

    def _signalled(self, number: signal.Signals) -> None:
        if self.reason == "stopped":
            self.now(number.name)
            return
        if self._task is not None:
            self._task.cancel()
        if self._at_once is None:
            self._at_once = threading.Timer(_AT_ONCE_SECONDS, os._exit, (128 + number,))
            self._at_once.daemon = True
            self._at_once.start()

    def live(self, stream: MarketStream) -> None:
        """From now on ending means letting the stream run dry."""
        self._stream = stream
        if self.reason != "stopped":
            # Asked for while coming up, by a cancellation that something on the way has swallowed.
            stream.stop()

    def after(self, seconds: float) -> None:
        """End after so many seconds from now."""
        self._timer = self._loop.call_later(seconds, self.now, "run time over")

    def soon_after(self, exhausted: asyncio.Event) -> None:
        """End once a finite market is over and what was still on its way has had time to come."""

        async def wait() -> None:
            await exhausted.wait()
            await asyncio.sleep(_AFTER_THE_END_SECONDS)
            self.now("end of data")

        self._helpers.append(asyncio.create_task(wait()))


class UnawaitedThreads(ThreadPoolExecutor):
    """A thread for each piece of work, which ends with the process whatever it is at.

    Looking up a host may take half a minute, which asyncio and Python would both wait for at their end.
    """

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def carry_out() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=carry_out, daemon=True, name="unawaited").start()
        return future
