"""The exchange of a demo: generated or listed bars, from where the account has come to."""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from bot.config import Config
from bot.demo.exchange import DemoExchange
from bot.market import INTERVAL_MS, Bar
from bot.sessions.data_files import DataFiles
from bot.sessions.watching import owned_symbols
from bot.sources.instruments import Given, Settled, settle_all
from bot.store import bars as bar_store
from bot.store.account.state import AccountState
from bot.store.account.watching import read_watched
from bot.store.database import Database
from bot.synthetic import PRESETS, SyntheticMarket

_BAR_SECONDS = 0.05
_SEED = 7
_LISTED = ("SOLUSDT", "XRPUSDT")
_BARS_MISSED = 5
"""A demo on an existing database goes on so many bars after the last stored one."""

_log = structlog.get_logger()


async def embedded_exchange(
    config: Config,
    database: Database,
    account: AccountState,
    files: DataFiles | None,
    given: Mapping[str, Given],
    before_push: Callable[[int, int], Awaitable[None]],
) -> DemoExchange:
    """The embedded exchange, going on some bars after the last one that the database holds.

    It lists what is to be traded and what the account knows; of a generated market, some symbols more.
    """
    run = config.run
    bars = None if files is None else files.bars()
    settled = {} if files is None else _settled(config, files, given)
    step = INTERVAL_MS[run.interval]
    symbols = {*run.symbols, *owned_symbols(account), *(one.symbol for one in await read_watched(database))}
    symbols = symbols | set(_LISTED) if bars is None else symbols & set(bars)
    stored = [await bar_store.last_start(database, symbol, run.interval) for symbol in sorted(symbols)]
    last = max((start for start in stored if start is not None), default=None)
    source: SyntheticMarket | dict[str, list[Bar]]
    if bars is None:
        source = market = SyntheticMarket(PRESETS["demo"], _SEED, run.interval)
        first = market.start_ms(config.memory.warmup_bars)
    else:
        source = bars
        starts = sorted({bar.start_ms for listed in bars.values() for bar in listed})
        # Half of a short file still leaves something to stream.
        first = starts[min(config.memory.warmup_bars, len(starts) // 2)]
    live_from = first if last is None else max(first, last + (_BARS_MISSED + 1) * step)
    return DemoExchange(
        source,
        category=run.category,
        symbols=tuple(sorted(symbols)),
        interval=run.interval,
        live_from_ms=live_from,
        bar_seconds=_BAR_SECONDS,
        before_push=before_push,
        rules={symbol: one.rules for symbol, one in settled.items()},
    )


def _settled(config: Config, files: DataFiles, given: Mapping[str, Given]) -> dict[str, Settled]:
    """The rules that files are traded by, as in a backtest of them; said once."""
    settled = settle_all(
        tuple(files.by_symbol),
        config.run.category,
        given=given,
        stored={},
        grids=files.grids(),
        fractional_shares=config.broker.fractional_shares,
    )
    for one in settled.values():
        _log.info("rules", symbol=one.rules.symbol, detail=one.text)
    return settled
