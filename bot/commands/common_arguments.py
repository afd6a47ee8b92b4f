"""Options that many commands share: what is read, which mode, and what stands before or behind any command."""

import argparse
from collections.abc import Mapping
from typing import Any

from bot.commands.arguments import named_file, names, path


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


def add_modes(parser: argparse.ArgumentParser, texts: Mapping[str, str]) -> None:
    modes = parser.add_mutually_exclusive_group()
    for mode, text in texts.items():
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=text)


def common_options(default: Any) -> argparse.ArgumentParser:
    """Options that may stand before or behind a command; there, only what is given may override."""
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
    group.add_argument("--traceback", action="store_true", help="where an error came from, line by line")
    group.add_argument("--category", metavar="C", help="linear, spot, or offline equity (shares)")
    group.add_argument("--json", action="store_true", help="machine-readable results on standard output")
    return common
