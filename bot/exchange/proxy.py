"""The proxy between the bot and the exchange: one for REST and websocket alike, or none for either."""

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from aiohttp_socks import ProxyConnector, ProxyType
from msgspec import Struct

from bot.errors import ConfigError

SETTING = "exchange.proxy"
_PORTS = {"http": 8080, "socks4": 1080, "socks5": 1080, "socks4a": 1080, "socks5h": 1080}
_NONE = "none"

_credentials: dict[str, tuple[str, str]] = {}
"""User and password of each proxy that the configuration names with them: kept here alone, so that no value that is
stored, recorded or shown has them."""


class Proxy(Struct, frozen=True, kw_only=True):
    """A proxy, and who named it. Its text has no credentials."""

    scheme: str
    host: str
    port: int
    named_by: str
    user: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        """Without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def looks_up_names(self) -> bool:
        """Whether the proxy is told names, not addresses."""
        return self.scheme not in ("socks4", "socks5")

    def __repr__(self) -> str:
        return f"{self.url} ({self.named_by})"

    __str__ = __repr__


def without_credentials(url: str) -> str:
    """The URL of ``exchange.proxy`` as it may be stored; user and password are kept for :func:`chosen` alone.

    Raises ValueError with what is wrong with it.
    """
    if url in ("", _NONE):
        return url
    proxy = _parsed(url, SETTING)
    if proxy.user or proxy.password:
        _credentials[proxy.url] = proxy.user, proxy.password
    return proxy.url


def chosen(setting: str, urls: tuple[str, str], environment: Mapping[str, str]) -> Proxy | None:
    """The proxy of both transports, whose hosts ``urls`` are; None where they are reached directly.

    ``setting`` is ``exchange.proxy``; where it is empty the environment's ``HTTPS_PROXY``, ``HTTP_PROXY`` and
    ``ALL_PROXY`` say it, each also in small letters, and ``NO_PROXY`` which hosts are reached without.
    Raises ConfigError where they name no proxy, or one for only one of the hosts.
    """
    if setting == _NONE:
        return None
    if setting:
        return _with_credentials(_parsed(setting, SETTING))
    is_secure = any(urlsplit(url).scheme in ("https", "wss") for url in urls)
    # Where there is one, it serves all that leaves this machine.
    names = ("HTTPS_PROXY", "ALL_PROXY") if is_secure else ("HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY")
    found = next(
        (
            (variant, value)
            for name in names
            for variant in (name.lower(), name)
            if (value := environment.get(variant, "").strip())
        ),
        None,
    )
    if found is None:
        return None
    name, value = found
    try:
        proxy = _parsed(value, name)
    except ValueError as error:
        raise ConfigError(f"environment variable {name}: {error}") from None
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    direct = [host for host in (urlsplit(url).hostname or "" for url in urls) if _is_exempt(host, exempt)]
    if len(direct) == len(urls):
        return None
    if direct:
        raise ConfigError(
            f"environment variable NO_PROXY exempts {direct[0]} alone; a proxy serves both of the exchange's hosts or "
            f"neither: name both there, or set {SETTING} to a proxy or to {_NONE}"
        )
    return proxy


def rest_connector(proxy: Proxy, ssl_context: Any) -> ProxyConnector:
    """What aiohttp opens its connections with. It tunnels also what is not encrypted, as the websocket does."""
    return ProxyConnector(
        host=proxy.host,
        port=proxy.port,
        proxy_type={"http": ProxyType.HTTP, "socks4": ProxyType.SOCKS4}.get(
            proxy.scheme.removesuffix("a"), ProxyType.SOCKS5
        ),
        username=proxy.user or None,
        password=proxy.password or None,
        rdns=proxy.looks_up_names,
        ssl=ssl_context,
    )


def websocket_options(proxy: Proxy | None, seconds: float) -> dict[str, Any]:
    """What websocket-client's ``run_forever`` takes; it looks into the environment unless it is told everything."""
    if proxy is None:
        return {
            "http_proxy_host": "direct",
            "http_proxy_port": 1,
            "http_no_proxy": ["*"],
            "proxy_type": "http",
        }
    return {
        "http_proxy_host": proxy.host,
        "http_proxy_port": proxy.port,
        "http_proxy_auth": (proxy.user, proxy.password) if proxy.user or proxy.password else None,
        "http_no_proxy": ["-"],
        "http_proxy_timeout": seconds,
        "proxy_type": proxy.scheme,
    }


def _with_credentials(proxy: Proxy) -> Proxy:
    user, password = _credentials.get(proxy.url, (proxy.user, proxy.password))
    return Proxy(
        scheme=proxy.scheme,
        host=proxy.host,
        port=proxy.port,
        named_by=proxy.named_by,
        user=user,
        password=password,
    )


def _parsed(url: str, named_by: str) -> Proxy:
    """Raises ValueError, which repeats nothing of the URL: a password may be anywhere in it."""
    text = url if "://" in url else f"http://{url}"
    try:
        parts: SplitResult = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or any(letter.isspace() or not letter.isprintable() for letter in text):
        raise ValueError(
            "this is no proxy's URL; one looks like http://127.0.0.1:3128 or socks5h://127.0.0.1:1080"
        )
    scheme = {"socks": "socks5h"}.get(parts.scheme, parts.scheme)
    if scheme not in _PORTS:
        raise ValueError("a proxy's URL begins with http://, socks5h://, socks5:// or socks4://")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("a proxy's URL ends with its port")
    return Proxy(
        scheme=scheme,
        host=host,
        port=port or _PORTS[scheme],
        named_by=named_by,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _is_exempt(host: str, exempt: str) -> bool:
    """Whether ``NO_PROXY`` names the host: itself, a domain that it is in, a network that has its address, or all."""
    parts = exempt.lower().replace(",", " ").split()
    if "*" in parts or any(host == part or host.endswith(f".{part.lstrip('.')}") for part in parts):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for part in parts:
        try:
            if address in ipaddress.ip_network(part, strict=False):
                return True
        except ValueError:
            continue
    return False
