"""Questions to Bybit's REST through ccxt's client: what an answer means, and when to ask again."""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any, cast

import aiohttp
import ccxt.async_support as ccxt
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from bot.errors import FeedError
from bot.exchange import plausible
from bot.exchange.clock import local_seconds
from bot.exchange.config import ExchangeConfig
from bot.exchange.proxy import Proxy, rest_connector
from bot.exchange.refusals import shortened

_ATTEMPTS = 4
_BAN_SECONDS = 600.0
"""Bybit asks an address that it refused with HTTP 403 to send nothing for ten minutes."""
_MILLISECONDS_A_REQUEST = 10
"""Pace of requests: 500 in 5 s, under Bybit's 600 an address."""
_TIMEOUT_MS = 10_000
_CHUNK_BYTES = 65_536
_TOLD_CHARACTERS = 200
_WEATHER = {"10000", "10006", "10016", "10429", "429"}
"""Codes of what passes: its own timeouts, limits and failures. Any other is about the request."""
_WEATHER_STATUS = {408, 425, 429}


class RequestRefused(FeedError):
    """The exchange understood the request and will not answer it; asking again changes nothing."""


class NoSuchRoute(RequestRefused):
    """The server has no such endpoint: another protocol, or only a part of this one."""


class Banned(FeedError):
    """The exchange refused this address; nothing is sent until the ten minutes are over."""


