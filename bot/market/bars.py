"""Bar: one closed bar, and what makes it valid."""

from decimal import Decimal, InvalidOperation
from typing import Literal

from msgspec import Struct

from bot.market.times import INTERVAL_MS, grid_start_ms

BarSource = Literal["history", "stream", "backfill", "import"]

_LEAST, _BEYOND = Decimal("1E-23"), Decimal("1E24")
"""Within these lies every figure but 0; beyond, plain notation would be no text at all."""


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
        return None if self._is_sound() else self._problem()

    def _is_sound(self) -> bool:
        """Whether it can be a bar: at a glance, for every bar is looked at, and few are none."""
        low, high, volume, turnover = self.low, self.high, self.volume, self.turnover
        try:
            return (
                _LEAST <= low <= self.open <= high < _BEYOND
                and low <= self.close <= high
                and (not volume or _LEAST <= volume < _BEYOND)
                and (not turnover or _LEAST <= turnover < _BEYOND)
                and grid_start_ms(self.start_ms, self.interval) == self.start_ms
            )
        except InvalidOperation:
            # What is no number cannot be compared.
            return False

    def _problem(self) -> str:
        """What of it cannot be."""
        prices = (self.open, self.high, self.low, self.close)
        for value in (*prices, self.volume, *(() if self.turnover is None else (self.turnover,))):
            if not value.is_finite():
                return "a figure is not finite"
            if value and not _LEAST <= value.copy_abs() < _BEYOND:
                return "a figure is out of any market's range"
        if min(prices) <= 0:
            return "a price is not positive"
        if self.high < max(prices):
            return "high is below another price"
        if self.low > min(prices):
            return "low is above another price"
        if self.volume < 0 or (self.turnover is not None and self.turnover < 0):
            return "volume or turnover is negative"
        return "start is off the interval's grid"
