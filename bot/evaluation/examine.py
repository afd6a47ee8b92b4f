"""The bot on bars of a real market: its forecasts and its trading beside everything they must beat."""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from bot.errors import InputError
from bot.evaluation import baselines as rivals
from bot.evaluation.baselines import Fold
from bot.evaluation.bot_run import (
    Answers,
    ModelMaker,
    Protocol,
    TraderMaker,
    Walk,
    in_order,
    library_of,
    recalled,
    shuffles,
    walk,
)
from bot.evaluation.findings import (
    BarsReport,
    Calibrated,
    Density,
    DensityGain,
    Gain,
    Signals,
    Skill,
    Stretch,
    Tenth,
)
from bot.evaluation.metrics import (
    Interval,
    calibrated_error_limit,
    calibration_error,
    calibration_errors,
    correlation,
    correlation_gain,
    correlation_interval,
    crps,
    gain_interval,
    learned_mixture,
    mean_interval,
    normal_quantiles,
    ranks,
    weighted_quantiles,
)
from bot.evaluation.trading_result import earned_by_bot, earned_by_rule, luck_of, rates_within, sides_of
from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar, FundingRate
from bot.market.borrow import Borrow, among_with
from bot.model.feature_table import Panel, panel_of
from bot.model.memory import MemoryConfig
from bot.model.odds import LEVELS
from bot.trading.reliability import Claim, ReliabilityCount

if TYPE_CHECKING:
    from bot.evaluation.fold_odds import FoldOdds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Progress = Callable[[str, int, int], None]

_SCORED = 12_000
_LEAST_BLOCK_BARS = 48
_LEAST_BARS = 2_000
_TENTHS = 10

MEMORY, FORECAST, FROZEN = "memory's vote", "the bot's forecast", "memory's vote, frozen"
RAW, PATH, SHUFFLED = "raw-window kNN", "price-path kNN", "memory's vote, shuffled outcomes"
LEAKED, FORESEEN = "LEAK: outcome known at once", "LEAK: memory of the future"
RIDGE, TREES = "ridge", "LightGBM"
TEMPERED = "memory and empirical, mean of quantiles"
HEAD, ODDS, ODDS_FROZEN = "head", "odds memory", "odds memory, frozen"
GATED, HALVED = "head and odds memory, gated", "head and odds memory, mean of quantiles"
UNCONDITIONAL, GAUSSIAN, EMPIRICAL = "unconditional", "EWMA-volatility Gaussian", "EWMA-volatility empirical"


class Costs(Struct, frozen=True, kw_only=True):
    """What the rules beside the bot pay for turning a position, and how much of the equity they hold."""

    turn: float
    fraction: float


