"""The part of ``fetch`` that brings funding rates beside the bars."""

from itertools import pairwise

from msgspec import Struct

from bot.exchange.rest import BybitRest
from bot.market import FundingRate, minute_text
from bot.market.funding import UnknownFunding, unknown_funding
from bot.sessions import warm_up
from bot.sessions.warm_up import Progress
from bot.store.database import Database
from bot.store.history.market import Market, insert_rates, load_rates

_PAGE_MS = 28 * 86_400_000
"""So much is asked for, and kept, at a time."""


class FetchedFunding(Struct, frozen=True, kw_only=True):
    """The rates stored over the bars of one symbol; ``gaps`` are settlements that the exchange does not show."""

    stored: int
    added: int
    first_ms: int | None
    last_ms: int | None
    gaps: tuple[UnknownFunding, ...]

    def text(self) -> str:
        """What a person is told, in lines."""
        if self.first_ms is None or self.last_ms is None:
            return "  the exchange shows no funding rates over these bars"
        lines = [
            f"  {self.added} new funding rates, {self.stored} in all "
            f"({minute_text(self.first_ms)} to {minute_text(self.last_ms)} UTC)"
        ]
        if self.gaps:
            count = sum(gap.settlements for gap in self.gaps)
            first = self.gaps[0]
            lines.append(
                f"  {count} settlements in {len(self.gaps)} gaps are not on the exchange, the first between "
                f"{minute_text(first.from_ms)} and {minute_text(first.to_ms)}"
            )
        return "\n".join(lines)


async def complete_funding(
    rest: BybitRest,
    database: Database,
    market: Market,
    symbol: str,
    span: tuple[int, int],
    every_ms: int,
    progress: Progress,
) -> FetchedFunding:
    """Ask for what may be missing of the settlements within ``span`` (both ends included), each page kept at once.

    That is what lies further apart than ``every_ms``, the shortest interval that is asked for again.
    """
    first_ms, last_ms = span
    stored = await _stored(database, market, symbol, span)
    wanted = _lacking(stored, span, every_ms)
    total = sum(end - begin + 1 for begin, end in wanted if end >= begin)
    covered, before = 0, len(stored)
    for begin_ms, end_ms in wanted:
        for page_ms in range(begin_ms, end_ms + 1, _PAGE_MS):
            page_end_ms = min(page_ms + _PAGE_MS - 1, end_ms)

            async def ask(page_ms: int = page_ms, page_end_ms: int = page_end_ms) -> list[FundingRate]:
                found = await rest.funding(symbol, page_ms - 1, page_end_ms)
                return [FundingRate(symbol=symbol, time_ms=at, rate=rate) for at, rate in found]

            rates = await warm_up.persist(ask, f"funding of {symbol}")
            async with database.transaction():
                await insert_rates(database, market, rates)
            covered += page_end_ms - page_ms + 1
            progress(f"{symbol} funding", covered, total)
    stored = await _stored(database, market, symbol, span)
    return FetchedFunding(
        stored=len(stored),
        added=len(stored) - before,
        first_ms=stored[0] if stored else None,
        last_ms=stored[-1] if stored else None,
        gaps=tuple(unknown_funding(symbol, stored, first_ms - 1, last_ms)),
    )


def _lacking(stored: list[int], span: tuple[int, int], every_ms: int) -> list[tuple[int, int]]:
    """First and last time of each stretch of the span that may hold more than what is stored."""
    stretches: list[tuple[int, int]] = []
    for sooner, later in pairwise((span[0] - 1, *stored, span[1] + 1)):
        if later - sooner <= every_ms and later <= span[1]:
            continue
        if stretches and stretches[-1][1] == sooner - 1:
            stretches[-1] = (stretches[-1][0], later - 1)
        elif sooner + 1 < later:
            stretches.append((sooner + 1, later - 1))
    return stretches


async def _stored(database: Database, market: Market, symbol: str, span: tuple[int, int]) -> list[int]:
    rates = await load_rates(database, market, (symbol,))
    return [rate.time_ms for rate in rates if span[0] <= rate.time_ms <= span[1]]
