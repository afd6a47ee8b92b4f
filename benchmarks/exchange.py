"""The embedded exchange in a process of its own: prints its addresses, and serves until its input ends."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from benchmarks.measure import ROOT
from bot.demo.exchange import DemoExchange
from bot.synthetic import PRESETS, SyntheticMarket

SYMBOL, INTERVAL = "BTCUSDT", "15"
LIVE_FROM_BAR = 102_000
"""Bars before this one are history."""


class Addresses(Struct, frozen=True):
    """Where it serves."""

    rest_url: str
    ws_url: str


def market() -> SyntheticMarket:
    """The market that it streams."""
    return SyntheticMarket(PRESETS["demo"], 7, INTERVAL)


@contextmanager
def serving(bar_seconds: float) -> Iterator[Addresses]:
    """An exchange that streams a bar in so many seconds while somebody listens."""
    command = [sys.executable, "-m", "benchmarks.exchange", str(bar_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield msgspec.json.decode(process.stdout.readline(), type=Addresses)
        process.stdin.close()


async def _serve(bar_seconds: float) -> None:
    source = market()
    exchange = DemoExchange(
        source,
        "linear",
        (SYMBOL,),
        INTERVAL,
        live_from_ms=source.start_ms(LIVE_FROM_BAR),
        bar_seconds=bar_seconds,
    )
    async with exchange:
        addresses = Addresses(exchange.rest_url, exchange.ws_url)
        print(msgspec.json.encode(addresses).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