def examine(
    bars: Mapping[str, Sequence[Bar]],
    protocol: Protocol,
    *,
    make_model: ModelMaker,
    make_trader: TraderMaker,
    memory: MemoryConfig,
    horizon_bars: int,
    costs: Costs,
    progress: Progress,
    rates: Sequence[FundingRate] = (),
    calendar: Calendar = ALWAYS_OPEN,
    borrow: Borrow | None = None,
) -> BarsReport:
    """Run the bot over the bars, all symbols in one memory, and judge it on the last of each.

    Bot and rules pay or receive what the funding ``rates`` come to; the bot pays for shares it borrows.
    Raises InputError where a symbol has too few bars.
    """
    for symbol, each in bars.items():
        if len(each) < _LEAST_BARS:
            raise InputError(f"{symbol} has {len(each)} bars; an evaluation takes at least {_LEAST_BARS}")
    progress("evaluation", 0, steps := 5 + len(bars))
    panels = {symbol: panel_of(each, calendar) for symbol, each in bars.items()}
    library = library_of(list(panels.values()))
    firsts = {symbol: _first_test(panel, protocol) for symbol, panel in panels.items()}
    starts = {symbol: int(panels[symbol].start_ms[first]) for symbol, first in firsts.items()}
    interval = next(iter(bars.values()))[0].interval
    progress("evaluation", 1, steps)

    events = among_with(borrow, in_order(bars), rates)
    run = walk(make_trader(), events, library, lambda bar: bar.start_ms >= starts[bar.symbol])
    progress("evaluation", 2, steps)
    scored = {symbol: _scored(panel, firsts[symbol], protocol) for symbol, panel in panels.items()}
    asked = np.concatenate([scored[symbol] + library.offsets[symbol] for symbol in panels])
    frozen = recalled(make_model(memory), in_order(bars), library, asked, frozen_from_ms=min(starts.values()))
    progress("evaluation", 3, steps)
    known = sum(len(panel) for panel in panels.values())
    small = [size for size in protocol.sizes if size < min(known, memory.size)]
    by_size = {
        size: recalled(make_model(replace(memory, size=size)), in_order(bars), library, asked)
        for size in small
    }
    by_size[min(known, memory.size)] = run.answers.of(asked)
    progress("evaluation", 4, steps)

    horizons = sorted({h for h in protocol.horizons if h <= horizon_bars} | {horizon_bars})
    missing = rivals.lightgbm_missing()
    left_out = [f"LightGBM: {missing}"] if missing else []
    if not protocol.quantile_trees:
        left_out.append("LightGBM quantiles: several minutes of fits; ask for them with --quantile-trees")
    if not protocol.odds:
        left_out.append("odds: about a minute a fold; ask for them with --odds")
    report = BarsReport(
        interval=interval,
        horizon_bars=horizon_bars,
        protocol=protocol,
        stretches=[],
        skill=[],
        gains=[],
        tenths=[],
        density=[],
        density_gains=[],
        calibration=[],
        signals=_signals(run, library.outcomes(horizon_bars), panels, interval, horizon_bars),
        earnings=[],
        luck={},
        sizes={size: [] for size in by_size},
        left_out=left_out,
        funded=sorted({rate.symbol for rate in rates}),
    )
    for i, (symbol, panel) in enumerate(panels.items()):
        folds = rivals.folds_of(firsts[symbol], len(panel), protocol.folds)
        odds: Sequence[FoldOdds] = ()
        if protocol.odds:
            odds, reason = _fitted_odds(panel, folds, progress)
            if reason:
                left_out.append(f"odds of {symbol}: {reason}")
        examiner = _Examiner(
            panel=panel,
            folds=folds,
            first=firsts[symbol],
            scored=scored[symbol],
            offset=library.offsets[symbol],
            protocol=protocol,
            memory=memory,
            horizon_bars=horizon_bars,
            trees=not missing,
            odds=odds,
        )
        for h in horizons:
            examiner.judge(report, h, library.outcomes(h), run.answers, frozen)
        for size, answers in by_size.items():
            report.sizes[size].append(
                examiner.voted(answers, library.outcomes(horizon_bars), horizon_bars, MEMORY)
            )
        examiner.judge_similarity(report, run.answers, library.outcomes(horizon_bars))
        examiner.judge_calibration(report, run.answers, library.outcomes(horizon_bars), interval)
        own_rates = (rate for rate in rates if rate.symbol == symbol)
        examiner.judge_rules(report, costs, rates_within(panel, own_rates, bars[symbol][-1].close_ms))
        rows = np.arange(firsts[symbol], len(panel))
        report.luck[symbol] = luck_of(panel, rows, run.held[rows + library.offsets[symbol]])
        report.stretches.append(_stretch(panel, firsts[symbol], len(scored[symbol])))
        progress("evaluation", 5 + i, steps)
    rows = np.concatenate([np.arange(firsts[s], len(panels[s])) + library.offsets[s] for s in panels])
    bot = earned_by_bot(run.equity, run.fills, run.held, rows, protocol.trials, run.funding, run.trips)
    report.earnings.insert(0, bot)
    progress("evaluation", steps, steps)
    return report


