"""Market: one venue's part of the history store, and which venue has what."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from bot.errors import InputError
from bot.market import Bar, Category, FundingRate, Instrument, settlement_ms
from bot.store import bars as bar_table
from bot.store.bars import Inserted
from bot.store.database import Database
from bot.store.history.tables import BARS, FUNDING_RATES, INSTRUMENTS, StoredRules
from bot.store.rows import read

BYBIT, BYBIT_TESTNET = "bybit", "bybit-testnet"

_VENUE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")

# Trailing zeros are no difference, so figures are compared as numbers.
_DIFFERENT = """
SELECT count(*) FROM bars
WHERE symbol = ?1 AND interval = ?2 AND start_ms = ?3 AND venue = ?11 AND category = ?12 AND NOT (
    CAST(open AS REAL) = CAST(?4 AS REAL) AND CAST(high AS REAL) = CAST(?5 AS REAL)
    AND CAST(low AS REAL) = CAST(?6 AS REAL) AND CAST(close AS REAL) = CAST(?7 AS REAL)
    AND CAST(volume AS REAL) = CAST(?8 AS REAL)
)
"""


class Market(Struct, frozen=True):
    """A venue, such as ``bybit`` or ``binance-perp``, and a category of it."""

    venue: str
    category: Category

    def __post_init__(self) -> None:
        if not _VENUE.fullmatch(self.venue):
            raise InputError(f"{self.venue!r} is no venue; they are written like bybit or binance-perp")

    def __str__(self) -> str:
        return f"{self.venue} {self.category}"

    @property
    def scope(self) -> str:
        """SQL that holds for this market's rows; both words are letters, digits and dashes."""
        return f"venue = '{self.venue}' AND category = '{self.category}' AND "


async def market_of(
    database: Database, category: Category, symbols: Sequence[str], interval: str, venue: str | None = None
) -> Market:
    """The market whose bars of these symbols are stored.

    Raises InputError where a symbol has none, or where several venues have them and ``venue`` names none.
    """
    marks = ", ".join("?" * len(symbols))
    found = await database.fetch(
        f"SELECT DISTINCT venue, symbol FROM bars WHERE category = ? AND interval = ? AND symbol IN ({marks})",
        (category, interval, *symbols),
    )
    named = {each for each, _ in found if venue is None or each == venue}
    whole = sorted(each for each in named if {symbol for v, symbol in found if v == each} == set(symbols))
    if len(whole) == 1:
        return Market(whole[0], category)
    if whole:
        raise InputError(
            f"{database.path} has {', '.join(symbols)} {interval} of several venues: {', '.join(whole)}; "
            "choose one with --venue"
        )
    have = {symbol for each, symbol in found if each in named}
    missing = [symbol for symbol in symbols if symbol not in have]
    where = str(database.path) if venue is None else f"{database.path}, venue {venue},"
    if missing:
        raise InputError(
            f"{where} has no {category} bars of {', '.join(missing)} {interval}; "
            "fetch or import some, or name a file with --data"
        )
    raise InputError(
        f"{where} has {', '.join(symbols)} {interval} of different venues ({', '.join(sorted(named))}); "
        "backtest them one at a time"
    )


async def insert_bars(database: Database, market: Market, bars: Iterable[Bar]) -> Inserted:
    """Store bars inside the caller's transaction; of two with one identity the first stands."""
    rows = [BARS.row(bar, market.venue, market.category) for bar in bars]
    added = await database.write(BARS.insert_missing, rows)
    differing = 0
    if added < len(rows):
        for row in rows:
            differing += await database.value(_DIFFERENT, row)
    return Inserted(added=added, known=len(rows) - added, differing=differing)


def load_bars(
    database: Database,
    market: Market,
    symbols: Sequence[str],
    interval: str,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> AsyncIterator[Bar]:
    """Stored bars by close, then symbol; the bounds are of starts, the end excluded."""
    return bar_table.load_bars(
        database, symbols, interval, since_ms=since_ms, until_ms=until_ms, scope=market.scope
    )


async def insert_rates(database: Database, market: Market, rates: Iterable[FundingRate]) -> None:
    """Store settled rates inside the caller's transaction, in place of those of the same settlements."""
    rows = [
        FUNDING_RATES.row(replace(each, time_ms=settlement_ms(each.time_ms)), market.venue, market.category)
        for each in rates
    ]
    await database.write(FUNDING_RATES.upsert, rows)


async def load_rates(database: Database, market: Market, symbols: Sequence[str]) -> list[FundingRate]:
    """The settled rates of these symbols, by time and symbol."""
    marks = ", ".join("?" * len(symbols))
    of_symbols = f"WHERE {market.scope}symbol IN ({marks}) ORDER BY time_ms, symbol"
    return list(await read(database, FUNDING_RATES, of_symbols, symbols))


async def save_rules(database: Database, market: Market, rules: Iterable[Instrument]) -> None:
    """Keep trading rules inside the caller's transaction, in place of earlier ones of the same symbols."""
    rows = [
        INSTRUMENTS.row(StoredRules(symbol=each.symbol, rules=each), market.venue, market.category)
        for each in rules
    ]
    await database.write(INSTRUMENTS.replace, rows)


async def load_rules(database: Database, market: Market, symbols: Sequence[str]) -> dict[str, Instrument]:
    """The stored trading rules of these symbols, as far as there are any."""
    marks = ", ".join("?" * len(symbols))
    stored = await read(database, INSTRUMENTS, f"WHERE {market.scope}symbol IN ({marks})", symbols)
    return {each.symbol: each.rules for each in stored}
