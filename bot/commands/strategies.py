"""``strategies``: the shipped strategies and the configured one, with their options."""

import argparse
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bot.commands.options import CommonOptions

if TYPE_CHECKING:
    from bot.config import Config
    from bot.strategy_options import Option

EXAMPLES = ("strategies", "strategies --strategy mine:Reversal --json")

_OK = 0


class Options(CommonOptions, frozen=True, kw_only=True):
    """``strategy`` names one to list beside those that ship."""


class Listed(Struct, frozen=True, kw_only=True):
    """One strategy: where it is found, the first line of its docstring, and what it may be told.

    ``options`` is None where it declares none and takes what it is given. ``given`` are the options of the
    configured one; ``problem`` says why it could not be loaded, or does not take them.
    """

    name: str
    path: str
    summary: str = ""
    configured: bool = False
    needs_memory: bool = True
    options: "tuple[Option, ...] | None" = None
    given: dict[str, Any] = {}
    problem: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print every strategy with its options."""
    import msgspec

    name = config.strategy.name
    paths = dict(strategies) if name in strategies else {**strategies, name: name}
    listed = [_listed(each, path, config, strategies) for each, path in paths.items()]
    if options.json:
        print(msgspec.json.encode({"version": 1, "strategies": listed}).decode())
    else:
        for strategy in listed:
            _print(strategy)
    return _OK


def _listed(name: str, path: str, config: "Config", strategies: Mapping[str, str]) -> Listed:
    from bot.errors import ConfigError
    from bot.sessions.assembly import load_strategy, strategy_class
    from bot.strategy_options import declared_options, described

    configured = name == config.strategy.name
    given = config.strategy.options if configured else {}
    try:
        kind = strategy_class(name, strategies)
        declared = declared_options(kind)
        problem = ""
        if configured:
            try:
                load_strategy(config, strategies)
            except ConfigError as error:
                problem = str(error)
        return Listed(
            name=name,
            path=path,
            summary=(inspect.getdoc(kind) or "").partition("\n")[0].replace("``", ""),
            configured=configured,
            needs_memory=bool(getattr(kind, "needs_memory", True)),
            options=None if declared is None else described(declared),
            given=given,
            problem=problem,
        )
    except ConfigError as error:
        return Listed(name=name, path=path, configured=configured, given=given, problem=str(error))


def _print(strategy: Listed) -> None:
    from bot.terminal.tables import print_table, print_text, print_title

    print_title(f"{strategy.name}{' (configured)' if strategy.configured else ''}")
    if strategy.problem:
        print_text(f"cannot be used: {strategy.problem}")
        if strategy.options is None:
            return
    if strategy.summary:
        print_text(strategy.summary)
    print_text(f"{strategy.path}, {'asks the memory' if strategy.needs_memory else 'without memory'}")
    if strategy.options is None:
        print_text("declares no options: it takes what [strategy.options] has")
    elif not strategy.options:
        print_text("no options")
    else:
        print_table(
            ("option", "type", "default", "range", "given"),
            [
                (
                    option.name,
                    option.type,
                    "must be given" if option.required else _text(option.default),
                    option.range or "-",
                    _text(strategy.given[option.name]) if option.name in strategy.given else "-",
                )
                for option in strategy.options
            ],
            spare=("given",),
        )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
