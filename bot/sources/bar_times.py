"""What files write for the start of a bar, as UTC milliseconds."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from bot.market import INTERVAL_MS

TimeReader = Callable[[str], int]
"""Text to UTC milliseconds; ValueError where it is no time."""

_EPOCH_UNITS = ((10**11, 1000, 1), (10**14, 1, 1), (10**17, 1, 1_000), (10**20, 1, 1_000_000))
"""Below the first number, an epoch counts seconds; then milli-, micro- and nanoseconds: times what, over what.

So seconds are read up to the year 5138, and milliseconds from March 1973 on.
"""

_COMPACT_DATE = re.compile(r"(?:19|20)[0-9]{6}")
_NUMBER = re.compile(r"(-?[0-9]+)(?:\.0*)?")


def time_reader(column: str, interval: str) -> TimeReader:
    """What reads the times of a column of that name: ``start_ms`` is milliseconds alone."""
    if column == "start_ms":
        return int
    return partial(_any_time, daily=INTERVAL_MS[interval] >= INTERVAL_MS["D"])


def _any_time(text: str, *, daily: bool) -> int:
    """An epoch (in seconds to nanoseconds, by its size), a date, or a date and time, in UTC unless it says else.

    The start of a daily or weekly bar that is written with an offset is its own date, not UTC's.
    """
    text = text.strip()
    number = _NUMBER.fullmatch(text)
    if number is not None and not _COMPACT_DATE.fullmatch(text):
        epoch = int(number[1])
        for limit, times, over in _EPOCH_UNITS:
            if abs(epoch) < limit:
                return epoch * times // over
        raise ValueError(text)
    at = datetime.fromisoformat(text.removesuffix(" UTC"))
    if at.tzinfo is None or (daily and (at.hour, at.minute) == (0, 0)):
        at = at.replace(tzinfo=UTC)
    # Whole numbers alone: a float of so many digits rounds.
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
