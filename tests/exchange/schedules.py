"""Random schedules for the repair policy: an exchange, the way to it, and a client that freezes, on one clock.

A plain discrete simulation from a seed. True seconds run evenly; the local clocks that the policy is shown jump.
What must always hold is checked at each step, against the exchange's own truth.
"""

import heapq
import random
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any

from msgspec.structs import replace

from bot.exchange.repair import Ask, RepairPolicy
from bot.market import Bar

MINUTE = 60_000
FIRST = 1_000
"""The minute that opens as a schedule begins."""
HOUR = 3_600.0
MAX_HIDDEN = 4


class Broken(AssertionError):
    """An invariant that did not hold."""


def bar_of(symbol: str, minute: int, price: int = 100, source: str = "stream") -> Bar:
    figure = Decimal(price)
    return Bar(
        symbol=symbol, interval="1", start_ms=minute * MINUTE, open=figure, high=figure, low=figure,
        close=figure, volume=Decimal(1), source=source,
    )  # fmt: skip


class Schedule:
    """One run; ``run`` raises Broken where an invariant does not hold, and returns what was met on the way."""

    def __init__(self, seed: int) -> None:
        draws = self.draws = random.Random(seed)
        self.pace = draws.choices((60.0, 10.0, 2.0, 0.5), (1, 5, 5, 5))[0]
        """True seconds a bar."""
        self.bars = draws.randint(4, 8)
        self.end = self.bars * self.pace
        self._last = FIRST + self.bars + 4
        """The last minute that is ever published."""
        self.delay = draws.choice((0.001, 0.02, 0.2)) * min(self.pace, 5.0)
        """The longest way of a frame, and of an answer."""
        self.trouble = draws.choice((0.0, 0.1, 0.4))
        """The chance of anything to go wrong that may, until the end; then all is well."""
        self.symbols = ("AUSDT", "BUSDT")[: draws.randint(1, 2)]
        self.met: dict[str, int] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self.true = 0.0
        self._offset = draws.choice((0.0, 426.0, 1e6))
        self._wall = 1.7e9
        self._frames: list[Callable[[], None]] = []
        """What has come and is not read, in order."""
        self._frozen_until = -1.0
        self._connection = 0
        self._way_clear = 0.0
        self._unpublished = self._holes()
        self._starts: dict[str, int | None] = {}
        self._taken: dict[str, list[Bar]] = {symbol: [] for symbol in self.symbols}
        self._told_gap: set[tuple[str, int]] = set()
        self._hidden = dict.fromkeys(self.symbols, 0)
        """Answers that lacked their last bar: a few in a row are weather, more are taken for the truth."""
        self._timer = 0
        self._step_due = -1.0
        self._listed = dict.fromkeys(self.symbols, FIRST - 40)
        self.policy = RepairPolicy("1", self.local, self.wall)
        for symbol in self.symbols:
            self._add(symbol)

    # What the exchange knows.

    def _holes(self) -> set[tuple[str, int]]:
        """Minutes that are never published."""
        if self.draws.random() > 0.2:
            return set()
        first = self.draws.randint(FIRST - 3, FIRST + self.bars - 2)
        symbol = self.draws.choice(self.symbols)
        return {(symbol, minute) for minute in range(first, first + self.draws.randint(1, 2))}

    def _add(self, symbol: str) -> None:
        behind = self.draws.choice((0, 0, 1, 4, None))
        last = None if behind is None else FIRST - 1 - behind
        if self.draws.random() < 0.1:
            # Listed only later: till then nobody has a bar of it.
            self._listed[symbol] = FIRST + self.draws.randint(1, self.bars - 2)
            last = None
        self._starts[symbol] = last
        self.policy.add(symbol, None if last is None else last * MINUTE, self.local)

    def exchange_ms(self, true: float) -> int:
        return int(FIRST * MINUTE + true / self.pace * MINUTE)

    def closed(self, symbol: str, true: float) -> list[int]:
        """Published minutes that had closed by then, ascending."""
        last = min(self.exchange_ms(true) // MINUTE, self._last + 1) - 1
        return [
            minute
            for minute in range(max(FIRST - 40, self._listed[symbol]), last + 1)
            if (symbol, minute) not in self._unpublished
        ]

    # Clocks.

    @property
    def local(self) -> float:
        return self.true + self._offset

    @property
    def wall(self) -> float:
        return self._wall + self.true

    def at(self, true: float, deed: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(true, self.true), next(self._number), deed))

    def goes_wrong(self, share: float = 1.0) -> bool:
        return self.true < self.end and self.draws.random() < share * self.trouble

    def meet(self, what: str) -> None:
        self.met[what] = self.met.get(what, 0) + 1

    # The exchange's side.

    def _plan(self) -> None:
        draws, minutes = self.draws, range(FIRST, self._last + 1)
        for symbol in self.symbols:
            for minute in minutes:
                if minute < self._listed[symbol] or (symbol, minute) in self._unpublished:
                    continue
                begin = (minute - FIRST) * self.pace
                for part in (0.002, draws.uniform(0.1, 0.9)):
                    self.at(begin + part * self.pace, lambda s=symbol, m=minute: self._push(s, m))
                    self.at(begin + part * self.pace, lambda s=symbol: self._quote(s))
                self.at(begin + self.pace * 1.0002, lambda s=symbol, m=minute: self._confirm(s, m))
        for _ in range(draws.randint(0, 3) if self.trouble else 0):
            self.at(
                draws.uniform(0.0, self.end),
                draws.choice((self._cut, self._freeze, self._jump, self._jump_wall)),
            )
        self.at(0.0 if draws.random() < 0.5 else draws.uniform(0, 2 * self.pace), self._connect)

    def _send(self, read: Callable[[], None]) -> None:
        """Over the connection that stands now, behind what is on its way."""
        if not self._connection:
            return
        self._way_clear = max(self._way_clear, self.true + self.draws.uniform(0, self.delay))
        connection = self._connection

        def arrive() -> None:
            if connection == self._connection:
                self._frames.append(lambda: read() if connection == self._connection else None)
                self._wake()

        self.at(self._way_clear, arrive)

    def _push(self, symbol: str, minute: int) -> None:
        if self.goes_wrong(0.5):
            return
        time_ms = self.exchange_ms(self.true)

        def read() -> None:
            self.policy.pushed(symbol, minute * MINUTE, self.local)
            self.policy.heard(time_ms, self.local)

        self._send(read)

    def _quote(self, symbol: str) -> None:
        time_ms, sent = self.exchange_ms(self.true), self.true

        def read() -> None:
            self.policy.heard(time_ms, self.local)
            if self.policy.is_known(symbol) and self.policy.may_pass(symbol, time_ms):
                self._check_quote(symbol, time_ms, sent)

        self._send(read)

    def _confirm(self, symbol: str, minute: int) -> None:
        if self.goes_wrong():
            kind = self.draws.choice(("lost", "refused", "delayed", "twice"))
            self.meet(kind)
            if kind == "refused":
                self._send(lambda: self.policy.refused(symbol, minute * MINUTE))
            elif kind == "delayed":
                self.at(
                    self.true + self.draws.uniform(0.5, 3.0) * self.pace,
                    lambda: self._send_bar(symbol, minute),
                )
            elif kind == "twice":
                self._send_bar(symbol, minute)
                self._send_bar(symbol, minute, price=101)
            return
        self._send_bar(symbol, minute)

    def _send_bar(self, symbol: str, minute: int, price: int = 100) -> None:
        time_ms = self.exchange_ms(self.true)

        def read() -> None:
            self.policy.confirmed(bar_of(symbol, minute, price), time_ms, self.local)
            self.policy.heard(time_ms, self.local)

        self._send(read)

    # What happens to the client.

    def _connect(self) -> None:
        if self.true <= self._frozen_until:
            self.at(self._frozen_until + 1e-6, self._connect)
            return
        if self._connection:
            return
        self._beat()
        self._connection, self._way_clear = next(self._number) + 1, self.true
        self._frames.clear()
        self.policy.connected(self.local)
        self._step()

    def _cut(self) -> None:
        self.meet("cut")
        self._connection = 0
        self._frames.clear()
        self.at(self.true + self.draws.choice((0.01, 0.3, 3.0)) * self.pace, self._connect)

    def _freeze(self) -> None:
        """Nothing runs for a while: what comes waits, and the connection may end unseen."""
        if self.true <= self._frozen_until:
            return
        self.meet("freeze")
        self._frozen_until = self.true + self.draws.choice((0.3, 1.5, 4.0)) * self.pace
        self.at(self._frozen_until + 1e-6, self._step)

    def _jump(self) -> None:
        self.meet("jump")
        self._offset += self.draws.choice((-1, 1)) * self.draws.uniform(0.5, 5.0) * HOUR

    def _jump_wall(self) -> None:
        self.meet("wall")
        self._wall += self.draws.choice((-1, 1)) * self.draws.uniform(0.5, 5.0) * HOUR

    # The client, as the session is.

    def _wake(self) -> None:
        if self._step_due != self.true:
            self._step_due = self.true
            self.at(self.true, self._step)

    def _beat(self) -> None:
        if self.policy.beat(self.local, self.wall):
            self.meet("woke")

    def _step(self) -> None:
        if self.true <= self._frozen_until:
            return
        self._beat()
        # Once in a while the core is asked for a bar while frames still wait: they are drained first.
        frames, self._frames = self._frames, []
        for read in frames:
            read()
        while (shown := self.policy.next_bar(self.local)) is not None:
            taken = self.policy.take(self.local)
            if taken is None or (taken.symbol, taken.start_ms) != (shown.symbol, shown.start_ms):
                raise Broken("what is taken is not what was shown")
            self._check_bar(taken)
        for ask in self.policy.asks(self.local):
            self._answer(ask)
        wait = self.policy.wake(self.local) - self.local
        if wait > 1.001:
            raise Broken(f"nobody looks again for {wait} s")
        self._rest(max(0.002, wait))

    def _rest(self, seconds: float) -> None:
        """Nothing more to do for so long, unless something comes."""
        self._timer += 1
        timer = self._timer
        self.at(self.true + seconds, lambda: self._step() if timer == self._timer else None)

    def _answer(self, ask: Ask) -> None:
        self.meet("asked")
        arrives = self.true + self.draws.uniform(0.0002, self.delay)
        looked = self.draws.uniform(self.true, arrives)

        def failed() -> None:
            self._on_answer(lambda: self.policy.failed(ask, self.local, 0.7))

        if self.goes_wrong(0.8):
            self.meet("failed")
            self.at(arrives, failed)
            return
        closed = self.closed(ask.symbol, looked)
        empty = self.goes_wrong(0.5)
        if ask.first_ms is None:
            newest = closed[-1] * MINUTE if closed and not empty else None
            self.at(arrives, lambda: self._on_answer(lambda: self.policy.newest(ask, newest, self.local)))
            return
        first, last = ask.first_ms // MINUTE, ask.last_ms // MINUTE
        shown = [] if empty else [minute for minute in closed if first <= minute <= last + 1]
        open_minute = min(self.exchange_ms(looked) // MINUTE, self._last)
        if shown and self._hidden[ask.symbol] < MAX_HIDDEN and self.goes_wrong(0.5):
            self._hidden[ask.symbol] += 1
            self.meet("short")
            shown = shown[:-1]
        newest_ms = max((minute * MINUTE for minute in shown), default=0)
        if not empty and open_minute <= last + 1 and open_minute >= self._listed[ask.symbol]:
            newest_ms = open_minute * MINUTE
        bars = [bar_of(ask.symbol, minute, source="backfill") for minute in shown]
        self.at(arrives, lambda: self._on_answer(lambda: self._page(ask, bars, newest_ms)))

    def _page(self, ask: Ask, shown: list[Bar], newest_ms: int) -> object:
        findings = self.policy.page(ask, shown, [], newest_ms, self.local)
        for found in findings.told:
            if found.kind == "gap":
                assert ask.first_ms is not None
                first, bars = ask.first_ms // MINUTE, int(found.detail.split()[0])
                self._told_gap |= {(ask.symbol, minute) for minute in range(first, first + bars)}
        return findings

    def _on_answer(self, take: Callable[[], Any]) -> None:
        if self.true <= self._frozen_until:
            self.at(self._frozen_until + 1e-6, lambda: self._on_answer(take))
            return
        self._beat()
        findings = take()
        if findings.rebuild and self._connection:
            self.meet("rebuilt")
            self._connection = 0
            self._frames.clear()
            self.at(self.true + 0.05, self._connect)
        self._wake()

    # What must hold.

    def _check_bar(self, bar: Bar) -> None:
        symbol, minute = bar.symbol, bar.start_ms // MINUTE
        before = self._taken[symbol]
        last = before[-1].start_ms // MINUTE if before else self._starts[symbol]
        if last is not None:
            skipped = [m for m in range(last + 1, minute) if (symbol, m) not in self._told_gap]
            if minute <= last or skipped:
                raise Broken(f"{symbol} {minute} follows {last}, and {skipped} were passed over")
            for m in range(last + 1, minute):
                if (symbol, m) not in self._unpublished:
                    raise Broken(f"{symbol} {m} was published, and passed over")
        if bar.close != Decimal(100) or (symbol, minute) in self._unpublished:
            raise Broken(f"{bar} is no confirmed bar")
        before.append(replace(bar))
        if bar.late:
            self.meet("late")
        else:
            self.meet("fresh")
            # What the exchange had closed when the last news could have been sent.
            closed = self.closed(symbol, self.true - self._blind)
            if closed and closed[-1] > minute:
                raise Broken(f"{symbol} {minute} is fresh at {self.true}, though {closed[-1]} had closed")

    @property
    def _blind(self) -> float:
        """How old the newest knowledge may be at most: a frame's or an answer's way, and what counts as just now."""
        return self.delay + min(2.0, 0.5 * self.pace) + (0.5 if self.pace < 60 else 0.0)

    def _check_quote(self, symbol: str, time_ms: int, sent: float) -> None:
        self.meet("quote")
        taken = self._taken[symbol]
        last = taken[-1].start_ms // MINUTE if taken else self._starts[symbol]
        due = [minute for minute in self.closed(symbol, sent) if (minute + 1) * MINUTE <= time_ms]
        if due and last is not None and due[-1] > last:
            raise Broken(f"a quote of {symbol} at {time_ms} passed {due[-1]}, behind {last}")
        if self.true - sent > self._blind + 2 * self.pace:
            raise Broken(f"a quote of {symbol} passed {self.true - sent} s after it was sent")

    def _is_over(self) -> bool:
        closed = {symbol: self.closed(symbol, self.true) for symbol in self.symbols}
        return all(
            self._taken[symbol] and self._taken[symbol][-1].start_ms // MINUTE == closed[symbol][-1]
            for symbol in self.symbols
        )

    def _check_end(self) -> None:
        """All that the exchange has has passed."""
        for symbol in self.symbols:
            closed, taken = self.closed(symbol, self.true), self._taken[symbol]
            last = taken[-1].start_ms // MINUTE if taken else None
            if closed and closed[-1] >= FIRST and (last is None or last < closed[-1]):
                raise Broken(f"{symbol} stands at {last}, and {closed[-1]} has closed")

    def run(self) -> dict[str, int]:
        self._plan()
        self.at(0.0, self._step)
        # Pauses grow to half a minute, and a gap is believed after some looks.
        until, steps = self.end + 5 * self.pace + 150.0, 0
        while self._events and self._events[0][0] <= until:
            self.true, _, deed = heapq.heappop(self._events)
            deed()
            steps += 1
            if steps > 50_000:
                raise Broken("it never rests")
            if self.true > self.end + 5 * self.pace + 1.0 and self._is_over():
                break
        self._check_end()
        return self.met
