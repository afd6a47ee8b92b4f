"""The memory's settings, and what it returns: neighbors and the base rate."""

from typing import Annotated

from msgspec import Meta, Struct


class MemoryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[memory]`` of the configuration: how much is remembered and how it is recalled.

    ``size`` counts moments of all symbols together; ``neighbors`` are recalled for a forecast; a live start
    observes ``warmup_bars`` of history. Moments less than ``exclusion_bars`` apart count as one (None: half the
    key's window or the horizon, whichever is longer).

    The ``over_fetch`` · ``neighbors`` moments most similar by key are compared again by their raw shapes at several
    speeds; the key's similarity counts ``key_share``, the shape's the rest (None: half for a trained key, 0 for a
    plain one). ``temperature`` is the difference in similarity that makes a weight e times another. A weight halves
    with every ``half_life_bars`` of age (0: never), and is multiplied by ``other_regime_weight`` where the regime
    was another. The base rate counts for ``prior_strength`` moments. Confidence is calibrated on outcomes of the
    last ``calibration_bars`` bars (0: no calibration, the raw probability is used).

    A trained checkpoint forecasts quantiles from the outcomes of the moments whose states are nearest. Of a memory
    larger than ``odds_moments`` that many are used, evenly spread by the calendar (0: none, the network alone).

    With ``gpu`` keys are searched on a GPU where torch finds one; the results are the same.
    """

    size: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    neighbors: Annotated[int, Meta(ge=1, le=1000)] = 32
    warmup_bars: Annotated[int, Meta(ge=0, le=10_000_000)] = 10_000
    exclusion_bars: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    over_fetch: Annotated[int, Meta(ge=1, le=1000)] = 16
    key_share: Annotated[float, Meta(ge=0, le=1)] | None = None
    temperature: Annotated[float, Meta(ge=0.0001, le=100)] = 0.08
    half_life_bars: Annotated[float, Meta(ge=0, le=1_000_000_000)] = 0.0
    other_regime_weight: Annotated[float, Meta(ge=0.000001, le=1)] = 1.0
    prior_strength: Annotated[float, Meta(ge=0, le=1_000_000)] = 8.0
    calibration_bars: Annotated[int, Meta(ge=0, le=10_000_000)] = 20_000
    odds_moments: Annotated[int, Meta(ge=0, le=10_000_000)] = 8_192
    gpu: bool = False


class Neighbor(Struct, frozen=True, kw_only=True, gc=False):
    """A recalled moment; the bar of ``symbol`` that started at ``bar_start_ms``.

    ``similarity`` is in [-1, 1]; ``weight`` is a fraction, and those of a recollection sum to 1. ``forward_return``
    is the log return over the horizon, ``volatility`` the expected size of one bar's log return at the moment's
    close; both are fractions.
    """

    symbol: str
    bar_start_ms: int
    similarity: float
    weight: float
    forward_return: float
    volatility: float
    regime: str


class BaseRate(Struct, frozen=True, kw_only=True, gc=False):
    """What followed all matured moments: mean move, mean absolute move, fraction of rises (ties count half).

    A move is a log return over the horizon, divided by the volatility of one bar known before it. Where
    ``moments`` is 0 the others mean nothing.
    """

    moments: int
    mean_move: float
    mean_absolute_move: float
    rise_rate: float
