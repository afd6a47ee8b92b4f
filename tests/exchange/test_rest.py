import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from bot.demo.exchange import DemoExchange
from bot.demo.faults import Faults
from bot.errors import ConfigError, FeedError
from bot.exchange.rest import Banned, BybitRest, NoSuchRoute, RequestRefused
from bot.market import INTERVAL_MS
from bot.synthetic import PRESETS, SyntheticMarket

STEP = INTERVAL_MS["15"]
MARKET = SyntheticMarket(PRESETS["demo"], 3, "15")
LIVE_FROM = MARKET.start_ms(2500)

Ask = Callable[[BybitRest, DemoExchange], Awaitable[Any]]


def ask(question: Ask, on_ban: Callable[[str], None] | None = None) -> Any:
    """Put a question to the client of an exchange whose time stands still at LIVE_FROM."""

    async def run() -> Any:
        async with (
            DemoExchange(
                MARKET, "linear", ("BTCUSDT",), "15", live_from_ms=LIVE_FROM, bar_seconds=1.0
            ) as exchange,
            BybitRest(exchange.rest_url, "linear", on_ban) as rest,
        ):
            return await question(rest, exchange)

    return asyncio.run(run())


def test_the_exchanges_clock_is_told_in_milliseconds():
    assert ask(lambda rest, _: rest.time_ms()) == LIVE_FROM


def test_instruments_come_with_exact_steps():
    instrument = ask(lambda rest, _: rest.instruments(("BTCUSDT",)))["BTCUSDT"]
    assert (instrument.tick_size, instrument.lot_size) == (Decimal("0.1"), Decimal("0.001"))


def test_an_unknown_symbol_is_the_users_mistake_and_is_named():
    with pytest.raises(ConfigError, match="NOPEUSDT"):
        ask(lambda rest, _: rest.instruments(("NOPEUSDT",)))


def test_the_bar_that_is_still_open_is_no_bar():
    bars, refused, newest = ask(
        lambda rest, _: rest.bars("BTCUSDT", "15", LIVE_FROM - 3 * STEP, LIVE_FROM, "backfill")
    )
    assert [bar.start_ms for bar in bars] == [LIVE_FROM - n * STEP for n in (3, 2, 1)]
    assert refused == []
    assert newest == LIVE_FROM
    assert ask(lambda rest, _: rest.newest_closed("BTCUSDT", "15")) == LIVE_FROM - STEP


