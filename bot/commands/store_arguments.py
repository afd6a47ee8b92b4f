"""Options that name stored history and runs."""

import argparse

from bot.commands.arguments import path


def add_history(parser: argparse.ArgumentParser, *, venue: bool = True) -> None:
    """The history store, and whose part of it."""
    parser.add_argument(
        "--history", type=path, metavar="PATH", help="history store (default: var/history.db)"
    )
    if venue:
        parser.add_argument("--venue", metavar="NAME", help="whose bars: bybit, binance-perp, ...")


def add_run_of_its_own(backtest: argparse.ArgumentParser) -> None:
    """What a backtest is called, and whether it makes an earlier one again."""
    backtest.add_argument("--name", metavar="NAME", help="the run's name (default: time, strategy, symbols)")
    backtest.add_argument("--again", metavar="NAME", help="an earlier run once more, from its own database")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """What to do with the catalogue; without any, it is listed."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--compare", nargs="+", metavar="NAME", help="two or more runs side by side")
    what.add_argument(
        "--delete", metavar="NAME", help="a run's database and its row; that it was tried stays counted"
    )
