"""What the memory is asked with, and what it answers: its settings, a neighbor, the base rate."""

from typing import Annotated

from msgspec import Meta, Struct


class MemoryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[memory]`` of the configuration: how much is remembered and how it is recalled.

    ``size`` counts moments of all symbols together; ``neighbors`` is how many distinct episodes vote;
    ``warmup_bars`` how much history a live start observes. Episodes less than ``exclusion_bars`` apart
    count as one (None: half the key's window or the horizon, whichever is longer).

    The ``over_fetch`` times ``neighbors`` moments most similar by key are compared again by their raw
    shapes at several speeds; similarity is ``key_share`` of the first and the rest of the second (None:
    half of a trained key, nothing of a plain one).
    ``temperature`` is the difference in similarity that makes a weight e times another. A moment's
    weight halves with every ``half_life_bars`` of age (0: never), and is multiplied by
    ``other_regime_weight`` where its regime was another. ``prior_strength`` is the number of episodes
    that the memory's own base rate counts for. ``calibration_bars`` is how far back stated confidence is
    held against what happened (0: the vote is believed as it stands).

    A trained checkpoint reads odds from the moments whose states are nearest, each weighted by how near. Of
    a memory larger than ``odds_moments`` as many are looked at, evenly spread by the calendar (0: none, the
    head alone).

    With ``gpu`` keys are searched on a GPU where torch sees one; what is found is the same.
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
    """A recalled moment. ``forward_return`` is the log return that followed over the horizon.

    ``similarity`` is in [-1, 1], ``weight`` its share of the vote; ``volatility`` the size of one bar's
    log return as it was known at the moment.
    """

    symbol: str
    bar_start_ms: int
    similarity: float
    weight: float
    forward_return: float
    volatility: float
    regime: str


class BaseRate(Struct, frozen=True, kw_only=True, gc=False):
    """What followed any moment at all: mean move, mean size of a move, share of rises (ties count half).

    A move is a log return over the volatility known before it. None stands for anything where
    ``moments`` is 0.
    """

    moments: int
    mean_move: float
    mean_size: float
    positive_ratio: float
