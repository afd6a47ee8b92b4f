"""The live client against the embedded exchange over loopback: whatever it does, the bars come out right."""

import asyncio
import time
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import pytest

from bot.demo.exchange import DemoExchange
from bot.demo.faults import Faults
from bot.exchange.config import ExchangeConfig
from bot.exchange.rest import BybitRest
from bot.exchange.stream import MarketStream
from bot.market import INTERVAL_MS, Bar, Book, Category, Funding, Notice, Quote
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.held import LookBack

INTERVAL = "1"
STEP = INTERVAL_MS[INTERVAL]
BTC = ("BTCUSDT",)
TWO = ("BTCUSDT", "ETHUSDT")
TWENTY = tuple(f"C{number:02d}USDT" for number in range(20))


class Heard:
    """What a stream handed on."""

    def __init__(self) -> None:
        self.bars: dict[str, list[Bar]] = defaultdict(list)
        self.order: list[tuple[int, str]] = []
        self.quotes: list[Quote] = []
        self.books: list[Book] = []
        self.funding: list[Funding] = []
        self.notices: Counter[str] = Counter()

    def add(self, event: Any) -> None:
        match event:
            case Bar():
                self.bars[event.symbol].append(event)
                self.order.append((event.start_ms, event.symbol))
            case Quote():
                self.quotes.append(event)
            case Book():
                self.books.append(event)
            case Funding():
                self.funding.append(event)
            case Notice():
                self.notices[event.kind] += 1

    async def reach(self, symbol: str, bars: int) -> None:
        """Wait until so many bars of a symbol have come."""
        while len(self.bars[symbol]) < bars:  # noqa: ASYNC110 - a test's patience, not a design
            await asyncio.sleep(0.005)

    @property
    def late(self) -> int:
        return sum(bar.late for bars in self.bars.values() for bar in bars)


