"""Instrument: a symbol's trading rules."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct

Category = Literal["linear", "spot", "equity"]
"""Bybit's linear contracts and spot; and shares, which are traded offline alone."""

RuleSource = Literal["exchange", "options", "file", "history", "table", "inferred", "generated", "custom"]
"""Who says so: the exchange itself, the run's options, a file of rules, stored history, the shipped table,
the prices of the run's own bars, the generator of a market, or what is customary of shares."""


TRADING, CLOSED, GONE = "Trading", "Closed", "Gone"
"""Statuses: it can be bought and sold; its contracts are delivered; the exchange knows no such symbol (any more).
Bybit has ``PreLaunch`` and ``Delivering`` beside."""


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
    """A symbol's trading rules (Bybit v5 ``instruments-info`` and ``risk-limit``), and where they are from.

    ``max_market_quantity`` None means unlimited; ``funding_interval_minutes`` 0 means no funding.
    ``tiers`` ascend by their limit; without any, one of unlimited size is assumed that maintains
    0.5 % (see :mod:`bot.trading.margin`). ``status`` is the exchange's word for whether it trades, and
    ``delivery_ms`` when it stops for good (0: no such time). Prices and cash are in ``quote_coin``; coins
    are empty where nobody named them. ``known_ms`` is when the rules were read or written down (0: not
    known when).
    """

    symbol: str
    category: Category = "linear"
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal = Decimal("5")
    max_market_quantity: Decimal | None = None
    funding_interval_minutes: int = 480
    max_leverage: Decimal = Decimal("25")
    tiers: tuple[RiskTier, ...] = ()
    source: RuleSource = "exchange"
    known_ms: int = 0
    status: str = "Trading"
    delivery_ms: int = 0
    base_coin: str = ""
    quote_coin: str = ""


class RuleChange(Struct, frozen=True, kw_only=True, gc=False):
    """The exchange has other rules for a symbol than before; seen at ``time_ms`` and in force from then on."""

    time_ms: int
    rules: Instrument


class Listing(Struct, frozen=True, kw_only=True, gc=False):
    """The exchange's word on whether it trades a symbol, which has changed.

    ``price`` is what a delivered contract settles at, None where nobody has said, and ``fee_rate`` what
    delivery costs, as a fraction of its value. ``delivery_ms`` 0: no such time.
    """

    symbol: str
    time_ms: int
    status: str
    delivery_ms: int = 0
    price: Decimal | None = None
    fee_rate: Decimal = Decimal(0)


def share_rules(symbol: str, *, fractional: bool) -> Instrument:
    """The rules of a stock: whole shares (or 1/10,000 of one), ticks of 0.01, no funding, no leverage."""
    lot = Decimal("0.0001") if fractional else Decimal(1)
    return Instrument(
        symbol=symbol,
        category="equity",
        tick_size=Decimal("0.01"),
        lot_size=lot,
        min_quantity=lot,
        min_notional=Decimal(0),
        funding_interval_minutes=0,
        max_leverage=Decimal(1),
        source="custom",
        quote_coin="USD",
    )
