"""Channel breakout: enter as the close leaves the range of the last bars, and let a trailing stop find the exit."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from bot.strategy import Situation, StrategyConfig
from bot.trading.checks import Check
from bot.trading.events import Signal


class ChannelBreakoutStrategy:
    """Long on a close above the highest high of the ``bars`` before it, short on one below their lowest low.

    It never closes anything itself. The entry brings a trailing stop, which rests with the broker and follows the
    best price; a breakout on the other side turns the position round.
    """

    class Options(Struct, frozen=True, kw_only=True):
        """``bars`` is the channel's length, ``trail`` the stop's distance in volatilities of one bar."""

        bars: Annotated[int, Meta(ge=2, le=999)] = 20
        trail: Annotated[float, Meta(ge=0.5, le=1000)] = 5.0

    needs_memory = False
    checks: ClassVar[dict[str, str]] = {"bars": "enough bars", "breakout": "outside the channel"}

    def __init__(self, config: StrategyConfig) -> None:
        self._options = config.read_options(self.Options)

    def decide(self, situation: Situation) -> Signal:
        """Enter on the side on which the close has left the channel."""
        bars, recent = self._options.bars, situation.recent
        # The channel ends before this bar: its own high and low are no barrier to its close.
        highs, lows = recent.highs(bars + 1)[:-1], recent.lows(bars + 1)[:-1]
        enough = Check.at_least("bars", len(highs), bars)
        if not enough.passed:
            reason = f"bars: {len(highs)} of {bars} unbroken bars known before this one"
            return Signal.hold(reason, detail={"gate": "bars"}, checks=(enough,))
        close, high, low = recent.closes(1).item(-1), float(highs.max()), float(lows.min())
        # How far the close lies outside, in percent; below 0 inside.
        above, below = 100 * (close / high - 1), 100 * (1 - close / low)
        checks = (enough, Check.above("breakout", max(above, below), 0.0))
        if above > 0:
            enter, text = Signal.long, f"{above:.2f} % above the high of {bars} bars"
        elif below > 0:
            enter, text = Signal.short, f"{below:.2f} % below the low of {bars} bars"
        else:
            reason = f"breakout: inside the channel of {bars} bars, {low:g} to {high:g}"
            return Signal.hold(reason, detail={"gate": "breakout"}, checks=checks)
        return enter(
            f"entry: {text}",
            trail=self._options.trail,
            confidence=0.5,
            detail={"gate": "entry", "channel_high": high, "channel_low": low},
            checks=checks,
        )
