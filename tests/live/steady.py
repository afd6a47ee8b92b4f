"""A strategy whose decisions depend on its own symbol's bars alone, in whatever order symbols come."""

import zlib

from bot.strategy import Situation, StrategyConfig
from bot.trading.events import Action, Signal


class Steady:
    """Goes with the bar, against it, or out, as a hash of the bar's figures says; about every second bar trades."""

    needs_memory = False

    def __init__(self, config: StrategyConfig) -> None:
        self._horizon_bars = config.horizon_bars

    def decide(self, situation: Situation) -> Signal:
        """A long, a short, a close or a hold."""
        bar = situation.bar
        figures = f"{bar.symbol} {bar.start_ms} {bar.open} {bar.high} {bar.low} {bar.close} {bar.volume}"
        turn = zlib.crc32(figures.encode()) % 6
        actions: tuple[Action, ...] = ("long", "short", "long", "short", "hold", "hold")
        return Signal(
            action=actions[turn],
            reason=f"steady: turn {turn}",
            confidence=0.5,
            horizon_bars=self._horizon_bars,
            close_position=turn == 4,
        )
