"""``fetch --source yahoo``: bars of shares into the history store."""

import sys
import time

import msgspec
from msgspec import Struct

from bot import logs
from bot.commands.fetch import Options
from bot.commands.history_store import history_path, opened
from bot.config import Config
from bot.errors import ConfigError, InputError
from bot.market import minute_text
from bot.sources import yahoo
from bot.store.database import Database
from bot.store.history.market import Market, insert_bars, load_bars
from bot.terminal.progress import Progress

OK = 0

_SHOWN = 3

_MARKET = Market("yahoo", "equity")


class Stored(Struct, frozen=True, kw_only=True):
    """What became of a symbol's bars: new ones, and those that were known; and what Yahoo sent that is none."""

    symbol: str
    interval: str
    database: str
    added: int
    known: int
    first_start_ms: int
    last_start_ms: int
    refused: tuple[str, ...] = ()


async def run(options: Options, config: Config) -> int:
    """Ask Yahoo for all symbols' bars, then store all of them or none.

    Raises InputError where what is stored differs: Yahoo has adjusted its history to another split since.
    """
    logs.configure(config.log)
    if config.run.category != "equity":
        raise ConfigError("fetch --source yahoo brings shares; name the category: --category equity")
    now_ms = time.time_ns() // 1_000_000
    until_ms = now_ms if options.until is None else options.until
    symbols, interval = config.run.symbols, config.run.interval
    fetched: dict[str, yahoo.Fetched] = {}
    with Progress() as progress:
        for done, symbol in enumerate(symbols):
            progress(f"{symbol} {interval}", done, len(symbols))
            fetched[symbol] = yahoo.fetch_bars(symbol, interval, options.since, until_ms, now_ms)
            if not fetched[symbol].bars:
                raise InputError(
                    f"--since {minute_text(options.since)}: Yahoo has no closed bar of {symbol} {interval} from "
                    "there on"
                )
    async with opened(history_path(options, config), config, create=True) as database, database.transaction():
        stored = [await _store(database, symbol, interval, found) for symbol, found in fetched.items()]
    if options.json:
        print(msgspec.json.encode(stored).decode())
        return OK
    for each in stored:
        print(
            f"{each.symbol} {each.interval}: {each.added} new bars, {each.known} were there already, in "
            f"{each.database} ({minute_text(each.first_start_ms)} to {minute_text(each.last_start_ms)} UTC)"
        )
        if each.refused:
            more = f" and {len(each.refused) - _SHOWN} more" if len(each.refused) > _SHOWN else ""
            print(f"  left out: {'; '.join(each.refused[:_SHOWN])}{more}", file=sys.stderr)
    return OK


async def _store(database: Database, symbol: str, interval: str, found: yahoo.Fetched) -> Stored:
    bars = found.bars
    known = load_bars(
        database, _MARKET, (symbol,), interval, since_ms=bars[0].start_ms, until_ms=bars[-1].start_ms + 1
    )
    others = yahoo.differing([bar async for bar in known], bars)
    if others:
        raise InputError(
            f"{database.path}: {len(others)} stored bars of {symbol} are not Yahoo's any more, the first of "
            f"{minute_text(others[0].start_ms)}: it has adjusted its history, as for a split, and both together would "
            "be a jump that never was; nothing was written, fetch into another file (--db)"
        )
    inserted = await insert_bars(database, _MARKET, bars)
    return Stored(
        symbol=symbol,
        interval=interval,
        database=str(database.path),
        added=inserted.added,
        known=inserted.known,
        first_start_ms=bars[0].start_ms,
        last_start_ms=bars[-1].start_ms,
        refused=found.refused,
    )
