"""What is generated: a market's parameters, its presets, the truth behind its bars, and listings by symbol."""

import math
import zlib
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]

MONDAY_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC, a Monday: on the grid of every interval up to a week."""


class MarketSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is generated. Lengths are bars; amplitude and drift are multiples of a bar's volatility.

    ``amplitude`` and ``drift`` 0 give a market without any edge. ``novel_motifs`` appear only from bar
    ``novel_from`` on; from ``flip_from`` on the first ``flipped_motifs`` have the opposite outcome.
    Motifs come in pairs, so their numbers are even.
    """

    volatility: Positive = 0.003
    regime_bars: Positive = 400.0
    motif_bars: Annotated[int, Meta(ge=4)] = 32
    motifs: Annotated[int, Meta(ge=2, multiple_of=2)] = 24
    novel_motifs: Annotated[int, Meta(ge=0, multiple_of=2)] = 12
    novel_from: Count = 42_000
    flipped_motifs: Annotated[int, Meta(ge=0, multiple_of=2)] = 0
    flip_from: Count = 51_000
    smoothness: Annotated[float, Meta(ge=0, lt=1)] = 0.7
    gap_bars: NotNegative = 90.0
    amplitude: NotNegative = 1.8
    amplitude_spread: Share = 0.2
    warp: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    noise: NotNegative = 0.7
    drift_bars: Count = 16
    drift: NotNegative = 0.30
    reliability: Share = 0.85


PRESETS: dict[str, MarketSpec] = {
    "base": MarketSpec(),
    "few": MarketSpec(motifs=12, novel_motifs=6),
    "hard": MarketSpec(motifs=12, novel_motifs=6, amplitude=1.1, noise=0.9, warp=0.2),
    "none": MarketSpec(amplitude=0.0, noise=1.0, drift=0.0),
    "demo": MarketSpec(
        motifs=4,
        novel_motifs=0,
        motif_bars=40,
        gap_bars=70.0,
        amplitude=2.2,
        amplitude_spread=0.1,
        warp=0.0,
        noise=0.5,
        drift_bars=24,
        drift=0.3,
        reliability=0.97,
    ),
}
"""Markets by name: ``base``, ``few`` and ``hard`` to judge a memory by, ``none`` without an edge, and
``demo``, which a plain memory of 10,000 bars recognises easily."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What nobody in the market knows, one entry a bar.

    ``motif`` is the motif's number, -1 where none is at work. ``phase`` counts bars since its first and
    goes on through the drift; ``remaining`` is 0 on the motif's last bar, negative in the drift and
    outside. ``outcome`` is the direction (-1, 1) that belongs to the motif, ``realised`` the one that
    this occurrence takes; both 0 outside. ``volatility`` is the bar's own standard deviation.
    ``expected_next`` is the expected log return of the following bar for one who knows motif, phase
    and volatility, but neither the shocks, nor when a motif begins, nor whether its outcome comes true.
    """

    motif: NDArray[np.int16]
    phase: NDArray[np.int16]
    remaining: NDArray[np.int16]
    outcome: NDArray[np.int8]
    realised: NDArray[np.int8]
    volatility: Floats
    expected_next: Floats


@dataclass(frozen=True, slots=True)
class Candles:
    """Open, high, low, close, volume in base coin, turnover in quote coin: float64, one entry a bar."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    turnover: Floats


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol's starting price, and the decimals of its tick and its lot."""

    price: float
    tick_decimals: int
    lot_decimals: int


_LISTINGS = {
    "BTCUSDT": Listing(60_000.0, 1, 3),
    "ETHUSDT": Listing(3_000.0, 2, 2),
    "SOLUSDT": Listing(150.0, 3, 1),
    "BNBUSDT": Listing(550.0, 2, 2),
    "XRPUSDT": Listing(0.6, 5, 1),
    "ADAUSDT": Listing(0.45, 5, 0),
    "DOGEUSDT": Listing(0.12, 6, 0),
    "LTCUSDT": Listing(85.0, 3, 1),
    "LINKUSDT": Listing(15.0, 3, 1),
    "BCHUSDT": Listing(420.0, 2, 2),
}


def listing_of(symbol: str) -> Listing:
    """A known symbol's listing, or one derived from the name, with some 10,000 to 100,000 ticks."""
    known = _LISTINGS.get(symbol)
    if known is not None:
        return known
    drawn = np.random.default_rng([zlib.crc32(symbol.encode())]).random()
    magnitude = 4.0 * drawn - 1.0
    return Listing(
        price=10.0**magnitude,
        tick_decimals=max(0, 4 - math.floor(magnitude)),
        lot_decimals=max(0, math.floor(magnitude)),
    )
