"""Every settlement is charged once, whatever is missing, late, noisy or down: a made-up exchange in virtual time."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.exchange.funding_schedule import FundingSchedule
from bot.exchange.symbol_funding import PriceWanted, RatesWanted
from bot.market import Funding, Notice, settlement_ms
from bot.sessions.assembly import look_backs
from bot.trading.events import Fill, FundingPayment
from bot.trading.held import LookBack
from bot.trading.ledger import Ledger
from tests.core import NOTHING_YET
from tests.factories import START_MS, a_bar, a_fill, an_instrument

MINUTE, HOUR = 60_000, 3_600_000
STEP = 15 * MINUTE
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@dataclass
class World:
    """What an exchange has settled and shows of it, by symbol and scheduled time."""

    settled: dict[str, dict[int, Decimal]]
    published: dict[tuple[str, int], int] = field(default_factory=dict)
    """When a rate is published, where not at once."""
    lacks: set[tuple[str, str, int]] = field(default_factory=set)
    down: list[tuple[int, int]] = field(default_factory=list)
    announces: bool = True
    says: dict[tuple[str, str, int], list[str]] = field(default_factory=dict)
    """Prices that are answered first, whatever is right."""

    def rates(self, ask: RatesWanted, clock_ms: int) -> list[tuple[int, Decimal]]:
        shown = [
            (at, rate)
            for at, rate in self.settled[ask.symbol].items()
            if self.published.get((ask.symbol, at), at) <= clock_ms
        ]
        if ask.since_ms is None:
            return shown[-20:]
        return [(at, rate) for at, rate in shown if ask.since_ms < at <= ask.until_ms]

    def price(self, ask: PriceWanted) -> Decimal | None:
        if (ask.symbol, ask.source, ask.time_ms) in self.lacks:
            return None
        if wrong := self.says.get((ask.symbol, ask.source, ask.time_ms)):
            return Decimal(wrong.pop(0))
        return price_of(ask.source, ask.time_ms)


def price_of(source: str, time_ms: int) -> Decimal:
    return Decimal(100 + time_ms // STEP % 50) + Decimal(
        {"mark": "0.5", "index": "0.25", "close": "0"}[source]
    )


def every(hours: int, until: int, *changes: tuple[int, int]) -> list[int]:
    """Settlements (hours after the start) every so many hours, until changes to others."""
    times, now = [], 0
    for begin, pace in (*changes, (until, 0)):
        while now + hours <= begin:
            now += hours
            times.append(now)
        hours = pace
    return times


class Life:
    """A bot that holds what it is told, over sessions, against a world; the ledger is the real one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = Ledger(Decimal(1_000_000))
        self.fills: list[Fill] = []
        self.payments: list[FundingPayment] = []
        self.handed: dict[str, list[int]] = defaultdict(list)
        self.notices: list[Notice] = []
        self.asks: Counter[tuple] = Counter()
        self.asked_at: dict[tuple, list[float]] = defaultdict(list)
        self.clock_ms = START_MS
        self.last: dict[str, int | None] = dict.fromkeys(SYMBOLS)
        self.schedule: FundingSchedule | None = None

    def start(self) -> None:
        """A session begins: what it knows comes from the books alone."""
        restored = Ledger.restore(Decimal(1_000_000), self.fills, self.payments, ())
        assert restored.cash == self.ledger.cash
        opening = replace(NOTHING_YET, ledger=self.ledger.snapshot())
        instruments = {symbol: an_instrument(symbol) for symbol in SYMBOLS}
        backs = look_backs(opening, instruments, self.last, "15")
        self.schedule = FundingSchedule(dict.fromkeys(SYMBOLS, 8 * HOUR), backs, max_jump=5.0)
        self.handed.clear()
        self.asked_at.clear()

    def stop(self) -> None:
        self.schedule = None

    def trade(self, symbol: str, quantity: int, time_ms: int) -> None:
        fill = a_fill(
            len(self.fills) + 1, symbol=symbol, side="buy" if quantity > 0 else "sell",
            quantity=abs(quantity), time_ms=time_ms,
        )  # fmt: skip
        self.fills += self.ledger.post([fill]).fills

    def pass_time(self, until_ms: int) -> None:
        """Bars close and questions are answered until then; a restarted session catches up first."""
        schedule = self.schedule
        while schedule is not None:
            due = []
            for symbol in SYMBOLS:
                start = self.last[symbol]
                start = START_MS if start is None else start + STEP
                due.append((max(start + STEP, self.clock_ms), start, symbol))
            close_ms, start, symbol = min(due)
            wake = schedule.wake()
            wake_ms = close_ms + 1 if wake is None else max(self.clock_ms, int(wake * 1000) + 1)
            if min(close_ms, wake_ms) > until_ms:
                break
            self.clock_ms = min(close_ms, wake_ms)
            if close_ms <= wake_ms:
                self.last[symbol] = start
                close = price_of("close", start + STEP)
                self._announce()
                schedule.bar(a_bar(symbol=symbol, close=close, start_ms=start))
            self._answer()
        self.clock_ms = max(self.clock_ms, until_ms)

    def _announce(self) -> None:
        if not self.world.announces:
            return
        for symbol in SYMBOLS:
            coming = [at for at in self.world.settled[symbol] if at > self.clock_ms]
            if coming:
                self.schedule.announce(symbol, min(coming), self.clock_ms)

    def _answer(self) -> None:
        schedule, now = self.schedule, self.clock_ms / 1000
        for ask in schedule.asks(now):
            key = (type(ask).__name__, *(getattr(ask, name) for name in ask.__struct_fields__))
            self.asks[key] += 1
            if isinstance(ask, PriceWanted):
                self.asked_at[key].append(now)
            if any(begin <= self.clock_ms < end for begin, end in self.world.down):
                news = schedule.failed(ask, "HTTP 502", now, self.clock_ms)
            elif isinstance(ask, RatesWanted):
                news = schedule.rates(ask, self.world.rates(ask, self.clock_ms), now, self.clock_ms)
            else:
                news = schedule.price(ask, self.world.price(ask), now, self.clock_ms)
            for one in news:
                if isinstance(one, Notice):
                    self.notices.append(one)
                    continue
                assert one.time_ms <= self.last[one.symbol] + STEP, "ahead of the bar that it falls into"
                self.handed[one.symbol].append(one.time_ms)
                payment = self.ledger.settle(one)
                if payment is not None:
                    self.payments.append(payment)

    def held_before(self, symbol: str, time_ms: int) -> Decimal:
        return sum(
            (
                fill.quantity if fill.side == "buy" else -fill.quantity
                for fill in self.fills
                if fill.symbol == symbol and fill.time_ms < time_ms
            ),
            Decimal(0),
        )

    def told(self, kind: str) -> list[Notice]:
        return [notice for notice in self.notices if notice.kind == kind]

    def check_charged(self, symbols: tuple[str, ...] = SYMBOLS, until_ms: int | None = None) -> None:
        """Each settlement held over was charged once, on what was held, at its own price, and no other."""
        paid = {(payment.symbol, payment.time_ms): payment for payment in self.payments}
        assert len(paid) == len(self.payments)
        until_ms = self.clock_ms if until_ms is None else until_ms
        owed = {
            (symbol, at)
            for symbol in symbols
            for at in self.world.settled[symbol]
            if at <= until_ms and self.held_before(symbol, at)
        }
        assert set(paid) == owed
        for (symbol, at), payment in paid.items():
            source = next(
                source
                for source in ("mark", "index", "close")
                if (symbol, source, at) not in self.world.lacks or source == "close"
            )
            assert payment.mark_source == source
            assert payment.mark_price == price_of(source, at)
            assert payment.rate == self.world.settled[symbol][at]
            assert payment.payment == -self.held_before(symbol, at) * payment.mark_price * payment.rate
        approximated = {
            (payment.symbol, payment.time_ms) for payment in self.payments if payment.mark_source != "mark"
        }
        assert {(notice.symbol, notice.time_ms) for notice in self.told("mark_price")} >= approximated

    def check_bounded(self) -> None:
        """Nothing was asked for again and again."""
        for key, times in self.asked_at.items():
            assert len(times) <= 12, key
            pauses = [later - sooner for sooner, later in pairwise(times)]
            assert pauses == sorted(pauses), key


