"""Intervals, their grid, and times as text. Times are integer UTC milliseconds everywhere else."""

from datetime import UTC, datetime

DAY_MS = 86_400_000

_MINUTE_MS = 60_000
INTERVAL_MS: dict[str, int] = {
    "1": _MINUTE_MS,
    "3": 3 * _MINUTE_MS,
    "5": 5 * _MINUTE_MS,
    "15": 15 * _MINUTE_MS,
    "30": 30 * _MINUTE_MS,
    "60": 60 * _MINUTE_MS,
    "120": 120 * _MINUTE_MS,
    "240": 240 * _MINUTE_MS,
    "360": 360 * _MINUTE_MS,
    "720": 720 * _MINUTE_MS,
    "D": 1440 * _MINUTE_MS,
    "W": 7 * 1440 * _MINUTE_MS,
}
"""Length of each bar interval, in Bybit's notation, in milliseconds."""

# 1970-01-01 was a Thursday; Bybit's weeks begin on Monday 00:00 UTC.
_WEEK_OFFSET_MS = 4 * 1440 * _MINUTE_MS

_INTERVAL_NAMES = {
    "1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120",
    "4h": "240", "6h": "360", "12h": "720", "1d": "D", "1w": "W",
}  # fmt: skip


def interval_from_name(name: str) -> str | None:
    """Bybit's notation for ``1h``, ``15m``, ``1d`` or for Bybit's notation itself; None if unknown."""
    return name if name in INTERVAL_MS else _INTERVAL_NAMES.get(name.lower())


def grid_start_ms(time_ms: int, interval: str) -> int:
    """The start of the bar that ``time_ms`` falls into."""
    offset = _WEEK_OFFSET_MS if interval == "W" else 0
    return time_ms - (time_ms - offset) % INTERVAL_MS[interval]


def utc_text(time_ms: int) -> str:
    """``2024-01-03 04:15:00`` for a time in UTC milliseconds."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def minute_text(time_ms: int) -> str:
    """``2024-01-03 04:15`` for a time in UTC milliseconds."""
    return utc_text(time_ms)[:-3]


def date_text(time_ms: int) -> str:
    """``2024-01-03`` for a time in UTC milliseconds."""
    return utc_text(time_ms)[:10]


def span_text(start_ms: int, end_ms: int) -> str:
    """``2024-01-03 04:15 to 04:30`` for a bar's start and close, within its day; a week's names its last date."""
    if end_ms - start_ms > DAY_MS:
        return f"{minute_text(start_ms)} to {date_text(end_ms)}"
    end = minute_text(end_ms)[-5:] if end_ms % DAY_MS else "24:00"
    return f"{minute_text(start_ms)} to {end}"
