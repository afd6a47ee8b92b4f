"""Forecasts of the mean, scored: how far the memory, the bot and their baselines know the direction of outcomes."""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bot.evaluation import baselines
from bot.evaluation.bot_run import RecallTable, permutations
from bot.evaluation.findings import Decile, Gain, Skill
from bot.evaluation.folds import SymbolData, block_bars
from bot.evaluation.metrics import Interval, correlation, correlation_gain, correlation_interval, ranks
from bot.model.memory.moments import MemoryConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Forecasts = Mapping[str, Floats]
"""By method, a forecast of the mean scaled outcome at each scored row; NaN where there is none."""

_DECILES = 10
_MIN_ROWS = 3

MEMORY, FORECAST, FROZEN = "memory's vote", "the bot's forecast", "memory's vote, frozen"
SHUFFLED = "memory's vote, shuffled outcomes"

_COMPARED = ((MEMORY, baselines.RAW), (MEMORY, FROZEN), (FORECAST, MEMORY))


def mean_forecasts(
    data: SymbolData,
    horizon_bars: int,
    outcomes: Floats,
    *,
    online: RecallTable,
    frozen: RecallTable,
    memory: MemoryConfig,
    with_trees: bool,
) -> dict[str, Floats]:
    """Every method's forecasts at one horizon; the bot's own only at its own. ``outcomes`` are those of all symbols."""
    table, queries = data.table, data.scored
    outcome = table.outcome(horizon_bars)

    def nearest(keys: NDArray[np.float32], knows: baselines.Knows) -> Floats:
        return baselines.nearest_mean(
            keys,
            outcome,
            queries,
            neighbors=memory.neighbors,
            matured_bars=data.horizon_bars,
            zone_bars=max(keys.shape[1] // 2, data.horizon_bars),
            temperature=memory.temperature,
            knows=knows,
        )

    def fitted(fit: baselines.Fit) -> Floats:
        return baselines.fitted(table.inputs, outcome, horizon_bars, data.folds, queries, fit)

    paths = baselines.path_keys(table)
    forecasts = {
        baselines.MOMENTUM: baselines.momentum(table, queries),
        baselines.REVERSAL: baselines.reversal(table, queries),
        baselines.RANDOM: baselines.noise(queries, seed=horizon_bars),
        baselines.RAW: nearest(baselines.window_keys(table), "past"),
        baselines.PATH: nearest(paths, "past"),
        baselines.RIDGE: fitted(baselines.ridge),
    }
    if with_trees:
        forecasts[baselines.TREES] = fitted(baselines.lightgbm)
    forecasts[MEMORY] = _votes(data, online, outcomes)
    forecasts[FROZEN] = _votes(data, frozen, outcomes)
    if horizon_bars == data.horizon_bars:
        recalls = data.recalled(online)
        scale = table.scale(horizon_bars)[recalls.rows - data.offset]
        forecasts[FORECAST] = data.placed(recalls, recalls.expected / scale)
    forecasts[baselines.LEAKED] = nearest(paths, "unmatured")
    forecasts[baselines.FORESEEN] = nearest(paths, "future")
    return forecasts


def skills(data: SymbolData, horizon_bars: int, forecasts: Forecasts) -> Iterator[Skill]:
    """Each method's skill, on the rows where it has a forecast."""
    has_outcome = np.isfinite(data.table.outcome(horizon_bars)[data.scored])
    for method, forecast in forecasts.items():
        rows = has_outcome & np.isfinite(forecast)
        yield _skill(data, method, horizon_bars, forecast[rows], data.scored[rows])


def skill_gains(data: SymbolData, horizon_bars: int, forecasts: Forecasts) -> Iterator[Gain]:
    """The memory's and the bot's IC less that of their nearest baselines."""
    outcome = data.table.outcome(horizon_bars)[data.scored]
    for method, baseline in _COMPARED:
        if method not in forecasts or baseline not in forecasts:
            continue
        rows = np.isfinite(outcome) & np.isfinite(forecasts[method]) & np.isfinite(forecasts[baseline])
        gain = correlation_gain(
            forecasts[method][rows],
            forecasts[baseline][rows],
            outcome[rows],
            data.scored[rows],
            block_bars(horizon_bars),
        )
        yield Gain(symbol=data.symbol, method=method, baseline=baseline, horizon_bars=horizon_bars, ic=gain)


def vote_skill(data: SymbolData, recalls: RecallTable, outcomes: Floats) -> Skill:
    """The skill of the neighbors' vote at the bot's own horizon."""
    (skill,) = skills(data, data.horizon_bars, {MEMORY: _votes(data, recalls, outcomes)})
    return skill


def shuffled_skill(data: SymbolData, horizon_bars: int, recalls: RecallTable, outcomes: Floats) -> Skill:
    """The mean skill of the vote over many permutations of outcomes, with the 95 % interval of that mean."""
    outcome = data.table.outcome(horizon_bars)[data.scored]
    pairs = []
    for permuted in permutations(outcomes, horizon_bars):
        forecast = _votes(data, recalls, permuted)
        rows = np.isfinite(outcome) & np.isfinite(forecast)
        pairs.append(
            (
                correlation(forecast[rows], outcome[rows]),
                correlation(ranks(forecast[rows]), ranks(outcome[rows])),
            )
        )
    ic, rank_ic = (_mean_of_permutations(np.array(values)) for values in zip(*pairs, strict=True))
    return Skill(
        symbol=data.symbol,
        method=SHUFFLED,
        horizon_bars=horizon_bars,
        bars=int(np.isfinite(outcome).sum()),
        ic=ic,
        rank_ic=rank_ic,
    )


def deciles(data: SymbolData, online: RecallTable, outcomes: Floats) -> Iterator[Decile]:
    """The vote's IC by deciles of the nearest moment's similarity; nothing of too few rows."""
    recalls = data.recalled(online)
    rows = recalls.rows - data.offset
    outcome, vote = data.table.outcome(data.horizon_bars)[rows], recalls.vote(outcomes)
    has_outcome = np.isfinite(outcome)
    if has_outcome.sum() < _MIN_ROWS * _DECILES:
        return
    edges = np.quantile(recalls.similarity[has_outcome], np.linspace(0.0, 1.0, _DECILES + 1))
    for i, (low, high) in enumerate(pairwise(edges.tolist())):
        inside = has_outcome & (recalls.similarity >= low)
        inside &= recalls.similarity <= high if i == _DECILES - 1 else recalls.similarity < high
        if inside.sum() < _MIN_ROWS:
            continue
        ic = correlation_interval(vote[inside], outcome[inside], rows[inside], block_bars(data.horizon_bars))
        yield Decile(symbol=data.symbol, low=low, high=high, bars=int(inside.sum()), ic=ic)


def _votes(data: SymbolData, table: RecallTable, outcomes: Floats) -> Floats:
    recalls = data.recalled(table)
    return data.placed(recalls, recalls.vote(outcomes))


def _skill(data: SymbolData, method: str, horizon_bars: int, forecast: Floats, rows: Ints) -> Skill:
    outcome, block = data.table.outcome(horizon_bars)[rows], block_bars(horizon_bars)
    return Skill(
        symbol=data.symbol,
        method=method,
        horizon_bars=horizon_bars,
        bars=len(rows),
        ic=correlation_interval(forecast, outcome, rows, block),
        rank_ic=correlation_interval(ranks(forecast), ranks(outcome), rows, block),
    )


def _mean_of_permutations(values: Floats) -> Interval:
    middle = float(values.mean())
    reach = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(value=middle, low=middle - reach, high=middle + reach)
