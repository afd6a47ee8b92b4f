"""Over the real stream: symbols are added and let go while others go on, and a delisting is told of once."""

import asyncio
from decimal import Decimal

import pytest

from bot.demo.exchange import DemoExchange
from bot.exchange.config import ExchangeConfig
from bot.exchange.rest import BybitRest
from bot.exchange.stream import MarketStream
from bot.market import CLOSED, GONE, INTERVAL_MS, Bar, Listing
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.held import LookBack

STEP = INTERVAL_MS["1"]
MARKET = SyntheticMarket(PRESETS["demo"], 3, "1")


def heard(symbols, streamed, deed, *, bars=24, bar_seconds=0.25):
    """The events of a stream of ``streamed`` while ``deed(exchange, stream, rest, events)`` is done."""

    async def main():
        live_from = MARKET.start_ms(600)
        events = []
        async with (
            DemoExchange(
                MARKET, "linear", symbols, "1", live_from_ms=live_from, bar_seconds=bar_seconds, max_bars=bars
            ) as exchange,
            BybitRest(exchange.rest_url, "linear") as rest,
        ):
            stream = MarketStream(
                ExchangeConfig(),
                exchange.ws_url,
                rest,
                category="linear",
                interval="1",
                instruments=await rest.instruments(streamed),
                last_starts=dict.fromkeys(streamed, live_from - STEP),
                look_backs={},
                waits=lambda symbol: False,
            )

            async def stop() -> None:
                await exchange.exhausted.wait()
                await asyncio.sleep(0.5)
                stream.stop()

            async with asyncio.TaskGroup() as group, stream:
                group.create_task(stop())
                group.create_task(deed(exchange, stream, rest, events))
                async for event in stream:
                    events.append(event)
        return events

    return asyncio.run(main())


def starts(events, symbol):
    return [event.start_ms for event in events if isinstance(event, Bar) and event.symbol == symbol]


async def after(events, bars):
    while sum(isinstance(event, Bar) for event in events) < bars:  # noqa: ASYNC110 it is the stream that adds
        await asyncio.sleep(0.01)


def test_a_symbol_that_is_added_comes_without_a_hole_and_one_that_is_removed_comes_no_more():
    seen = {}

    async def deed(exchange, stream, rest, events):
        await after(events, 8)
        rules = await rest.instruments(("CUSDT",))
        stream.add(rules["CUSDT"], exchange.live_from_ms - STEP, LookBack())
        stream.remove("BUSDT")
        seen["b"] = len(starts(events, "BUSDT"))

    events = heard(("AUSDT", "BUSDT", "CUSDT"), ("AUSDT", "BUSDT"), deed)
    first = starts(events, "AUSDT")[0]
    whole = [first + n * STEP for n in range(24)]
    assert starts(events, "AUSDT") == whole
    assert starts(events, "CUSDT") == whole
    assert len(starts(events, "BUSDT")) == seen["b"]
    assert not any(event.kind == "refused" for event in events if hasattr(event, "kind"))


@pytest.mark.parametrize(
    ("deed_name", "status", "price"),
    [
        ("delist", CLOSED, "101.5"),
        ("delist", CLOSED, None),
        ("delist", "Delivering", None),
        ("forget", GONE, None),
    ],
)
def test_a_delisting_is_told_once_and_the_others_go_on(deed_name, status, price):
    async def deed(exchange, stream, rest, events):
        await after(events, 8)
        if deed_name == "forget":
            exchange.forget("BUSDT")
        else:
            exchange.delist("BUSDT", status, None if price is None else Decimal(price))
        exchange.cut()

    events = heard(("AUSDT", "BUSDT"), ("AUSDT", "BUSDT"), deed, bars=48)
    (listing,) = [event for event in events if isinstance(event, Listing)]
    assert (listing.symbol, listing.status) == ("BUSDT", status)
    assert listing.price == (None if price is None else Decimal(price))
    assert len(starts(events, "AUSDT")) == 48
    assert len(starts(events, "BUSDT")) < 48
