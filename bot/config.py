"""config.toml, the environment and the command line as one frozen tree."""

import math
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from bot import files
from bot.config_names import KEYS, present_name, present_value, with_present_names
from bot.config_paths import folder_of, place_paths
from bot.environment import settings, variable_of
from bot.errors import ConfigError, InputError
from bot.exchange.config import ExchangeConfig
from bot.exchange.proxy import SETTING, without_credentials
from bot.market import INTERVAL_MS, Category
from bot.market.calendars import NEVER_CLOSES, OBSERVED
from bot.market.symbols import currency_problem, inverse_problem, symbol_problem
from bot.model.memory.moments import MemoryConfig
from bot.model.similarity import ModelConfig
from bot.strategy import StrategyConfig
from bot.trading.config import RiskConfig
from bot.trading.fills import BrokerConfig

Mode = Literal["testnet", "mainnet", "demo", "backtest", "replay"]

_COMMAND_LINE = "the command line"
_LONGEST_FILE = files.MEGABYTE
_MOST_DOTS = 500
_SHOWN = 80
_PATHS = ("run.database", "run.recordings", "run.history", "run.runs", "model.checkpoint")
_LONGEST_NAME, _LONGEST_PATH = 200, 3_000
"""Bytes of a part and of the whole, so that there is room for what is appended to them."""

Megabytes = Annotated[int, Meta(ge=1, le=1_000_000)]
_LINEAR: Category = "linear"


class RunConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[run]``: what is watched, and where it is written.

    ``max_recording_mb`` and ``max_data_mb`` bound what a recording and a file of bars or rates may unpack to, in
    millions of bytes. A session decides on for ``lock_seconds`` while another program keeps its database locked.
    ``calendar`` is ``24/7``, ``observed`` or the code of an exchange, ``timezone`` that of the market whose
    sessions are observed.
    """

    symbols: Annotated[tuple[str, ...], Meta(min_length=1)] = ("BTCUSDT", "ETHUSDT")
    interval: str = "15"
    category: Category = "linear"
    database: str = "var/{mode}.db"
    recordings: str = "var/recordings"
    history: str = "var/history.db"
    runs: str = "var/runs"
    max_recording_mb: Megabytes = 4_000
    max_data_mb: Megabytes = 4_000
    lock_seconds: Annotated[float, Meta(ge=1.0, le=3_600.0)] = 60.0
    calendar: str = ""
    timezone: str = "America/New_York"

    @property
    def calendar_name(self) -> str:
        """``calendar``, or its default: 24/7, of shares what their bars tell."""
        return self.calendar or (OBSERVED if self.category == "equity" else NEVER_CLOSES)


class LogConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[log]``: ``auto`` is colour on a terminal and JSON elsewhere."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. Each part gets its own section, never the tree."""

    run: RunConfig = RunConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    model: ModelConfig = ModelConfig()
    memory: MemoryConfig = MemoryConfig()
    strategy: StrategyConfig = StrategyConfig()
    broker: BrokerConfig = BrokerConfig()
    risk: RiskConfig = RiskConfig()
    log: LogConfig = LogConfig()

    def database_path(self, mode: Mode) -> Path:
        return Path(self.run.database.replace("{mode}", mode))

    @property
    def max_data_bytes(self) -> int:
        """What a file of bars or rates may unpack to."""
        return self.run.max_data_mb * files.MEGABYTE

    @property
    def history_path(self) -> Path:
        """The store of bars, funding rates and rules that backtests, training and evaluation read."""
        return Path(self.run.history)

    @property
    def runs_path(self) -> Path:
        """The folder of backtests, one database each, with their index."""
        return Path(self.run.runs)

    def recordings_path(self, mode: Mode) -> Path | None:
        """The folder that sessions are recorded into; None where nothing is to be recorded."""
        folder = self.run.recordings.replace("{mode}", mode)
        return Path(folder) if folder else None


_KEYS = frozenset(
    f"{section}.{key}"
    for section in Config.__struct_fields__
    for key in getattr(Config(), section).__struct_fields__
)


