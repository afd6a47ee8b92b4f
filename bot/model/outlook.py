"""Head and memory become one distribution of what follows, and how much of it is either's."""

import math

import numpy as np
from msgspec import Struct

from bot.model.features import Floats
from bot.model.network.parameters import Tensor
from bot.model.odds import LEVELS, Odds, Recalled

TOLD_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels of the quantiles that an :class:`Outlook` tells."""

_TOLD = [int(np.abs(LEVELS - level).argmin()) for level in TOLD_LEVELS]
# Standard deviations between the outermost quantiles of a normal distribution.
_NINETY_PERCENT = 2.0 * 1.6448536269514722


class Outlook(Struct, frozen=True, kw_only=True, gc=False):
    """The distribution of the log return over the horizon, before anything is said of its direction.

    ``quantiles``, at :data:`TOLD_LEVELS`, are the blend of the head's own, ``head``, and of what followed
    moments in a like state, ``recalled``: of the latter as much as ``gate`` says, 0 where nothing could be
    recalled. ``null`` is the share of attention that no moment deserved, ``effective`` how many moments
    share the rest, as if equally. ``spread`` is the standard deviation of a normal distribution whose
    inner 90 % are as wide. ``head_ratio`` is the head's probability of a rise.
    """

    quantiles: tuple[float, ...]
    spread: float
    head: tuple[float, ...]
    head_ratio: float
    recalled: tuple[float, ...] | None = None
    gate: float = 0.0
    null: float = 1.0
    effective: float = 0.0


def outlook_of(
    odds: Odds, row: Tensor, recalled: Recalled | None, horizon_bars: int, volatility: float
) -> Outlook:
    """What head and memory say of the moment whose state row this is; ``volatility`` is one bar's."""
    unit = volatility * math.sqrt(horizon_bars)
    head = odds.at(odds.head(row), horizon_bars)
    blended = odds.blend(head, recalled, horizon_bars)
    return Outlook(
        quantiles=_told(unit * blended),
        spread=unit * float(blended[-1] - blended[0]) / _NINETY_PERCENT,
        head=_told(unit * head),
        head_ratio=1.0 - float(np.interp(0.0, head, LEVELS)),
        recalled=None if recalled is None else _told(unit * recalled.quantiles),
        gate=0.0 if recalled is None else odds.gate(horizon_bars) * recalled.share,
        null=1.0 if recalled is None else 1.0 - recalled.share,
        effective=0.0 if recalled is None else recalled.effective,
    )


def _told(quantiles: Floats) -> tuple[float, ...]:
    return tuple(quantiles[_TOLD].tolist())
