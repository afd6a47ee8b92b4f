"""The bot on bars of a real market: its forecasts and its trading beside everything they must beat."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from bot.errors import InputError
from bot.evaluation import baselines
from bot.evaluation.bot_run import (
    BotRun,
    ModelMaker,
    Protocol,
    RecallTable,
    StackedTables,
    TraderMaker,
    in_order,
    recall_at,
    run_bot,
    stack_tables,
)
from bot.evaluation.calibration import calibrated, signals
from bot.evaluation.distributions import distribution_scores
from bot.evaluation.findings import (
    BarsReport,
    Calibrated,
    Decile,
    DistributionGain,
    DistributionScore,
    Gain,
    Period,
    Skill,
)
from bot.evaluation.folds import SymbolData, split
from bot.evaluation.skill import deciles, mean_forecasts, shuffled_skill, skill_gains, skills, vote_skill
from bot.evaluation.trading_result import (
    BaselineCosts,
    TradingResult,
    baseline_results,
    bot_result,
    permutation_p_value,
    rates_within,
)
from bot.market import ALWAYS_OPEN, Bar, Calendar, FundingRate
from bot.market.borrow import Borrow, among_with
from bot.model.feature_table import feature_table
from bot.model.memory.moments import MemoryConfig

if TYPE_CHECKING:
    from bot.evaluation.fold_odds import FoldOdds

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

_MIN_BARS = 2_000


def examine(
    bars: Mapping[str, Sequence[Bar]],
    protocol: Protocol,
    *,
    make_model: ModelMaker,
    make_trader: TraderMaker,
    memory: MemoryConfig,
    horizon_bars: int,
    costs: BaselineCosts,
    progress: Progress,
    rates: Sequence[FundingRate] = (),
    calendar: Calendar = ALWAYS_OPEN,
    borrow: Borrow | None = None,
) -> BarsReport:
    """Run the bot over the bars, all symbols in one memory, and score it on the last of each.

    Bot and baselines pay or receive funding at the ``rates``; the bot pays for shares it borrows.
    Raises InputError where a symbol has too few bars.
    """
    for symbol, series in bars.items():
        if len(series) < _MIN_BARS:
            raise InputError(f"{symbol} has {len(series)} bars; an evaluation takes at least {_MIN_BARS}")
    stages, total = count(), 5 + len(bars)

    def next_stage() -> None:
        progress("evaluation", next(stages), total)

    next_stage()
    tables = {symbol: feature_table(series, calendar) for symbol, series in bars.items()}
    stacked = stack_tables(list(tables.values()))
    symbols = [split(table, stacked.offsets[s], protocol, horizon_bars) for s, table in tables.items()]
    next_stage()

    first_ms = {data.symbol: data.first_ms for data in symbols}
    events = among_with(borrow, in_order(bars), rates)
    run = run_bot(make_trader(), events, stacked, lambda bar: bar.start_ms >= first_ms[bar.symbol])
    next_stage()

    queries = np.concatenate([data.scored + data.offset for data in symbols])
    frozen = recall_at(
        make_model(memory), in_order(bars), stacked, queries, frozen_from_ms=min(first_ms.values())
    )
    next_stage()

    whole = min(sum(map(len, tables.values())), memory.size)
    by_size = {
        size: recall_at(make_model(replace(memory, size=size)), in_order(bars), stacked, queries)
        for size in protocol.sizes
        if size < whole
    } | {whole: run.recalls.at(queries)}
    next_stage()

    missing = baselines.lightgbm_missing()
    examination = _Examination(
        protocol=protocol,
        memory=memory,
        costs=costs,
        with_trees=not missing,
        stacked=stacked,
        run=run,
        frozen=frozen,
        by_size=by_size,
        progress=progress,
    )
    findings = []
    for data in symbols:
        own_rates = (rate for rate in rates if rate.symbol == data.symbol)
        charged = rates_within(data.table, own_rates, bars[data.symbol][-1].close_ms)
        findings.append(examination.judge(data, charged))
        next_stage()
    rows = np.concatenate([data.test_rows + data.offset for data in symbols])
    bot = bot_result(run.equity, run.fills, run.held, rows, protocol.trials, run.funding, run.trips)
    report = BarsReport(
        interval=symbols[0].table.interval,
        horizon_bars=horizon_bars,
        protocol=protocol,
        periods=[found.period for found in findings],
        skill=[skill for found in findings for skill in found.skill],
        gains=[gain for found in findings for gain in found.gains],
        deciles=[decile for found in findings for decile in found.deciles],
        distributions=[score for found in findings for score in found.distributions],
        distribution_gains=[gain for found in findings for gain in found.distribution_gains],
        calibration=[calibration for found in findings for calibration in found.calibration],
        signals=signals(run, symbols, stacked.outcomes(horizon_bars)),
        trading=[bot, *(result for found in findings for result in found.trading)],
        permutation_p_values={found.period.symbol: found.permutation_p_value for found in findings},
        sizes={size: [found.by_size[size] for found in findings] for size in by_size},
        skipped=[*_skipped(protocol, missing), *(reason for found in findings for reason in found.skipped)],
        funded=sorted({rate.symbol for rate in rates}),
    )
    next_stage()
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    """The report's rows of one symbol."""

    period: Period
    skill: list[Skill]
    gains: list[Gain]
    deciles: list[Decile]
    distributions: list[DistributionScore]
    distribution_gains: list[DistributionGain]
    calibration: list[Calibrated]
    trading: list[TradingResult]
    permutation_p_value: float | None
    by_size: dict[int, Skill]
    skipped: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examination:
    """Judges one symbol after the other, all methods on the same bars."""

    protocol: Protocol
    memory: MemoryConfig
    costs: BaselineCosts
    with_trees: bool
    stacked: StackedTables
    run: BotRun
    frozen: RecallTable
    by_size: Mapping[int, RecallTable]
    progress: Progress

    def judge(self, data: SymbolData, rates: Floats) -> _Findings:
        """A symbol's rows of the report; ``rates`` sums the funding rates settled during each of its bars."""
        online, protocol = self.run.recalls, self.protocol
        odds, reason = _fitted_odds(data, self.progress) if protocol.odds else ((), "")
        skill: list[Skill] = []
        gains: list[Gain] = []
        distributions: list[DistributionScore] = []
        distribution_gains: list[DistributionGain] = []
        # Longest last: the bot's own horizon, whose forecasts the baselines trade.
        for h in sorted({h for h in protocol.horizons if h <= data.horizon_bars} | {data.horizon_bars}):
            outcomes = self.stacked.outcomes(h)
            forecasts = mean_forecasts(
                data,
                h,
                outcomes,
                online=online,
                frozen=self.frozen,
                memory=self.memory,
                with_trees=self.with_trees,
            )
            skill += [*skills(data, h, forecasts), shuffled_skill(data, h, online, outcomes)]
            gains += skill_gains(data, h, forecasts)
            scores, score_gains = distribution_scores(
                data, h, outcomes, online, with_trees=self.with_trees and protocol.quantile_trees, odds=odds
            )
            distributions += scores
            distribution_gains += score_gains
        return _Findings(
            period=_period(data),
            skill=skill,
            gains=gains,
            deciles=list(deciles(data, online, outcomes)),
            distributions=distributions,
            distribution_gains=distribution_gains,
            calibration=list(calibrated(data, online, outcomes)),
            trading=baseline_results(data, forecasts, self.costs, rates, protocol.trials),
            permutation_p_value=permutation_p_value(
                data.table, data.test_rows, self.run.held[data.test_rows + data.offset]
            ),
            by_size={size: vote_skill(data, recalls, outcomes) for size, recalls in self.by_size.items()},
            skipped=[f"odds of {data.symbol}: {reason}"] if reason else [],
        )


