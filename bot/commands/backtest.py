"""``backtest``: the same core over a file's bars, stored history, or an earlier run's bars once more."""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot import logs
from bot.commands.band import PRESETS, as_json, print_band, scored
from bot.commands.history_store import opened
from bot.commands.progress import Progress
from bot.commands.summary import Summary, Tally, hindsight, print_summary, with_decisions
from bot.config import Config, from_json
from bot.errors import BotError, InputError
from bot.market import ALWAYS_OPEN, Bar, Calendar, Funding, FundingRate, Instrument
from bot.market.borrow import Borrow
from bot.market.calendars import NEVER_CLOSES
from bot.market.funding import Settlements
from bot.sessions import loop
from bot.sessions.assembly import (
    build_trader,
    changed_settings,
    checkpoint_sha256,
    configuration_name,
    learned_until_ms,
    load_strategy,
    opening_of,
)
from bot.sessions.bar_source import BarSource, Span, decided_closes, of_files, of_history, of_run, spans_of
from bot.sessions.data_files import check_data, funding_of
from bot.sessions.known_funding import chosen_rates, funding_note
from bot.sources.instruments import read_given, settle_all
from bot.sources.sessions import calendar_for
from bot.store.bars import BarsDigest
from bot.store.believed import readable
from bot.store.database import Database, Identity, discard
from bot.store.funding_rates import save_funding_rates
from bot.store.history.market import market_of
from bot.store.queries import load_account
from bot.store.runs.catalogue import Run, check_name, index_beside, run_path, save_run
from bot.store.runs.schema import INDEX
from bot.store.runs.trials import EvaluatedBars, note_trial
from bot.store.steps import StepWriter, begin_session, end_session, save_instruments
from bot.strategy import Strategy, declared_checks
from bot.trader import Trader
from bot.trading.performance import DAY_MS, Estimate, sharpe

OK, INTERRUPTED = 0, 130

_BATCH_BARS = 500


class _Plan(Struct, frozen=True):
    """What a backtest runs over, and where it is written."""

    config: Config
    source: BarSource
    spans: dict[str, Span]
    rates: tuple[FundingRate, ...]
    no_funding: bool
    """Whether a person wanted holding to cost nothing."""
    instruments: Mapping[str, Instrument]
    rules_text: tuple[str, ...]
    """Where each symbol's trading rules are from, for a person."""
    name: str
    path: Path
    replaces: bool
    """Whether an earlier backtest at ``path`` gives way to this one."""


async def run(args: argparse.Namespace, config: Config, strategies: Mapping[str, str]) -> int:
    """Observe the first bars, decide on the others, write a run of its own, and print its summary.

    With ``--fills band`` the run is the configured preset's; the others are shown beside it.
    """
    logs.configure(config.log)
    if args.fills in PRESETS:
        config = replace(config, broker=replace(config.broker, fills=args.fills))
    # Nobody waits for the next bar: the strategy is mended first.
    config = replace(config, strategy=replace(config.strategy, on_error="stop"))
    async with AsyncExitStack() as stack:
        plan = await _planned(args, config, strategies, stack)
        strategy = load_strategy(plan.config, strategies)
        work = _Backtest(plan, strategy)
        summary, band = await work.run(with_band=args.fills == "band")
    if summary is None:
        return INTERRUPTED
    summary = await with_decisions(summary)
    if args.json:
        print(as_json(summary, band) if band else msgspec.json.encode(summary).decode())
        return OK
    print_summary(summary, as_json=False)
    if band:
        print_band(band)
    return OK


async def _planned(
    args: argparse.Namespace, config: Config, strategies: Mapping[str, str], stack: AsyncExitStack
) -> _Plan:
    """Everything that can be wrong with what was asked for is found here, before anything is written."""
    if args.again is not None:
        return await _planned_again(args, config, stack)
    if args.data:
        files = check_data(args.data, args.symbol, args.interval, config)
        chosen = config.run.symbols if args.symbols else None
        files = files.only(chosen)
        config, source = files.applied_to(config), of_files(files)
    else:
        with readable(config.history_path):
            history = await stack.enter_async_context(opened(config.history_path, config))
            run = config.run
            market = await market_of(history, run.category, sorted(run.symbols), run.interval, args.venue)
            source = await of_history(history, market, config)
    load_strategy(config, strategies)
    given = funding_of(args.funding, config)
    rates = () if args.no_funding else chosen_rates(given, source.rates, source.symbols)
    spans = spans_of(
        source,
        since_ms=args.since,
        until_ms=args.until,
        warmup=args.warmup,
        live_warmup=config.memory.warmup_bars,
    )
    settled = settle_all(
        source.symbols,
        config.run.category,
        given=read_given(args.instrument),
        stored=source.rules,
        grids=source.grids,
        fractional_shares=config.broker.fractional_shares,
    )
    instruments = {symbol: each.rules for symbol, each in settled.items()}
    texts = tuple(each.text for each in settled.values())
    name, path = _place(args, config, _default_name(config))
    return _Plan(
        config, source, spans, rates, args.no_funding, instruments, texts, name, path, args.db is not None
    )


