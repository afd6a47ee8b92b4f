"""A live paper-trading bot that remembers.

In Python: ``read_bars``, ``history``, ``backtest``, ``recall`` and ``open_log``, each loaded when it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bot.api.backtesting import backtest
    from bot.api.bars import Bars, history, read_bars
    from bot.api.recalled import recall
    from bot.api.session import Session, open_log

__version__ = "0.1.0"

__all__ = ["Bars", "Session", "__version__", "backtest", "history", "open_log", "read_bars", "recall"]

_HOMES = {
    "Bars": "bot.api.bars",
    "Session": "bot.api.session",
    "backtest": "bot.api.backtesting",
    "history": "bot.api.bars",
    "open_log": "bot.api.session",
    "read_bars": "bot.api.bars",
    "recall": "bot.api.recalled",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bot' has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
