"""Lean the way that similar moments ended, where enough distinct ones agree by more than chance."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from bot.model.forecast import Forecast
from bot.model.similarity import Recollection
from bot.strategy import Situation, StrategyConfig
from bot.trading.checks import Check, first_failed
from bot.trading.events import Action, Signal


class SimilarityOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``strategy.options`` of this strategy.

    ``significance`` is the chance above which a lean is called luck; ``min_similarity`` the cosine
    that the nearest moment must reach.
    """

    significance: Annotated[float, Meta(ge=1e-12, le=1)] = 0.01
    min_similarity: Annotated[float, Meta(ge=-1, le=1)] = 0.3


class HistoricalSimilarityStrategy:
    """Long, short or hold by what followed similar moments; out at the horizon.

    ``checks`` are asked in their order, and the first that fails decides. Behind them all is the
    ``signal``, or ``opposite`` where it turns a position round. A position whose horizon is over and
    that this bar does not confirm is closed: ``horizon``. ``detail["gate"]`` names which it was.
    """

    Options = SimilarityOptions

    needs_memory = True
    checks: ClassVar[dict[str, str]] = {
        "memory": "recalled",
        "similarity": "similar enough",
        "evidence": "beyond chance",
        "direction": "one direction",
        "costs": "pays its costs",
        "confidence": "confident enough",
    }

    def __init__(self, config: StrategyConfig) -> None:
        self._horizon_bars = config.horizon_bars
        self._threshold = config.confidence_threshold
        self._options = config.read_options(SimilarityOptions)

    def decide(self, situation: Situation) -> Signal:
        """What similar moments advise at the close of ``situation.bar``."""
        recollection = situation.recollection
        forecast = recollection.forecast if recollection is not None else None
        if recollection is None or forecast is None:
            why = recollection.missing if recollection is not None else "nothing was recalled"
            return self._answer(situation, None, "hold", 0.0, "memory", why, _NOTHING_RECALLED)

        rising = forecast.rising
        direction = 1 if rising else -1
        confidence = forecast.rise_probability if rising else 1.0 - forecast.rise_probability
        costs = situation.costs.round_trip(direction, self._horizon_bars)
        options = self._options
        checks = (
            _RECALLED,
            Check.at_least("similarity", forecast.best_similarity, options.min_similarity),
            Check.at_most("evidence", forecast.p_value, options.significance),
            Check.above("direction", direction * forecast.mean_return, 0.0),
            Check.above("costs", direction * forecast.expected_return, costs),
            Check.at_least("confidence", confidence, self._threshold),
        )
        failed = first_failed(checks)
        lean = _lean(recollection, forecast, rising)
        if failed is not None:
            why = self._why_not(failed, forecast, lean, expected=forecast.expected_return, costs=costs)
            return self._answer(situation, recollection, "hold", confidence, failed.name, why, checks)
        against = direction * situation.position.quantity < 0
        why = (
            f"{lean}, expected {forecast.expected_return:+.2%} against {costs:.2%} costs, "
            f"chance {_chance(forecast.p_value)}"
        )
        outlook = forecast.outlook
        if outlook is not None:
            why += f"; the head alone says {outlook.head_ratio:.0%} up, gate {outlook.gate:.2f}"
        action: Action = "long" if rising else "short"
        gate = "opposite" if against else "signal"
        return self._answer(situation, recollection, action, confidence, gate, why, checks)

    def _why_not(self, failed: Check, forecast: Forecast, lean: str, *, expected: float, costs: float) -> str:
        """Why a check stays closed, in words."""
        match failed.name:
            case "similarity":
                return f"the nearest moment is only {failed.value:.2f} like this, {failed.limit:.2f} is asked for"
            case "evidence":
                return f"{lean}, as chance alone does {failed.value:.1%} of the time"
            case "direction":
                return f"{lean}, yet {forecast.mean_return:+.2%} on average"
            case "costs":
                return f"{lean}, expected {expected:+.2%} does not pay {costs:.2%} costs"
            case _:
                return f"{lean}, such votes come true in {failed.value:.0%}, {failed.limit:.0%} is asked for"

    def _answer(
        self,
        situation: Situation,
        recollection: Recollection | None,
        action: Action,
        confidence: float,
        gate: str,
        why: str,
        checks: tuple[Check, ...],
    ) -> Signal:
        side = situation.position.quantity
        over = bool(side) and situation.bars_held >= self._horizon_bars
        # An opposite signal closes the position by itself.
        close = over and action == "hold"
        if close:
            gate, why = "horizon", f"held {situation.bars_held} bars, and no longer confirmed: {why}"
        detail: dict[str, Any] = {"gate": gate}
        forecast = recollection.forecast if recollection is not None else None
        if recollection is None or forecast is None:
            return Signal(
                action=action, reason=f"{gate}: {why}", close_position=close, detail=detail, checks=checks
            )
        detail.update(
            moments=recollection.moments,
            neighbors=len(recollection.neighbors),
            effective=forecast.effective_sample_size,
            chance=forecast.p_value,
            vote=forecast.raw_probability,
            mean_return=forecast.mean_return,
            base_return=forecast.base_return,
            base_ratio=forecast.base_ratio,
            best_similarity=forecast.best_similarity,
            regime_votes=recollection.regime_votes,
        )
        if forecast.calibration is not None:
            detail["belief"] = msgspec.to_builtins(forecast.calibration)
        if forecast.outlook is not None:
            detail["outlook"] = {
                "low": forecast.outlook.quantiles[0],
                "high": forecast.outlook.quantiles[-1],
                "head_ratio": forecast.outlook.head_ratio,
                "gate": forecast.outlook.gate,
            }
        return Signal(
            action=action,
            reason=f"{gate}: {why}",
            confidence=confidence,
            expected_return=forecast.expected_return,
            return_std=forecast.return_std,
            positive_ratio=forecast.rise_probability,
            horizon_bars=self._horizon_bars,
            close_position=close,
            detail=detail,
            checks=checks,
        )


_RECALLED = Check("memory", True)
_NOTHING_RECALLED = (Check("memory", False),)


def _chance(chance: float) -> str:
    """A probability; a small one is not told as none."""
    return f"{chance:.2%}" if chance >= 0.00005 else "below 0.01%"


def _lean(recollection: Recollection, forecast: Forecast, rising: bool) -> str:
    """How many moments stand behind the forecast and which way they went."""
    went = sum(
        neighbor.weight
        for neighbor in recollection.neighbors
        if (neighbor.forward_return > 0.0) == rising and neighbor.forward_return != 0.0
    )
    return (
        f"{len(recollection.neighbors)} distinct moments like this, weighing as {forecast.effective_sample_size:.0f} "
        f"(best {forecast.best_similarity:.2f}): {went:.0%} {'rose' if rising else 'fell'}"
    )
