"""Any JSON as REST's answers, and real ones damaged: values that may be, or the documented errors."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aiohttp import web

from bot.errors import ConfigError, FeedError
from bot.exchange import rest_rows
from bot.exchange.plausible import MalformedFrame
from bot.exchange.rest import BybitRest
from bot.market import Instrument, Listing
from tests.fuzz.test_frames import ABSURD, changed, places

STEP_MS = 900_000
NOW_MS = 1_790_000_100_000
LAST_MS = NOW_MS - NOW_MS % STEP_MS - STEP_MS
FIRST_MS = LAST_MS - 9 * STEP_MS

KLINES = [
    [str(start), "60000.5", "60100", "59900", "60050.1", "12.5", "750000"]
    for start in range(LAST_MS + STEP_MS, FIRST_MS - STEP_MS, -STEP_MS)
]
RATES = [
    {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": str(at)}
    for at in range(NOW_MS - NOW_MS % 28_800_000, NOW_MS - 10 * 28_800_000, -28_800_000)
]
RULES = [
    {
        "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC",
        "quoteCoin": "USDT", "deliveryTime": "0", "leverageFilter": {"maxLeverage": "100.00"},
        "priceFilter": {"tickSize": "0.10"}, "fundingInterval": 480,
        "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxMktOrderQty": "119", "minNotionalValue": "5"},
    }
]  # fmt: skip
TIERS = [
    {
        "symbol": "BTCUSDT", "riskLimitValue": str(2_000_000 * number), "maintenanceMargin": "0.005",
        "initialMargin": "0.01", "maxLeverage": "100.00", "mmDeduction": "",
    }
    for number in (1, 2, 3)
]  # fmt: skip
DELIVERY = [{"symbol": "BTCUSDT", "deliveryPrice": "60000", "deliveryTime": str(NOW_MS)}]
LISTS: dict[str, Any] = {
    "kline": KLINES, "mark-price-kline": KLINES, "funding/history": RATES, "instruments-info": RULES,
    "risk-limit": TIERS, "delivery-price": DELIVERY,
}  # fmt: skip


def damaged(draws: random.Random, value: Any) -> Any:
    """A JSON value with something else in some places."""
    for _ in range(draws.randrange(1, 4)):
        value = changed(value, draws.choice(list(places(value))), draws.choice(ABSURD))
    return value


READERS: list[tuple[Any, Callable[[Any], Any]]] = [
    (KLINES[0], lambda row: rest_rows.bar_from_row(row, "BTCUSDT", "15", "history")),
    (KLINES[0], rest_rows.row_start_ms),
    (KLINES[0], lambda row: rest_rows.row_price(row, 4)),
    (RATES[0], lambda row: rest_rows.funding_rate(row, "BTCUSDT")),
    (TIERS, lambda rows: rest_rows.risk_tiers(rows, "BTCUSDT")),
    (DELIVERY, lambda rows: rest_rows.delivery_price(rows, "BTCUSDT")),
    (RULES[0], lambda row: rest_rows.instrument(row, "linear")),
    (RULES[0], lambda row: rest_rows.instrument(row, "spot")),
]


def test_any_row_is_a_value_or_malformed(seed, seconds):
    draws = random.Random(seed)
    end, tried, refused = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        tried += 1
        truth, read = draws.choice(READERS)
        damage = damaged(draws, truth)
        try:
            read(damage)
        except (MalformedFrame, rest_rows.InverseContract):
            refused += 1
    print(f"{tried:,} rows, {refused:,} refused")
    assert refused > tried / 4


class Server:
    """An exchange that answers each question with damaged truth; a real server on loopback."""

    def __init__(self, draws: random.Random) -> None:
        self._draws = draws
        self.answers = 0

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_get("/v5/market/{endpoint:.+}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.answers += 1
        rows = LISTS.get(request.match_info["endpoint"], [])
        result: Any = {"category": "linear", "symbol": "BTCUSDT", "list": rows}
        if request.match_info["endpoint"] != "time" and rows:
            result["list"] = damaged(self._draws, rows)
        answer = {"retCode": 0, "retMsg": "OK", "result": result, "time": NOW_MS}
        return web.Response(text=json.dumps(answer), content_type="application/json")


def sound(found: Any) -> None:
    """Nothing that may enter the books is beyond what may be."""
    match found:
        case Decimal():
            assert Decimal("1e-12") <= found <= Decimal("1e12")
        case int():
            assert 0 <= found <= NOW_MS + STEP_MS
        case Listing():
            assert found.price is None or found.price > 0
        case Instrument():
            assert min(found.tick_size, found.lot_size) > 0
            assert 1 <= found.max_leverage <= 1_000
            assert all(tier.limit > 0 <= tier.maintenance_rate < 1 for tier in found.tiers)
        case (bars, refused, newest):
            assert all(FIRST_MS <= bar.start_ms <= LAST_MS and bar.contradiction() is None for bar in bars)
            assert newest <= LAST_MS + STEP_MS
            assert all(len(problem) < 300 for problem in refused)
        case list():
            assert all(0 < at <= NOW_MS and abs(rate) < 1 for at, rate in found)


async def ask(seed: int, seconds: float) -> tuple[int, int]:
    draws = random.Random(seed)
    server = Server(draws)
    failed = 0
    async with server as url, BybitRest(url, "linear") as rest:
        rest.on_refused = lambda symbol, what: None
        rest.times.believe(NOW_MS)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            question = draws.randrange(8)
            try:
                match question:
                    case 0:
                        found: Any = await rest.bars("BTCUSDT", "15", FIRST_MS, LAST_MS, "backfill")
                    case 1:
                        found = await rest.newest_closed("BTCUSDT", "15")
                    case 2:
                        found = await rest.first_start("BTCUSDT", "15", FIRST_MS)
                    case 3:
                        found = await rest.funding("BTCUSDT", None, NOW_MS)
                    case 4:
                        found = await rest.minute_price("BTCUSDT", "mark", FIRST_MS)
                    case 5:
                        found = await rest.close_before("BTCUSDT", "15", LAST_MS)
                    case 6:
                        found = (await rest.instruments(("BTCUSDT",)))["BTCUSDT"]
                    case _:
                        found = await rest._delivery_price("BTCUSDT")
            except (FeedError, ConfigError) as error:
                failed += 1
                told = str(error)
                print(question, told[:200])
            else:
                sound(found)
                continue
            assert len(told) < 500
    return server.answers, failed


def test_any_answer_is_values_that_may_be_or_a_documented_error(seed, seconds):
    answers, failed = asyncio.run(ask(seed, seconds))
    print(f"{answers:,} answers, {failed:,} questions failed")
    assert answers > 50
