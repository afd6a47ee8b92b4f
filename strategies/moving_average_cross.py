"""Follow the trend: long while the mean of the last closes is above that of a longer past, else short."""

from typing import ClassVar

import numpy as np

from bot.errors import ConfigError
from bot.strategy import Situation, StrategyConfig
from bot.trading.checks import Check
from bot.trading.events import Signal


class MovingAverageCrossStrategy:
    """Options: ``fast`` and ``slow``, the two lengths in bars (20 and 100)."""

    needs_memory = False
    checks: ClassVar[dict[str, str]] = {"bars": "enough bars", "cross": "means apart"}

    def __init__(self, config: StrategyConfig) -> None:
        options = {"fast": 20, "slow": 100, **config.options}
        if set(options) != {"fast", "slow"}:
            raise ConfigError(f"strategy.options: {sorted(set(options) - {'fast', 'slow'})} unknown")
        fast, slow = options["fast"], options["slow"]
        if not (isinstance(fast, int) and isinstance(slow, int) and 0 < fast < slow <= 1000):
            raise ConfigError("strategy.options: fast and slow are whole bars, 0 < fast < slow <= 1000")
        self._slow = slow
        self._fast_mean, self._slow_mean = f"signal: the mean of {fast} closes", f"that of {slow}"
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
                detail=_SIGNAL,
                checks=_APART,
            )
        if lead < 0.0:
            return Signal(
                action="short",
                confidence=0.5,
                reason=f"{self._fast_mean} is {share:.2f} % below {self._slow_mean}",
                detail=_SIGNAL,
                checks=_APART,
            )
        return Signal(action="hold", reason="signal: the two means are equal", detail=_SIGNAL, checks=_EQUAL)


_SIGNAL = {"gate": "signal"}
_APART = (Check("bars", True), Check("cross", True))
_EQUAL = (Check("bars", True), Check("cross", False))
