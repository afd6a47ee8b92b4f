"""What a recording may hold: the one place where a stranger's header and entries are checked against bounds."""

from io import BytesIO
from typing import Any

from msgspec import Struct

from bot.market import INTERVAL_MS, Bar, Book, Funding, Quote
from bot.market.bounds import field_problem

_MAX_CONTENT = 1 << 24


class Unpacked(BytesIO):
    """Takes in what a record unpacks to, and no more than any record holds."""

    def write(self, part: Any) -> int:
        if self.tell() + len(part) > _MAX_CONTENT:
            raise OverflowError("it is longer than any")
        return super().write(part)

    def take(self) -> bytes:
        """What was unpacked since the last time."""
        content = self.getvalue()
        self.seek(0)
        self.truncate()
        return content


def problem_of(entry: Struct, interval: str | None = None) -> str | None:
    """Why this was never recorded, in a few words; None where it may have been.

    ``interval`` is the run's, where the entry is one of the market's.
    """
    problem = field_problem(type(entry).__name__, entry)
    if problem is None and isinstance(entry, Bar):
        if entry.interval not in INTERVAL_MS or interval not in (None, entry.interval):
            return f"a bar of interval {entry.interval[:20]!r}"
        return entry.contradiction()
    if problem is None and isinstance(entry, Quote) and (entry.bid_size < 0 or entry.ask_size < 0):
        return "a size below nothing"
    if problem is None and isinstance(entry, Book) and not (entry.bids and entry.asks):
        return "a book with an empty side"
    if problem is None and isinstance(entry, Funding) and abs(entry.rate) >= 1:
        return "a rate that is no fraction"
    return problem
