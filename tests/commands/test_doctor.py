"""The doctor tries what a session will need, and each failure is one line with its cause and its cure."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
from aiohttp import web

from bot.commands import checks
from bot.commands.checks import Check, connections
from bot.config import Config, load
from bot.demo.exchange import DemoExchange
from bot.market import INTERVAL_MS, grid_start_ms
from tests.bot_process import ROOT, environment, run
from tests.factories import a_bar
from tests.proxies import Proxy

MINUTE_MS = INTERVAL_MS["1"]


def an_exchange(off_minutes: int = 0, **changes: Any) -> DemoExchange:
    """One whose time is the computer's, or so many minutes off."""
    live_ms = grid_start_ms(time.time_ns() // 1_000_000, "1") + off_minutes * MINUTE_MS
    bars = [
        a_bar(symbol="BTCUSDT", interval="1", start_ms=live_ms + step * MINUTE_MS) for step in range(-10, 60)
    ]
    settings = {"category": "linear", "symbols": ("BTCUSDT",), "interval": "1", "bar_seconds": 60}
    return DemoExchange({"BTCUSDT": bars}, live_from_ms=live_ms, **{**settings, **changes})


def configured(rest_url: str, ws_url: str, **settings: str) -> Config:
    told = {"exchange.rest_url": rest_url, "exchange.ws_url": ws_url, "run.symbols": ("BTCUSDT",)}
    return load("/dev/null", {**told, "run.interval": "1", "exchange.proxy": "none", **settings}, {})


def looked(
    use: Callable[[DemoExchange], Awaitable[None]], exchange: DemoExchange | None = None
) -> dict[str, Check]:
    """What is seen of the exchange, after something was done to it."""

    async def scenario() -> list[Check]:
        async with exchange or an_exchange() as one:
            await use(one)
            return await connections(configured(one.rest_url, one.ws_url), "mainnet")

    return {check.name: check for check in asyncio.run(scenario())}


def failed(found: dict[str, Check]) -> dict[str, str]:
    """The details of what failed, each one line that says what to do."""
    told = {name: check.detail for name, check in found.items() if not check.ok}
    for detail in told.values():
        assert "\n" not in detail
        assert "; " in detail, "no cure"
    return told


async def nothing(_: DemoExchange) -> None:
    pass


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_MESSAGE_SECONDS", 2.0)
    monkeypatch.setattr(checks, "_REST_SECONDS", 4.0)


def test_all_is_well_where_everything_answers():
    # Within the minute that the exchange stands still in, the clocks may differ by that much.
    found = looked(nothing)
    assert set(failed(found)) <= {"clock"}
    assert found["proxy"].detail == "none, both hosts directly"
    assert "trades BTCUSDT" in found["exchange mainnet"].detail
    assert "came after" in found["websocket mainnet"].detail


@pytest.mark.parametrize(("minutes", "told"), [(-7, "ahead of"), (9, "behind")])
def test_a_clock_that_is_minutes_off_is_told_with_which_way(minutes, told):
    (detail,) = failed(looked(nothing, an_exchange(minutes))).values()
    assert told in detail
    assert "minutes" in detail
    assert "timedatectl" in detail


def test_an_exchange_of_another_time_is_no_clock_that_is_off():
    assert not failed(looked(nothing, an_exchange(-60 * 24 * 300)))


def test_an_exchange_that_is_down_is_told_by_each_door_with_the_cause():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    config = configured(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}")
    told = failed({check.name: check for check in asyncio.run(connections(config, "mainnet"))})
    assert set(told) == {"exchange mainnet", "websocket mainnet"}
    for detail in told.values():
        assert "refused" in detail.lower() or "Connect call failed" in detail
        assert str(port) in detail


def test_a_host_of_no_such_name_is_told_as_that():
    config = configured("http://nowhere.invalid", "ws://nowhere.invalid")
    told = failed({check.name: check for check in asyncio.run(connections(config, "mainnet"))})
    assert set(told) == {"exchange mainnet", "websocket mainnet"}
    assert all("nowhere.invalid" in detail for detail in told.values())
    assert all("name" in detail.lower() or "resol" in detail.lower() for detail in told.values())


def test_a_handshake_or_subscription_that_is_refused_is_told():
    async def no_connections(exchange: DemoExchange) -> None:
        exchange.refuse_connections(5)

    (detail,) = [text for name, text in failed(looked(no_connections)).items() if name != "clock"]
    assert "503" in detail

    async def no_topics(exchange: DemoExchange) -> None:
        exchange.refuse("kline.1.BTCUSDT", -1)

    (detail,) = [text for name, text in failed(looked(no_topics)).items() if name != "clock"]
    assert "refuses the subscription" in detail


def served(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> dict[str, Check]:
    """What is seen of a server that treats every request alike."""

    async def scenario() -> list[Check]:
        app = web.Application()
        app.router.add_get("/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        try:
            return await connections(
                configured(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"), "mainnet"
            )
        finally:
            await runner.cleanup()

    return {check.name: check for check in asyncio.run(scenario())}


def test_a_stream_that_is_silent_is_told():
    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for _ in response:
            pass
        return response

    assert "sends nothing of BTCUSDT within 2 s" in failed(served(silent))["websocket mainnet"]


def test_a_banned_address_is_told_how_to_wait():
    async def ban(exchange: DemoExchange) -> None:
        exchange.fail_rest("http403", 50)

    told = failed(looked(ban))
    assert "wait ten minutes" in told["exchange mainnet"]


def test_a_host_that_takes_questions_and_never_answers_is_given_up():
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    began = time.monotonic()
    told = failed(served(never))
    assert set(told) == {"exchange mainnet", "websocket mainnet"}
    assert "no answer within 4 s" in told["exchange mainnet"]
    assert time.monotonic() - began < 40


def test_the_proxy_that_is_used_is_told_without_its_password():
    async def scenario() -> list[Check]:
        async with an_exchange() as exchange, Proxy("me:secret") as through:
            url = f"socks5h://me:secret@127.0.0.1:{through.port}"
            config = configured(exchange.rest_url, exchange.ws_url, **{"exchange.proxy": url})
            found = await connections(config, "mainnet")
            assert len(through.asked) >= 2
            return found

    found = {check.name: check for check in asyncio.run(scenario())}
    assert set(failed(found)) <= {"clock"}
    assert found["proxy"].detail.startswith("socks5h://127.0.0.1:")
    assert all("secret" not in check.detail for check in found.values())


@pytest.mark.parametrize("key", ["run.database", "run.recordings", "run.history", "run.runs"])
def test_a_folder_that_takes_no_file_is_told_with_its_key(tmp_path, key):
    (tmp_path / "config.toml").write_text("")
    name = key.upper().replace(".", "__")
    ended = run(tmp_path, "doctor", "--demo", "--json", **{f"BOT__{name}": "/proc/sys/{mode}"})
    assert ended.code == 1
    (detail,) = [check["detail"] for check in json.loads(ended.out) if not check["ok"]]
    assert "cannot write into /proc/sys" in detail
    assert key in detail


def test_a_disk_without_room_is_told(tmp_path):
    (tmp_path / "config.toml").write_text("")
    limited = f"ulimit -f 1; exec {sys.executable} {ROOT / 'run_bot.py'} doctor --demo"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert "make room there" in line
    assert not os.listdir(tmp_path / "var") if (tmp_path / "var").exists() else True