def world_of(*hours: int, **more: object) -> World:
    rates = {START_MS + hour * HOUR: Decimal(hour % 7 - 3).scaleb(-4) for hour in hours}
    return World({symbol: dict(rates) for symbol in SYMBOLS}, **more)


def at(hours: float) -> int:
    return START_MS + int(hours * HOUR)


def test_a_missing_mark_minute_at_the_head_blocks_neither_later_payments_nor_another_symbol():
    """11 settlements in a downtime, the first without a mark price: 10 were never booked, one asked for 161 times."""
    world = world_of(*range(8, 200, 8))
    world.lacks = {("BTCUSDT", "mark", at(16)), ("BTCUSDT", "index", at(16))}
    life = Life(world)
    life.start()
    life.trade("BTCUSDT", 2, at(9))
    life.trade("ETHUSDT", -3, at(9))
    life.pass_time(at(15))
    assert life.payments == []
    life.stop()
    life.pass_time(at(97))
    life.start()
    life.pass_time(at(97) + 10_000)
    life.check_charged()
    assert Counter(payment.symbol for payment in life.payments) == {"BTCUSDT": 11, "ETHUSDT": 11}
    assert next(payment.mark_source for payment in life.payments if payment.symbol == "BTCUSDT") == "close"
    (told,) = life.told("mark_price")
    assert (told.symbol, told.time_ms) == ("BTCUSDT", at(16))
    assert sum(life.asks.values()) < 50
    life.check_bounded()


