"""Funding over the real stream against the embedded exchange: a downtime, what it lacks, and the books after."""

import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from bot.demo.exchange import DemoExchange
from bot.demo.faults import Faults
from bot.exchange.config import ExchangeConfig
from bot.exchange.rest import BybitRest
from bot.exchange.stream import MarketStream
from bot.market import INTERVAL_MS, Bar, Funding, Notice
from bot.sessions.assembly import look_backs
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.events import FundingPayment
from bot.trading.ledger import Ledger
from tests.core import NOTHING_YET
from tests.factories import a_fill

STEP = INTERVAL_MS["60"]
SYMBOLS = ("BTCUSDT", "ETHUSDT")
MARKET = SyntheticMarket(PRESETS["demo"], 3, "60")
LIVE_FROM = MARKET.start_ms(960)
assert LIVE_FROM % (8 * STEP) == 0


def downtime(
    missed: int, lost: dict[str, list[int]], faults: Faults
) -> tuple[list[FundingPayment], list[Notice], dict]:
    """A bot that held both symbols comes back after so many hours; hours before the start whose prices are lost."""

    async def main() -> tuple[list[FundingPayment], list[Notice], dict]:
        down_ms = LIVE_FROM - missed * STEP
        ledger = Ledger(Decimal(100_000))
        ledger.post([a_fill(1, quantity="2", time_ms=down_ms)])
        ledger.post([a_fill(2, symbol="ETHUSDT", side="sell", quantity="3", time_ms=down_ms)])
        instruments = {symbol: MARKET.instrument(symbol, "linear") for symbol in SYMBOLS}
        last_starts: dict[str, int | None] = dict.fromkeys(SYMBOLS, down_ms - STEP)
        paid, notices = [], []
        async with (
            DemoExchange(
                MARKET, "linear", SYMBOLS, "60", live_from_ms=LIVE_FROM, bar_seconds=0.3, faults=faults
            ) as exchange,
            BybitRest(exchange.rest_url, "linear") as rest,
        ):
            for source, hours in lost.items():
                for hour in hours:
                    exchange.funding.lose_price(source, "BTCUSDT", LIVE_FROM - hour * STEP)
            stream = MarketStream(
                ExchangeConfig(),
                exchange.ws_url,
                rest,
                category="linear",
                interval="60",
                instruments=instruments,
                last_starts=last_starts,
                look_backs=look_backs(
                    replace(NOTHING_YET, ledger=ledger.snapshot()), instruments, last_starts, "60"
                ),
                waits=lambda symbol: False,
            )
            due = 2 * (missed // 8)
            async with asyncio.timeout(40), stream:
                async for event in stream:
                    if isinstance(event, Notice):
                        notices.append(event)
                    elif isinstance(event, Bar):
                        ledger.mark(event.symbol, event.close)
                    elif isinstance(event, Funding) and event.time_ms <= LIVE_FROM:
                        payment = ledger.settle(event)
                        if payment is not None:
                            paid.append(payment)
                        if len(paid) == due:
                            stream.stop()
            return paid, notices, dict(exchange.requests)

    return asyncio.run(main())


def test_eleven_of_eleven_payments_are_booked_after_a_downtime_though_the_first_has_no_mark_price():
    first = 80
    paid, notices, requests = downtime(88, {"mark": [first]}, Faults())
    for symbol in SYMBOLS:
        mine = [payment for payment in paid if payment.symbol == symbol]
        assert [payment.time_ms for payment in mine] == [
            LIVE_FROM - hours * STEP for hours in range(80, -1, -8)
        ]
        sources = [payment.mark_source for payment in mine]
        assert sources == (["index"] if symbol == "BTCUSDT" else ["mark"]) + ["mark"] * 10
    (told,) = [notice for notice in notices if notice.kind == "mark_price"]
    assert (told.symbol, told.time_ms) == ("BTCUSDT", LIVE_FROM - first * STEP)
    # 22 settlements; the same request was once repeated 161 times.
    assert requests["mark-price-kline"] <= 22 + 8
    assert requests["funding/history"] <= 8


@pytest.mark.parametrize(
    ("lost", "sources"),
    [
        ({"mark": [16], "index": [16]}, {16: "close"}),
        ({"mark": [24, 16, 8], "index": [16]}, {24: "index", 16: "close", 8: "index"}),
        ({"index": [24, 16]}, {}),
    ],
)
def test_without_a_mark_price_the_index_stands_for_it_and_without_both_the_close(lost, sources):
    paid, _, _ = downtime(32, lost, Faults(funding_noise_ms=7))
    mine = {(LIVE_FROM - payment.time_ms) // STEP: payment for payment in paid if payment.symbol == "BTCUSDT"}
    assert sorted(mine) == [0, 8, 16, 24]
    assert {hours: each.mark_source for hours, each in mine.items() if each.mark_source != "mark"} == sources
    for hours, payment in mine.items():
        if payment.mark_source == "close":
            index = MARKET.index_of(LIVE_FROM - (hours + 1) * STEP)
            (bar,) = MARKET.bars("BTCUSDT", index, 1)
            assert payment.mark_price == bar.close
