"""What commands have in common on the command line: typed options, and the groups of arguments that fill them.

Nothing heavy is imported: this is read before a command is known.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from bot.commands.arguments import named_file, named_value, names, path
from bot.market.times import interval_from_name


class CommonOptions(Struct, frozen=True, kw_only=True):
    """What may be said before or behind any command; None where it was not.

    ``command`` is the word typed, None for a live session. ``mode`` is the live session's, or names its database or
    exchange; ``db`` names a file instead.
    """

    command: str | None = None
    mode: Literal["testnet", "mainnet", "demo"] | None = None
    config: str | None = None
    db: str | None = None
    symbols: tuple[str, ...] | None = None
    interval: str | None = None
    strategy: str | None = None
    option: tuple[tuple[str, str], ...] = ()
    category: str | None = None
    json: bool = False
    traceback: bool = False

    def overrides(self) -> dict[str, Any]:
        """Keys of the configuration in place of which something was said."""
        return {
            "run.symbols": self.symbols,
            # A name of no interval is refused with all others that the configuration knows.
            "run.interval": self.interval and (interval_from_name(self.interval) or self.interval),
            "run.category": self.category,
            "run.database": self.db,
            "strategy.name": self.strategy,
            **{f"strategy.options.{name}": value for name, value in self.option},
        }

    def named_category(self) -> Literal["equity"] | None:
        """What the data's names say of the category, where nobody says it otherwise."""
        return None


class DatabaseOptions(CommonOptions, frozen=True, kw_only=True):
    """Of a command that reads one database: ``run`` names a backtest's."""

    run: str | None = None


class HistoryOptions(CommonOptions, frozen=True, kw_only=True):
    """Of a command over stored history: the store's file, and whose bars."""

    history: str | None = None
    venue: str | None = None

    def overrides(self) -> dict[str, Any]:
        return {**super().overrides(), "run.history": self.history}


class BarOptions(HistoryOptions, frozen=True, kw_only=True):
    """Of a command over files of bars, each ``FILE`` or ``SYMBOL=FILE``, or without any over stored history."""

    data: tuple[str, ...] = ()
    symbol: str | None = None

    def named_category(self) -> Literal["equity"] | None:
        return category_of_files(self.data)


class TradedBarOptions(BarOptions, frozen=True, kw_only=True):
    """The same where bars are traded on: files of settled rates and of trading rules besides."""

    funding: tuple[str, ...] = ()
    no_funding: bool = False
    instrument: tuple[str, ...] = ()


Options = TypeVar("Options", bound=CommonOptions)


def options_of(kind: type[Options], args: argparse.Namespace) -> Options:
    """What was parsed, typed; what was not given has the Struct's own default."""
    return msgspec.convert({name: value for name, value in vars(args).items() if value is not None}, kind)


def category_of_files(files: Iterable[str]) -> Literal["equity"] | None:
    """Equity where every file is named so (``AAPL_us-equity_1h_…``); None else, also without any.

    What is no stock's name says nothing of linear or spot: a venue's bars serve for either.
    """
    venues = [PurePath(name.partition("=")[2] or name).name.split("_")[1:2] for name in files]
    return "equity" if venues and all(v and v[0].lower().endswith("equity") for v in venues) else None


def common_arguments(default: Any) -> argparse.ArgumentParser:
    """A parent for the parsers of the program and of each command; in the latter only what is given may override."""
    common = argparse.ArgumentParser(add_help=False, argument_default=default)
    group = common.add_argument_group("common options")
    group.add_argument(
        "--config", type=path, metavar="PATH", help="configuration file (default: config.toml)"
    )
    group.add_argument("--db", type=path, metavar="PATH", help="database (default: var/MODE.db)")
    group.add_argument("--symbols", type=names, metavar="A,B", help="symbols, as BTCUSDT,ETHUSDT")
    group.add_argument(
        "--interval", metavar="N", help="bar interval: 1 3 5 15 30 60 120 240 360 720 D W, or 1h, 1d"
    )
    group.add_argument(
        "--strategy", metavar="NAME", help="a shipped strategy, or your own package.module:Class"
    )
    group.add_argument(
        "--option",
        action="append",
        type=named_value,
        metavar="KEY=VALUE",
        help="a strategy's own; repeatable",
    )
    group.add_argument("--traceback", action="store_true", help="where an error came from, line by line")
    group.add_argument("--category", metavar="C", help="linear, spot, or offline equity (shares)")
    group.add_argument("--json", action="store_true", help="machine-readable results on standard output")
    return common


def add_modes(parser: argparse.ArgumentParser, texts: Mapping[str, str]) -> None:
    """A flag a mode, of which one may be given."""
    modes = parser.add_mutually_exclusive_group()
    for mode, text in texts.items():
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=text)


def add_files(parser: argparse.ArgumentParser, *, traded: bool = True) -> None:
    """Options that name files of bars and, where they are traded on, of rates and rules."""
    files = parser.add_argument_group("files")
    files.add_argument(
        "--data", action="append", type=named_file, metavar="FILE", help="[SYMBOL=]FILE, repeatable"
    )
    files.add_argument("--symbol", metavar="S", help="symbol of a single file")
    if traded:
        rates = "settled rates to charge (CSV time_ms,rate): [SYMBOL=]FILE, repeatable"
        files.add_argument("--funding", action="append", type=named_file, metavar="FILE", help=rates)
        files.add_argument("--no-funding", action="store_true", help="leave funding out")
        rules = "trading rules: a TOML or JSON FILE, or SYMBOL:tick_size=0.01,lot_size=0.001; repeatable"
        files.add_argument("--instrument", action="append", type=path, metavar="FILE", help=rules)


def add_history(parser: argparse.ArgumentParser, *, venue: bool = True) -> None:
    """The history store, and whose part of it."""
    parser.add_argument(
        "--history", type=path, metavar="PATH", help="history store (default: var/history.db)"
    )
    if venue:
        parser.add_argument("--venue", metavar="NAME", help="whose bars: bybit, binance-perp, ...")


def add_run(parser: argparse.ArgumentParser) -> None:
    """A backtest by its name, in place of a database's file."""
    parser.add_argument("--run", metavar="NAME", help="a backtest's own database; runs lists them")


def add_note(parser: argparse.ArgumentParser) -> None:
    """Why a person asks for something."""
    parser.add_argument("--note", metavar="TEXT", help="why; kept with the request")
