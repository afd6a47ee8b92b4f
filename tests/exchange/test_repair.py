"""The repair policy, driven through what may happen; how long and from where: SCHEDULES=100000 SEED=0 pytest …"""

import os
import time
from collections import Counter

import pytest

from bot.exchange.repair import Ask, RepairPolicy
from tests.exchange.schedules import MINUTE, Broken, Schedule, bar_of

SCHEDULES = int(os.environ.get("SCHEDULES", "0"))
FIRST_SEED = int(os.environ.get("SEED", "0"))
SECONDS = 8.0
BTC, ETH = "BTCUSDT", "ETHUSDT"


def test_whatever_happens_bars_pass_once_in_order_and_fresh_only_while_they_are_the_newest():
    """As many schedules as eight seconds allow, at most 3,000, or as many as are asked for."""
    met: Counter[str] = Counter()
    until = time.monotonic() + SECONDS
    for seed in range(FIRST_SEED, FIRST_SEED + (SCHEDULES or 3_000)):
        if not SCHEDULES and time.monotonic() > until:
            break
        try:
            met.update(Schedule(seed).run())
        except Broken as broken:
            pytest.fail(f"seed {seed}: {broken}")
        met["schedules"] += 1
    print(dict(met))
    # What the test is about has been met.
    for what in ("fresh", "late", "quote", "asked", "failed", "woke", "freeze", "jump", "wall", "cut", "rebuilt",
                 "lost", "refused", "delayed", "twice", "short"):  # fmt: skip
        assert met[what] > 0, what