def life_over_a_settlement(**says: list[str]) -> Life:
    """A position held over the settlement of hour 16, whose prices are first answered so, by source."""
    world = world_of(*range(8, 40, 8))
    world.says = {("BTCUSDT", source, at(16)): prices for source, prices in says.items()}
    life = Life(world)
    life.start()
    life.trade("BTCUSDT", 2, at(9))
    life.pass_time(at(30))
    return life


@pytest.mark.parametrize("price", ["1e23", "700", "19", "1e-12"])
def test_a_settlements_price_far_from_the_market_charges_nothing_by_itself(price):
    life = life_over_a_settlement(mark=[price])
    life.check_charged(("BTCUSDT",))
    assert len(life.told("doubted")) == 1
    life = life_over_a_settlement(mark=["1e23", "1e-9", "7e5", "1e8"])
    (paid,) = (payment for payment in life.payments if payment.time_ms == at(16))
    assert (paid.mark_source, paid.mark_price) == ("index", price_of("index", at(16)))
    assert len(life.told("doubted")) == 4


def test_a_settlements_price_far_from_the_market_is_believed_once_another_answer_agrees():
    life = life_over_a_settlement(mark=["1000", "1001"])
    (paid,) = (payment for payment in life.payments if payment.time_ms == at(16))
    assert (paid.mark_source, paid.mark_price) == ("mark", Decimal(1001))
    assert len(life.told("doubted")) == 1


def test_a_restart_long_after_charges_all_since_the_last_payment_also_of_what_was_closed_since():
    world = world_of(*range(8, 24 * 40, 8))
    life = Life(world)
    life.start()
    life.trade("BTCUSDT", 2, at(1))
    life.pass_time(at(9))
    life.world.down = [(at(9), at(300))]
    life.pass_time(at(200))
    life.trade("BTCUSDT", -2, at(200))
    life.pass_time(at(299))
    assert len(life.payments) == 1
    life.stop()
    life.pass_time(at(24 * 30))
    life.start()
    life.pass_time(at(24 * 30) + 10_000)
    assert len(life.payments) == 200 // 8
    life.check_charged()


