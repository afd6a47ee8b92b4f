"""The quantile forecast: what the network says alone, what the memory says, and the mean of both."""

import math

import numpy as np
from msgspec import Struct, field

from bot.model.features import Floats
from bot.model.network.parameters import Tensor
from bot.model.odds import LEVELS, Odds, Recalled

QUANTILE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels of the quantiles in an :class:`Outlook`."""

_PLACES = [int(np.abs(LEVELS - level).argmin()) for level in QUANTILE_LEVELS]
# Standard deviations between the outermost quantiles of a normal distribution.
_NINETY_PERCENT = 2.0 * 1.6448536269514722


class Outlook(Struct, frozen=True, kw_only=True, gc=False):
    """Quantile forecast of the log return over the horizon, a fraction.

    ``quantiles``, at :data:`QUANTILE_LEVELS`, are a weighted mean of the network's own, ``head``, and the
    memory's, ``recalled`` (None where nothing could be recalled). ``gate`` (0 to 1) is the memory's weight, 0 when
    nothing could be recalled. ``null`` is the attention given to no moment, ``effective_sample_size`` that of the
    moments recalled (Kish). ``std`` is that of a normal distribution with an equally wide 90 % interval.
    ``head_ratio`` is the network's probability of a rise without memory.
    """

    quantiles: tuple[float, ...]
    std: float = field(name="spread")
    head: tuple[float, ...]
    head_ratio: float
    recalled: tuple[float, ...] | None = None
    gate: float = 0.0
    null: float = 1.0
    effective_sample_size: float = field(default=0.0, name="effective")


def outlook_of(
    odds: Odds, row: Tensor, recalled: Recalled | None, horizon_bars: int, volatility: float
) -> Outlook:
    """The quantile forecast at a state row (inputs,); ``volatility`` is one bar's, a fraction."""
    unit = volatility * math.sqrt(horizon_bars)
    head = odds.at(odds.head(row), horizon_bars)
    blended = odds.blend(head, recalled, horizon_bars)
    return Outlook(
        quantiles=_at_levels(unit * blended),
        std=unit * float(blended[-1] - blended[0]) / _NINETY_PERCENT,
        head=_at_levels(unit * head),
        head_ratio=1.0 - float(np.interp(0.0, head, LEVELS)),
        recalled=None if recalled is None else _at_levels(unit * recalled.quantiles),
        gate=0.0 if recalled is None else odds.gate(horizon_bars) * recalled.share,
        null=1.0 if recalled is None else 1.0 - recalled.share,
        effective_sample_size=0.0 if recalled is None else recalled.effective_sample_size,
    )


def _at_levels(quantiles: Floats) -> tuple[float, ...]:
    return tuple(quantiles[_PLACES].tolist())
