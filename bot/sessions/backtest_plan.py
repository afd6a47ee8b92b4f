"""What a backtest runs over and where it is written: all that can be wrong is found here, before anything is."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bot import program
from bot.config import Config, from_json
from bot.errors import InputError
from bot.market import ALWAYS_OPEN, Calendar, FundingRate, Instrument
from bot.market.calendars import NEVER_CLOSES
from bot.sessions.assembly import load_strategy
from bot.sessions.bar_source import BarSource, Span, of_files, of_history, of_run, spans_of
from bot.sessions.data_files import check_data, funding_of
from bot.sessions.known_funding import chosen_rates
from bot.sources.instruments import Given, read_given, settle_all
from bot.sources.sessions import calendar_for
from bot.store.believed import readable
from bot.store.database import Database
from bot.store.history.market import market_of
from bot.store.history.store import open_history
from bot.store.runs.catalogue import check_name, run_path
from bot.trading.fills import Preset


class Options(Struct, frozen=True, kw_only=True):
    """What one backtest is asked.

    - ``data``: files of bars, each ``FILE`` or ``SYMBOL=FILE``; without any, stored history of the configured
      symbols, of ``venue`` where several have them. ``symbol`` and ``interval`` are a single file's, where its
      name does not say them; ``symbols`` chooses among the files.
    - ``funding``: files of settled rates, as ``data``; ``no_funding`` leaves funding out.
    - ``instruments``: trading rules, each a file or ``SYMBOL:tick_size=0.01,lot_size=0.001``.
    - ``since_ms``, ``until_ms`` (starts of bars, UTC, the end excluded) bound the decisions; ``warmup`` bars of
      each symbol are observed before the first.
    - ``fills``: a preset in place of the configured one; ``all_fills`` runs every preset beside it.
    - ``name`` is the run's; ``database`` a file in place of one in ``run.runs``, whose earlier backtest gives way.
    - ``again`` names an earlier run, whose bars, rates, rules and settings are taken.
    """

    data: tuple[str, ...] = ()
    symbol: str | None = None
    interval: str | None = None
    symbols: tuple[str, ...] | None = None
    venue: str | None = None
    funding: tuple[str, ...] = ()
    no_funding: bool = False
    instruments: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    warmup: int | None = None
    fills: Preset | None = None
    all_fills: bool = False
    name: str | None = None
    database: str | None = None
    again: str | None = None


class Plan(Struct, frozen=True):
    """What a backtest runs over, and where it is written.

    ``rules_text`` says for a person where each symbol's trading rules are from. An earlier backtest at ``path``
    gives way to this one where it ``replaces``.
    """

    config: Config
    source: BarSource
    spans: dict[str, Span]
    rates: tuple[FundingRate, ...]
    no_funding: bool
    instruments: Mapping[str, Instrument]
    rules_text: tuple[str, ...]
    name: str
    path: Path
    replaces: bool


async def plan_backtest(
    options: Options,
    config: Config,
    strategies: Mapping[str, str],
    stack: AsyncExitStack,
    tell: Callable[[str], None],
) -> Plan:
    """The plan over files, stored history or an earlier run, which stay open as long as ``stack`` does.

    Raises InputError or ConfigError for whatever does not fit together. ``tell`` is given a line where the store
    takes over what earlier versions kept elsewhere.
    """
    config = as_backtested(config, options.fills)
    if options.again is not None:
        return await _planned_again(options, options.again, config, stack)
    if options.data:
        files = check_data(options.data, options.symbol, options.interval, config).only(options.symbols)
        config, source = files.applied_to(config), of_files(files)
    else:
        with readable(config.history_path):
            history = await stack.enter_async_context(
                open_history(
                    config.history_path,
                    earlier=Path(config.run.database.replace("{mode}", "backtest")),
                    tell=tell,
                )
            )
            run = config.run
            market = await market_of(history, run.category, sorted(run.symbols), run.interval, options.venue)
            source = await of_history(history, market, config)
    load_strategy(config, strategies)
    return plan_over(
        source,
        options,
        config,
        rates=funding_of(options.funding, config),
        given=read_given(options.instruments),
    )


def as_backtested(config: Config, fills: Preset | None) -> Config:
    """The settings as a backtest takes them: nobody waits for the next bar, so a strategy's error is mended first."""
    if fills is not None:
        config = replace(config, broker=replace(config.broker, fill_preset=fills))
    return replace(config, strategy=replace(config.strategy, on_error="stop"))


