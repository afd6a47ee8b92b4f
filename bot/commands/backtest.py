"""``backtest``: the same core over a file's bars or the stored ones."""

import argparse
import heapq
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from bot import app, logs
from bot.assembly import (
    build_trader,
    checkpoint_sha256,
    configuration_name,
    learned_until_ms,
    load_strategy,
    opening_of,
)
from bot.commands.band import PRESETS, as_json, print_band, scored
from bot.commands.data_files import DataFiles, check_data, funding_of
from bot.commands.progress import Progress
from bot.commands.summary import Summary, Tally, hindsight, print_summary, with_decisions
from bot.config import Config
from bot.errors import InputError
from bot.market import ALWAYS_OPEN, Bar, Calendar, Funding, FundingRate
from bot.market.borrow import Borrow
from bot.market.calendars import NEVER_CLOSES
from bot.market.funding import Settlements
from bot.sources.instruments import Given, Settled, read_given, settle_all
from bot.sources.sessions import calendar_for
from bot.store import bars as bar_store
from bot.store.database import Database, Identity
from bot.store.queries import load_account, load_instruments
from bot.store.steps import StepWriter, begin_session, end_session, forget_runs, save_instruments
from bot.store.trials import Judged, note_trial
from bot.strategy import declared_checks
from bot.trader import Trader
from bot.trading.performance import DAY_MS, sharpe

_BATCH_BARS = 500


