"""History from the exchange into the history store: only what it lacks, page by page, each kept at once."""

import os
from contextlib import AbstractAsyncContextManager
from typing import Literal

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bot.config import Config
from bot.errors import InputError
from bot.exchange.config import HOSTS
from bot.exchange.proxy import chosen
from bot.exchange.rest import BybitRest
from bot.market import INTERVAL_MS, grid_start_ms, minute_text
from bot.sessions import warm_up
from bot.sessions.fetch_funding import FetchedFunding, complete_funding
from bot.sessions.warm_up import Progress
from bot.store import bars as bar_store
from bot.store.database import Database
from bot.store.history.market import BYBIT, BYBIT_TESTNET, Market, insert_bars, save_rules

_log = structlog.get_logger()


class Gap(Struct, frozen=True, kw_only=True):
    """So many bars that the exchange does not have, by the starts of the first and the last."""

    first_start_ms: int
    last_start_ms: int
    bars: int


class Fetched(Struct, frozen=True, kw_only=True):
    """What is stored of one symbol within the range asked for, once all that was missing was asked for.

    ``since_ms`` and ``until_ms`` bound the starts (the end is excluded). ``first_start_ms`` and
    ``last_start_ms`` are None where the exchange has no bar in it. ``gaps`` lie between those two.
    ``funding`` tells of the rates settled over the stored bars, None where none are.
    """

    venue: str
    symbol: str
    interval: str
    database: str
    since_ms: int
    until_ms: int
    stored: int
    added: int
    first_start_ms: int | None
    last_start_ms: int | None
    gaps: tuple[Gap, ...]
    funding: FetchedFunding | None = None

    @property
    def closes(self) -> tuple[int, int] | None:
        """First and last close that are stored."""
        if self.first_start_ms is None or self.last_start_ms is None:
            return None
        step = INTERVAL_MS[self.interval]
        return self.first_start_ms + step, self.last_start_ms + step


async def fetch_bars(
    config: Config,
    mode: Literal["mainnet", "testnet"],
    since_ms: int,
    until_ms: int | None,
    history: AbstractAsyncContextManager[Database],
    progress: Progress,
) -> list[Fetched]:
    """Bring into ``history`` what it lacks of a time range, from the exchange of ``mode``.

    A cancellation keeps what was fetched. Raises InputError for a symbol or a range that the exchange has not.
    """
    run = config.run
    market = Market(BYBIT_TESTNET if mode == "testnet" else BYBIT, run.category)
    host = config.exchange.rest_url or HOSTS[mode][0]
    proxy = chosen(config.exchange.proxy, (host, config.exchange.ws_url or HOSTS[mode][1]), os.environ)
    done: list[Fetched] = []
    async with BybitRest(
        host,
        run.category,
        lambda text: _log.error("banned", error=text),
        config.exchange,
        proxy=proxy,
    ) as rest:
        # The exchange is asked first, so that a typing error leaves no database behind.
        rules = await warm_up.persist(lambda: rest.instruments(run.symbols), "instruments")
        spans = {
            symbol: await _span(rest, symbol, run.interval, since_ms, until_ms) for symbol in run.symbols
        }
        async with history as database:
            async with database.transaction():
                await save_rules(database, market, rules.values())
            for symbol, span in spans.items():
                one = await _complete(rest, database, market, symbol, run.interval, span, progress)
                every_ms = rules[symbol].funding_interval_minutes * 60_000
                if every_ms and one.closes is not None:
                    settled = await complete_funding(
                        rest, database, market, symbol, one.closes, every_ms, progress
                    )
                    one = replace(one, funding=settled)
                done.append(one)
    return done


async def _span(
    rest: BybitRest, symbol: str, interval: str, since_ms: int, until_ms: int | None
) -> tuple[int, int]:
    """First and last start of the closed bars that are asked for."""
    step = INTERVAL_MS[interval]
    first = grid_start_ms(since_ms + step - 1, interval)
    last = await warm_up.newest_start(rest, symbol, interval)
    if until_ms is not None:
        last = min(last, grid_start_ms(until_ms - 1, interval))
    if first > last:
        raise InputError(
            f"--since {minute_text(since_ms)}: no closed bar of {symbol} {interval} starts there or later"
            + ("" if until_ms is None else f", before --until {minute_text(until_ms)}")
        )
    return first, last


async def _complete(
    rest: BybitRest,
    database: Database,
    market: Market,
    symbol: str,
    interval: str,
    span: tuple[int, int],
    progress: Progress,
) -> Fetched:
    """Ask for what is missing, page by page, each of them kept at once."""
    step = INTERVAL_MS[interval]
    holes = await bar_store.missing_ranges(database, symbol, interval, *span, market.scope)
    total = sum((last - first) // step + 1 for first, last in holes)
    covered = added = 0
    for first, last in holes:
        async for page in warm_up.pages(rest, symbol, interval, first, last):
            async with database.transaction():
                added += (await insert_bars(database, market, page.bars)).added
            covered += page.covered
            progress(f"{symbol} {interval}", covered, total)
    return await _outcome(database, market, symbol, interval, span, added)


async def _outcome(
    database: Database, market: Market, symbol: str, interval: str, span: tuple[int, int], added: int
) -> Fetched:
    step = INTERVAL_MS[interval]
    holes = await bar_store.missing_ranges(database, symbol, interval, *span, market.scope)
    missing = sum((last - first) // step + 1 for first, last in holes)
    begin, end = span
    # What is missing at either end is no gap: the exchange's bars begin later or end earlier.
    if holes and holes[0][0] == begin:
        begin = holes.pop(0)[1] + step
    if holes and holes[-1][1] == end:
        end = holes.pop()[0] - step
    any_bar = begin <= end
    return Fetched(
        venue=market.venue,
        symbol=symbol,
        interval=interval,
        database=str(database.path),
        since_ms=span[0],
        until_ms=span[1] + step,
        stored=(span[1] - span[0]) // step + 1 - missing,
        added=added,
        first_start_ms=begin if any_bar else None,
        last_start_ms=end if any_bar else None,
        gaps=tuple(
            Gap(first_start_ms=first, last_start_ms=last, bars=(last - first) // step + 1)
            for first, last in holes
        ),
    )
