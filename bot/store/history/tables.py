"""The tables of the history store: what an account's say of one market, here of several."""

from typing import Any

from msgspec import Struct

from bot.market import Bar, FundingRate, Instrument
from bot.store.columns import Table

_OF_MARKET: dict[str, Any] = {"venue": str, "category": str}


class StoredRules(Struct, frozen=True, kw_only=True):
    """One row of ``instruments``: rules are read and replaced whole."""

    symbol: str
    rules: Instrument


BARS = Table(
    "bars",
    Bar,
    key=("venue", "category", "symbol", "interval", "start_ms"),
    left_out=("late",),
    beside=_OF_MARKET,
)
FUNDING_RATES = Table(
    "funding_rates", FundingRate, key=("venue", "category", "symbol", "time_ms"), beside=_OF_MARKET
)
INSTRUMENTS = Table(
    "instruments",
    StoredRules,
    key=("venue", "category", "symbol"),
    named={"rules": "rules_json"},
    beside=_OF_MARKET,
)

TABLES: tuple[Table[Any], ...] = (BARS, FUNDING_RATES, INSTRUMENTS)
"""All that the history store holds, but for ``copied``: what was brought over from elsewhere."""