def test_of_a_symbol_that_never_traded_only_the_newest_rate_is_wanted():
    life = Life(world_of(*range(8, 24 * 40, 8)))
    life.last = dict.fromkeys(SYMBOLS, at(24 * 30))
    life.clock_ms = at(24 * 30 + 1)
    life.start()
    life.pass_time(at(24 * 30 + 2))
    assert life.handed == {symbol: [at(24 * 30)] for symbol in SYMBOLS}
    assert sum(life.asks.values()) == 4
    life.pass_time(at(24 * 30 + 9))
    assert life.handed == {symbol: [at(24 * 30), at(24 * 30 + 8)] for symbol in SYMBOLS}


@pytest.mark.parametrize("announces", [True, False])
@pytest.mark.parametrize("changes", [((24, 4), (48, 1)), ((24, 4), (48, 8)), ((24, 1), (40, 8))])
def test_a_change_of_the_interval_is_followed_whether_it_is_announced_or_not(announces, changes):
    world = world_of(*every(8, 96, *changes), announces=announces)
    life = Life(world)
    life.start()
    life.trade("BTCUSDT", 1, at(1))
    life.pass_time(at(97))
    life.check_charged()
    if announces:
        assert not life.told("funding_missing")
        assert not life.told("funding_late")
    assert life.told("funding_interval")
    assert life.handed["BTCUSDT"] == sorted(life.handed["BTCUSDT"])


def test_a_rate_that_comes_late_is_waited_for_with_growing_pauses_and_told_once():
    world = world_of(*range(8, 40, 8))
    world.published = {("BTCUSDT", at(16)): at(16) + 40 * MINUTE}
    life = Life(world)
    life.start()
    life.trade("BTCUSDT", 1, at(1))
    life.pass_time(at(17))
    life.check_charged()
    (told,) = life.told("funding_late")
    assert "2023-11-15 16:00" in told.detail
    assert not life.told("funding_missing")
    assert sum(count for key, count in life.asks.items() if key[0] == "RatesWanted") < 70


@pytest.mark.parametrize("days", [0.5, 2, 20])
def test_a_rate_that_comes_days_late_is_told_charged_in_the_end_and_holds_nothing_back(days):
    world = world_of(*range(8, 24 * 30, 8))
    published_ms = at(16) + int(days * 24 * HOUR)
    world.published = {("BTCUSDT", at(16)): published_ms}
    life = Life(world)
    life.start()
    life.trade("BTCUSDT", 5, at(1))
    life.trade("BTCUSDT", -5, at(17))
    life.trade("BTCUSDT", 2, at(18))
    life.pass_time(at(24) + 10_000)
    assert [payment.time_ms for payment in life.payments] == [at(8), at(24)]
    assert len(life.told("funding_missing")) == 1
    # Asked for with each next one for a week, and at each start.
    life.pass_time(published_ms + 9 * HOUR)
    if days > 7:
        life.stop()
        life.start()
        life.pass_time(published_ms + 10 * HOUR)
    life.check_charged()
    assert len(life.told("funding_missing")) == 1


def test_an_answer_that_lacks_a_week_is_asked_for_again():
    """An empty page says nothing."""
    world = world_of(*range(8, 24 * 40, 8))
    life = Life(world)
    life.start()
    life.trade("BTCUSDT", 5, at(1))
    life.pass_time(at(1))
    life.stop()
    life.pass_time(at(24 * 30))
    life.start()
    whole, rates = iter([True, False]), world.rates
    world.rates = lambda ask, clock: [
        (stamp, rate)
        for stamp, rate in rates(ask, clock)
        if ask.symbol != "BTCUSDT" or next(whole, True) or not at(100) < stamp < at(300)
    ]
    life.pass_time(at(24 * 30) + 30_000)
    life.check_charged()


def test_a_ban_of_ten_minutes_costs_no_settlement_its_mark_price():
    world = world_of(*range(8, 40, 8), down=[(at(8) + 1_000, at(8) + 11 * MINUTE)])
    life = Life(world)
    life.start()
    life.trade("BTCUSDT", 1, at(1))
    life.pass_time(at(10))
    life.check_charged()
    assert len(life.told("rest_failed")) <= 2


