"""Yahoo's bars of shares, through yfinance (extra ``stocks``): for personal use, by Yahoo's terms.

Yahoo has no interface that it stands by: yfinance reads what Yahoo's own pages ask for, which breaks when these
change. Bars of minutes reach back days to weeks only. Prices are as Yahoo has adjusted them for splits until
now, and not for dividends: after a split, all of a share's history is another one.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from msgspec import Struct

from bot.errors import ConfigError, FeedError, InputError
from bot.market import INTERVAL_MS, Bar, minute_text

INTERVALS = {"1": "1m", "5": "5m", "15": "15m", "30": "30m", "D": "1d", "W": "1wk"}
"""Yahoo's names of the intervals whose bars begin where they do here (its hours begin at half past)."""

_COLUMNS = ("Open", "High", "Low", "Close", "Volume")
_EXTRA = "pip install 'paper-trading-bot[stocks]', or yfinance itself"


class Fetched(Struct, frozen=True, kw_only=True):
    """Bars, ascending; and what Yahoo sent beside them that can be none, each in a few words."""

    bars: tuple[Bar, ...]
    refused: tuple[str, ...] = ()


def fetch_bars(symbol: str, interval: str, since_ms: int, until_ms: int, now_ms: int) -> Fetched:
    """The bars that start in [since, until) and had closed by ``now_ms``. One request, with yfinance's own timeout.

    Raises ConfigError without yfinance or where Yahoo has no such bars, FeedError where it cannot be reached or
    gives none.
    """
    if interval not in INTERVALS:
        raise ConfigError(
            f"run.interval: Yahoo has no bars of {interval} here, only of {' '.join(INTERVALS)}"
        )
    try:
        import yfinance
    except ImportError as error:
        raise ConfigError(f"fetch --source yahoo needs yfinance, which is not installed: {_EXTRA}") from error
    # It tells its troubles once more, over several lines.
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    try:
        table = yfinance.Ticker(symbol).history(
            interval=INTERVALS[interval],
            start=datetime.fromtimestamp(since_ms / 1000, UTC),
            end=datetime.fromtimestamp(until_ms / 1000, UTC),
            auto_adjust=False,
            actions=False,
            raise_errors=True,
        )
    except (
        Exception
    ) as error:  # what its many parts raise is not its own, nor the same from one version to the next
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise FeedError(
            f"Yahoo gives no bars of {symbol} {interval}: {why}; try again later, or import a file"
        ) from error
    found = bars_of(table, symbol, interval)
    return Fetched(
        bars=tuple(
            bar for bar in found.bars if since_ms <= bar.start_ms < until_ms and bar.close_ms <= now_ms
        ),
        refused=found.refused,
    )


def bars_of(table: Any, symbol: str, interval: str) -> Fetched:
    """The bars of yfinance's DataFrame: starts as its index, in the market's time, and plain (unadjusted) columns.

    Raises InputError where columns are missing. A row that cannot be a bar is told, not taken.
    """
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            f"Yahoo's answer on {symbol} has no column {missing[0]}: yfinance and Yahoo have fallen out"
        )
    bars: list[Bar] = []
    refused: list[str] = []
    for at, *figures in zip(table.index, *(table[name] for name in _COLUMNS), strict=True):
        start_ms = _start_ms(at, interval)
        open_, high, low, close, volume = map(_decimal, figures)
        bar = Bar(
            symbol=symbol,
            interval=interval,
            start_ms=start_ms,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            source="history",
        )
        problem = bar.contradiction()
        if problem is None and bars and start_ms <= bars[-1].start_ms:
            problem = "its start does not come after the row before it"
        if problem is None:
            bars.append(bar)
        else:
            refused.append(f"{minute_text(start_ms)}: {problem}")
    return Fetched(bars=tuple(bars), refused=tuple(refused))


def differing(stored: Iterable[Bar], fetched: Iterable[Bar]) -> list[Bar]:
    """Those of ``fetched`` whose prices are not those that are ``stored`` of the same time."""
    known = {bar.start_ms: (bar.open, bar.high, bar.low, bar.close) for bar in stored}
    return [bar for bar in fetched if known.get(bar.start_ms, prices := _prices(bar)) != prices]


def _prices(bar: Bar) -> tuple[Decimal, ...]:
    return (bar.open, bar.high, bar.low, bar.close)


def _start_ms(at: Any, interval: str) -> int:
    """Of a day or week, 00:00 UTC of the market's own date."""
    if INTERVAL_MS[interval] >= INTERVAL_MS["D"]:
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    seconds: float = at.timestamp()
    return round(seconds) * 1000


def _decimal(figure: Any) -> Decimal:
    """The digits that were meant: Yahoo's prices are single precision, whose noise is nobody's tick."""
    single = np.float32(figure)
    return Decimal(str(single if float(single) == float(figure) else float(figure)))
