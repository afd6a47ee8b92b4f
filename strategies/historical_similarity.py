"""Lean the way that similar moments ended, where enough distinct ones agree by more than chance."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from bot.errors import ConfigError
from bot.model.forecast import Forecast
from bot.model.similarity import Recollection
from bot.strategy import Situation, StrategyConfig
from bot.trading.events import Action, Signal


class SimilarityOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``strategy.options`` of this strategy.

    ``significance`` is the chance above which a lean is called luck; ``min_similarity`` the cosine
    that the nearest moment must reach.
    """

    significance: Annotated[float, Meta(gt=0, le=1)] = 0.01
    min_similarity: Annotated[float, Meta(ge=-1, le=1)] = 0.3


class HistoricalSimilarityStrategy:
    """Long, short or hold by what followed similar moments; out at the horizon.

    Gates are asked in this order, and the first that does not open decides: ``memory``,
    ``similarity``, ``evidence``, ``direction``, ``costs``, ``confidence``. Behind them all is the
    ``signal``, or ``opposite`` where it turns a position round. A position whose horizon is over and
    that this bar does not confirm is closed: ``horizon``. ``detail["gate"]`` names which it was.
    """

    needs_memory = True

    def __init__(self, config: StrategyConfig) -> None:
        self._horizon_bars = config.horizon_bars
        self._threshold = config.confidence_threshold
        try:
            self._options = msgspec.convert(config.options, SimilarityOptions)
        except msgspec.ValidationError as error:
            raise ConfigError(f"strategy.options: {error}") from error

    def decide(self, situation: Situation) -> Signal:
        """What similar moments advise at the close of ``situation.bar``."""
        recollection = situation.recollection
        forecast = recollection.forecast if recollection is not None else None
        if recollection is None or forecast is None:
            why = recollection.missing if recollection is not None else "nothing was recalled"
            return self._answer(situation, None, "hold", 0.0, "memory", why)

        rising = forecast.rising
        direction = 1 if rising else -1
        confidence = forecast.positive_ratio if rising else 1.0 - forecast.positive_ratio
        costs = situation.costs.round_trip(direction, self._horizon_bars)
        lean = _lean(recollection, forecast, rising)
        gate, why = self._gate(forecast, direction, confidence, costs, lean)
        action: Action = "hold"
        if gate == "signal":
            action = "long" if rising else "short"
            if direction * situation.position.quantity < 0:
                gate = "opposite"
        return self._answer(situation, recollection, action, confidence, gate, why)

    def _gate(
        self, forecast: Forecast, direction: int, confidence: float, costs: float, lean: str
    ) -> tuple[str, str]:
        """The first gate that stays closed, or ``signal``, and why in words."""
        options = self._options
        expected = f"expected {forecast.expected_return:+.2%}"
        if forecast.best_similarity < options.min_similarity:
            return "similarity", (
                f"the nearest moment is only {forecast.best_similarity:.2f} like this, "
                f"{options.min_similarity:.2f} is asked for"
            )
        if forecast.chance > options.significance:
            return "evidence", f"{lean}, as chance alone does {forecast.chance:.1%} of the time"
        if direction * forecast.mean_return <= 0.0:
            return "direction", f"{lean}, yet {forecast.mean_return:+.2%} on average"
        if direction * forecast.expected_return <= costs:
            return "costs", f"{lean}, {expected} does not pay {costs:.2%} costs"
        if confidence < self._threshold:
            return "confidence", (
                f"{lean}, such votes come true in {confidence:.0%}, {self._threshold:.0%} is asked for"
            )
        why = f"{lean}, {expected} against {costs:.2%} costs, chance {forecast.chance:.2%}"
        outlook = forecast.outlook
        if outlook is not None:
            why += f"; the head alone says {outlook.head_ratio:.0%} up, gate {outlook.gate:.2f}"
        return "signal", why

    def _answer(
        self,
        situation: Situation,
        recollection: Recollection | None,
        action: Action,
        confidence: float,
        gate: str,
        why: str,
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
            return Signal(action=action, reason=f"{gate}: {why}", close_position=close, detail=detail)
        detail.update(
            moments=recollection.moments,
            neighbors=len(recollection.neighbors),
            effective=forecast.effective,
            chance=forecast.chance,
            vote=forecast.vote,
            mean_return=forecast.mean_return,
            base_return=forecast.base_return,
            base_ratio=forecast.base_ratio,
            best_similarity=forecast.best_similarity,
            regime_votes=recollection.regime_votes,
        )
        if forecast.belief is not None:
            detail["belief"] = msgspec.to_builtins(forecast.belief)
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
            positive_ratio=forecast.positive_ratio,
            horizon_bars=self._horizon_bars,
            close_position=close,
            detail=detail,
        )


def _lean(recollection: Recollection, forecast: Forecast, rising: bool) -> str:
    """How many moments stand behind the forecast and which way they went."""
    went = sum(
        neighbor.weight
        for neighbor in recollection.neighbors
        if (neighbor.forward_return > 0.0) == rising and neighbor.forward_return != 0.0
    )
    return (
        f"{len(recollection.neighbors)} distinct moments like this, weighing as {forecast.effective:.0f} "
        f"(best {forecast.best_similarity:.2f}): {went:.0%} {'rose' if rising else 'fell'}"
    )
