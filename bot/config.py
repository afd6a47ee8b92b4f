"""config.toml, the environment and the command line as one frozen tree."""

import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from bot.errors import ConfigError
from bot.exchange.config import ExchangeConfig
from bot.market import INTERVAL_MS, Category
from bot.model.memory import MemoryConfig
from bot.model.similarity import ModelConfig
from bot.strategy import StrategyConfig
from bot.trading.fills import BrokerConfig
from bot.trading.risk import RiskConfig

Mode = Literal["testnet", "mainnet", "demo", "backtest", "replay"]

_PREFIX = "BOT__"


class RunConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[run]``: what is watched, and where it is written."""

    symbols: Annotated[tuple[str, ...], Meta(min_length=1)] = ("BTCUSDT", "ETHUSDT")
    interval: str = "15"
    category: Category = "linear"
    database: str = "var/{mode}.db"
    recordings: str = "var/recordings"


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

    def recordings_path(self, mode: Mode) -> Path | None:
        """The folder that sessions are recorded into; None where nothing is to be recorded."""
        folder = self.run.recordings.replace("{mode}", mode)
        return Path(folder) if folder else None


def load(
    path: str | Path | None,
    overrides: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
) -> Config:
    """The configuration of ``path`` under the environment's and then the command line's overrides.

    ``path`` None takes ``config.toml`` where there is one. Overrides are ``section.key`` to value.
    Raises ConfigError naming the key, and where the wrong value came from.
    """
    tree, source = _read(path)
    origins: dict[str, str] = {}
    for name, value in environment.items():
        if name.startswith(_PREFIX):
            section, _, key = name[len(_PREFIX) :].lower().partition("__")
            if not key:
                raise ConfigError(f"environment variable {name}: the form is {_PREFIX}SECTION__KEY")
            _put(tree, f"{section}.{key}", _listed(section, key, value))
            origins[f"{section}.{key}"] = f"environment variable {name}"
    for dotted, value in overrides.items():
        if value is not None:
            _put(tree, dotted, value)
            origins[dotted] = "the command line"
    return _converted(tree, origins, source)


def from_json(text: str, overrides: Mapping[str, Any], source: str) -> Config:
    """The configuration that a session wrote down as JSON, under overrides (``section.key`` to value).

    Raises ConfigError naming the key; what ``text`` has wrong is told of ``source``.
    """
    tree = msgspec.json.decode(text)
    for dotted, value in overrides.items():
        _put(tree, dotted, value)
    return _converted(tree, dict.fromkeys(overrides, "override"), source)


def as_tree(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values; decimals stay text, so nothing is rounded."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    return tree


def _read(path: str | Path | None) -> tuple[dict[str, Any], str]:
    if path is None:
        path = Path("config.toml")
        if not path.exists():
            return {}, "the defaults"
    try:
        with open(path, "rb") as file:
            return tomllib.load(file, parse_float=Decimal), str(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _converted(tree: dict[str, Any], origins: dict[str, str], source: str) -> Config:
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, tree, origins, source) from error
    _check(config, origins, source)
    return config


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    section, _, key = dotted.partition(".")
    branch = tree.setdefault(section, {})
    if not isinstance(branch, dict):
        raise ConfigError(f"{section}: this is a section, written [{section}]")
    branch[key] = value


def _listed(section: str, key: str, value: str) -> Any:
    """Environment variables are text; lists are written with commas."""
    return tuple(part.strip() for part in value.split(",")) if (section, key) == ("run", "symbols") else value


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
    shown = value if isinstance(value, str | int | Decimal | float | bool) else type(value).__name__
    return ConfigError(f"{origins.get(key, source)}: {key} = {shown}: {what[:1].lower()}{what[1:]}")


def _known_keys(section: str) -> tuple[str, ...]:
    part = getattr(Config(), section) if section else Config()
    return tuple(part.__struct_fields__)


def _check(config: Config, origins: dict[str, str], source: str) -> None:
    """What types and bounds cannot say."""

    def wrong(key: str, text: str) -> ConfigError:
        return ConfigError(f"{origins.get(key, source)}: {key}: {text}")

    run = config.run
    if run.interval not in INTERVAL_MS:
        raise wrong("run.interval", f"{run.interval!r} is none of {' '.join(INTERVAL_MS)} (Bybit's notation)")
    for symbol in run.symbols:
        if not symbol.isalnum() or symbol != symbol.upper():
            raise wrong("run.symbols", f"{symbol!r} is no symbol of Bybit's; they look like BTCUSDT")
    if len(set(run.symbols)) != len(run.symbols):
        raise wrong("run.symbols", "a symbol stands there twice")
    for key, scheme in (("rest_url", "http"), ("ws_url", "ws")):
        url = getattr(config.exchange, key)
        if url and not url.startswith((f"{scheme}://", f"{scheme}s://")):
            raise wrong(f"exchange.{key}", f"{url!r} must begin with {scheme}s:// or {scheme}://")
