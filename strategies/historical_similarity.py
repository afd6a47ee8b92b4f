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

    ``significance`` is the highest p-value at which the neighbors' direction is believed; ``min_similarity`` the
    cosine that the nearest moment must reach.
    """

    significance: Annotated[float, Meta(ge=1e-12, le=1)] = 0.01
    min_similarity: Annotated[float, Meta(ge=-1, le=1)] = 0.3


class HistoricalSimilarityStrategy:
    """Long, short or hold by what followed similar moments; out at the horizon.

    ``checks`` are made in their order, and the first that fails decides. Where all pass it is an ``entry``, or a
    ``reversal`` where it turns a position round. A position held for the horizon that this bar does not confirm is
    closed: ``time_exit``. ``detail["gate"]`` names which it was.
    """

    Options = SimilarityOptions

    needs_memory = True
    checks: ClassVar[dict[str, str]] = {
        "memory": "recalled",
        "similarity": "similar enough",
        "significance": "beyond chance",
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
            Check.at_most("significance", forecast.p_value, options.significance),
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
            f"{lean}, p-value {_p_value(forecast.p_value)}; "
            f"expected {forecast.expected_return:+.2%}, costs {costs:.2%}"
        )
        outlook = forecast.outlook
        if outlook is not None:
            why += f"; without memory {outlook.head_ratio:.0%} up (memory weight {outlook.gate:.2f})"
        action: Action = "long" if rising else "short"
        gate = "reversal" if against else "entry"
        return self._answer(situation, recollection, action, confidence, gate, why, checks)

    def _why_not(self, failed: Check, forecast: Forecast, lean: str, *, expected: float, costs: float) -> str:
        """Why a check stays closed, in words."""
        match failed.name:
            case "similarity":
                return f"the nearest moment has similarity {failed.value:.2f}, {failed.limit:.2f} is required"
            case "significance":
                return f"{lean}, p-value {_p_value(failed.value)}, at most {failed.limit:g} is required"
            case "direction":
                return f"{lean}, but their mean return is {forecast.mean_return:+.2%}"
            case "costs":
                return f"{lean}; expected {expected:+.2%} does not pay costs of {costs:.2%}"
            case _:
                return f"{lean}; such calls come true in {failed.value:.0%}, {failed.limit:.0%} is required"

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
            gate, why = "time_exit", f"held {situation.bars_held} bars and not confirmed: {why}"
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


def _p_value(p_value: float | None) -> str:
    """A p-value as it is written; a small one is not shown as 0."""
    return f"{p_value:.2g}" if p_value is not None and p_value >= 0.0001 else "< 0.0001"


def _lean(recollection: Recollection, forecast: Forecast, rising: bool) -> str:
    """How many neighbors the forecast rests on and which way they went."""
    went = sum(
        neighbor.weight
        for neighbor in recollection.neighbors
        if (neighbor.forward_return > 0.0) == rising and neighbor.forward_return != 0.0
    )
    return (
        f"{went:.0%} of {len(recollection.neighbors)} neighbors {'rose' if rising else 'fell'} "
        f"(effective {forecast.effective_sample_size:.0f}, best similarity {forecast.best_similarity:.2f})"
    )