class _Examiner:
    """Judges one symbol. All methods are scored on the same bars."""

    def __init__(
        self,
        *,
        panel: Panel,
        folds: list[Fold],
        first: int,
        scored: Ints,
        offset: int,
        protocol: Protocol,
        memory: MemoryConfig,
        horizon_bars: int,
        trees: bool,
        odds: Sequence["FoldOdds"],
    ) -> None:
        self._panel = panel
        self._first = first
        self._scored = scored
        self._offset = offset
        self._protocol = protocol
        self._memory = memory
        self._horizon_bars = horizon_bars
        self._trees = trees
        self._folds = folds
        self._odds = odds
        self._forecasts: dict[str, Floats] = {}

    def judge(
        self, report: BarsReport, horizon_bars: int, outcomes: Floats, online: Answers, frozen: Answers
    ) -> None:
        """Means and distributions at one horizon, into the report."""
        panel, queries = self._panel, self._scored
        outcome = panel.outcome(horizon_bars)
        came = np.isfinite(outcome[queries])
        forecasts = self._means(horizon_bars, outcome, outcomes, online, frozen)
        if horizon_bars == self._horizon_bars:
            self._forecasts = forecasts
        for method, forecast in forecasts.items():
            rows = came & np.isfinite(forecast)
            report.skill.append(self._skill(method, horizon_bars, forecast[rows], queries[rows]))
        report.skill.append(self._shuffled(horizon_bars, outcomes, online))
        for method, rival in ((MEMORY, RAW), (MEMORY, FROZEN), (FORECAST, MEMORY)):
            if method in forecasts and rival in forecasts:
                rows = came & np.isfinite(forecasts[method]) & np.isfinite(forecasts[rival])
                gain = correlation_gain(
                    forecasts[method][rows],
                    forecasts[rival][rows],
                    outcome[queries[rows]],
                    queries[rows],
                    self._block(horizon_bars),
                )
                report.gains.append(
                    Gain(symbol=panel.symbol, method=method, rival=rival, horizon_bars=horizon_bars, ic=gain)
                )
        self._judge_densities(report, horizon_bars, outcome, outcomes, online)

    def voted(self, answers: Answers, outcomes: Floats, horizon_bars: int, method: str) -> Skill:
        """The skill of the neighbors' vote."""
        forecast = self._vote(answers, outcomes)
        came = np.isfinite(self._panel.outcome(horizon_bars)[self._scored]) & np.isfinite(forecast)
        return self._skill(method, horizon_bars, forecast[came], self._scored[came])

    def judge_similarity(self, report: BarsReport, online: Answers, outcomes: Floats) -> None:
        """The vote's IC by tenths of the nearest moment's similarity."""
        answers = self._mine(online)
        rows = answers.rows - self._offset
        outcome = self._panel.outcome(self._horizon_bars)[rows]
        vote = answers.vote(outcomes)
        came = np.isfinite(outcome)
        if came.sum() < 3 * _TENTHS:
            return
        edges = np.quantile(answers.similarity[came], np.linspace(0.0, 1.0, _TENTHS + 1))
        for i, (low, high) in enumerate(pairwise(edges.tolist())):
            inside = came & (answers.similarity >= low)
            inside &= answers.similarity <= high if i == _TENTHS - 1 else answers.similarity < high
            if inside.sum() < 3:
                continue
            ic = correlation_interval(
                vote[inside], outcome[inside], rows[inside], self._block(self._horizon_bars)
            )
            report.tenths.append(
                Tenth(symbol=self._panel.symbol, low=low, high=high, bars=int(inside.sum()), ic=ic)
            )

    def judge_calibration(self, report: BarsReport, online: Answers, outcomes: Floats, interval: str) -> None:
        """Stated probabilities of a rise, over forecasts that do not overlap."""
        panel, h = self._panel, self._horizon_bars
        every = online.of(np.arange(self._first, len(panel)) + self._offset)
        every = every.of(every.rows[np.isfinite(outcomes[every.rows])])
        answers = every.of(np.arange(self._first, len(panel), h) + self._offset)
        if not len(answers.rows):
            return
        rose = (outcomes[answers.rows] > 0.0).astype(np.float64)
        count = ReliabilityCount()
        step = INTERVAL_MS[interval]
        for row, stated, came in zip(
            answers.rows.tolist(), answers.rising.tolist(), rose.tolist(), strict=True
        ):
            begin = int(panel.clock_ms[row - self._offset]) + step
            count.add(
                Claim(
                    symbol=panel.symbol,
                    start_ms=begin,
                    end_ms=begin + h * step,
                    confidence=stated,
                    right=came > 0.0,
                )
            )
        squares, rival = (answers.rising - rose) ** 2, (answers.base - rose) ** 2
        places, block = answers.rows - self._offset, self._block(h)
        report.calibration.append(
            Calibrated(
                symbol=panel.symbol,
                forecasts=len(rose),
                error=calibration_error(answers.rising, rose),
                limit=calibrated_error_limit(answers.rising),
                errors=calibration_errors(
                    every.rising, (outcomes[every.rows] > 0.0).astype(np.float64), every.rows, h
                ),
                brier=mean_interval(squares, places, block),
                brier_gain=gain_interval(squares, rival, places, block),
                reliability=count.result(),
            )
        )

    def judge_rules(self, report: BarsReport, costs: Costs, rates: Floats) -> None:
        """What the baselines would have earned, traded once a horizon; ``rates`` sums each bar's funding."""
        panel, h = self._panel, self._horizon_bars
        rows = np.arange(self._first, len(panel))
        scale = panel.scale(h)[self._scored]
        always = np.zeros(len(self._scored))
        # Entering and leaving; a forecast of less is not worth its costs.
        worth = 2.0 * costs.turn / scale
        rules: dict[str, tuple[Floats, Floats]] = {
            "momentum": (self._forecasts["momentum"], always),
            "reversal": (self._forecasts["reversal"], always),
            "random entries": (self._forecasts["random"], always),
        }
        for method in (RAW, PATH, RIDGE, TREES, LEAKED):
            if method in self._forecasts:
                rules[f"{method}, where it pays"] = (self._forecasts[method], worth)
        held = {
            "flat": np.zeros(len(rows)),
            "buy and hold": np.ones(len(rows)),
        } | {
            name: sides_of(np.nan_to_num(forecast), self._scored, rows, hold_bars=h, least=least)
            for name, (forecast, least) in rules.items()
        }
        for name, sides in held.items():
            report.earnings.append(
                earned_by_rule(
                    f"{panel.symbol} {name}",
                    panel,
                    rows,
                    sides,
                    fraction=costs.fraction,
                    cost=costs.turn,
                    trials=self._protocol.trials,
                    rates=rates[rows],
                )
            )

    def _means(
        self, horizon_bars: int, outcome: Floats, outcomes: Floats, online: Answers, frozen: Answers
    ) -> dict[str, Floats]:
        """Forecasts of the mean scaled outcome at the scored bars; NaN where there is none."""
        panel, queries = self._panel, self._scored
        forecasts = {
            "momentum": rivals.momentum(panel, queries),
            "reversal": rivals.reversal(panel, queries),
            "random": rivals.noise(queries, seed=horizon_bars),
            RAW: self._nearest(rivals.window_keys(panel), outcome, "past"),
            PATH: self._nearest(rivals.path_keys(panel), outcome, "past"),
            RIDGE: self._fitted(horizon_bars, outcome, rivals.ridge),
        }
        if self._trees:
            forecasts[TREES] = self._fitted(horizon_bars, outcome, rivals.lightgbm)
        forecasts[MEMORY] = self._vote(online, outcomes)
        forecasts[FROZEN] = self._vote(frozen, outcomes)
        if horizon_bars == self._horizon_bars:
            mine = self._mine(online)
            rows = mine.rows - self._offset
            forecasts[FORECAST] = self._placed(mine, mine.expected / panel.scale(horizon_bars)[rows])
        paths = rivals.path_keys(panel)
        forecasts[LEAKED] = self._nearest(paths, outcome, "unmatured")
        forecasts[FORESEEN] = self._nearest(paths, outcome, "future")
        return forecasts

    def _judge_densities(
        self, report: BarsReport, horizon_bars: int, outcome: Floats, outcomes: Floats, online: Answers
    ) -> None:
        panel, h = self._panel, horizon_bars
        came = self._scored[np.isfinite(outcome[self._scored])]
        mine = online.of(came + self._offset)
        if self._odds:
            # All are scored on the same bars; a state looks further back than a key.
            mine = mine.of(np.flatnonzero(panel.stated) + self._offset)
        rows = mine.rows - self._offset
        if not len(rows):
            return
        quantiles = self._past_quantiles(h, outcome, rows)
        quantiles[MEMORY] = weighted_quantiles(*mine.voted(outcomes))
        # So few neighbors alone make a ragged distribution; half of them is half of what they know.
        quantiles[TEMPERED] = (quantiles[MEMORY] + quantiles[EMPIRICAL]) / 2.0
        pairs = [(MEMORY, EMPIRICAL), (TEMPERED, EMPIRICAL)]
        if self._trees and self._protocol.quantile_trees:
            # Beside the odds it is given what they are given.
            inputs = panel.states if self._odds else panel.inputs
            quantiles[TREES] = np.sort(
                np.column_stack(
                    [
                        rivals.fitted(
                            inputs,
                            outcome,
                            h,
                            self._folds,
                            rows,
                            lambda x, y, level=level: rivals.lightgbm(x, y, level=level),  # type: ignore[misc]
                        )
                        for level in LEVELS.tolist()
                    ]
                ),
                axis=1,
            )
            blend = f"{TREES} and memory, mean of quantiles"
            quantiles[blend] = (quantiles[TREES] + quantiles[MEMORY]) / 2.0
            pairs += [(MEMORY, TREES), (blend, TREES)]
        if self._odds:
            pairs += self._add_odds(quantiles, h, outcome, rows)
        losses = {method: crps(each, outcome[rows]) for method, each in quantiles.items()}
        block = self._block(h)
        for method, loss in losses.items():
            low, high = quantiles[method][:, 0], quantiles[method][:, -1]
            report.density.append(
                Density(
                    symbol=panel.symbol,
                    method=method,
                    horizon_bars=h,
                    bars=len(rows),
                    crps=float(loss.mean()),
                    gain=gain_interval(loss, losses[EMPIRICAL], rows, block),
                    covered=float(((outcome[rows] >= low) & (outcome[rows] <= high)).mean()),
                )
            )
        report.density_gains.extend(
            DensityGain(
                symbol=panel.symbol,
                method=method,
                rival=rival,
                horizon_bars=h,
                gain=gain_interval(losses[method], losses[rival], rows, block),
            )
            for method, rival in pairs
        )

    def _add_odds(
        self, quantiles: dict[str, Floats], horizon_bars: int, outcome: Floats, rows: Ints
    ) -> list[tuple[str, str]]:
        """Distributions by odds into ``quantiles``; returns whom to compare with whom."""
        from bot.evaluation.fold_odds import tell_odds

        told = tell_odds(self._panel, self._odds, rows, horizon_bars)
        quantiles |= {HEAD: told.head, ODDS: told.memory, ODDS_FROZEN: told.frozen, GATED: told.gated}
        quantiles[HALVED] = (told.head + told.memory) / 2.0
        pairs = [(HEAD, EMPIRICAL), (ODDS, EMPIRICAL), (ODDS, HEAD), (ODDS, ODDS_FROZEN)]
        pairs += [(GATED, HEAD), (HALVED, HEAD)]
        if TREES in quantiles:
            blend = f"{TREES} and odds memory, mean of quantiles"
            quantiles[blend] = (quantiles[TREES] + told.memory) / 2.0
            whole = f"{TREES} and gated forecast, mean of quantiles"
            quantiles[whole] = (quantiles[TREES] + told.gated) / 2.0
            pairs += [(ODDS, TREES), (blend, TREES), (whole, TREES)]
            for method, each in ((ODDS, told.memory), (GATED, told.gated)):
                weighed = f"{TREES} and {method}, weighed by what came"
                quantiles[weighed] = learned_mixture(
                    each, quantiles[TREES], outcome[rows], rows, horizon_bars
                )
                pairs.append((weighed, TREES))
        return pairs

    def _past_quantiles(self, horizon_bars: int, outcome: Floats, rows: Ints) -> dict[str, Floats]:
        """Distributions that know no more than the past of each fold, and at best the volatility."""
        scale = self._panel.scale(horizon_bars)
        parts: dict[str, list[Floats]] = {UNCONDITIONAL: [], GAUSSIAN: [], EMPIRICAL: []}
        for fold in self._folds:
            asked = rows[(rows >= fold.first) & (rows < fold.end)]
            end = _known_before(fold, horizon_bars)
            past = outcome[:end]
            known = np.isfinite(past)
            ones = np.ones(len(asked))
            raw = np.quantile((past * scale[:end])[known], LEVELS)
            parts[UNCONDITIONAL].append(raw[None] / scale[asked][:, None])
            parts[GAUSSIAN].append(normal_quantiles(ones))
            parts[EMPIRICAL].append(np.outer(ones, np.quantile(past[known], LEVELS)))
        return {method: np.concatenate(each) for method, each in parts.items()}

    def _nearest(self, keys: NDArray[np.float32], outcome: Floats, knows: rivals.Knows) -> Floats:
        return rivals.nearest_mean(
            keys,
            outcome,
            self._scored,
            neighbors=self._memory.neighbors,
            matured_bars=self._horizon_bars,
            zone_bars=max(keys.shape[1] // 2, self._horizon_bars),
            temperature=self._memory.temperature,
            knows=knows,
        )

    def _fitted(self, horizon_bars: int, outcome: Floats, fit: rivals.Fit) -> Floats:
        return rivals.fitted(self._panel.inputs, outcome, horizon_bars, self._folds, self._scored, fit)

    def _shuffled(self, horizon_bars: int, outcomes: Floats, online: Answers) -> Skill:
        """The mean skill over many shuffles, with the 95 % interval of that mean."""
        outcome = self._panel.outcome(horizon_bars)[self._scored]
        pairs = []
        for dealt in shuffles(outcomes, horizon_bars):
            forecast = self._vote(online, dealt)
            rows = np.isfinite(outcome) & np.isfinite(forecast)
            pairs.append(
                (
                    correlation(forecast[rows], outcome[rows]),
                    correlation(ranks(forecast[rows]), ranks(outcome[rows])),
                )
            )
        ic, rank_ic = (_mean_of_deals(np.array(values)) for values in zip(*pairs, strict=True))
        return Skill(
            symbol=self._panel.symbol,
            method=SHUFFLED,
            horizon_bars=horizon_bars,
            bars=int(np.isfinite(outcome).sum()),
            ic=ic,
            rank_ic=rank_ic,
        )

    def _skill(self, method: str, horizon_bars: int, forecast: Floats, rows: Ints) -> Skill:
        outcome = self._panel.outcome(horizon_bars)[rows]
        block = self._block(horizon_bars)
        return Skill(
            symbol=self._panel.symbol,
            method=method,
            horizon_bars=horizon_bars,
            bars=len(rows),
            ic=correlation_interval(forecast, outcome, rows, block),
            rank_ic=correlation_interval(ranks(forecast), ranks(outcome), rows, block),
        )

    def _vote(self, answers: Answers, outcomes: Floats) -> Floats:
        mine = self._mine(answers)
        return self._placed(mine, mine.vote(outcomes))

    def _mine(self, answers: Answers) -> Answers:
        return answers.of(self._scored + self._offset)

    def _placed(self, mine: Answers, forecast: Floats) -> Floats:
        placed = np.full(len(self._scored), np.nan)
        placed[np.searchsorted(self._scored, mine.rows - self._offset)] = forecast
        return placed

    def _block(self, horizon_bars: int) -> int:
        return max(_LEAST_BLOCK_BARS, 2 * horizon_bars)


def _fitted_odds(panel: Panel, folds: Sequence[Fold], progress: Progress) -> tuple[Sequence["FoldOdds"], str]:
    """Odds by fold, or none and why there are none."""
    if find_spec("torch") is None:
        return (), "torch is not installed"
    # Only whoever asks for odds waits for torch.
    from bot.evaluation.fold_odds import fit_odds

    what = f"odds of {panel.symbol}"
    try:
        return fit_odds(panel, folds, on_step=lambda done, total: progress(what, done, total)), ""
    except ValueError as error:
        return (), str(error)


def _mean_of_deals(values: Floats) -> Interval:
    middle = float(values.mean())
    reach = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(value=middle, low=middle - reach, high=middle + reach)


def _known_before(fold: Fold, horizon_bars: int) -> int:
    return max(0, fold.first - horizon_bars)


def _first_test(panel: Panel, protocol: Protocol) -> int:
    return len(panel) - int(protocol.test_share * len(panel))


def _scored(panel: Panel, first: int, protocol: Protocol) -> Ints:
    every = protocol.every or max(1, (len(panel) - first) // _SCORED)
    rows = np.arange(first, len(panel), every)
    return rows[np.isfinite(panel.volatility[rows])]


def _stretch(panel: Panel, first: int, scored: int) -> Stretch:
    return Stretch(
        symbol=panel.symbol,
        bars=len(panel),
        gaps=int((panel.unbroken == 1).sum()) - 1,
        first_ms=int(panel.start_ms[0]),
        test_ms=int(panel.start_ms[first]),
        last_ms=int(panel.start_ms[-1]),
        scored=scored,
    )


def _signals(
    run: Walk, outcomes: Floats, panels: Mapping[str, Panel], interval: str, horizon_bars: int
) -> Signals:
    """How many signals there were, and how far their confidence could be believed."""
    names = [symbol for symbol, panel in panels.items() for _ in range(len(panel))]
    start_ms = np.concatenate([panel.clock_ms for panel in panels.values()])
    count = ReliabilityCount()
    step = INTERVAL_MS[interval]
    for row, confidence, side in run.claims:
        if np.isfinite(outcomes[row]):
            begin = int(start_ms[row]) + step
            count.add(
                Claim(
                    symbol=names[row],
                    start_ms=begin,
                    end_ms=begin + horizon_bars * step,
                    confidence=confidence,
                    right=bool(side * outcomes[row] > 0.0),
                )
            )
    return Signals(
        bars=run.decided,
        forecast=len(run.answers.rows),
        signalled=run.signalled,
        gates=dict(run.gates),
        claims=count.result(),
    )