async def run(args: argparse.Namespace, config: Config, strategies: Mapping[str, str]) -> int:
    """Warm up on the first bars, decide on all others, and say what it came to.

    With ``--fills band`` the database keeps the configured preset's run; the others are told beside it.
    """
    logs.configure(config.log)
    if args.fills in PRESETS:
        config = replace(config, broker=replace(config.broker, fills=args.fills))
    # Nobody waits for the next bar: the strategy is mended first.
    config = replace(config, strategy=replace(config.strategy, on_error="stop"))
    strategy = load_strategy(config, strategies)
    files = check_data(args.data, args.symbol, args.interval) if args.data else None
    if files is not None:
        config = files.applied_to(config)
    rates = funding_of(args.funding, config)
    given = read_given(args.instrument)
    path = config.database_path("backtest")
    identity = Identity(
        mode="backtest", category=config.run.category, starting_cash=config.broker.starting_cash
    )
    began = time.monotonic()
    async with Database.open(path, identity, durable=False) as database:
        settled = await _settled(database, config, given, files)
        await forget_runs(database, config.broker.starting_cash)
        instruments = {symbol: one.rules for symbol, one in settled.items()}
        await save_instruments(database, instruments.values())
        account = await load_account(database)
        opening = opening_of(account)
        calendar = await _calendar(database, config, files)
        trader = build_trader(config, strategy, instruments, opening, quotes=False, calendar=calendar)
        session_id = await begin_session(
            database,
            "backtest",
            msgspec.json.encode(config).decode(),
            time.time_ns() // 1_000_000,
            checkpoint_sha256=checkpoint_sha256(config, strategy),
            checks=declared_checks(strategy),
        )
        steps = StepWriter(database, session_id, batch_bars=_BATCH_BARS)
        tally = Tally((), float(account.starting_cash))

        def source() -> AsyncIterator[Bar | Funding]:
            bars = _stored(database, config, args) if files is None else _listed(files, args)
            events = _among(bars, rates)
            return _lent(events, config) if config.run.category == "equity" else events

        with Progress() as progress:
            counted = _Counted(source(), trader, config.run.symbols, args.warmup, progress)
            await app.run(counted, trader, steps, tally.count)
        await steps.flush()
        await end_session(database, session_id, time.time_ns() // 1_000_000, "end of data")
        if tally.first_start_ms is None or tally.last_start_ms is None:
            raise InputError(_nothing(counted, args, path))
        found = sharpe(tally.curve.returns(), DAY_MS)
        await note_trial(
            database,
            Judged(
                symbols=config.run.symbols,
                interval=config.run.interval,
                first_ms=tally.first_start_ms,
                last_ms=tally.last_start_ms,
            ),
            made_ms=time.time_ns() // 1_000_000,
            command="backtest",
            configuration=configuration_name(config, strategy),
            sharpe=None if found is None else found.value,
        )
        band: dict[str, Summary] = {}
        for preset in PRESETS if args.fills == "band" else ():
            other = replace(config, broker=replace(config.broker, fills=preset))
            trader = build_trader(other, strategy, instruments, opening, quotes=False, calendar=calendar)
            with Progress() as progress:
                counted = _Counted(source(), trader, config.run.symbols, args.warmup, progress)
                band[preset] = await scored(
                    aiter(counted), trader, (), account.starting_cash, "backtest", preset
                )
    summary = tally.summary("backtest", str(path), session_id, "end of data", time.monotonic() - began)
    known = hindsight(learned_until_ms(config, strategy), tally.first_start_ms)
    summary = replace(summary, hindsight=known, rules=tuple(one.text for one in settled.values()))
    summary = await with_decisions(summary)
    if args.json and band:
        print(as_json(summary, band))
        return 0
    print_summary(summary, as_json=args.json)
    if band:
        print_band(band)
    return 0


class _Counted:
    """The bars to decide on, and funding: each symbol's first ``warmup`` bars are only observed."""

    def __init__(
        self,
        source: AsyncIterator[Bar | Funding],
        trader: Trader,
        symbols: tuple[str, ...],
        warmup: int,
        progress: Progress,
    ) -> None:
        self._source = source
        self._trader = trader
        self._left = dict.fromkeys(symbols, warmup)
        self._progress = progress
        self.bars = 0

    async def __aiter__(self) -> AsyncIterator[Bar | Funding]:
        observed: list[Bar] = []
        async for event in self._source:
            if isinstance(event, Funding):
                yield event
                continue
            bar = event
            self.bars += 1
            left = self._left[bar.symbol]
            if left > 0:
                self._left[bar.symbol] = left - 1
                observed.append(bar)
            if observed and (left == 0 or len(observed) == _BATCH_BARS):
                self._trader.observe_all(observed)
                observed = []
            if left == 0:
                yield bar
        self._trader.observe_all(observed)


async def _listed(files: DataFiles, args: argparse.Namespace) -> AsyncIterator[Bar]:
    """The files' bars by close and symbol, within ``--from`` and ``--to``."""
    merged = heapq.merge(*files.by_symbol.values(), key=lambda bar: (bar.start_ms, bar.symbol))
    for bar in merged:
        if (args.since is None or bar.start_ms >= args.since) and (
            args.until is None or bar.start_ms < args.until
        ):
            yield bar


async def _among(bars: AsyncIterator[Bar], rates: Sequence[FundingRate]) -> AsyncIterator[Bar | Funding]:
    """The bars, and each settled rate in its place between them."""
    settlements = Settlements(rates)
    async for bar in bars:
        for funding in settlements.before(bar):
            yield funding
        yield bar
    for funding in settlements.rest():
        yield funding


async def _lent(events: AsyncIterator[Bar | Funding], config: Config) -> AsyncIterator[Bar | Funding]:
    """The events, and what borrowed shares cost in its place between them."""
    borrow = Borrow(config.broker.borrow_rate)
    async for event in events:
        if isinstance(event, Bar):
            for charge in borrow.before(event):
                yield charge
        yield event


async def _calendar(database: Database, config: Config, files: DataFiles | None) -> Calendar:
    """The market's calendar over all bars at hand, those outside of ``--from`` and ``--to`` as well."""
    run = config.run
    if run.calendar_name == NEVER_CLOSES:
        return ALWAYS_OPEN
    starts = (
        await bar_store.stored_starts(database, run.symbols, run.interval)
        if files is None
        else files.starts()
    )
    return calendar_for(run.calendar_name, run.interval, run.timezone, starts)


def _stored(database: Database, config: Config, args: argparse.Namespace) -> AsyncIterator[Bar]:
    return bar_store.load_bars(
        database, config.run.symbols, config.run.interval, since_ms=args.since, until_ms=args.until
    )


async def _settled(
    database: Database, config: Config, given: Mapping[str, Given], files: DataFiles | None
) -> dict[str, Settled]:
    """The rules that the run goes by, by symbol."""
    run = config.run
    if files is not None:
        grids = files.grids()
    else:
        found = {
            symbol: await bar_store.stored_grid(database, symbol, run.interval) for symbol in run.symbols
        }
        grids = {symbol: grid for symbol, grid in found.items() if grid is not None}
        if not grids:
            raise InputError(_no_bars(database.path))
    stored = await load_instruments(database)
    return settle_all(
        run.symbols,
        run.category,
        given=given,
        stored=stored,
        grids=grids,
        fractional_shares=config.broker.fractional_shares,
    )


def _nothing(counted: _Counted, args: argparse.Namespace, path: Path) -> str:
    if counted.bars:
        return f"{counted.bars} bars are no more than --warmup {args.warmup} a symbol; give more bars or less warm-up"
    if args.data:
        return "--data: no bar lies between --from and --to"
    return _no_bars(path)


def _no_bars(path: Path) -> str:
    return f"{path} holds no such bars; import some (run_bot.py import FILE) or name a file with --data"