def test_bars_keep_the_exchanges_figures():
    start = MARKET.start_ms(1000)
    bars, _, _ = ask(lambda rest, _: rest.bars("BTCUSDT", "15", start, start + 9 * STEP, "history"))
    truth = MARKET.bars("BTCUSDT", 1000, 10)
    assert [(bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars] == [
        (bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in truth
    ]


def test_a_range_wider_than_a_page_gives_its_beginning_and_shows_that_more_follows():
    first = MARKET.start_ms(100)
    bars, _, newest = ask(lambda rest, _: rest.bars("BTCUSDT", "15", first, LIVE_FROM, "history"))
    assert bars[0].start_ms == first
    assert len(bars) == 999
    assert newest == bars[-1].start_ms + STEP


@pytest.mark.parametrize("kind", ["http500", "http502", "http429", "broken_json", "code10000", "code10016"])
def test_passing_failures_are_asked_again_until_they_pass(kind: Any):
    async def question(rest: BybitRest, exchange: DemoExchange) -> int:
        exchange.fail_rest(kind, 2)
        return await rest.time_ms()

    assert ask(question) == LIVE_FROM


def test_a_failure_that_lasts_is_weather():
    async def question(rest: BybitRest, exchange: DemoExchange) -> int:
        exchange.fail_rest("http502", 50)
        return await rest.time_ms()

    with pytest.raises(FeedError, match="502"):
        ask(question)


def test_what_the_exchange_will_not_answer_is_asked_once():
    async def question(rest: BybitRest, exchange: DemoExchange) -> None:
        before = sum(exchange.requests.values())
        with pytest.raises(RequestRefused):
            await rest.bars("NOPEUSDT", "15", LIVE_FROM - STEP, LIVE_FROM, "history")
        assert sum(exchange.requests.values()) == before + 1

    ask(question)


def test_a_ban_is_told_once_and_nothing_is_sent_until_it_is_over():
    told: list[str] = []

    async def question(rest: BybitRest, exchange: DemoExchange) -> None:
        exchange.fail_rest("http403", 1)
        with pytest.raises(Banned):
            await rest.time_ms()
        sent = sum(exchange.requests.values())
        with pytest.raises(Banned, match="no requests for another"):
            await rest.newest_closed("BTCUSDT", "15")
        assert sum(exchange.requests.values()) == sent

    ask(question, told.append)
    assert len(told) == 1
    assert "ten minutes" in told[0]


def test_nobody_listening_is_weather():
    async def run() -> None:
        async with BybitRest("http://127.0.0.1:9", "linear") as rest:
            await rest.time_ms()

    with pytest.raises(FeedError):
        asyncio.run(run())


def test_funding_comes_ascending_and_only_after_its_beginning():
    hours = 8 * 3_600_000
    until = LIVE_FROM
    since = until - until % hours - 5 * hours
    settled = ask(lambda rest, _: rest.funding("BTCUSDT", since, until))
    assert [at for at, _ in settled] == [since + n * hours for n in range(1, 6)]
    assert ask(lambda rest, _: rest.minute_price("BTCUSDT", "mark", since)) > 0


def test_a_linear_instrument_comes_with_its_risk_tiers():
    tiers = ask(lambda rest, _: rest.instruments(("BTCUSDT",)))["BTCUSDT"].tiers
    assert [tier.limit for tier in tiers] == [2_000_000 * number for number in range(1, 6)]
    for lower, upper in pairwise(tiers):
        # At the limit both tiers ask for the same maintenance margin.
        below = lower.limit * lower.maintenance_rate - lower.deduction
        assert below == lower.limit * upper.maintenance_rate - upper.deduction


def test_a_server_without_risk_tiers_or_mark_prices_still_serves():
    async def question(rest: BybitRest, exchange: DemoExchange) -> tuple[Any, Any]:
        for endpoint in ("risk-limit", "mark-price-kline"):
            del exchange.endpoints[endpoint]
        return await rest.instruments(("BTCUSDT",)), await rest.minute_price("BTCUSDT", "mark", LIVE_FROM)

    instruments, mark = ask(question)
    assert instruments["BTCUSDT"].lot_size == Decimal("0.001")
    assert instruments["BTCUSDT"].tiers == ()
    assert mark is None


def test_a_server_without_instruments_is_not_taken_for_an_unknown_symbol():
    async def question(rest: BybitRest, exchange: DemoExchange) -> None:
        del exchange.endpoints["instruments-info"]
        with pytest.raises(NoSuchRoute, match="no such endpoint"):
            await rest.instruments(("BTCUSDT",))

    ask(question)


HOUR = 3_600_000


@pytest.mark.parametrize("noise_ms", [0, 7, 9_000])
def test_funding_is_told_at_its_scheduled_times_over_any_range_however_it_is_stamped(noise_ms):
    """A stamp 7 ms past the end belongs to it, one past the beginning does not."""
    newest = LIVE_FROM - LIVE_FROM % (8 * HOUR)

    async def run() -> None:
        async with (
            DemoExchange(
                MARKET, "linear", ("BTCUSDT",), "15", live_from_ms=LIVE_FROM, bar_seconds=1.0,
                faults=Faults(funding_noise_ms=noise_ms),
            ) as exchange,
            BybitRest(exchange.rest_url, "linear") as rest,
        ):  # fmt: skip
            for first, last in ((1, 0), (3, 1), (60, 2), (70, 0)):
                since, until = newest - first * 8 * HOUR, newest - last * 8 * HOUR
                found = await rest.funding("BTCUSDT", since, until)
                assert [at for at, _ in found] == list(range(since + 8 * HOUR, until + 1, 8 * HOUR))
                assert [rate for _, rate in found] == [
                    exchange.funding.rate("BTCUSDT", at) for at, _ in found
                ]
            newest_page = await rest.funding("BTCUSDT", None, newest)
            assert newest_page[-1] == (newest, exchange.funding.rate("BTCUSDT", newest))

    asyncio.run(run())


def test_the_interval_of_an_hour_for_weeks_comes_whole():
    change = LIVE_FROM - LIVE_FROM % (8 * HOUR) - 24 * 24 * HOUR

    async def run() -> list[int]:
        async with (
            DemoExchange(
                MARKET, "linear", ("BTCUSDT",), "15", live_from_ms=LIVE_FROM, bar_seconds=1.0,
                faults=Faults(funding_hours=((change, 1),)),
            ) as exchange,
            BybitRest(exchange.rest_url, "linear") as rest,
        ):  # fmt: skip
            return [at for at, _ in await rest.funding("BTCUSDT", change, change + 20 * 24 * HOUR)]

    assert asyncio.run(run()) == [change + hour * HOUR for hour in range(1, 20 * 24 + 1)]
