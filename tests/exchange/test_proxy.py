import asyncio
import json
import os
import sqlite3
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot.config import load
from bot.demo.exchange import DemoExchange
from bot.errors import ConfigError, FeedError
from bot.exchange.proxy import chosen
from bot.exchange.rest import BybitRest
from bot.exchange.socket import Socket
from bot.synthetic import PRESETS, SyntheticMarket
from tests.bot_process import QUICK, ROOT, environment
from tests.proxies import Proxy

MARKET = SyntheticMarket(PRESETS["demo"], 7, "15")
BYBIT = ("https://api.bybit.com", "wss://stream.bybit.com")
LOOPBACK = ("http://127.0.0.1:1", "ws://127.0.0.1:1")


def an_exchange() -> DemoExchange:
    return DemoExchange(
        MARKET, "linear", ("BTCUSDT", "ETHUSDT"), "15", live_from_ms=MARKET.start_ms(600), bar_seconds=0.05
    )


def told(setting: str = "", urls: tuple[str, str] = BYBIT, **variables: str) -> str:
    return str(chosen(setting, urls, variables))


def test_without_any_proxy_named_there_is_none():
    assert told() == told("none", HTTPS_PROXY="http://p:1") == "None"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_environments_proxy_serves_both_hosts(name):
    assert told(**{name: "http://p:1"}) == f"http://p:1 ({name})"
    assert told("socks5h://q:2", **{name: "http://p:1"}) == "socks5h://q:2 (exchange.proxy)"


def test_hosts_that_are_not_encrypted_have_a_variable_of_their_own():
    assert told(HTTP_PROXY="http://p:1") == "None"
    assert told("", LOOPBACK, HTTP_PROXY="http://p:1", ALL_PROXY="http://q:1") == "http://p:1 (HTTP_PROXY)"


@pytest.mark.parametrize("exempt", ["*", ".bybit.com", "bybit.com", "x, api.bybit.com,stream.bybit.com"])
def test_what_no_proxy_names_is_reached_directly(exempt):
    assert told(HTTPS_PROXY="http://p:1", NO_PROXY=exempt) == "None"
    assert told("http://q:1", NO_PROXY=exempt) == "http://q:1 (exchange.proxy)"


def test_no_proxy_knows_networks_and_no_half_names():
    assert told("", LOOPBACK, ALL_PROXY="p:1", NO_PROXY="127.0.0.0/8") == "None"
    assert told(ALL_PROXY="p:1", no_proxy="ybit.com,10.0.0.0/8") == "http://p:1 (ALL_PROXY)"


