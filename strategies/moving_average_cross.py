"""Follow the trend: long while the mean of the last closes is above that of a longer past, else short."""

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct

from bot.strategy import Situation, StrategyConfig
from bot.trading.checks import Check
from bot.trading.events import Signal


class MovingAverageCrossStrategy:
    """Long while the mean of the last ``fast`` closes is above that of the last ``slow``, else short."""

    class Options(Struct, frozen=True, kw_only=True):
        """Lengths in bars."""

        fast: Annotated[int, Meta(ge=1, le=999)] = 20
        slow: Annotated[int, Meta(ge=2, le=1000)] = 100

        def __post_init__(self) -> None:
            if self.fast >= self.slow:
                raise ValueError(f"fast ({self.fast}) must be below slow ({self.slow})")

    needs_memory = False
    checks: ClassVar[dict[str, str]] = {"bars": "enough bars", "cross": "means apart"}

    def __init__(self, config: StrategyConfig) -> None:
        options = config.read_options(self.Options)
        fast, slow = options.fast, options.slow
        self._slow = slow
        self._fast_mean, self._slow_mean = f"entry: the mean of {fast} closes", f"that of {slow}"
        # Fast mean less slow mean, as one product with the closes.
        self._weights = np.full(slow, -1.0 / slow)
        self._weights[-fast:] += 1.0 / fast

    def decide(self, situation: Situation) -> Signal:
        """Lean the way that the fast mean lies from the slow one."""
        closes = situation.recent.closes(self._slow)
        if len(closes) < self._slow:
            return Signal(
                action="hold",
                reason=f"bars: {len(closes)} of {self._slow} unbroken bars known",
                detail={"gate": "bars"},
                checks=(Check.at_least("bars", len(closes), self._slow),),
            )
        last = closes.item(-1)
        # Seen from the last close, so that equal closes give exactly nothing.
        lead = float(self._weights.dot(closes - last))
        share = 100.0 * abs(lead) / last
        if lead > 0.0:
            return Signal(
                action="long",
                confidence=0.5,
                reason=f"{self._fast_mean} is {share:.2f} % above {self._slow_mean}",
                detail=_ENTRY,
                checks=_APART,
            )
        if lead < 0.0:
            return Signal(
                action="short",
                confidence=0.5,
                reason=f"{self._fast_mean} is {share:.2f} % below {self._slow_mean}",
                detail=_ENTRY,
                checks=_APART,
            )
        return Signal(action="hold", reason="entry: the two means are equal", detail=_ENTRY, checks=_EQUAL)


_ENTRY = {"gate": "entry"}
_APART = (Check("bars", True), Check("cross", True))
_EQUAL = (Check("bars", True), Check("cross", False))
