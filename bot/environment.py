"""Environment variables that stand for settings, and what was meant by one that nearly does."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from bot.errors import ConfigError

PREFIX = "BOT__"
OPTIONS = "BOT__STRATEGY__OPTIONS__"
"""Behind it stands the name of a strategy's own option."""

_ALIKE = 0.88
"""From here on two names are taken for one with a slip of the hand."""


def settings(environment: Mapping[str, str], known: Iterable[str]) -> dict[str, tuple[str, str]]:
    """What the environment sets, as ``section.key`` to the variable's name and value.

    ``known`` are all settings there are, written so. Raises ConfigError for a variable that is none of them but
    looks as if it should be, naming the right one.
    """
    by_letters = {_letters(variable_of(dotted)): variable_of(dotted) for dotted in known}
    found: dict[str, tuple[str, str]] = {}
    for name, value in environment.items():
        if name.startswith(OPTIONS) and len(name) > len(OPTIONS):
            found[f"strategy.options.{name.removeprefix(OPTIONS).lower()}"] = name, value
            continue
        section, _, key = name.removeprefix(PREFIX).lower().partition("__")
        if name.startswith(PREFIX) and key and f"{section}.{key}" in known:
            found[f"{section}.{key}"] = name, value
            continue
        letters = _letters(name)
        meant = get_close_matches(letters, by_letters, 1, _ALIKE) if letters.startswith("BOT_") else []
        cure = f"; {by_letters[meant[0]]} is one" if meant else ""
        if name.startswith(PREFIX) and not key:
            raise ConfigError(f"environment variable {name}: the form is {PREFIX}SECTION__KEY{cure}")
        if meant:
            unknown = f"unknown key {section}.{key}" if name.startswith(PREFIX) else "this is no setting"
            raise ConfigError(f"environment variable {name}: {unknown}{cure}")
        if name.startswith(PREFIX):
            found[f"{section}.{key}"] = name, value
    return found


def variable_of(dotted: str) -> str:
    """The environment variable of ``section.key``."""
    return PREFIX + dotted.upper().replace(".", "__")


def _letters(name: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
