"""A strategy that trades all the time, so that short runs see every kind of order."""

import zlib

from msgspec import Struct

from bot.strategy import Situation, StrategyConfig
from bot.trading.events import Action, Signal
from strategies import STRATEGIES


class Eager:
    """Goes with or against what the memory expects, or closes, as a hash of the bar's time says."""

    needs_memory = True

    def __init__(self, config: StrategyConfig) -> None:
        self._horizon_bars = config.horizon_bars

    def decide(self, situation: Situation) -> Signal:
        """A long, a short, a close or a hold; about every second bar changes the position."""
        bar, recollection = situation.bar, situation.recollection
        forecast = recollection.forecast if recollection is not None else None
        expected = 0.0 if forecast is None else forecast.expected_return
        turn = zlib.crc32(f"{bar.symbol} {bar.start_ms}".encode()) % 6
        rising = (expected > 0.0) == (turn < 2)
        action: Action = "hold" if turn > 3 else "long" if rising else "short"
        return Signal(
            action=action,
            reason=f"eager: turn {turn}",
            confidence=0.5,
            expected_return=None if forecast is None else expected,
            horizon_bars=self._horizon_bars,
            close_position=turn == 4,
            detail={"gate": "eager"},
        )


class CountingEager(Eager):
    """The same, which keeps how often it was asked."""

    class State(Struct):
        asked: int = 0

    def decide(self, situation: Situation) -> Signal:
        situation.state.asked += 1
        return super().decide(situation)


ALLOWED = {
    **STRATEGIES,
    "eager": "tests.eager:Eager",
    "counting_eager": "tests.eager:CountingEager",
    "bids": "tests.bids:Bids",
    "bracketed": "tests.test_kill_brackets:Bracketed",
    "moody": "tests.commands.test_parity:Moody",
}
"""What ships, and what sessions of tests were recorded with: a replay runs nothing that is not named."""
