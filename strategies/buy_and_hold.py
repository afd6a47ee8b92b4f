"""Buy once and hold: the yardstick for everything that trades."""

from typing import ClassVar

from msgspec import Struct

from bot.strategy import Situation, StrategyConfig
from bot.trading.checks import Check
from bot.trading.events import Signal


class BuyAndHoldStrategy:
    """Long while there is no position, nothing ever after."""

    class Options(Struct, frozen=True, kw_only=True):
        """None."""

    needs_memory = False
    checks: ClassVar[dict[str, str]] = {"flat": "not held yet"}

    def __init__(self, config: StrategyConfig) -> None:
        config.read_options(self.Options)

    def decide(self, situation: Situation) -> Signal:
        """Buy with nothing in hand, else hold."""
        if situation.position.quantity:
            return _HOLD
        return _BUY


_BUY = Signal(
    action="long",
    confidence=0.5,
    reason="entry: no position yet",
    detail={"gate": "entry"},
    checks=(Check("flat", True),),
)
_HOLD = Signal(
    action="hold",
    reason="held: bought, and never sold",
    detail={"gate": "held"},
    checks=(Check("flat", False),),
)