class Driven:
    """A policy on clocks of the test's own, one or two symbols behind minute 999."""

    def __init__(self, *symbols: str, last: int | None = 999, now: float = 426.0) -> None:
        self.now, self.wall = now, 1e9
        self.policy = RepairPolicy("1", now, self.wall)
        for symbol in symbols or (BTC,):
            self.policy.add(symbol, None if last is None else last * MINUTE, now)

    def passes(self, seconds: float, *, beats: bool = True) -> float:
        """Time passes, in small steps that are told of or in one leap; how far the clock seems to have jumped."""
        jumped = 0.0
        for _ in range(max(1, int(seconds * 2))) if beats else (1,):
            step = seconds / max(1, int(seconds * 2)) if beats else seconds
            self.now, self.wall = self.now + step, self.wall + step
            jumped += self.policy.beat(self.now, self.wall)
            self.policy.wake(self.now)
        return jumped

    def taken(self) -> list[tuple[str, int, bool]]:
        bars = []
        while (bar := self.policy.take(self.now)) is not None:
            bars.append((bar.symbol, bar.start_ms // MINUTE, bar.late))
        return bars

    def pushed(self, minute: int, symbol: str = BTC) -> None:
        self.policy.pushed(symbol, minute * MINUTE, self.now)

    def confirmed(self, minute: int, symbol: str = BTC) -> None:
        self.policy.confirmed(bar_of(symbol, minute), (minute + 1) * MINUTE + 12, self.now)

    def asks(self) -> list[Ask]:
        return self.policy.asks(self.now)

    def newest(self, ask: Ask, minute: int | None) -> None:
        self.policy.newest(ask, None if minute is None else minute * MINUTE, self.now)

    def quote_passes(self, minute: float, symbol: str = BTC) -> bool:
        return self.policy.may_pass(symbol, int(minute * MINUTE))


def test_nothing_is_believed_to_be_open_that_was_never_pushed_however_soon_after_boot():
    """A monotonic clock that began with the machine stands within a bar of 0."""
    driven = Driven(now=26.0)
    (ask,) = driven.asks()
    assert ask.first_ms is None
    driven.newest(ask, 1004)
    assert not driven.quote_passes(1005.5)
    (ask,) = driven.asks()
    assert (ask.first_ms, ask.last_ms) == (1000 * MINUTE, 1004 * MINUTE)


def test_no_quote_overtakes_missed_bars_while_rest_fails_at_the_start():
    driven = Driven()
    for _ in range(5):
        (ask,) = driven.asks()
        driven.policy.failed(ask, driven.now, 1.0)
        assert not driven.quote_passes(1003.5)
        driven.passes(31)
    driven.policy.connected(driven.now)
    driven.pushed(1003)
    assert not driven.quote_passes(1003.5)
    assert driven.taken() == []
    (ask,) = driven.asks()
    assert (ask.first_ms, ask.last_ms) == (1000 * MINUTE, 1002 * MINUTE)
    driven.policy.page(
        ask, [bar_of(BTC, minute) for minute in (1000, 1001, 1002)], [], 1003 * MINUTE, driven.now
    )
    assert driven.taken() == [(BTC, 1000, True), (BTC, 1001, True), (BTC, 1002, False)]
    assert driven.quote_passes(1003.5)
    assert not driven.quote_passes(1002.5)


def test_without_any_history_the_first_look_begins_and_the_next_bar_passes():
    driven = Driven(last=None)
    assert not driven.quote_passes(1000.5)
    (ask,) = driven.asks()
    driven.newest(ask, 999)
    assert driven.quote_passes(1000.5)
    driven.confirmed(1000)
    assert driven.taken() == [(BTC, 1000, False)]


def test_after_a_sleep_the_bars_that_waited_are_late_and_the_newest_waits_for_rest():
    driven = Driven()
    driven.pushed(1000)
    driven.policy.heard(1000 * MINUTE + 30_000, driven.now)
    assert driven.passes(100 * 60.0, beats=False) == 100 * 60.0
    for minute in range(1000, 1100):
        driven.confirmed(minute)
    assert not driven.quote_passes(1100.5)
    assert driven.taken() == [(BTC, minute, True) for minute in range(1000, 1099)]
    (ask,) = driven.asks()
    driven.newest(ask, 1099)
    assert driven.taken() == [(BTC, 1099, False)]
    assert driven.quote_passes(1100.5)


def test_what_rest_knows_makes_the_last_bar_that_waited_late_too():
    driven = Driven()
    driven.pushed(1000)
    driven.passes(300.0, beats=False)
    driven.confirmed(1000)
    (ask,) = driven.asks()
    driven.newest(ask, 1004)
    assert driven.taken() == [(BTC, 1000, True)]


def test_an_answer_to_what_was_asked_before_a_sleep_is_no_answer():
    driven = Driven()
    (before,) = driven.asks()
    driven.passes(300.0, beats=False)
    driven.newest(before, 1000)
    driven.confirmed(1000)
    assert driven.taken() == []
    (ask,) = driven.asks()
    driven.newest(ask, 1000)
    assert driven.taken() == [(BTC, 1000, False)]


def test_where_rest_fails_after_a_sleep_a_new_connection_shows_what_is_now():
    driven = Driven()
    driven.pushed(1000)
    driven.passes(300.0, beats=False)
    driven.confirmed(1000)
    (ask,) = driven.asks()
    assert driven.policy.failed(ask, driven.now, 1.0).rebuild
    assert driven.taken() == []
    driven.policy.connected(driven.now)
    driven.pushed(1001)
    assert driven.taken() == [(BTC, 1000, False)]


@pytest.mark.parametrize("hours", [-5.0, -1.0, 1.0, 5.0])
@pytest.mark.parametrize("wall", [False, True])
def test_a_clock_that_is_set_makes_nobody_wait_for_it(hours, wall):
    driven = Driven()
    driven.pushed(1000)
    driven.asks()
    if wall:
        driven.wall += hours * 3600
    else:
        driven.now, driven.wall = driven.now + hours * 3600, driven.wall + 1
    jumped = driven.policy.beat(driven.now, driven.wall)
    assert jumped == pytest.approx(hours * 3600)
    (ask,) = driven.asks()
    driven.newest(ask, 999)
    driven.confirmed(1000)
    assert driven.taken() == [(BTC, 1000, False)]


def test_symbols_do_not_wait_for_one_that_has_no_bar_yet_or_whose_requests_fail():
    driven = Driven(BTC, ETH)
    driven.policy.add("NEWUSDT", None, driven.now)
    for minute in range(1000, 1010):
        driven.confirmed(minute)
        driven.confirmed(minute, ETH)
        assert driven.taken() == [(BTC, minute, False), (ETH, minute, False)]
        for ask in driven.asks():
            if ask.symbol == "NEWUSDT":
                driven.newest(ask, None)
            else:
                driven.policy.failed(ask, driven.now, 1.0)
        driven.passes(60.0)


def test_a_bar_whose_confirmation_failed_is_fresh_while_it_is_the_newest():
    driven = Driven()
    driven.pushed(1000)
    (ask,) = driven.asks()
    driven.newest(ask, 999)
    driven.policy.refused(BTC, 1000 * MINUTE)
    (ask,) = driven.asks()
    assert (ask.first_ms, ask.last_ms) == (1000 * MINUTE, 1000 * MINUTE)
    driven.policy.page(ask, [bar_of(BTC, 1000)], [], 1001 * MINUTE, driven.now)
    assert driven.taken() == [(BTC, 1000, False)]


def test_a_confirmation_from_nowhere_is_disbelieved_though_others_go_on_coming():
    driven = Driven()
    driven.pushed(1000)
    (ask,) = driven.asks()
    driven.newest(ask, 999)
    driven.confirmed(5000)
    minute = 1000
    for _ in range(40):
        driven.passes(30.0)
        for ask in driven.asks():
            if ask.first_ms is None:
                driven.newest(ask, minute - 1)
            else:
                driven.policy.page(ask, [], [], minute * MINUTE, driven.now)
        driven.confirmed(minute)
        late = [late for _, _, late in driven.taken()]
        minute += 1
    assert late == [False]


def test_a_bar_that_a_busy_core_does_not_take_in_time_is_asked_for_again_without_growing_pauses():
    """The market stands still meanwhile, so that by the clock the next bar has closed."""
    driven = Driven()
    driven.pushed(1000)
    for quarter in range(9):
        driven.passes(0.25)
        driven.policy.heard(998 * MINUTE + quarter * 15_000, driven.now)
    (ask,) = driven.asks()
    driven.newest(ask, 999)
    driven.passes(1.0)
    driven.confirmed(1000)
    driven.policy.heard(1001 * MINUTE + 12, driven.now)
    for _ in range(10):
        driven.passes(3.0)
        assert driven.taken() == []
        (ask,) = driven.asks()
        driven.newest(ask, 1000)
    driven.passes(0.1)
    assert driven.taken() == [(BTC, 1000, False)]