def load(
    path: str | os.PathLike[str] | None,
    overrides: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    *,
    named_category: Category | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Config:
    """The configuration of ``path`` under the environment's and then the command line's overrides.

    ``path`` None takes ``config.toml`` where there is one. What the file says of relative paths, defaults too,
    belongs to its folder. Overrides are ``section.key`` to value.
    ``named_category`` is what the data's names say; it stands where nobody says otherwise, and what is
    written down as the default says nothing. ``note`` gets a line for each earlier name that is used.
    Raises ConfigError naming the key, and where the wrong value came from.
    """
    written, source = _read(path)
    for earlier in with_present_names(written):
        note(
            f"{source}: {earlier} is called {present_name(earlier)} now; the next release knows that name alone"
        )
    given: dict[str, tuple[Any, str]] = {}
    for dotted, (name, value) in settings(environment, _KEYS | KEYS.keys()).items():
        key = present_name(dotted)
        if key != dotted:
            note(
                f"environment variable {name}: {variable_of(key)} is its name now; the next release knows that alone"
            )
        given[key] = present_value(key, _listed(key, value)), f"environment variable {name}"
    given |= {dotted: (value, _COMMAND_LINE) for dotted, value in overrides.items() if value is not None}

    def converted(given: Mapping[str, tuple[Any, str]]) -> Config:
        tree = deepcopy(written)
        for dotted, (value, _) in given.items():
            _put(tree, dotted, value)
        origins = {dotted: origin for dotted, (_, origin) in given.items()}
        if named_category is not None and "run.category" not in origins:
            run = tree.setdefault("run", {})
            if isinstance(run, dict) and run.get("category", _LINEAR) == _LINEAR:
                run["category"] = named_category
        _set_share_fees(tree, origins)
        _hide_credentials(tree, origins, source)
        place_paths(tree, as_tree(Config()), origins, folder_of(path))
        return _converted(tree, origins, source)

    try:
        return converted(given)
    except ConfigError as error:
        raise _blamed(error, given, converted, source) from error


def _blamed(
    error: ConfigError,
    given: Mapping[str, tuple[Any, str]],
    converted: Callable[[Mapping[str, tuple[Any, str]]], Config],
    source: str,
) -> ConfigError:
    """The error, told of the setting that has caused it, where that is none of the file's."""
    if not str(error).startswith(f"{source}: "):
        return error
    for dotted, (_, origin) in given.items():
        try:
            converted({other: value for other, value in given.items() if other != dotted})
        except ConfigError as still:
            if str(still) == str(error):
                continue
        return ConfigError(origin + str(error).removeprefix(source))
    return error


def from_json(text: str, overrides: Mapping[str, Any], source: str) -> Config:
    """The configuration that a session wrote down as JSON, under overrides (``section.key`` to value).

    Raises ConfigError naming the key; what ``text`` has wrong is told of ``source``.
    """
    try:
        tree = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source} is none: {error}") from error
    with_present_names(tree)
    for dotted, value in overrides.items():
        _put(tree, dotted, value)
    return _converted(tree, dict.fromkeys(overrides, "override"), source)


def as_tree(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values; decimals stay text, so nothing is rounded."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    return tree


def _read(path: str | os.PathLike[str] | None) -> tuple[dict[str, Any], str]:
    if path is None:
        path = Path("config.toml")
        if not path.exists():
            return {}, "the defaults"
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: no such configuration file")
    try:
        text = files.content(Path(path), "the configuration", _LONGEST_FILE).decode("utf-8-sig")
        # A key of many parts takes the square of their number to read.
        if max((line.count(".") for line in text.splitlines()), default=0) > _MOST_DOTS:
            raise RecursionError
        return tomllib.loads(text, parse_float=Decimal), str(path)
    except InputError as error:
        raise ConfigError(str(error)) from error
    except RecursionError:
        raise ConfigError(f"{path}: not valid TOML: nested deeper than any configuration") from None
    except (ValueError, ArithmeticError) as error:
        # TOML's own errors, what is no text, and numbers of thousands of digits.
        raise ConfigError(f"{path}: not valid TOML: {_one_line(error)}") from error


def _hide_credentials(tree: dict[str, Any], origins: Mapping[str, str], source: str) -> None:
    """From here on nothing holds the proxy's user and password that could be stored or shown."""
    exchange = tree.get("exchange")
    if isinstance(exchange, dict) and isinstance(url := exchange.get("proxy"), str):
        try:
            exchange["proxy"] = without_credentials(url)
        except ValueError as error:
            raise ConfigError(f"{origins.get(SETTING, source)}: {SETTING}: {error}") from None


def _set_share_fees(tree: dict[str, Any], origins: Mapping[str, str]) -> None:
    """Shares pay no commission where none is named; what is written down as the default names none."""
    run = tree.get("run")
    if not isinstance(run, dict) or run.get("category") != "equity":
        return
    broker, defaults = tree.setdefault("broker", {}), BrokerConfig()
    if isinstance(broker, dict):
        for key in ("taker_fee", "maker_fee"):
            default = getattr(defaults, key)
            if f"broker.{key}" not in origins and str(broker.get(key, default)) == str(default):
                broker[key] = "0"


def _converted(tree: dict[str, Any], origins: dict[str, str], source: str) -> Config:
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, tree, origins, source) from error
    except RecursionError:
        raise ConfigError(f"{source}: nested deeper than any configuration") from None
    _check(config, origins, source)
    return config


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    section, _, key = dotted.rpartition(".")
    branch: Any = tree
    for part in section.split("."):
        branch = branch.setdefault(part, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"{section}: this is a section, written [{section}]")
    branch[key] = value


def _listed(dotted: str, value: str) -> Any:
    """Environment variables are text; lists are written with commas."""
    return tuple(part.strip() for part in value.split(",")) if dotted == "run.symbols" else value


