"""What ``doctor`` looks at outside the bot: the disk, the proxy, the exchange's two doors, and the clock."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct

from bot.config import Config, Mode
from bot.errors import BotError, FeedError
from bot.exchange import wire
from bot.exchange.client import Banned
from bot.exchange.config import HOSTS
from bot.exchange.proxy import Proxy, chosen
from bot.exchange.rest import BybitRest
from bot.exchange.socket import Socket
from bot.market import utc_text

_LOW_DISK_BYTES = 500_000_000
_PROBE_BYTES = 65_536

_REST_SECONDS = 15.0
_MESSAGE_SECONDS = 10.0
"""How long REST, and then a message of the stream, is waited for."""

_CLOCK_OFF_MS = 5_000
_OWN_TIME_MS = 86_400_000
"""An exchange other than Bybit's that is further off than this streams a market of another time."""


class Check(Struct, frozen=True):
    """One thing looked at: whether it is well, and what was seen."""

    name: str
    ok: bool
    detail: str


async def checked(name: str, look: Callable[[], Awaitable[str]]) -> Check:
    """What ``look`` sees; an error of the bot's is a check that failed."""
    try:
        return Check(name, True, await look())
    except BotError as error:
        return Check(name, False, str(error))


async def disk(config: Config, mode: Mode) -> str:
    """Room, and whether each folder that a session writes into takes a file."""
    recordings = config.recordings_path(mode)
    places = {"run.database": config.database_path(mode).absolute().parent, "run.runs": config.runs_path}
    places |= {"run.history": config.history_path.absolute().parent}
    if recordings is not None:
        places["run.recordings"] = recordings
    folders = {key: _existing(place) for key, place in places.items()}
    for key, folder in folders.items():
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BotError(
                f"cannot write into {folder}: {error.strerror}; make room there, or let {key} name another folder"
            ) from error
    folder = folders["run.database"]
    free = shutil.disk_usage(folder).free
    if free < _LOW_DISK_BYTES:
        raise BotError(
            f"only {free / 1e6:,.0f} MB free under {folder}; a month of minute bars takes about 300: make room, or "
            "let run.database name another disk"
        )
    return f"{free / 1e9:,.1f} GB free under {folder}, which takes files"


async def connections(config: Config, mode: Mode) -> list[Check]:
    """The proxy, REST, the clock and the websocket of a live mode, each tried."""
    hosts = config.exchange.rest_url or HOSTS[mode][0], config.exchange.ws_url or HOSTS[mode][1]
    try:
        proxy = chosen(config.exchange.proxy, hosts, os.environ)
    except BotError as error:
        return [Check("proxy", False, str(error))]
    used = "none, both hosts directly" if proxy is None else f"{proxy}, for REST and websocket"
    checks = [Check("proxy", True, used)]
    clocks: list[tuple[int, int]] = []
    checks.append(
        await checked(f"exchange {mode}", lambda: _cured(_rest(config, hosts[0], proxy, clocks), "rest_url"))
    )
    if clocks:
        is_bybit = not config.exchange.rest_url
        checks.append(await checked("clock", lambda: _clock(*clocks[0], is_bybit=is_bybit)))
    checks.append(
        await checked(f"websocket {mode}", lambda: _cured(_websocket(config, hosts[1], proxy), "ws_url"))
    )
    return checks


async def _cured(look: Awaitable[str], key: str) -> str:
    """What is seen; weather, with what can be done about it."""
    try:
        return await look
    except Banned as error:
        raise FeedError(
            f"{error}; wait ten minutes, let other programs here ask less, or where Bybit does not serve the country "
            "name a proxy in another (exchange.proxy)"
        ) from error
    except FeedError as error:
        raise FeedError(f"{error}; check the network, exchange.{key} and exchange.proxy") from error


async def _rest(config: Config, host: str, proxy: Proxy | None, clocks: list[tuple[int, int]]) -> str:
    """Ask for time and rules; the exchange's time and this computer's go into ``clocks``."""
    try:
        async with (
            asyncio.timeout(_REST_SECONDS),
            BybitRest(host, config.run.category, config=config.exchange, proxy=proxy) as rest,
        ):
            # The first request also looks up the host and connects.
            await rest.time_ms()
            before_ms = _now_ms()
            at_ms = await rest.time_ms()
            clocks.append((at_ms, (before_ms + _now_ms()) // 2))
            instruments = await rest.instruments(config.run.symbols)
    except TimeoutError:
        raise FeedError(f"{host}: no answer within {_REST_SECONDS:.0f} s") from None
    return f"{host} answers, its time is {utc_text(at_ms)} UTC; trades {', '.join(instruments)}"


async def _clock(exchange_ms: int, here_ms: int, *, is_bybit: bool) -> str:
    off_ms = here_ms - exchange_ms
    if not is_bybit and abs(off_ms) > _OWN_TIME_MS:
        return "not compared: the exchange streams a market of another time"
    if abs(off_ms) > _CLOCK_OFF_MS:
        raise BotError(
            f"this computer's is {_span(off_ms)} {'ahead of' if off_ms > 0 else 'behind'} the exchange's; set it by "
            "the network, as with: sudo timedatectl set-ntp true"
        )
    return f"within {abs(off_ms) / 1000:.1f} s of the exchange's"


async def _websocket(config: Config, host: str, proxy: Proxy | None) -> str:
    """Open it, subscribe as a session does, and wait for a first message."""
    run = config.run
    url = f"{host.rstrip('/')}/v5/public/{run.category}"
    topics = (f"kline.{run.interval}.{run.symbols[0]}", f"tickers.{run.symbols[0]}")
    async with Socket(url, run.category, config.exchange, proxy=proxy) as socket:
        began = time.monotonic()
        for topic in topics:
            socket.send(wire.subscribe(topic))
        try:
            async with asyncio.timeout(_MESSAGE_SECONDS):
                while True:
                    try:
                        message = wire.frame(await socket.receive())
                    except wire.MalformedFrame as error:
                        raise FeedError(f"{url} speaks another protocol: {error}") from error
                    if message.op == "subscribe" and not message.success:
                        raise FeedError(f"{url} refuses the subscription: {message.ret_msg}")
                    if message.topic in topics:
                        seconds = time.monotonic() - began
                        return f"{url} answers; {message.topic} came after {seconds:.1f} s"
        except TimeoutError:
            raise FeedError(
                f"{url} opens, but sends nothing of {run.symbols[0]} within {_MESSAGE_SECONDS:.0f} s"
            ) from None


def _existing(folder: Path) -> Path:
    """The folder itself, or the one in which it would be made."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _span(off_ms: int) -> str:
    seconds = abs(off_ms) / 1000
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
