"""A live session, without any command: testnet, mainnet and the demo."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bot.commands.arguments import count, duration, named_file, path
from bot.commands.options import CommonOptions, category_of_files
from bot.errors import ConfigError

if TYPE_CHECKING:
    from bot.config import Config


class Options(CommonOptions, frozen=True, kw_only=True):
    """When it stops, ``run_for`` in seconds and ``max_bars`` for each symbol; and what a demo streams."""

    run_for: float | None = None
    max_bars: int | None = None
    data: tuple[str, ...] = ()
    instrument: tuple[str, ...] = ()
    symbol: str | None = None

    def named_category(self) -> Literal["equity"] | None:
        return category_of_files(self.data)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What belongs to a session alone."""
    live = parser.add_argument_group("live sessions")
    live.add_argument("--run-for", type=duration, metavar="TIME", help="a clean stop after 90s, 15m, 8h, 7d")
    live.add_argument("--max-bars", type=count, metavar="N", help="a clean stop after N live bars a symbol")
    streamed = "with --demo: stream a file's bars ([SYMBOL=]FILE, repeatable)"
    live.add_argument("--data", action="append", type=named_file, metavar="FILE", help=streamed)
    rules = "with --data: trading rules, as for backtest; repeatable"
    live.add_argument("--instrument", action="append", type=path, metavar="FILE", help=rules)
    live.add_argument("--symbol", metavar="S", help="symbol of a single file whose name does not say it")


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """One live session, until it is stopped."""
    if config.run.category == "equity":
        raise ConfigError(
            f"run.category: equity is traded offline alone (backtest, train, evaluate); --{options.mode} needs "
            "linear or spot"
        )
    from bot.commands import live_session

    return asyncio.run(live_session.run(options, config, strategies))
