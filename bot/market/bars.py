"""Bar: one closed bar, and what makes it valid."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from bot.market.times import INTERVAL_MS, grid_start_ms

BarSource = Literal["history", "stream", "backfill", "import"]

_MAGNITUDE = 24
"""Powers of ten within which a price or volume lies; beyond, plain notation would be no text at all."""


class Bar(Struct, frozen=True, kw_only=True, gc=False):
    """One closed bar. Identified by category (the database's), symbol, interval and ``start_ms``.

    ``volume`` counts the base coin, ``turnover`` the quote coin (None where the source has none).
    ``late`` marks a bar that was no longer its symbol's newest closed bar when it was handed on.
    """

    symbol: str
    interval: str
    start_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal | None = None
    source: BarSource = "stream"
    late: bool = False

    @property
    def close_ms(self) -> int:
        return self.start_ms + INTERVAL_MS[self.interval]

    def contradiction(self) -> str | None:
        """Why this cannot be a bar, in a few words, or None when it can."""
        prices = (self.open, self.high, self.low, self.close)
        for value in (*prices, self.volume, *(() if self.turnover is None else (self.turnover,))):
            if not value.is_finite():
                return "a figure is not finite"
            if value and not -_MAGNITUDE < value.adjusted() < _MAGNITUDE:
                return "a figure is out of any market's range"
        if min(prices) <= 0:
            return "a price is not positive"
        if self.high < max(prices):
            return "high is below another price"
        if self.low > min(prices):
            return "low is above another price"
        if self.volume < 0 or (self.turnover is not None and self.turnover < 0):
            return "volume or turnover is negative"
        if grid_start_ms(self.start_ms, self.interval) != self.start_ms:
            return "start is off the interval's grid"
        return None