@pytest.mark.parametrize("hours", [1, 9, 30])
def test_what_is_settled_while_a_first_session_has_no_answer_yet_is_charged_once_it_comes(hours):
    life = Life(world_of(*range(8, 60, 8), down=[(START_MS, at(hours))]))
    life.start()
    life.trade("BTCUSDT", 1, START_MS + 2 * STEP)
    life.pass_time(at(50))
    life.check_charged()


def test_a_contract_without_any_funding_is_left_alone():
    life = Life(World({symbol: {} for symbol in SYMBOLS}))
    life.start()
    life.trade("BTCUSDT", 1, at(1))
    life.pass_time(at(100))
    assert not life.notices
    assert sum(life.asks.values()) == 10 + 2 * 12


hours = st.integers(1, 47)


# An interval that nobody announced becomes shorter, and the second settlement of it is published a day late.
@example(changes=[(32, 4)], announces=False, trades=[(36, "BTCUSDT", 1)], downtimes=[], outages=[], seed=571)
@settings(max_examples=25, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(1, 5).map(lambda n: n * 8), st.sampled_from([1, 4, 8])), max_size=3
    ),
    announces=st.booleans(),
    trades=st.lists(st.tuples(hours, st.sampled_from(SYMBOLS), st.integers(-3, 3)), max_size=8),
    downtimes=st.lists(st.tuples(hours, st.integers(1, 30)), max_size=3),
    outages=st.lists(st.tuples(hours, st.integers(1, 30)), max_size=2),
    seed=st.integers(0, 2**32),
)
def test_every_settlement_once_in_order_none_lost_at_its_own_price(
    changes, announces, trades, downtimes, outages, seed
):
    dice = random.Random(seed)
    ordered = sorted(dict(changes).items())
    world = world_of(*every(8, 48, *ordered), announces=announces)
    for symbol in SYMBOLS:
        for time_ms in world.settled[symbol]:
            key = (symbol, time_ms)
            if dice.random() < 0.2:
                world.published[key] = time_ms + dice.choice([1_000, 10 * MINUTE, 2 * HOUR, 30 * HOUR])
            for source, share in (("mark", 0.2), ("index", 0.5)):
                if dice.random() < share:
                    world.lacks.add((symbol, source, time_ms))
    world.down = [(at(begin), at(begin) + minutes * MINUTE) for begin, minutes in outages]
    life = Life(world)
    life.start()
    stops = {at(begin): at(begin + length) for begin, length in downtimes}
    up_ms = 0
    for moment in sorted({*stops, *(at(hour + 0.1) for hour, *_ in trades)}):
        if moment < up_ms:
            continue
        life.pass_time(moment)
        for hour, symbol, quantity in trades:
            if at(hour + 0.1) == moment and quantity:
                life.trade(symbol, quantity, moment)
        if moment in stops:
            life.stop()
            up_ms = stops[moment]
            life.pass_time(up_ms)
            life.start()
    life.pass_time(max(life.clock_ms, at(49)))
    # Once all are published a session after the next settlement, or the next start, has them all.
    life.stop()
    life.pass_time(max(life.clock_ms, at(80)))
    life.start()
    life.pass_time(life.clock_ms + 3 * HOUR)
    life.check_charged()
    life.check_bounded()
    for symbol in SYMBOLS:
        assert len(life.handed[symbol]) == len(set(life.handed[symbol]))
        late = {
            key[1]
            for key, published in world.published.items()
            if key[0] == symbol and published > key[1] + HOUR
        }
        in_time = [time_ms for time_ms in life.handed[symbol] if time_ms not in late]
        assert in_time == sorted(in_time)


@given(st.integers(0, 10**13), st.integers(-29_999, 29_999))
def test_a_stamp_belongs_to_the_minute_that_it_is_next_to(minute, aside):
    assert settlement_ms(minute // MINUTE * MINUTE + aside) == minute // MINUTE * MINUTE


def test_nothing_is_wanted_of_what_a_flat_past_does_not_owe():
    assert not LookBack(at(10), at(1), None).wants(at(8))
    assert LookBack(at(10), at(1), None).wants(at(16))
    assert isinstance(Funding(symbol="B", time_ms=1, rate=Decimal(0), mark_price=Decimal(1)), Funding)