class _Answer(Exception):
    """An HTTP answer that is no good, before it is known what it means."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str]) -> None:
        told = shortened(message, _TOLD_CHARACTERS)
        super().__init__(f"HTTP {status}, retCode {shortened(code, 20) or '-'}: {told}")
        self.status = status
        self.code = code
        self.headers = headers


class _TooLarge(Exception):
    """An answer with more bytes than are read."""


def _bounded(max_bytes: int) -> type[aiohttp.ClientResponse]:
    """A response of aiohttp's that is read no further than that, also where it unpacks to more than it seems."""

    class BoundedResponse(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            if self._body is None:
                parts, size = [], 0
                async for part in self.content.iter_chunked(_CHUNK_BYTES):
                    size += len(part)
                    if size > max_bytes:
                        self.close()
                        raise _TooLarge(f"an answer of more than {max_bytes} bytes (exchange.max_answer_mb)")
                    parts.append(part)
                self._body = b"".join(parts)
            return self._body

    return BoundedResponse


class _Bybit(ccxt.bybit):  # type: ignore[misc]
    """ccxt's client with Bybit's refusals told apart: ccxt maps 403, 429 and 10016 to unlike classes.

    All goes through ``route``, where that is a proxy.
    """

    max_bytes = 0
    route: Proxy | None = None
    session: Any

    @staticmethod
    def rawencode(
        params: Any = None, sort: bool = False
    ) -> str:  # ccxt's hook, which leaves 币安人生 as it is
        return str(ccxt.bybit.urlencode(params or {}))

    def open(self, lazy: bool = False) -> None:  # ccxt's hook, where it makes its session
        begun = self.session is not None
        super().open(lazy)
        if not begun and self.session is not None:
            self.session.detach()
            if self.route is not None:
                context = ssl.create_default_context(cafile=self.cafile)
                self.tcp_connector = rest_connector(self.route, context)
            self.session = aiohttp.ClientSession(
                connector=self.tcp_connector,
                response_class=_bounded(self.max_bytes),
            )

    async def fetch(self, *arguments: Any, **named: Any) -> Any:  # ccxt's hook
        try:
            return await super().fetch(*arguments, **named)
        except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
            raise ccxt.NetworkError(f"through the proxy {self.route}: {error}") from error

    def handle_errors(  # ccxt's hook
        self,
        httpCode: int,
        reason: str,
        url: str,
        method: str,
        headers: Any,
        body: str,
        response: Any,
        *_: Any,
    ) -> None:
        code = str(response.get("retCode", "")) if isinstance(response, dict) else ""
        if httpCode != 200 or code != "0":
            text = response.get("retMsg", "") if isinstance(response, dict) else (reason or "no JSON")
            lower = {str(name).lower(): str(value) for name, value in (headers or {}).items()}
            raise _Answer(httpCode, code, str(text), lower)


class RestClient:
    """Asks Bybit's public market endpoints. Everything it raises is a FeedError.

    What may pass (timeouts, gateways, limits, broken JSON) is asked again a few times with growing, jittered
    pauses; a refusal is told at once. ``on_ban`` is told once when the exchange bans the address. ``times`` are
    the bounds of the exchange's time, which the stream's messages are held against as well.
    """

    def __init__(
        self,
        base_url: str,
        config: ExchangeConfig,
        on_ban: Callable[[str], None] | None,
        proxy: Proxy | None = None,
    ) -> None:
        self.host = base_url
        self.times = plausible.TimeBounds(
            1000 * config.max_ahead_seconds, local_seconds, lambda: 1000 * time.time()
        )
        self._on_ban = on_ban
        self._banned_until = 0.0
        self._ccxt = _Bybit(
            {"enableRateLimit": True, "rateLimit": _MILLISECONDS_A_REQUEST / 5, "timeout": _TIMEOUT_MS}
        )
        self._ccxt.route = proxy
        self._ccxt.max_bytes = 1_000_000 * config.max_answer_mb
        for part in ("spot", "futures", "v2", "public", "private"):
            self._ccxt.urls["api"][part] = base_url.rstrip("/")

    async def close(self) -> None:
        """End all connections."""
        await self._ccxt.close()

    async def get(self, endpoint: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The answer, with a ``result`` and, where it has a ``time``, one that is believed."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.2, max=3.0, jitter=0.2),
            reraise=True,
        )
        return cast(dict[str, Any], await retrying(self._get_once, endpoint, parameters))

    async def _get_once(self, endpoint: str, parameters: dict[str, Any]) -> dict[str, Any]:
        left = self._banned_until - time.monotonic()
        if left > 0:
            raise Banned(f"{self.host} refused this address; no requests for another {left:.0f} s")
        since_ms = self.times.believed_ms
        answer = await self._asked(endpoint, parameters)
        if "time" in answer:
            try:
                self._check_time(answer, since_ms)
            except FeedError:
                if since_ms is not None:
                    raise
                # Nobody has told the time yet, and the local clock shows another: two that agree are believed.
                self._check_time(await self._asked("Time", {}), None)
        return answer

    def _check_time(self, answer: dict[str, Any], since_ms: int | None) -> None:
        try:
            self.times.check(plausible.time_ms(answer.get("time")), source="rest", since_ms=since_ms)
        except plausible.MalformedFrame as error:
            raise FeedError(f"{self.host}: {error}") from error

    async def _asked(self, endpoint: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await getattr(self._ccxt, f"publicGetV5Market{endpoint}")(parameters)
        except _Answer as error:
            raise await self._meaning(error) from error
        except (
            ccxt.BaseError, aiohttp.ClientError, _TooLarge, OSError, ValueError, LookupError, EOFError, RecursionError,
        ) as error:  # fmt: skip
            raise FeedError(f"{self.host}: {shortened(_cause_of(error), _TOLD_CHARACTERS)}") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("result"), dict):
            raise FeedError(f"{self.host}: an answer without a result")
        return answer

    async def _meaning(self, answer: _Answer) -> FeedError:
        if answer.status == 403 or answer.code == "10018":
            self._banned_until = time.monotonic() + _BAN_SECONDS
            text = f"{self.host} refused this address (too many requests, or its country): {answer}"
            if self._on_ban is not None:
                self._on_ban(f"{text}; no requests for ten minutes")
            return Banned(text)
        if answer.code == "10017" or answer.status == 404:
            return NoSuchRoute(f"{self.host} has no such endpoint: {answer}")
        if answer.code == "10006":
            await asyncio.sleep(_until_reset(answer.headers))
        is_refused = answer.code.isdigit() and answer.code not in _WEATHER
        is_client_error = 400 <= answer.status < 500 and answer.status not in _WEATHER_STATUS
        if answer.code not in _WEATHER and (is_refused or is_client_error) and answer.status < 500:
            return RequestRefused(f"{self.host}: {answer}")
        return FeedError(f"{self.host}: {answer}")


def _cause_of(error: BaseException) -> str:
    """What an error of ccxt's is about, whose own text is only the request."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        at = at.__cause__ or at.__context__
    if any(isinstance(one, TimeoutError | ccxt.RequestTimeout) for one in seen):
        return f"no answer within {_TIMEOUT_MS // 1000} s"
    said = [one for one in seen if str(one) and " GET http" not in str(one)]
    first = said[0] if said else error
    # A KeyError's text, say, is a name alone.
    return str(first) if isinstance(first, OSError | ccxt.BaseError) else f"{type(first).__name__} {first}"


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, FeedError) and not isinstance(error, RequestRefused | Banned)


def _until_reset(headers: dict[str, str]) -> float:
    """Seconds until the rate limit is reset, as far as the answer says; a pause of at most 5 s."""
    try:
        ahead = int(headers["x-bapi-limit-reset-timestamp"]) / 1000 - time.time()
    except (KeyError, ValueError, OverflowError):
        return 1.0
    return min(max(ahead, 0.1), 5.0)