def _fitted_odds(data: SymbolData, progress: Progress) -> tuple[Sequence["FoldOdds"], str]:
    """Odds by fold, or none and why there are none."""
    if find_spec("torch") is None:
        return (), "torch is not installed"
    # Only who asks for odds waits for torch.
    from bot.evaluation.fold_odds import fit_odds

    title = f"odds of {data.symbol}"
    try:
        return fit_odds(data.table, data.folds, on_step=lambda done, total: progress(title, done, total)), ""
    except ValueError as error:
        return (), str(error)


def _skipped(protocol: Protocol, lightgbm_missing: str) -> list[str]:
    """Why rows are missing for all symbols."""
    reasons = [f"LightGBM: {lightgbm_missing}"] if lightgbm_missing else []
    if not protocol.quantile_trees:
        reasons.append("LightGBM quantiles: several minutes of fits; ask for them with --quantile-trees")
    if not protocol.odds:
        reasons.append("odds: about a minute a fold; ask for them with --odds")
    return reasons


def _period(data: SymbolData) -> Period:
    table = data.table
    return Period(
        symbol=table.symbol,
        bars=len(table),
        gaps=int((table.contiguous_bars == 1).sum()) - 1,
        first_ms=int(table.start_ms[0]),
        test_ms=data.first_ms,
        last_ms=int(table.start_ms[-1]),
        scored=len(data.scored),
    )