async def _planned_again(args: argparse.Namespace, config: Config, stack: AsyncExitStack) -> _Plan:
    """An earlier run's own bars, rates, rules and settings."""
    earlier = run_path(config.runs_path, check_name(args.again))
    if not earlier.exists():
        raise InputError(
            f"--again: there is no run {args.again} in {config.runs_path}; run_bot.py runs lists them"
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
    name, path = _place(args, config, f"{args.again}-again")
    texts = (f"those of run {args.again}",)
    rates = () if args.no_funding else source.rates
    return _Plan(
        settings, source, spans, rates, args.no_funding, source.rules, texts, name, path, args.db is not None
    )


def _place(args: argparse.Namespace, config: Config, default: str) -> tuple[str, Path]:
    """The run's name and file. Raises InputError for a name that is taken."""
    if args.db:
        path = Path(args.db)
        return check_name(args.name or path.stem), path
    name = check_name(args.name or default)
    path = run_path(config.runs_path, name)
    if path.exists():
        raise InputError(
            f"--name {name}: there is such a run already; delete it (run_bot.py runs --delete {name})"
        )
    return name, path


def _default_name(config: Config) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    strategy = config.strategy.name.rpartition(":")[2].rpartition(".")[2]
    symbols = "".join(each if each.isascii() else "_" for each in "+".join(config.run.symbols[:3]))
    more = f"+{len(config.run.symbols) - 3}" if len(config.run.symbols) > 3 else ""
    return f"{stamp}-{strategy}-{symbols}{more}"[:120]


class _Backtest:
    """One run, from its first observed bar to its row in the index."""

    def __init__(self, plan: _Plan, strategy: Strategy) -> None:
        self._plan = plan
        self._strategy = strategy
        self._config = plan.config
        self._digest = BarsDigest()
        self._observed: dict[str, int] = dict.fromkeys(plan.source.symbols, 0)
        self._began = time.monotonic()
        self._row = Run(
            name=plan.name,
            status="running",
            started_ms=_now_ms(),
            seconds=0.0,
            strategy=plan.config.strategy.name,
            settings=changed_settings(plan.config),
            symbols=plan.source.symbols,
            interval=plan.source.interval,
            category=plan.config.run.category,
            data=plan.source.text,
        )

    async def run(self, *, with_band: bool) -> tuple[Summary | None, dict[str, Summary]]:
        """The summary and, ``with_band``, those of the other presets; None where a person cut it short."""
        config, plan = self._config, self._plan
        cash = config.broker.starting_cash
        identity = Identity(mode="backtest", category=config.run.category, starting_cash=cash)
        if plan.replaces:
            await discard(plan.path, "backtest")
        async with (
            Database.open(index_beside(plan.path), kind=INDEX) as index,
            Database.open(plan.path, identity, durable=False) as database,
        ):
            await save_run(index, self._row)
            instruments = plan.instruments
            await save_instruments(database, instruments.values())
            await save_funding_rates(database, plan.rates)
            opening = opening_of(await load_account(database))
            calendar = self._calendar()
            trader = build_trader(
                config, self._strategy, instruments, opening, quotes=False, calendar=calendar
            )
            session_id = await begin_session(
                database,
                "backtest",
                msgspec.json.encode(config).decode(),
                self._row.started_ms,
                checkpoint_sha256=checkpoint_sha256(config, self._strategy),
                checks=declared_checks(self._strategy),
            )
            steps = StepWriter(database, session_id, batch_bars=_BATCH_BARS, digest=self._digest)
            tally = Tally((), float(cash))
            reason = "failed"
            try:
                with Progress() as progress:
                    events = self._events(trader, progress, "backtest", steps)
                    await loop.run(events, trader, steps, tally.count)
                reason = "end of data"
            except asyncio.CancelledError:
                reason = "interrupted"
            except BotError as error:
                reason = f"failed: {error}"
                raise
            finally:
                if reason in ("end of data", "interrupted"):
                    await steps.flush()
                await end_session(database, session_id, _now_ms(), reason)
                summary = tally.summary(
                    "backtest", str(plan.path), session_id, reason, time.monotonic() - self._began
                )
                summary = replace(
                    summary,
                    hindsight=hindsight(learned_until_ms(config, self._strategy), tally.first_start_ms),
                    rules=plan.rules_text,
                    observed=dict(self._observed),
                    run=None if plan.replaces else plan.name,
                    funding_note=funding_note(
                        config.run.category,
                        plan.rates,
                        decided_closes(plan.source, plan.spans),
                        left_out=plan.no_funding,
                    ),
                )
                estimate = sharpe(tally.curve.returns(), DAY_MS)
                await save_run(index, self._finished(reason, summary, tally, estimate))
            if reason == "interrupted":
                done = f"{summary.bars} of its bars are decided and kept in {plan.path}"
                print(f"interrupted: run {plan.name}: {done}", file=sys.stderr)
                return None, {}
            await self._note_trial(index, tally, estimate)
            band: dict[str, Summary] = {}
            for preset in PRESETS if with_band else ():
                other = replace(config, broker=replace(config.broker, fills=preset))
                trader = build_trader(
                    other, self._strategy, instruments, opening, quotes=False, calendar=calendar
                )
                with Progress() as progress:
                    events = self._events(trader, progress, preset, None)
                    band[preset] = await scored(events, trader, (), cash, "backtest", preset)
        return summary, band

    async def _events(
        self, trader: Trader, progress: Progress, what: str, steps: StepWriter | None
    ) -> AsyncIterator[Bar | Funding]:
        """Bars to decide on, and funding between them; earlier bars are observed and, with ``steps``, stored."""
        spans = self._plan.spans
        settlements = Settlements(self._plan.rates)
        borrow = Borrow(self._config.broker.borrow_rate) if self._config.run.category == "equity" else None
        total = sum(span.count(self._plan.source.starts[symbol]) for symbol, span in spans.items())
        observed: list[Bar] = []
        done = 0

        async def observe() -> None:
            trader.observe_all(observed)
            if steps is not None:
                await steps.insert_history(observed)
            observed.clear()

        async for bar in self._plan.source.bars():
            span = spans[bar.symbol]
            if not span.observed_ms <= bar.start_ms < span.end_ms:
                continue
            done += 1
            if done % _BATCH_BARS == 0 or done == total:
                progress(what, done, total)
            for funding in settlements.before(bar):
                yield funding
            if bar.start_ms < span.decided_ms:
                observed.append(bar)
                if steps is not None:
                    self._observed[bar.symbol] += 1
                if len(observed) == _BATCH_BARS:
                    await observe()
                continue
            if observed:
                await observe()
            for charge in () if borrow is None else borrow.before(bar):
                yield charge
            yield bar
        await observe()
        for funding in settlements.rest():
            yield funding

    def _calendar(self) -> Calendar:
        """The market's calendar over all bars at hand, those outside of ``--from`` and ``--to`` as well."""
        run = self._config.run
        if run.calendar_name == NEVER_CLOSES:
            return ALWAYS_OPEN
        starts = chain.from_iterable(self._plan.source.starts.values())
        return calendar_for(run.calendar_name, run.interval, run.timezone, starts)

    def _finished(self, reason: str, summary: Summary, tally: Tally, estimate: Estimate | None) -> Run:
        status = {"end of data": "finished", "interrupted": "interrupted"}.get(reason, "failed")
        return msgspec.structs.replace(
            self._row,
            status=status,
            seconds=summary.seconds,
            bars_sha256=self._digest.hexdigest(),
            first_ms=tally.first_start_ms,
            last_ms=tally.last_start_ms,
            observed=sum(self._observed.values()),
            decided=summary.bars,
            fills=summary.fills,
            trades=summary.round_trips,
            total_return=summary.total_return,
            max_drawdown=summary.max_drawdown,
            sharpe=None if estimate is None else estimate.value,
            sharpe_error=None if estimate is None else estimate.standard_error,
            halted=summary.halted,
        )

    async def _note_trial(self, index: Database, tally: Tally, estimate: Estimate | None) -> None:
        assert tally.first_start_ms is not None
        assert tally.last_start_ms is not None
        await note_trial(
            index,
            EvaluatedBars(
                symbols=self._plan.source.symbols,
                interval=self._plan.source.interval,
                first_ms=tally.first_start_ms,
                last_ms=tally.last_start_ms,
                sha256=self._digest.hexdigest(),
            ),
            created_ms=_now_ms(),
            command="backtest",
            configuration=configuration_name(self._config, self._strategy),
            sharpe=None if estimate is None else estimate.value,
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