@pytest.mark.parametrize("exempt", ["api.bybit.com", "stream.bybit.com"])
def test_one_host_with_a_proxy_and_one_without_is_a_mistake(exempt):
    with pytest.raises(ConfigError, match="both"):
        told(HTTPS_PROXY="http://p:1", NO_PROXY=exempt)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://u:secret@p:1", "http://", "http://u:secret@", "http://p:0", "http://u:secret@p:99999", "http://p:x",
        "http://u:secret@p/path", "http://u:secret@p ?", "https://u:secret@p:1", "http://[::1", "://", "secret@",
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_one_line_that_repeats_no_password(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as in_file:
        load(None, {}, {"BOT__EXCHANGE__PROXY": url})
    with pytest.raises(ConfigError) as in_environment:
        told(HTTPS_PROXY=url)
    for error, name in ((in_file, "BOT__EXCHANGE__PROXY"), (in_environment, "HTTPS_PROXY")):
        assert str(error.value).startswith(f"environment variable {name}: ")
        assert "secret" not in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("credentials", ["", "me:se%40cret"])
def test_rest_and_websocket_both_go_through_it(scheme, credentials):
    async def scenario() -> None:
        async with an_exchange() as exchange, Proxy(credentials.replace("%40", "@")) as through:
            at = f"{credentials}@" if credentials else ""
            url = f"{scheme}://{at}127.0.0.1:{through.port}"
            urls = exchange.rest_url, exchange.ws_url
            proxy = chosen("", urls, {"ALL_PROXY": url})
            assert proxy is not None
            assert "cret" not in repr(proxy)
            async with BybitRest(exchange.rest_url, "linear", proxy=proxy) as rest:
                assert await rest.time_ms() == exchange.clock_ms
            target = urlsplit(exchange.rest_url)
            assert set(through.asked) == {(target.hostname, target.port)}
            before = len(through.asked)
            async with Socket(f"{exchange.ws_url}/v5/public/linear", "linear", proxy=proxy) as socket:
                socket.send('{"op":"subscribe","req_id":"a","args":["tickers.BTCUSDT"]}')
                async with asyncio.timeout(5):
                    assert "subscribe" in str(await socket.receive())
            assert len(through.asked) == before + 1

    asyncio.run(scenario())


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("way", ["refuses", "password", "down"])
def test_a_proxy_that_will_not_is_weather_that_names_it(scheme, way):
    async def scenario() -> None:
        async with an_exchange() as exchange:
            async with Proxy("me:right" if way == "password" else "", refuses=way == "refuses") as through:
                port = through.port
                if way == "down":
                    await through.__aexit__()
                urls = exchange.rest_url, exchange.ws_url
                proxy = chosen("", urls, {"ALL_PROXY": f"{scheme}://me:wrong@127.0.0.1:{port}"})
                async with BybitRest(exchange.rest_url, "linear", proxy=proxy) as rest:
                    with pytest.raises(FeedError) as over_rest:
                        await rest.time_ms()
                with pytest.raises(FeedError) as over_websocket:
                    async with Socket(f"{exchange.ws_url}/v5/public/linear", "linear", proxy=proxy):
                        pass
            for error in (over_rest, over_websocket):
                assert f"{port}" in str(error.value).replace(exchange.rest_url, "").replace(
                    exchange.ws_url, ""
                )
                assert "wrong" not in str(error.value)

    asyncio.run(scenario())


def test_neither_transport_looks_into_the_environment_by_itself(monkeypatch):
    async def scenario() -> None:
        async with an_exchange() as exchange:
            async with BybitRest(exchange.rest_url, "linear") as rest:
                assert await rest.time_ms() == exchange.clock_ms
            async with Socket(f"{exchange.ws_url}/v5/public/linear", "linear"):
                pass

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    asyncio.run(scenario())


def test_a_session_through_a_proxy_stores_and_says_nothing_of_its_password(tmp_path):
    (tmp_path / "config.toml").write_text(QUICK.replace("[run]", "[run]\nrecordings = 'recordings'"))

    async def scenario() -> tuple[int, bytes, bytes, list[tuple[str, int]]]:
        async with an_exchange() as exchange, Proxy("me:pass12345") as through:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(ROOT / "run_bot.py"), "--mainnet", "--max-bars", "3",
                cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env=environment(
                    BOT__EXCHANGE__REST_URL=exchange.rest_url, BOT__EXCHANGE__WS_URL=exchange.ws_url,
                    BOT__EXCHANGE__PROXY=f"socks5h://me:pass12345@127.0.0.1:{through.port}",
                ),
            )  # fmt: skip
            async with asyncio.timeout(60):
                out, err = await process.communicate()
            return process.returncode or 0, out, err, through.asked

    code, out, err, asked = asyncio.run(scenario())
    assert code == 0, err
    assert len(asked) >= 2
    with sqlite3.connect(tmp_path / "mainnet.db") as database:
        ((stored,),) = database.execute("SELECT config_json FROM sessions")
    assert json.loads(stored)["exchange"]["proxy"].startswith("socks5h://127.0.0.1:")
    for path in Path(tmp_path).rglob("*"):
        assert os.path.isdir(path) or b"pass12345" not in path.read_bytes(), path
    assert b"pass12345" not in out + err
