"""What the program is called, for the texts that name a command to type next."""

import os
import sys
from pathlib import Path

CLONE, INSTALLED, MODULE = "run_bot.py", "paper-trading-bot", "python -m bot"
"""The three ways to call it: from a clone, as the installed command, as a module."""


def name() -> str:
    """As it was called."""
    called = Path(sys.argv[0])
    if called.name == INSTALLED:
        return INSTALLED
    return MODULE if called.parts[-2:] == ("bot", "__main__.py") else CLONE


def call() -> str:
    """The same so that it can be pasted: with the interpreter that runs it, as a .venv need not be activated."""
    if (called := name()) == INSTALLED:
        return called
    python = os.path.relpath(sys.executable)
    return f"{'python' if python.startswith('..') else python} {called.removeprefix('python ')}"
