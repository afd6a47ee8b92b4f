"""What the market says, as values: bars, quotes, funding, instruments, times. No I/O; exact decimals."""

from bot.exact import plain
from bot.market.bars import Bar, BarSource
from bot.market.calendars import ALWAYS_OPEN, Calendar
from bot.market.funding import Funding, FundingRate, MarkSource, settlement_ms
from bot.market.instruments import (
    CLOSED,
    GONE,
    TRADING,
    Category,
    Instrument,
    Listing,
    RiskTier,
    RuleChange,
    RuleSource,
)
from bot.market.price_grid import PriceGrid, PriceGridCounter, price_grid
from bot.market.quotes import Book, Level, Mark, Notice, Quote
from bot.market.times import INTERVAL_MS, grid_start_ms, interval_from_name, minute_text, utc_text

__all__ = [
    "ALWAYS_OPEN",
    "CLOSED",
    "GONE",
    "INTERVAL_MS",
    "TRADING",
    "Bar",
    "BarSource",
    "Book",
    "Calendar",
    "Category",
    "Funding",
    "FundingRate",
    "Instrument",
    "Level",
    "Listing",
    "Mark",
    "MarkSource",
    "Notice",
    "PriceGrid",
    "PriceGridCounter",
    "Quote",
    "RiskTier",
    "RuleChange",
    "RuleSource",
    "grid_start_ms",
    "interval_from_name",
    "minute_text",
    "plain",
    "price_grid",
    "settlement_ms",
    "utc_text",
]
