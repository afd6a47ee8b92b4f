"""A generated market on which a trend follower trades: waves of two lengths, an hour a bar."""

import math
from pathlib import Path

START_MS, HOUR_MS = 1_704_067_200_000, 3_600_000
NAME = "BTCUSDT_waves_1h.csv"


def rows(bars: int = 1200, *, phase: float = 0.0) -> list[str]:
    closes = [round(100 + 8 * math.sin(n / 19 + phase) + 3 * math.sin(n / 7 + phase), 2) for n in range(bars)]
    found, before = [], closes[0]
    for n, close in enumerate(closes):
        high, low = max(before, close) + 0.2, min(before, close) - 0.2
        found.append(f"{START_MS + n * HOUR_MS},{before:.2f},{high:.2f},{low:.2f},{close:.2f},500,")
        before = close
    return found


def write(folder: Path, name: str = NAME, bars: int = 1200, *, phase: float = 0.0) -> Path:
    """A file of bars, as the project's own CSV."""
    path = folder / name
    path.write_text("\n".join(["start_ms,open,high,low,close,volume,turnover", *rows(bars, phase=phase), ""]))
    return path


def write_funding(folder: Path, name: str = "BTCUSDT_waves_funding.csv", days: int = 50) -> Path:
    """Settled rates, one every eight hours."""
    path = folder / name
    rates = [
        f"{START_MS + n * 8 * HOUR_MS},{0.0001 if n % 3 else -0.00005:.5f}" for n in range(1, 3 * days + 1)
    ]
    path.write_text("\n".join(["time_ms,rate", *rates, ""]))
    return path
