"""Mean reversion: bid below a price that has fallen far, offer above one that has risen far, out at the mean."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from bot.strategy import Situation, StrategyConfig
from bot.trading.checks import Check
from bot.trading.events import Signal


class MeanReversionStrategy:
    """Enters against a close that lies ``stretch`` standard deviations from the mean of the last ``bars`` closes.

    The entry is a limit order still ``discount`` volatilities further out, so that it is paid for waiting instead of
    paying the spread: post-only, at the maker fee. It rests ``valid_bars`` bars; as long as the close stays
    stretched each bar's decision replaces it by one at a new price, and once it does not, a hold lets it rest for the
    bars that are left. Out at the mean, at a stop, or after ``longest`` bars.
    """

    class Options(Struct, frozen=True, kw_only=True):
        """Lengths in bars; ``stretch`` in standard deviations of the closes, distances in volatilities of one bar."""

        bars: Annotated[int, Meta(ge=10, le=1000)] = 50
        stretch: Annotated[float, Meta(ge=0.5, le=10)] = 2.0
        discount: Annotated[float, Meta(ge=0, le=100)] = 0.5
        valid_bars: Annotated[int, Meta(ge=1, le=1000)] = 3
        stop: Annotated[float, Meta(ge=0.5, le=1000)] = 8.0
        longest: Annotated[int, Meta(ge=1, le=10_000)] = 48

    needs_memory = False
    checks: ClassVar[dict[str, str]] = {
        "bars": "enough bars",
        "flat": "not held yet",
        "stretched": "far from the mean",
    }

    def __init__(self, config: StrategyConfig) -> None:
        self._options = config.read_options(self.Options)

    def decide(self, situation: Situation) -> Signal:
        """Bid, offer, wait or leave, by how far the close lies from the mean."""
        options = self._options
        closes = situation.recent.closes(options.bars)
        enough = Check.at_least("bars", len(closes), options.bars)
        if not enough.passed:
            reason = f"bars: {len(closes)} of {options.bars} unbroken bars known"
            return Signal.hold(reason, detail={"gate": "bars"}, checks=(enough,))
        last = closes.item(-1)
        # Seen from the last close, so that equal closes give exactly nothing.
        away = closes - last
        spread = float(away.std())
        score = -float(away.mean()) / spread if spread else 0.0
        where = f"{abs(score):.2f} deviations {'above' if score > 0 else 'below'} the mean of {options.bars} closes"

        held = situation.position.quantity
        flat = Check("flat", not held)
        if held:
            if score >= 0 if held > 0 else score <= 0:
                return Signal.close(f"mean: {where}", detail={"gate": "mean"}, checks=(enough, flat))
            return Signal.hold(
                f"flat: waits for the mean, {where}", detail={"gate": "flat"}, checks=(enough, flat)
            )

        checks = (enough, flat, Check.at_least("stretched", abs(score), options.stretch))
        if not checks[-1].passed:
            return Signal.hold(f"stretched: only {where}", detail={"gate": "stretched"}, checks=checks)
        enter = Signal.long if score < 0 else Signal.short
        return enter(
            f"entry: {where}",
            limit_distance=options.discount,
            valid_bars=options.valid_bars,
            post_only=True,
            stop=options.stop,
            time_stop_bars=options.longest,
            confidence=0.5,
            detail={"gate": "entry", "score": score},
            checks=checks,
        )
