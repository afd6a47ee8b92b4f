"""For tests of your own: values, sessions without network or database, and what every strategy must keep to."""

from bot.testing.sessions import BacktestedSession, ReplayedSession, backtest, replay
from bot.testing.strategy_check import StrategyDefect, StrategyReport, check_strategy
from bot.testing.values import a_bar, a_situation

__all__ = [
    "BacktestedSession",
    "ReplayedSession",
    "StrategyDefect",
    "StrategyReport",
    "a_bar",
    "a_situation",
    "backtest",
    "check_strategy",
    "replay",
]
