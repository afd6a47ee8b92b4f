"""``fetch``: history from the exchange, or from Yahoo, into the history store."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bot.commands.arguments import when
from bot.commands.options import CommonOptions, add_history
from bot.errors import ConfigError

if TYPE_CHECKING:
    from bot.config import Config

OK, INTERRUPTED = 0, 130

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
    return asyncio.run(fetch(options, config))


async def fetch(options: Options, config: "Config") -> int:
    """The same from the exchange; a signal ends it, and what was fetched is kept."""
    from bot import logs
    from bot.commands.history_store import history_path, opened
    from bot.sessions.fetch_bars import fetch_bars
    from bot.terminal.history import fetched_text
    from bot.terminal.progress import Progress

    logs.configure(config.log)
    mode = options.mode or "mainnet"
    if mode == "demo":
        raise ConfigError("fetch: the demo brings its own market; ask --mainnet (the default) or --testnet")
    path = history_path(options, config)
    with _stop_signals() as stopped:
        try:
            with Progress() as progress:
                store = opened(path, config, create=True)
                done = await fetch_bars(config, mode, options.since, options.until, store, progress)
        except asyncio.CancelledError:
            if not stopped:
                raise
            kept = f"what was fetched is kept in {path}" if path.exists() else "nothing was fetched yet"
            print(f"{stopped[0]}: {kept}; the same command continues from there", file=sys.stderr)
            return INTERRUPTED
    if options.json:
        print(msgspec.json.encode(done).decode())
    else:
        for one in done:
            print(fetched_text(one))
    return OK


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """SIGINT and SIGTERM cancel this task and leave their name in the list."""
    loop, task, stopped = asyncio.get_running_loop(), asyncio.current_task(), list[str]()
    assert task is not None

    def stop(name: str) -> None:
        stopped.append(name)
        task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop, number.name)
    try:
        yield stopped
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
