"""What the market says: instruments, intervals, bars, quotes, books, funding. Values only, exact decimals."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct

Category = Literal["linear", "spot"]
BarSource = Literal["history", "stream", "backfill", "import"]

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

_MAGNITUDE = 24
"""Powers of ten within which a price or volume lies; beyond, plain notation would be no text at all."""

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


def plain(value: Decimal) -> str:
    """Exact text of a decimal in plain notation: no exponent, no negative zero."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    return text[1:] if text[0] == "-" and not value else text


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


class Quote(Struct, frozen=True, kw_only=True, gc=False):
    """Best bid and ask, with their sizes in base coin, and on linear the mark price if known."""

    symbol: str
    time_ms: int
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    mark: Decimal | None = None


class Level(Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """So much is offered at one price; the size in base coin."""

    price: Decimal
    size: Decimal


class Book(Struct, frozen=True, kw_only=True, gc=False):
    """The order book's depth at ``time_ms``: bids descending, asks ascending; neither side is empty."""

    symbol: str
    time_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Funding(Struct, frozen=True, kw_only=True, gc=False):
    """A settled funding rate: at ``time_ms`` longs paid ``rate`` of their value at ``mark_price``."""

    symbol: str
    time_ms: int
    rate: Decimal
    mark_price: Decimal


class FundingRate(Struct, frozen=True, kw_only=True, gc=False):
    """What was settled at ``time_ms``, as files and the exchange tell it: a fraction, without any mark price."""

    symbol: str
    time_ms: int
    rate: Decimal


class Notice(Struct, frozen=True, kw_only=True, gc=False):
    """Something worth a row in ``events``: a reconnect, a gap, a refused bar, a halt."""

    kind: str
    time_ms: int
    symbol: str | None = None
    detail: str = ""


class RiskTier(Struct, frozen=True, kw_only=True, gc=False):
    """What positions worth up to ``limit`` (quote currency) must be backed by (Bybit v5 ``risk-limit``).

    Rates are fractions of the position's value; ``deduction`` is taken off the maintenance margin, so
    that it grows without a jump from one tier to the next.
    """

    limit: Decimal
    maintenance_rate: Decimal
    initial_rate: Decimal
    max_leverage: Decimal
    deduction: Decimal = Decimal(0)


class Instrument(Struct, frozen=True, kw_only=True):
    """A symbol's trading rules (Bybit v5 ``instruments-info`` and ``risk-limit``).

    ``max_market_quantity`` None means unlimited; ``funding_interval_minutes`` 0 means no funding.
    ``tiers`` ascend by their limit; without any, one of unlimited size is assumed that maintains
    0.5 % (see :mod:`bot.trading.margin`). The defaults are what offline runs use for a symbol whose
    rules are not known.
    """

    symbol: str
    category: Category = "linear"
    tick_size: Decimal = Decimal("0.0001")
    lot_size: Decimal = Decimal("0.001")
    min_quantity: Decimal = Decimal("0.001")
    min_notional: Decimal = Decimal("5")
    max_market_quantity: Decimal | None = None
    funding_interval_minutes: int = 480
    max_leverage: Decimal = Decimal("25")
    tiers: tuple[RiskTier, ...] = ()
