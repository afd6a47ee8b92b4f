"""A backtest as a value: the same core over bars at hand, written as a run of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.config import Config
from bot.errors import BotError
from bot.market import Bar, Funding
from bot.market.borrow import Borrow
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
from bot.sessions.backtest_plan import Options, Plan, market_calendar, plan_backtest
from bot.sessions.bar_source import decided_closes
from bot.sessions.fill_scenarios import PRESETS, Scenarios, run_preset
from bot.sessions.known_funding import funding_note
from bot.sessions.session import SessionCounter, Summary, hindsight, with_decisions
from bot.store.account.funding_rates import save_funding_rates
from bot.store.account.state import load_account
from bot.store.account.steps import StepWriter, begin_session, end_session, save_instruments
from bot.store.bars import BarsDigest
from bot.store.database import Database, Identity, discard
from bot.store.runs.catalogue import Run, index_beside, save_run
from bot.store.runs.schema import INDEX
from bot.store.runs.trials import EvaluatedBars, note_trial
from bot.strategy import Strategy, declared_checks
from bot.trader import Trader
from bot.trading.fills import Preset
from bot.trading.opening import Opening
from bot.trading.performance import DAY_MS, Estimate, sharpe

Progress = Callable[[str, int, int], None]
"""Given what is being done, how much of it is done, and how much there is."""

INTERRUPTED = "interrupted"
"""How a backtest ends that was cut short: what it decided until then is kept."""

_FINISHED = "end of data"
_BATCH_BARS = 500


class Result(Struct, frozen=True, kw_only=True):
    """A backtest's figures, and under each preset of fills where that was asked for."""

    name: str
    summary: Summary
    scenarios: Scenarios = {}

    @property
    def interrupted(self) -> bool:
        """Whether it was cut short."""
        return self.summary.exit_reason == INTERRUPTED


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


async def backtest(
    options: Options,
    config: Config,
    strategies: Mapping[str, str],
    *,
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda text: None,
) -> Result:
    """Observe the first bars, decide on the others, and write a run of its own.

    ``strategies`` maps short names to ``module:Class``. ``tell`` is given what a person should hear besides.
    A cancellation cuts it short: what was decided is kept, and the result says so. Raises InputError and
    ConfigError for what cannot be run, before anything is written, and StrategyError where the strategy fails.
    """
    async with AsyncExitStack() as stack:
        plan = await plan_backtest(options, config, strategies, stack, tell)
        strategy = load_strategy(plan.config, strategies)
        return await run_plan(plan, strategy, all_fills=options.all_fills, progress=progress)


async def run_plan(
    plan: Plan, strategy: Strategy, *, all_fills: bool = False, progress: Progress = silent
) -> Result:
    """Run what was planned with this strategy; ``all_fills`` adds its figures under every preset."""
    result = await _Backtest(plan, strategy, progress).run(all_fills=all_fills)
    return replace(result, summary=await with_decisions(result.summary))


