"""The exchange's rules are read again each day and at a reconnect after an hour, and what changed comes through."""

import asyncio
from decimal import Decimal
from typing import Any

from bot.demo.exchange import DemoExchange
from bot.exchange.config import ExchangeConfig
from bot.exchange.rest import BybitRest
from bot.exchange.stream import MarketStream
from bot.market import INTERVAL_MS, Notice, RuleChange
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.held import LookBack

HOUR_MS = 3_600_000


async def changes(
    meanwhile: Any, *, interval: str = "60", bars: int = 60
) -> tuple[list[RuleChange], list[Notice]]:
    """What a stream says of rules while ``meanwhile(exchange, live_from_ms)`` happens to its exchange."""
    market, step = SyntheticMarket(PRESETS["demo"], 3, interval), INTERVAL_MS[interval]
    live_from = market.start_ms(200)
    found: list[RuleChange] = []
    notices: list[Notice] = []
    async with (
        DemoExchange(
            market, "linear", ("BTCUSDT",), interval, live_from_ms=live_from, bar_seconds=0.05, max_bars=bars,
            pause_when_alone=False,
        ) as exchange,
        BybitRest(exchange.rest_url, "linear") as rest,
    ):  # fmt: skip
        stream = MarketStream(
            ExchangeConfig(),
            exchange.ws_url,
            rest,
            category="linear",
            interval=interval,
            instruments=await rest.instruments(("BTCUSDT",)),
            last_starts={"BTCUSDT": live_from - step},
            look_backs={"BTCUSDT": LookBack(0, live_from)},
            waits=lambda symbol: False,
        )
        happening = asyncio.create_task(meanwhile(exchange, live_from))

        async def hear() -> None:
            async for event in stream:
                if isinstance(event, RuleChange):
                    found.append(event)
                elif isinstance(event, Notice):
                    notices.append(event)

        async with stream:
            hearing = asyncio.create_task(hear())
            await asyncio.wait_for(exchange.exhausted.wait(), 30)
            stream.stop()
            await hearing
        await happening
    return found, notices


async def at(exchange: DemoExchange, time_ms: int) -> None:
    """Wait until it is so late at the exchange."""
    while exchange.clock_ms < time_ms:  # noqa: ASYNC110 - a test's patience, not a design
        await asyncio.sleep(0.002)


def test_rules_are_read_again_a_day_later_and_no_sooner():
    async def meanwhile(exchange: DemoExchange, live_from: int) -> None:
        await at(exchange, live_from + 5 * HOUR_MS)
        exchange.change_rules("BTCUSDT", tick_size=Decimal("0.5"), lot_size=Decimal("0.01"))

    found, _ = asyncio.run(changes(meanwhile))
    assert len(found) == 2
    first, second = found
    assert (first.rules.tick_size, first.rules.lot_size) == (Decimal("0.5"), Decimal("0.01"))
    assert first.rules.source == "exchange"
    assert 23 * HOUR_MS < second.time_ms - first.time_ms < 30 * HOUR_MS
    assert abs(first.rules.known_ms - first.time_ms) <= 3 * HOUR_MS


def test_rules_are_read_at_a_reconnect_once_the_last_reading_is_an_hour_ago():
    async def meanwhile(exchange: DemoExchange, live_from: int) -> None:
        await at(exchange, live_from + 5 * HOUR_MS)
        exchange.change_rules("BTCUSDT", tick_size=Decimal("0.5"))
        exchange.cut()
        # At once again: that is no news.
        await asyncio.sleep(0.01)
        exchange.cut()

    found, notices = asyncio.run(changes(meanwhile, bars=20))
    assert [change.rules.tick_size for change in found] == [Decimal("0.5")]
    assert sum(notice.kind == "connected" for notice in notices) >= 2


def test_a_reading_that_fails_is_told_and_made_again_an_hour_later():
    async def meanwhile(exchange: DemoExchange, live_from: int) -> None:
        await at(exchange, live_from + 2 * HOUR_MS)
        exchange.fail_rest("code10016", 4, "instruments-info")

    found, notices = asyncio.run(changes(meanwhile, bars=130))
    failed = [notice for notice in notices if notice.detail.startswith("trading rules: ")]
    assert [(notice.kind, notice.symbol) for notice in failed] == [("rest_failed", "BTCUSDT")]
    assert found[0].time_ms - failed[0].time_ms >= HOUR_MS
