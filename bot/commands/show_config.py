"""``show-config``: the configuration in force."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from bot.commands.options import CommonOptions

if TYPE_CHECKING:
    from bot.config import Config

EXAMPLES = ("show-config --json",)


class Options(CommonOptions, frozen=True, kw_only=True):
    """None of its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(options: Options, config: "Config", strategies: Mapping[str, str]) -> int:
    """Print every key, as the file, the environment and the command line set it together."""
    tree = msgspec.to_builtins(config)
    if options.json:
        print(msgspec.json.encode(tree).decode())
        return 0
    for section, keys in tree.items():
        print(f"[{section}]")
        for key, value in keys.items():
            if value is not None:
                print(f"{key} = {msgspec.json.encode(value).decode()}")
        print()
    return 0