class _Backtest:
    """One run, from its first observed bar to its row in the index."""

    def __init__(self, plan: Plan, strategy: Strategy, progress: Progress) -> None:
        self._plan = plan
        self._strategy = strategy
        self._progress = progress
        self._config = plan.config
        self._calendar = market_calendar(plan.config, plan.source)
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

    async def run(self, *, all_fills: bool) -> Result:
        """The run's result, once its rows are written."""
        config, plan = self._config, self._plan
        identity = Identity(
            mode="backtest", category=config.run.category, starting_cash=config.broker.starting_cash
        )
        if plan.replaces:
            await discard(plan.path, "backtest")
        async with (
            Database.open(index_beside(plan.path), kind=INDEX) as index,
            Database.open(plan.path, identity, durable=False) as database,
        ):
            await save_run(index, self._row)
            opening = opening_of(await load_account(database))
            counter = SessionCounter((), float(config.broker.starting_cash))
            summary = await self._decide_all(database, index, opening, counter)
            if summary.exit_reason == INTERRUPTED:
                return Result(name=plan.name, summary=summary)
            await self._note_trial(index, counter)
            scenarios: dict[str, Summary] = {}
            for preset in PRESETS if all_fills else ():
                scenarios[preset] = await self._scenario(opening, preset)
        return Result(name=plan.name, summary=summary, scenarios=scenarios)

    async def _decide_all(
        self, database: Database, index: Database, opening: Opening, counter: SessionCounter
    ) -> Summary:
        """Write the session and its end, whatever it is; the figures up to there."""
        plan, config = self._plan, self._config
        await save_instruments(database, plan.instruments.values())
        await save_funding_rates(database, plan.rates)
        trader = self._trader(config, opening)
        session_id = await begin_session(
            database,
            "backtest",
            msgspec.json.encode(config).decode(),
            self._row.started_ms,
            checkpoint_sha256=checkpoint_sha256(config, self._strategy),
            checks=declared_checks(self._strategy),
        )
        steps = StepWriter(database, session_id, batch_bars=_BATCH_BARS, digest=self._digest)
        reason = "failed"
        try:
            await loop.run(self._events(trader, "backtest", steps), trader, steps, counter.count)
            reason = _FINISHED
        except asyncio.CancelledError:
            reason = INTERRUPTED
        except BotError as error:
            reason = f"failed: {error}"
            raise
        finally:
            if reason in (_FINISHED, INTERRUPTED):
                await steps.flush()
            await end_session(database, session_id, _now_ms(), reason)
            summary = self._summary(counter, session_id, reason)
            await save_run(index, self._finished(summary, counter))
        return summary

    def _trader(self, config: Config, opening: Opening) -> Trader:
        return build_trader(
            config,
            self._strategy,
            self._plan.instruments,
            opening,
            quotes=False,
            calendar=self._calendar,
        )

    async def _scenario(self, opening: Opening, preset: Preset) -> Summary:
        """The figures under another preset of fills, from the same start; written nowhere."""
        broker = replace(self._config.broker, fill_preset=preset)
        trader = self._trader(replace(self._config, broker=broker), opening)
        events = self._events(trader, preset, None)
        return await run_preset(events, trader, (), broker.starting_cash, "backtest", preset)

    async def _events(
        self, trader: Trader, what: str, steps: StepWriter | None
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
                self._progress(what, done, total)
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

    def _summary(self, counter: SessionCounter, session_id: int, reason: str) -> Summary:
        plan = self._plan
        summary = counter.summary(
            "backtest", str(plan.path), session_id, reason, time.monotonic() - self._began
        )
        return replace(
            summary,
            hindsight=hindsight(learned_until_ms(self._config, self._strategy), counter.first_start_ms),
            rules=plan.rules_text,
            observed=dict(self._observed),
            run=None if plan.replaces else plan.name,
            funding_note=funding_note(
                self._config.run.category,
                plan.rates,
                decided_closes(plan.source, plan.spans),
                left_out=plan.no_funding,
            ),
        )

    def _finished(self, summary: Summary, counter: SessionCounter) -> Run:
        status = {_FINISHED: "finished", INTERRUPTED: "interrupted"}.get(summary.exit_reason, "failed")
        estimate = _sharpe(counter)
        return replace(
            self._row,
            status=status,
            seconds=summary.seconds,
            bars_sha256=self._digest.hexdigest(),
            first_ms=counter.first_start_ms,
            last_ms=counter.last_start_ms,
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

    async def _note_trial(self, index: Database, counter: SessionCounter) -> None:
        assert counter.first_start_ms is not None
        assert counter.last_start_ms is not None
        estimate = _sharpe(counter)
        await note_trial(
            index,
            EvaluatedBars(
                symbols=self._plan.source.symbols,
                interval=self._plan.source.interval,
                first_ms=counter.first_start_ms,
                last_ms=counter.last_start_ms,
                sha256=self._digest.hexdigest(),
            ),
            created_ms=_now_ms(),
            command="backtest",
            configuration=configuration_name(self._config, self._strategy),
            sharpe=None if estimate is None else estimate.value,
        )


def _sharpe(counter: SessionCounter) -> Estimate | None:
    return sharpe(counter.curve.returns(), DAY_MS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