def _explained(
    error: msgspec.ValidationError, tree: dict[str, Any], origins: dict[str, str], source: str
) -> ConfigError:
    """msgspec's ``Expected `int` >= 1 - at `$.memory.size` `` as a line that names key, place and cure."""
    what, _, where = str(error).partition(" - at `$")
    key = where.rstrip("`").lstrip(".")
    if what.startswith("Object contains unknown field"):
        unknown = what.split("`")[1]
        dotted = f"{key}.{unknown}" if key else unknown
        place = origins.get(dotted, source)
        known = ", ".join(_known_keys(key))
        return ConfigError(f"{place}: unknown key {dotted}; known here: {known}")
    section, _, name = key.partition(".")
    branch = tree.get(section)
    value = branch.get(name.partition("[")[0]) if name and isinstance(branch, dict) else branch
    if (key, value) == ("run.category", "inverse"):
        return ConfigError(
            f"{origins.get(key, source)}: {key} = inverse: inverse contracts are settled in their own coin and not "
            "traded here; linear, spot and (offline) equity are"
        )
    if isinstance(value, dict):
        return ConfigError(f"{origins.get(key, source)}: {key}: {_one_line(what[:1].lower() + what[1:])}")
    shown = _one_line(value) if isinstance(value, str | int | Decimal | float) else type(value).__name__
    return ConfigError(
        f"{origins.get(key, source)}: {key} = {shown}: {_one_line(what[:1].lower() + what[1:])}"
    )


def _one_line(value: object) -> str:
    """A stranger's value, short and on one line."""
    try:
        text = "a number that no decimal can be" if isinstance(value, ArithmeticError) else str(value)
    except ValueError:
        return "a number of thousands of digits"
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _known_keys(section: str) -> tuple[str, ...]:
    part = getattr(Config(), section) if section else Config()
    return tuple(part.__struct_fields__)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, float | str]]:
    """Numbers and texts of the tree, each with its key: what msgspec's bounds let pass."""
    if isinstance(value, Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, int | float | str):
        yield key, value


def _check(config: Config, origins: dict[str, str], source: str) -> None:
    """What types and bounds cannot say."""

    def wrong(key: str, text: str) -> ConfigError:
        return ConfigError(f"{origins.get(key, source)}: {key}: {text}")

    run = config.run
    if run.interval not in INTERVAL_MS:
        raise wrong("run.interval", f"{run.interval!r} is none of {' '.join(INTERVAL_MS)} (Bybit's notation)")
    for symbol in run.symbols:
        if (problem := symbol_problem(symbol)) is not None:
            raise wrong("run.symbols", problem)
    if run.category == "linear" and (problem := inverse_problem(run.symbols)) is not None:
        raise wrong("run.symbols", problem)
    if run.category != "equity" and (problem := currency_problem(run.symbols)) is not None:
        raise wrong("run.symbols", problem)
    if run.calendar_name != NEVER_CLOSES and run.category != "equity":
        raise wrong("run.calendar", f"{run.category} never closes; a calendar is for run.category = 'equity'")
    try:
        ZoneInfo(run.timezone)
    except (KeyError, ValueError, OSError):
        raise wrong("run.timezone", f"{run.timezone!r} is no time zone such as Europe/London") from None
    if len(set(run.symbols)) != len(run.symbols):
        raise wrong("run.symbols", "a symbol stands there twice")
    for key, value in _leaves(config, ""):
        if isinstance(value, float) and not math.isfinite(value):
            raise wrong(key, f"{value} is no finite number")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise wrong(key, f"{_one_line(value)} is larger than any number here")
        if isinstance(value, str) and not value.isprintable():
            raise wrong(key, f"{_one_line(value)!r} holds what cannot be printed")
    for key in _PATHS:
        section, _, name = key.partition(".")
        parts = getattr(getattr(config, section), name).encode("utf-8", "surrogatepass").split(b"/")
        if max(map(len, parts)) > _LONGEST_NAME or sum(map(len, parts)) > _LONGEST_PATH:
            raise wrong(
                key, f"{_one_line(getattr(getattr(config, section), name))} is longer than a path may be"
            )
    for key, scheme in (("rest_url", "http"), ("ws_url", "ws")):
        if (url := getattr(config.exchange, key)) and (problem := _wrong_url(url, scheme)):
            raise wrong(f"exchange.{key}", problem)


def _wrong_url(url: str, scheme: str) -> str | None:
    """Why this is no host's URL; a password in it is repeated nowhere."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        return f"this is no URL: {error}"
    if "@" in url:
        return "credentials do not belong here: they would be stored with every session; Bybit's market data needs none"
    if parts.scheme not in (scheme, f"{scheme}s"):
        return f"{url!r} must begin with {scheme}s:// or {scheme}://"
    if not host or port == 0 or any(letter.isspace() for letter in url):
        return f"{url!r} names no host"
    if parts.path.strip("/") or parts.query or parts.fragment:
        return f"{url!r}: the host part only; /v5/... is appended"
    return None
