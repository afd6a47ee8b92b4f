"""Instrument: a symbol's trading rules."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct

Category = Literal["linear", "spot"]


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
