"""``fetch``: history from the exchange, or from Yahoo, into the history store."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from bot.commands.arguments import when
from bot.commands.options import CommonOptions, add_history
from bot.errors import ConfigError

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = (
    "fetch --symbols BTCUSDT,ETHUSDT --interval 60 --since 2024-01-01",
    "backtest --symbols BTCUSDT,ETHUSDT --interval 60",
)
ABOUT = (
    "Asks only for bars that the store lacks, so a fetch that was stopped goes on, and holes are filled. The bars are "
    "mainnet's (venue bybit) or, with --testnet, testnet's (bybit-testnet). The symbols' trading rules are kept with "
    "them."
)


class Options(CommonOptions, frozen=True, kw_only=True):
    """From ``since`` on and before ``until`` (UTC milliseconds; None: now), into the store ``history``."""

    since: int
    until: int | None = None
    source: Literal["bybit", "yahoo"] = "bybit"
    history: str | None = None

    def overrides(self) -> dict[str, Any]:
        return {**super().overrides(), "run.history": self.history}

    def named_category(self) -> Literal["equity"] | None:
        return "equity" if self.source == "yahoo" else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The range of time, whose bars, and where they go."""
    parser.add_argument("--since", type=when, required=True, metavar="TIME", help="from 2024-01-31 on (UTC)")
    parser.add_argument(
        "--source",
        choices=("bybit", "yahoo"),
        help="yahoo: shares, through yfinance (extra `stocks`); for personal use by Yahoo's terms, and it breaks "
        "when Yahoo changes its pages",
    )
    add_history(parser, venue=False)
    parser.add_argument("--until", type=when, metavar="TIME", help="until before this time (default: now)")


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Fetch what the store lacks, and say what it has then."""
    if options.source == "yahoo":
        from bot.commands import fetch_yahoo

        return asyncio.run(fetch_yahoo.run(options, config))
    if config.run.category == "equity":
        raise ConfigError("run.category: Bybit has no equity; fetch shares with --source yahoo")
    from bot.commands import fetch_bars

    return asyncio.run(fetch_bars.run(options, config))