def figures(bars: list[Bar]) -> list[tuple[Any, ...]]:
    return [(bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]


async def listen(
    *,
    symbols: tuple[str, ...] = BTC,
    bars: int = 40,
    bar_seconds: float = 0.05,
    faults: Faults | None = None,
    silence_seconds: float = 1.0,
    category: Category = "linear",
    missed: int = 0,
    meanwhile: Any = None,
    waits: Any = lambda symbol: False,
    patience: float = 25.0,
    depth: bool = False,
) -> Heard:
    """Stream so many bars, and hold what came out against the truth: every bar, once, in order."""
    market = SyntheticMarket(PRESETS["demo"], 3, INTERVAL)
    live_from = market.start_ms(600)
    heard = Heard()
    async with (
        DemoExchange(
            market, category, symbols, INTERVAL, live_from_ms=live_from, bar_seconds=bar_seconds,
            max_bars=bars, pause_when_alone=False, faults=faults or Faults(),
        ) as exchange,
        BybitRest(exchange.rest_url, category) as rest,
    ):  # fmt: skip
        stream = MarketStream(
            ExchangeConfig(silence_seconds=silence_seconds),
            exchange.ws_url,
            rest,
            category=category,
            interval=INTERVAL,
            instruments={symbol: market.instrument(symbol, category) for symbol in symbols},
            last_starts=dict.fromkeys(symbols, live_from - (missed + 1) * STEP),
            look_backs=dict.fromkeys(symbols, LookBack(0, live_from - missed * STEP)),
            waits=waits,
            depth=depth,
        )

        async def stop_at_the_end() -> None:
            await exchange.exhausted.wait()
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if all(len(heard.bars[symbol]) >= bars + missed for symbol in symbols):
                    break
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
            stream.stop()

        async with asyncio.TaskGroup() as group, stream:
            group.create_task(stop_at_the_end())
            if meanwhile is not None:
                group.create_task(meanwhile(exchange, heard))
            async for event in stream:
                heard.add(event)
        for symbol in symbols:
            truth = [*market.bars(symbol, 600 - missed, missed), *exchange.closed_bars(symbol)]
            assert figures(heard.bars[symbol]) == figures(truth), symbol
    return heard


def stream_bars(**settings: Any) -> Heard:
    return asyncio.run(listen(**settings))


def test_a_well_behaved_exchange_needs_no_repair_and_nothing_is_late():
    heard = stream_bars(symbols=TWO, bars=20, bar_seconds=0.2)
    assert {bar.source for bar in heard.bars["BTCUSDT"]} == {"stream"}
    assert heard.late == 0
    assert heard.order == sorted(heard.order)
    assert heard.notices == {"connected": 1}


def test_what_closed_before_the_start_comes_first_and_late():
    heard = stream_bars(symbols=TWO, missed=5, bars=30, bar_seconds=0.2)
    for symbol in TWO:
        assert [bar.late for bar in heard.bars[symbol][:4]] == [True] * 4
        assert [bar.source for bar in heard.bars[symbol][:5]] == ["backfill"] * 5
        assert not any(bar.late for bar in heard.bars[symbol][-20:])
    assert heard.order == sorted(heard.order)


def test_more_is_missed_than_one_page_holds_and_only_the_newest_is_not_late():
    market_bars = 590
    heard = stream_bars(missed=market_bars, bars=20)
    assert all(bar.late for bar in heard.bars["BTCUSDT"][: market_bars - 1])


def test_a_skipped_confirmation_is_fetched_while_its_bar_is_still_the_newest():
    async def skip_some(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 10)
        exchange.fault_confirmation("BTCUSDT", "skip")

    heard = stream_bars(bar_seconds=0.3, bars=16, meanwhile=skip_some)
    assert [bar.source for bar in heard.bars["BTCUSDT"]].count("backfill") == 1
    assert heard.late == 0


def test_the_last_confirmation_may_be_missing_though_nothing_follows_it():
    async def skip_the_last(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 19)
        exchange.fault_confirmation("BTCUSDT", "skip")

    stream_bars(bars=20, bar_seconds=0.1, meanwhile=skip_the_last)


@pytest.mark.parametrize(
    "kind",
    ["skip", "repeat", "revise", "late", "reorder", "delay", "high_below_low", "nan", "negative", "empty",
     "off_grid", "future", "unknown_symbol", "missing_field", "wrong_type"],
)  # fmt: skip
def test_a_confirmation_may_go_wrong_in_any_way(kind: Any):
    async def fault_confirmations(exchange: DemoExchange, heard: Heard) -> None:
        for after in (5, 12, 13):
            await heard.reach("ETHUSDT", after)
            exchange.fault_confirmation("ETHUSDT", kind)

    heard = stream_bars(symbols=TWO, bars=24, meanwhile=fault_confirmations)
    broken = kind not in ("skip", "repeat", "revise", "late", "reorder", "delay")
    assert (heard.notices["refused"] > 0) == broken


def test_cuts_with_and_without_a_close_frame_lose_nothing():
    async def cut(exchange: DemoExchange, heard: Heard) -> None:
        for number, after in enumerate((5, 10, 20, 21)):
            await heard.reach("BTCUSDT", after)
            exchange.cut(close_frame=number % 2 == 0)

    heard = stream_bars(meanwhile=cut)
    assert heard.notices["connected"] >= 4


def test_a_silent_stream_is_rebuilt_and_its_bars_come_over_rest_meanwhile():
    async def be_silent(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 10)
        exchange.silence(2.5)

    heard = stream_bars(bars=70, meanwhile=be_silent)
    assert heard.notices["disconnected"] >= 1
    assert heard.notices["backfill"] >= 1


def test_one_silent_topic_among_others_still_gives_its_bars():
    async def be_silent(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 10)
        exchange.silence(3.0, topic="kline.1.ETHUSDT")

    stream_bars(symbols=TWO, bars=80, meanwhile=be_silent)


@pytest.mark.parametrize("kind", ["no_json", "binary", "huge", "other_shape", "odd_data"])
def test_garbage_frames_do_no_harm(kind: Any):
    async def send_garbage(exchange: DemoExchange, heard: Heard) -> None:
        for after in (5, 10, 15):
            await heard.reach("BTCUSDT", after)
            exchange.send_garbage(kind)

    heard = stream_bars(bars=25, bar_seconds=0.15, meanwhile=send_garbage)
    assert heard.late <= 3


def test_refused_subscriptions_are_asked_for_again():
    heard = stream_bars(bars=90, faults=Faults(refused_subscriptions=1), silence_seconds=10.0)
    # Of a symbol's two topics both are refused, which is told once.
    assert heard.notices["subscription_refused"] == 1
    assert heard.quotes


def test_refused_connections_are_tried_again_without_a_storm():
    async def refuse(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 5)
        exchange.refuse_connections(6)
        exchange.cut()

    heard = stream_bars(bars=80, meanwhile=refuse)
    # Each dial of the client library is two attempts, so three refused dials: a pause grows after each.
    assert heard.notices["disconnected"] == 1
    assert heard.notices["no_connection"] == 1


@pytest.mark.parametrize(
    "kind",
    ["http500", "http502", "http429", "broken_json", "code10000", "code10006", "code10016", "empty",
     "slow", "dropped", "missing_bar", "broken_row"],
)  # fmt: skip
def test_a_rest_answer_may_fail_in_any_way_while_it_is_needed(kind: Any):
    async def fail(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 5)
        exchange.fail_rest(kind, 2, "kline")
        exchange.fault_confirmation("BTCUSDT", "skip")

    stream_bars(bars=30, meanwhile=fail)


def test_twenty_symbols_through_everything_at_once():
    faults = Faults(
        seed=9, skip=0.03, repeat=0.03, revise=0.03, late=0.03, reorder=0.03, delay=0.03, broken=0.03,
        garbage=0.02, cut=0.005, silence=0.001, silence_seconds=1.5, refused_connections=0.2,
        refused_subscriptions=1, rest=0.2, slow_seconds=0.2,
    )  # fmt: skip
    stream_bars(symbols=TWENTY, bars=12, bar_seconds=1.0, faults=faults, silence_seconds=2.0)


def test_spot_takes_its_quotes_from_the_book():
    heard = stream_bars(category="spot", bars=30)
    assert heard.quotes
    assert all(quote.mark is None for quote in heard.quotes)
    assert heard.funding == []


def test_quotes_are_one_a_second_of_the_exchanges_time_unless_an_order_waits():
    idle = stream_bars(bars=20)
    times = [quote.time_ms for quote in idle.quotes]
    assert min(later - sooner for sooner, later in pairwise(times)) >= 1000
    waiting = stream_bars(bars=20, waits=lambda symbol: True)
    assert len(waiting.quotes) >= len(idle.quotes)
    assert all(quote.bid < quote.ask for quote in waiting.quotes)


def test_settled_funding_comes_once_in_order_with_its_mark_price():
    heard = stream_bars(bars=300, bar_seconds=0.01, missed=590)
    times = [funding.time_ms for funding in heard.funding]
    hours = 8 * 3_600_000
    first = heard.bars["BTCUSDT"][0].start_ms
    last = heard.bars["BTCUSDT"][-1].close_ms
    assert times == [at for at in range(first - first % hours, last + 1, hours) if at > first]
    assert all(funding.mark_price > 0 for funding in heard.funding)


def test_leaving_never_hangs():
    async def leave_at_once() -> float:
        market = SyntheticMarket(PRESETS["demo"], 3, INTERVAL)
        live_from = market.start_ms(600)
        async with (
            DemoExchange(
                market, "linear", BTC, INTERVAL, live_from_ms=live_from, bar_seconds=0.05
            ) as exchange,
            BybitRest(exchange.rest_url, "linear") as rest,
        ):
            stream = MarketStream(
                ExchangeConfig(), exchange.ws_url, rest, category="linear", interval=INTERVAL,
                instruments={}, last_starts={"BTCUSDT": live_from - STEP}, look_backs={},
                waits=lambda symbol: False,
            )  # fmt: skip
            async with stream:
                async for event in stream:
                    if isinstance(event, Bar):
                        break
                left = time.monotonic()
        return time.monotonic() - left

    assert asyncio.run(leave_at_once()) < 2.0


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_books_come_while_an_order_waits_and_lie_around_the_quotes(category):
    heard = asyncio.run(listen(category=category, depth=True, waits=lambda symbol: True))
    assert len(heard.books) > 40
    quoted = {quote.time_ms: quote for quote in heard.quotes}
    together = [(book, quoted[book.time_ms]) for book in heard.books if book.time_ms in quoted]
    assert len(together) > 40
    for book, quote in together:
        assert (book.bids[0].price, book.bids[0].size) == (quote.bid, quote.bid_size)
        assert (book.asks[0].price, book.asks[0].size) == (quote.ask, quote.ask_size)
        assert len(book.bids) == len(book.asks) == 50
        assert all(upper.price > lower.price for upper, lower in pairwise(book.bids))
        assert all(upper.price > lower.price for lower, upper in pairwise(book.asks))
    assert not heard.notices["refused"]


def test_books_come_neither_unasked_nor_while_nothing_waits():
    assert not asyncio.run(listen(bars=10, waits=lambda symbol: True)).books
    assert not asyncio.run(listen(bars=10, depth=True)).books


def test_a_book_is_whole_again_after_a_cut():
    async def cut(exchange: DemoExchange, heard: Heard) -> None:
        await heard.reach("BTCUSDT", 10)
        before = len(heard.books)
        exchange.cut()
        await heard.reach("BTCUSDT", 20)
        assert len(heard.books) > before

    heard = asyncio.run(listen(depth=True, waits=lambda symbol: True, meanwhile=cut))
    assert {len(book.bids) for book in heard.books} == {50}
    assert heard.notices["connected"] == 2


HOUR = 3_600_000


@pytest.mark.parametrize(
    "faults",
    [
        Faults(seed=5, mark_missing=0.5, index_missing=0.5),
        Faults(seed=5, mark_missing=1.0, index_missing=1.0, funding_noise_ms=7),
        Faults(seed=5, funding_late_ms=3 * HOUR // 2, funding_noise_ms=9_000),
        Faults(seed=5, rest=0.3, mark_missing=0.3, slow_seconds=0.05),
    ],
)
def test_funding_comes_once_in_order_whatever_the_exchange_lacks(faults):
    heard = stream_bars(
        symbols=TWO, bars=300, bar_seconds=0.02, missed=590, faults=faults, patience=6.0, silence_seconds=5.0
    )
    for symbol in TWO:
        mine = [funding for funding in heard.funding if funding.symbol == symbol]
        times = [funding.time_ms for funding in mine]
        first, last = heard.bars[symbol][0].start_ms, heard.bars[symbol][-1].close_ms
        due = [at for at in range(first - first % (8 * HOUR), last + 1, 8 * HOUR) if at > first]
        # The last may not be published yet.
        assert times == due[: len(times)]
        assert len(due) - len(times) <= (1 if faults.funding_late_ms else 0)
        closes = {bar.close_ms: bar.close for bar in heard.bars[symbol]}
        for funding in mine:
            if funding.mark_source == "close":
                assert funding.mark_price == closes[funding.time_ms]
    approximated = [funding for funding in heard.funding if funding.mark_source != "mark"]
    assert heard.notices["mark_price"] == len(approximated)
    if faults.mark_missing == 1.0:
        assert {funding.mark_source for funding in heard.funding} == {"close"}


def test_a_change_of_the_interval_is_followed_on_the_stream():
    live_from = SyntheticMarket(PRESETS["demo"], 3, INTERVAL).start_ms(600)
    change = live_from - live_from % (8 * HOUR) + 8 * HOUR
    heard = stream_bars(bars=900, bar_seconds=0.008, faults=Faults(funding_hours=((change, 1),)))
    times = [funding.time_ms for funding in heard.funding if funding.time_ms >= change]
    assert len(times) > 4
    assert [later - sooner for sooner, later in pairwise(times)] == [HOUR] * (len(times) - 1)
    assert heard.notices["funding_interval"] == 1
    assert not heard.notices["funding_late"] + heard.notices["funding_missing"]
