"""``fetch``: history from the exchange into the history store."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from bot import logs
from bot.commands.fetch import Options
from bot.commands.fetch_funding import FetchedFunding, complete_funding
from bot.commands.history_store import history_path, opened
from bot.config import Config
from bot.errors import ConfigError, InputError
from bot.exchange.config import HOSTS
from bot.exchange.proxy import chosen
from bot.exchange.rest import BybitRest
from bot.market import INTERVAL_MS, grid_start_ms, minute_text
from bot.sessions import warm_up
from bot.store import bars as bar_store
from bot.store.database import Database
from bot.store.history.market import BYBIT, BYBIT_TESTNET, Market, insert_bars, save_rules
from bot.terminal.progress import Progress

OK, INTERRUPTED = 0, 130

_GAPS_SHOWN = 10

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


async def run(options: Options, config: Config) -> int:
    """``fetch``: what the history store lacks of a time range, from the exchange's history."""
    logs.configure(config.log)
    mode = options.mode or "mainnet"
    if mode == "demo":
        raise ConfigError("fetch: the demo brings its own market; ask --mainnet (the default) or --testnet")
    run = config.run
    market = Market(BYBIT_TESTNET if mode == "testnet" else BYBIT, run.category)
    path = history_path(options, config)
    host = config.exchange.rest_url or HOSTS[mode][0]
    proxy = chosen(config.exchange.proxy, (host, config.exchange.ws_url or HOSTS[mode][1]), os.environ)
    done: list[Fetched] = []
    with _stop_signals() as stopped:
        try:
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
                    symbol: await _span(rest, symbol, run.interval, options.since, options.until)
                    for symbol in run.symbols
                }
                async with opened(path, config, create=True) as database:
                    async with database.transaction():
                        await save_rules(database, market, rules.values())
                    with Progress() as progress:
                        for symbol, span in spans.items():
                            one = await _complete(
                                rest, database, market, symbol, run.interval, span, progress
                            )
                            every_ms = rules[symbol].funding_interval_minutes * 60_000
                            if every_ms and one.closes is not None:
                                settled = await complete_funding(
                                    rest, database, market, symbol, one.closes, every_ms, progress
                                )
                                one = replace(one, funding=settled)
                            done.append(one)
        except asyncio.CancelledError:
            if not stopped:
                raise
            kept = f"what was fetched is kept in {path}" if path.exists() else "nothing was fetched yet"
            print(f"{stopped[0]}: {kept}; the same command continues from there", file=sys.stderr)
            return INTERRUPTED
    if options.json:
        print(msgspec.json.encode(done).decode())
    else:
        for one in done:
            print(_fetched_text(one))
    return OK


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """SIGINT and SIGTERM cancel this task and leave their name in the list."""
    loop, task, stopped = asyncio.get_running_loop(), asyncio.current_task(), list[str]()
    assert task is not None

    def stop(name: str) -> None:
        stopped.append(name)
        task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop, number.name)
    try:
        yield stopped
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


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


def _fetched_text(one: Fetched) -> str:
    if one.first_start_ms is None or one.last_start_ms is None:
        return (
            f"{one.symbol} {one.interval}: the exchange has no bar between {minute_text(one.since_ms)} and "
            f"{minute_text(one.until_ms)} UTC"
        )
    lines = [
        f"{one.symbol} {one.interval}: {one.added} new bars, {one.stored} in all in {one.database} "
        f"({minute_text(one.first_start_ms)} to {minute_text(one.last_start_ms)} UTC)"
    ]
    if one.first_start_ms > one.since_ms:
        lines.append(f"  the exchange's bars begin at {minute_text(one.first_start_ms)}")
    if one.last_start_ms + INTERVAL_MS[one.interval] < one.until_ms:
        lines.append(f"  the exchange shows none after {minute_text(one.last_start_ms)}")
    if one.gaps:
        bars = sum(gap.bars for gap in one.gaps)
        lines.append(f"  {bars} bars in {len(one.gaps)} gaps are not on the exchange:")
        lines += [
            f"    {minute_text(gap.first_start_ms)} to {minute_text(gap.last_start_ms)}: {gap.bars}"
            for gap in one.gaps[:_GAPS_SHOWN]
        ]
        if len(one.gaps) > _GAPS_SHOWN:
            lines.append(f"    and {len(one.gaps) - _GAPS_SHOWN} more; --json lists them all")
    if one.funding is not None:
        lines.append(one.funding.text())
    return "\n".join(lines)
