"""Bars of markets that close, made up."""

import random
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from bot.market import INTERVAL_MS, Bar

NEW_YORK = "America/New_York"
FIRST_DAY = date(2013, 1, 2)


def session_starts(
    day: date, *, zone: str = NEW_YORK, opens: int = 9, bars: int = 7, interval: str = "60"
) -> list[int]:
    """The starts of a session's bars: the first at ``opens`` o'clock, local time."""
    if interval == "D":
        zone, opens, bars = "UTC", 0, 1
    first = datetime(day.year, day.month, day.day, opens, tzinfo=ZoneInfo(zone)).timestamp()
    return [round(first) * 1000 + i * INTERVAL_MS[interval] for i in range(bars)]


def weekdays(count: int, first: date = FIRST_DAY, *, without: Sequence[int] = ()) -> list[date]:
    """Working days from ``first`` on; those numbered in ``without`` are holidays."""
    days, day = list[date](), first
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day += timedelta(days=1)
    return [day for i, day in enumerate(days) if i not in without]


def stock_bars(
    starts: Iterable[int], *, symbol: str = "AAPL", interval: str = "60", seed: int = 1
) -> list[Bar]:
    """A random walk, with larger steps over night."""
    draws, price, last, bars = random.Random(f"{symbol}{seed}"), 100.0, 0, []
    for start in starts:
        step = 0.012 if start - last > INTERVAL_MS[interval] else 0.004
        opened = price * (1 + draws.gauss(0, step))
        price = opened * (1 + draws.gauss(0, 0.004))
        high, low = max(opened, price) * 1.001, min(opened, price) * 0.999
        open_, high_, low_, close = (Decimal(f"{value:.2f}") for value in (opened, high, low, price))
        bars.append(
            Bar(
                symbol=symbol,
                interval=interval,
                start_ms=start,
                open=open_,
                high=max(high_, open_, close),
                low=min(low_, open_, close),
                close=close,
                volume=Decimal(draws.randrange(10**5, 10**7)),
                source="import",
            )
        )
        last = start
    return bars


def a_year(*, interval: str = "60", days: int = 250, seed: int = 1) -> list[int]:
    """The starts of a year of sessions in New York, both clock changes within, with holidays and early closes."""
    draws = random.Random(seed)
    starts = []
    for day in weekdays(days, without=draws.sample(range(20, days), 9)):
        bars = session_starts(day, interval=interval)
        starts += bars[:4] if draws.random() < 0.02 and day > FIRST_DAY else bars
    return starts
