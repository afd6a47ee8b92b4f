"""Which category a command is about: what the names of files of bars tell before any is read, and what may be."""

from argparse import Namespace
from pathlib import PurePath
from typing import Literal

from bot.errors import ConfigError
from bot.market import Category


def category_of(args: Namespace) -> Literal["equity"] | None:
    """Equity of Yahoo's, and where every file of bars is named so (``AAPL_us-equity_1h_…``); None else.

    What is no stock's name says nothing of linear or spot: a venue's bars serve for either.
    """
    if getattr(args, "source", None) == "yahoo":
        return "equity"
    names = [*(getattr(args, "data", None) or ()), *getattr(args, "files", ())]
    venues = [PurePath(name.partition("=")[2] or name).name.split("_")[1:2] for name in names]
    return "equity" if venues and all(v and v[0].lower().endswith("equity") for v in venues) else None


def require_offline(args: Namespace, category: Category) -> None:
    """Shares are traded over files and stored bars alone; ConfigError where an exchange would be asked."""
    if category != "equity":
        return
    if args.command is None:
        raise ConfigError(
            f"run.category: equity is traded offline alone (backtest, train, evaluate); --{args.mode} needs "
            "linear or spot"
        )
    if args.command == "fetch" and args.source != "yahoo":
        raise ConfigError("run.category: Bybit has no equity; fetch shares with --source yahoo")
