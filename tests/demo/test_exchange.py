import asyncio
import time

import aiohttp
import pytest

from bot.demo.faults import Faults
from tests.demo.client import (
    LIVE,
    Client,
    a_client,
    an_exchange,
    bar_of,
    confirmations,
    heard,
    run,
)
from tests.factories import a_bar


def test_an_exchange_with_open_connections_and_slow_answers_stops_at_once():
    async def test() -> None:
        async with aiohttp.ClientSession() as session:
            exchange = an_exchange(max_bars=None, faults=Faults(slow_seconds=60))
            async with exchange:
                client = Client(session, exchange)
                await client.connect()
                await client.ask("subscribe", "kline.15.BTCUSDT")
                exchange.fail_rest("slow")
                asking = asyncio.create_task(client.rows(limit=3))
                await asyncio.sleep(0.05)
                began = time.monotonic()
            assert time.monotonic() - began < 1.0
            with pytest.raises(aiohttp.ClientError):
                await asking
            await client.close()

    run(test)


def test_twenty_symbols_keep_their_pace():
    symbols = tuple(f"COIN{i:02d}USDT" for i in range(20))

    async def test() -> None:
        async with a_client(symbols=symbols, bar_seconds=0.3, max_bars=5) as client:
            began = time.monotonic()
            found = await heard(client, *[f"{kind}.{s}" for s in symbols for kind in ("kline.15", "tickers")])
            assert time.monotonic() - began < 3.0
            for symbol in symbols:
                confirmed = confirmations(found[f"kline.15.{symbol}"])
                assert [bar_of(e, symbol) for e in confirmed] == client.exchange.closed_bars(symbol)
                assert len(confirmed) == 5

    run(test)


def test_a_start_off_the_grid_or_a_symbol_without_bars_is_refused():
    with pytest.raises(ValueError, match="no start of a bar"):
        an_exchange(live_from_ms=LIVE + 1)
    with pytest.raises(ValueError, match="no bars of ETHUSDT"):
        an_exchange(source={"BTCUSDT": [a_bar(0)]})
