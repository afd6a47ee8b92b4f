"""Random walks as bars: markets without an edge, for the model's tests."""

from collections.abc import Iterable
from decimal import Decimal

import numpy as np

from bot.market import INTERVAL_MS, Bar

START_MS = 1_704_067_200_000
STEP_MS = INTERVAL_MS["15"]


def walk(bars: int, *, seed: int = 1, symbol: str = "BTCUSDT", first: int = 0) -> list[Bar]:
    """Bars ``first`` to ``first + bars`` of a random walk with heavy-tailed steps of about 0.3 %."""
    rng = np.random.default_rng(seed)
    steps = 0.002 * rng.standard_t(4, bars)
    volumes = np.exp(rng.standard_normal(bars))
    return from_closes(100.0 * np.exp(np.cumsum(steps)), symbol=symbol, first=first, volumes=volumes.tolist())


def from_closes(
    closes: Iterable[float],
    *,
    symbol: str = "BTCUSDT",
    first: int = 0,
    volumes: list[float] | None = None,
) -> list[Bar]:
    """One bar a close, each opening at the close before it."""
    bars: list[Bar] = []
    for i, close in enumerate(closes):
        price = Decimal(f"{close:.6f}")
        before = bars[-1].close if bars else price
        bars.append(
            Bar(
                symbol=symbol,
                interval="15",
                start_ms=START_MS + (first + i) * STEP_MS,
                open=before,
                high=max(before, price),
                low=min(before, price),
                close=price,
                volume=Decimal(f"{volumes[i]:.4f}") if volumes else Decimal(0),
            )
        )
    return bars