def plan_over(
    source: BarSource,
    options: Options,
    config: Config,
    *,
    rates: Iterable[FundingRate],
    given: Mapping[str, Given],
) -> Plan:
    """The plan over bars at hand, whose symbols and interval ``config`` has.

    ``rates`` stand before the source's own of the same symbols, and the ``given`` rules before all others.
    """
    spans = spans_of(
        source,
        since_ms=options.since_ms,
        until_ms=options.until_ms,
        warmup=options.warmup,
        live_warmup=config.memory.warmup_bars,
    )
    settled = settle_all(
        source.symbols,
        config.run.category,
        given=given,
        stored=source.rules,
        grids=source.grids,
        fractional_shares=config.broker.fractional_shares,
    )
    name, path = _place(options, config, _default_name(config))
    return Plan(
        config,
        source,
        spans,
        () if options.no_funding else chosen_rates(rates, source.rates, source.symbols),
        options.no_funding,
        {symbol: found.rules for symbol, found in settled.items()},
        tuple(found.text for found in settled.values()),
        name,
        path,
        options.database is not None,
    )


def market_calendar(config: Config, source: BarSource) -> Calendar:
    """The market's calendar over all bars at hand, also those before the first and after the last decision."""
    run = config.run
    if run.calendar_name == NEVER_CLOSES:
        return ALWAYS_OPEN
    return calendar_for(
        run.calendar_name, run.interval, run.timezone, chain.from_iterable(source.starts.values())
    )


async def _planned_again(options: Options, name: str, config: Config, stack: AsyncExitStack) -> Plan:
    """An earlier run's own bars, rates, rules and settings."""
    earlier = run_path(config.runs_path, check_name(name))
    if not earlier.exists():
        raise InputError(
            f"--again: there is no run {name} in {config.runs_path}; {program.name()} runs lists them"
        )
    with readable(earlier):
        database = await stack.enter_async_context(Database.open(earlier, readonly=True))
        stored = await database.value("SELECT config_json FROM sessions")
        decided = dict(await database.fetch("SELECT symbol, min(bar_start_ms) FROM signals GROUP BY symbol"))
        if stored is None or not decided:
            raise InputError(f"--again: {earlier} holds no decision, so there is nothing to make again")
        settings = from_json(stored, {}, f"the settings of {earlier}")
        source = await of_run(database, settings)
        spans = {
            symbol: Span(starts[0], decided.get(symbol, starts[-1] + 1), starts[-1] + 1)
            for symbol, starts in source.starts.items()
        }
    name, path = _place(options, config, f"{name}-again")
    return Plan(
        settings,
        source,
        spans,
        () if options.no_funding else source.rates,
        options.no_funding,
        source.rules,
        (f"those of run {options.again}",),
        name,
        path,
        options.database is not None,
    )


def _place(options: Options, config: Config, default: str) -> tuple[str, Path]:
    """The run's name and file. Raises InputError for a name that is taken."""
    if options.database:
        path = Path(options.database)
        return check_name(options.name or path.stem), path
    name = check_name(options.name or default)
    path = run_path(config.runs_path, name)
    if path.exists():
        raise InputError(
            f"--name {name}: there is such a run already; delete it ({program.name()} runs --delete {name})"
        )
    return name, path


def _default_name(config: Config) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    strategy = config.strategy.name.rpartition(":")[2].rpartition(".")[2]
    symbols = "".join(letter if letter.isascii() else "_" for letter in "+".join(config.run.symbols[:3]))
    more = f"+{len(config.run.symbols) - 3}" if len(config.run.symbols) > 3 else ""
    return f"{stamp}-{strategy}-{symbols}{more}"[:120]
