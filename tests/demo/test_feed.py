import asyncio
from itertools import pairwise

from tests.demo.client import (
    LIVE,
    MARKET,
    STEP,
    a_client,
    bar_of,
    confirmations,
    heard,
    run,
)
from tests.factories import a_bar


def test_confirmed_klines_are_the_closed_bars_of_every_symbol():
    async def test() -> None:
        async with a_client() as client:
            found = await heard(client, "kline.15.BTCUSDT", "kline.15.ETHUSDT")
            for symbol in ("BTCUSDT", "ETHUSDT"):
                confirmed = confirmations(found[f"kline.15.{symbol}"])
                assert [bar_of(entry, symbol) for entry in confirmed] == MARKET.bars(symbol, 5_000, 8)
                assert client.exchange.closed_bars(symbol) == MARKET.bars(symbol, 5_000, 8)

    run(test)


def test_a_bar_runs_from_open_to_close_within_growing_extremes_and_confirms_after_its_end():
    async def test() -> None:
        async with a_client() as client:
            messages = (await heard(client, "kline.15.BTCUSDT"))["kline.15.BTCUSDT"]
        assert [message["ts"] for message in messages] == sorted(message["ts"] for message in messages)
        for truth in MARKET.bars("BTCUSDT", 5_000, 8):
            pushes = [(m["ts"], m["data"][0]) for m in messages if m["data"][0]["start"] == truth.start_ms]
            assert [entry["confirm"] for _, entry in pushes] == [False] * 4 + [True]
            assert all(truth.start_ms < ts < truth.close_ms for ts, _ in pushes[:-1])
            assert truth.close_ms <= pushes[-1][0] < truth.close_ms + 1_000
            bars = [bar_of(entry, "BTCUSDT") for _, entry in pushes]
            for earlier, later in pairwise(bars):
                assert later.contradiction() is None
                assert later.open == truth.open
                assert truth.low <= later.low <= earlier.low <= earlier.high <= later.high <= truth.high
                assert earlier.volume <= later.volume
            assert bars[-1] == truth

    run(test)


def test_time_stands_still_until_somebody_listens_to_klines():
    async def test() -> None:
        async with a_client() as client:
            await client.connect()
            await client.ask("subscribe", "tickers.BTCUSDT")
            await asyncio.sleep(0.1)
            assert client.exchange.clock_ms == LIVE
            assert client.exchange.closed_bars("BTCUSDT") == []
            await client.ask("subscribe", "kline.15.BTCUSDT")
            await client.exchange.exhausted.wait()
            assert client.exchange.clock_ms >= LIVE + 8 * STEP

    run(test)


def test_a_market_that_pauses_when_alone_waits_for_its_listener_to_come_back():
    async def test() -> None:
        async with a_client(pause_when_alone=True, max_bars=200) as client:
            await client.connect()
            await client.ask("subscribe", "kline.15.BTCUSDT")
            await asyncio.sleep(0.1)
            await client.socket.close()
            await asyncio.sleep(0.05)
            stood = client.exchange.clock_ms
            assert LIVE < stood < LIVE + 200 * STEP
            await asyncio.sleep(0.1)
            assert client.exchange.clock_ms == stood
            await client.connect()
            await client.ask("subscribe", "kline.15.BTCUSDT")
            await asyncio.sleep(0.1)
            assert client.exchange.clock_ms > stood

    run(test)


def test_a_missing_bar_of_a_file_is_never_published():
    bars = [a_bar(i, close=100 + i, turnover=None) for i in range(20) if i not in (12, 15)]
    truth = [bar for bar in bars if bar.start_ms >= bars[10].start_ms]

    async def test() -> None:
        source = {"BTCUSDT": bars}
        async with a_client(
            source=source, symbols=("BTCUSDT",), live_from_ms=bars[10].start_ms, max_bars=None
        ) as client:
            found = await heard(client, "kline.15.BTCUSDT")
            starts = [entry["start"] for entry in confirmations(found["kline.15.BTCUSDT"])]
            assert starts == [bar.start_ms for bar in truth]
            rows = await client.rows(start=truth[0].start_ms, end=truth[-1].start_ms)
            assert [int(row[0]) for row in rows] == starts[::-1]
            closed = client.exchange.closed_bars("BTCUSDT")
            assert [bar.close for bar in closed] == [bar.close for bar in truth]
            assert all(bar.turnover == bar.close * bar.volume for bar in closed)

    run(test)
