"""Forecast distributions, scored: quantiles of the memory, of the odds and of their baselines, by CRPS."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bot.evaluation import baselines
from bot.evaluation.baselines import TREES
from bot.evaluation.bot_run import RecallTable
from bot.evaluation.findings import DistributionGain, DistributionScore
from bot.evaluation.folds import SymbolData, block_bars
from bot.evaluation.metrics import crps, gain_interval, learned_mixture, normal_quantiles, weighted_quantiles
from bot.evaluation.skill import MEMORY
from bot.model.odds import LEVELS

if TYPE_CHECKING:
    from bot.evaluation.fold_odds import FoldOdds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNCONDITIONAL, GAUSSIAN, EMPIRICAL = "unconditional", "EWMA-volatility Gaussian", "EWMA-volatility empirical"
TEMPERED = "memory and empirical, mean of quantiles"
HEAD, ODDS, ODDS_FROZEN = "head", "odds memory", "odds memory, frozen"
GATED, HALVED = "head and odds memory, gated", "head and odds memory, mean of quantiles"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Quantiles (rows, levels) by name, and which of the names are compared with which."""

    quantiles: dict[str, Floats]
    compared: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: "Candidates") -> "Candidates":
        return Candidates(self.quantiles | other.quantiles, self.compared + other.compared)


def distribution_scores(
    data: SymbolData,
    horizon_bars: int,
    outcomes: Floats,
    online: RecallTable,
    *,
    with_trees: bool,
    odds: Sequence["FoldOdds"],
) -> tuple[list[DistributionScore], list[DistributionGain]]:
    """All distributions at one horizon, scored on the same bars. ``outcomes`` are those of all symbols."""
    table = data.table
    outcome = table.outcome(horizon_bars)
    recalls = online.at(data.scored[np.isfinite(outcome[data.scored])] + data.offset)
    if odds:
        # All are scored on the same bars; a state looks further back than a key.
        recalls = recalls.at(np.flatnonzero(table.has_state) + data.offset)
    rows = recalls.rows - data.offset
    if not len(rows):
        return [], []
    found = _past(data, horizon_bars, rows)
    found += _memory(recalls, outcomes, found.quantiles[EMPIRICAL])
    if with_trees:
        # Beside the odds it is given what they are given.
        inputs = table.states if odds else table.inputs
        found += _trees(data, horizon_bars, rows, inputs, found.quantiles[MEMORY])
    if odds:
        found += _odds(data, horizon_bars, rows, odds, found.quantiles.get(TREES))
    return _scored(data, horizon_bars, rows, found)


def _past(data: SymbolData, horizon_bars: int, rows: Ints) -> Candidates:
    """Distributions that know no more than the past of each fold, and at best the volatility."""
    outcome, scale = data.table.outcome(horizon_bars), data.table.scale(horizon_bars)
    parts: dict[str, list[Floats]] = {UNCONDITIONAL: [], GAUSSIAN: [], EMPIRICAL: []}
    for fold in data.folds:
        queries, end = fold.rows(rows), fold.matured_before(horizon_bars)
        past = outcome[:end]
        known = np.isfinite(past)
        ones = np.ones(len(queries))
        raw = np.quantile((past * scale[:end])[known], LEVELS)
        parts[UNCONDITIONAL].append(raw[None] / scale[queries][:, None])
        parts[GAUSSIAN].append(normal_quantiles(ones))
        parts[EMPIRICAL].append(np.outer(ones, np.quantile(past[known], LEVELS)))
    return Candidates({method: np.concatenate(quantiles) for method, quantiles in parts.items()})


def _memory(recalls: RecallTable, outcomes: Floats, empirical: Floats) -> Candidates:
    """The neighbors' outcomes as a distribution, alone and halfway to the empirical one."""
    memory = weighted_quantiles(*recalls.neighbor_outcomes(outcomes))
    # So few neighbors alone make a ragged distribution; half of them is half of what they know.
    quantiles = {MEMORY: memory, TEMPERED: (memory + empirical) / 2.0}
    return Candidates(quantiles, ((MEMORY, EMPIRICAL), (TEMPERED, EMPIRICAL)))


def _trees(
    data: SymbolData, horizon_bars: int, rows: Ints, inputs: NDArray[np.float32], memory: Floats
) -> Candidates:
    """LightGBM's quantiles, each level fitted by itself, and their mean with the memory's."""
    outcome = data.table.outcome(horizon_bars)

    def fit_at(level: float) -> baselines.Fit:
        return lambda x, y: baselines.lightgbm(x, y, level=level)

    levels = [
        baselines.fitted(inputs, outcome, horizon_bars, data.folds, rows, fit_at(level))
        for level in LEVELS.tolist()
    ]
    trees = np.sort(np.column_stack(levels), axis=1)
    blend = f"{TREES} and memory, mean of quantiles"
    return Candidates({TREES: trees, blend: (trees + memory) / 2.0}, ((MEMORY, TREES), (blend, TREES)))


def _odds(
    data: SymbolData, horizon_bars: int, rows: Ints, odds: Sequence["FoldOdds"], trees: Floats | None
) -> Candidates:
    """The odds' head, memory and their mixtures; beside trees also mixtures with those."""
    from bot.evaluation.fold_odds import tell_odds

    told = tell_odds(data.table, odds, rows, horizon_bars)
    found = Candidates(
        {
            HEAD: told.head,
            ODDS: told.memory,
            ODDS_FROZEN: told.frozen,
            GATED: told.gated,
            HALVED: (told.head + told.memory) / 2.0,
        },
        (
            (HEAD, EMPIRICAL),
            (ODDS, EMPIRICAL),
            (ODDS, HEAD),
            (ODDS, ODDS_FROZEN),
            (GATED, HEAD),
            (HALVED, HEAD),
        ),
    )
    if trees is None:
        return found
    outcome = data.table.outcome(horizon_bars)[rows]
    mixtures = {
        f"{TREES} and odds memory, mean of quantiles": (trees + told.memory) / 2.0,
        f"{TREES} and gated forecast, mean of quantiles": (trees + told.gated) / 2.0,
    }
    for method, quantiles in ((ODDS, told.memory), (GATED, told.gated)):
        name = f"{TREES} and {method}, weighed by what came"
        mixtures[name] = learned_mixture(quantiles, trees, outcome, rows, horizon_bars)
    return found + Candidates(mixtures, ((ODDS, TREES), *((name, TREES) for name in mixtures)))


def _scored(
    data: SymbolData, horizon_bars: int, rows: Ints, found: Candidates
) -> tuple[list[DistributionScore], list[DistributionGain]]:
    outcome, block = data.table.outcome(horizon_bars)[rows], block_bars(horizon_bars)
    losses = {method: crps(quantiles, outcome) for method, quantiles in found.quantiles.items()}
    scores = [
        DistributionScore(
            symbol=data.symbol,
            method=method,
            horizon_bars=horizon_bars,
            bars=len(rows),
            crps=float(losses[method].mean()),
            gain=gain_interval(losses[method], losses[EMPIRICAL], rows, block),
            coverage_90=float(((outcome >= quantiles[:, 0]) & (outcome <= quantiles[:, -1])).mean()),
        )
        for method, quantiles in found.quantiles.items()
    ]
    gains = [
        DistributionGain(
            symbol=data.symbol,
            method=method,
            baseline=baseline,
            horizon_bars=horizon_bars,
            gain=gain_interval(losses[method], losses[baseline], rows, block),
        )
        for method, baseline in found.compared
    ]
    return scores, gains
