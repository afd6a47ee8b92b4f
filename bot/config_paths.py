"""Paths that a configuration names: which folder they belong to."""

import os
from collections.abc import Container, Mapping
from typing import Any

PATHS = ("run.database", "run.recordings", "run.history", "run.runs", "model.checkpoint")
"""Keys that name files or folders."""
_SHIPPED = "default"


def folder_of(path: str | os.PathLike[str] | None) -> str:
    """The folder that relative paths of this configuration belong to; "" is the working folder."""
    if path is None or not os.path.isfile(path):
        return ""
    folder = os.path.dirname(path)
    return "" if os.path.samefile(folder or ".", ".") else folder


def place_paths(
    tree: dict[str, Any], defaults: Mapping[str, Any], elsewhere: Container[str], folder: str
) -> None:
    """``~`` is home, and what is relative is so to the folder of the configuration.

    The keys ``elsewhere`` are said by the command line or the environment, whose paths belong to the working folder.
    """
    for key in PATHS:
        section, _, name = key.partition(".")
        branch = tree.get(section, {})
        value = branch.get(name, defaults[section][name]) if isinstance(branch, dict) else None
        if not isinstance(value, str) or not value or value == _SHIPPED:
            continue
        placed = os.path.expanduser(value)
        if key not in elsewhere:
            placed = os.path.join(folder, placed)
        if placed != value:
            tree.setdefault(section, {})[name] = placed


def defaults_note(path: str | os.PathLike[str] | None) -> str | None:
    """What to say where nothing is configured and nothing was ever run, as in a folder chosen by mistake."""
    alone = path is None and not os.path.exists("config.toml") and not os.path.exists("var")
    return "no config.toml here; defaults" if alone else None
