"""The odds, fitted anew each fold to what was over before it, with a memory that goes on learning after that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bot.evaluation.folds import Fold
from bot.model.feature_table import FeatureTable
from bot.model.odds import Odds, OddsNetwork
from bot.model.training.forecaster import OddsTrainingConfig, train_odds
from bot.model.training.material import material_before

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 128


@dataclass(frozen=True, slots=True)
class OddsTold:
    """Quantiles (n, levels) at one horizon of ``n`` queried rows; NaN where a row's state is not known.

    ``frozen`` is the memory that learned nothing after its fold began, ``gated`` head and memory by the gate.
    """

    head: Floats
    memory: Floats
    frozen: Floats
    gated: Floats


@dataclass(frozen=True, slots=True)
class FoldOdds:
    """What speaks for the rows of one fold."""

    fold: Fold
    odds: Odds


def fit_odds(
    table: FeatureTable,
    folds: Sequence[Fold],
    *,
    config: OddsTrainingConfig = OddsTrainingConfig(),  # noqa: B008 - it is frozen
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[FoldOdds]:
    """One training a fold. Raises ValueError where the first fold has too little before it."""
    network = OddsNetwork(inputs=table.states.shape[1])
    fitted = []
    for i, fold in enumerate(folds):
        before = i * config.steps
        trained = train_odds(
            network,
            material_before(table, fold.first, network.horizons),
            config=config,
            on_step=lambda done, steps, before=before: on_step(before + done, len(folds) * steps),  # type: ignore[misc]
        )
        fitted.append(FoldOdds(fold, Odds(network, trained.weights)))
    return fitted


def tell_odds(table: FeatureTable, fitted: Sequence[FoldOdds], queries: Ints, horizon_bars: int) -> OddsTold:
    """Distributions at the queried rows, ascending, by a memory of every bar."""
    parts = [_tell(table, each, queries, horizon_bars) for each in fitted]
    return OddsTold(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _tell(
    table: FeatureTable, fitted: FoldOdds, queries: Ints, h: int
) -> tuple[Floats, Floats, Floats, Floats]:
    odds, fold = fitted.odds, fitted.fold
    queries = fold.rows(queries)
    outcome = table.outcome(h)[: fold.end]
    has_state = table.has_state[: fold.end]
    moments = np.flatnonzero(has_state & np.isfinite(outcome))
    states, units = odds.standings(table.states[moments], h)
    outcomes = outcome[moments] / units
    order = np.argsort(outcomes, kind="stable")
    moments, states, outcomes = moments[order], states[order], outcomes[order]
    spoken = np.flatnonzero(has_state[queries])
    told = np.full((4, len(queries), odds.network.levels), np.nan)
    for begin in range(0, len(spoken), _BLOCK):
        places = spoken[begin : begin + _BLOCK]
        rows = queries[places]
        # What has happened when the asking bar closes, and what had when the fold began.
        online = np.less_equal(moments + h, rows[:, None])
        frozen = np.broadcast_to(np.less(moments + h, fold.first), online.shape)
        query = odds.standings(table.states[rows], h)
        head = odds.at(odds.heads(table.states[rows]), h)
        memory, share = odds.recalled_by(states, outcomes, query, h, online)
        stood_still, _ = odds.recalled_by(states, outcomes, query, h, frozen)
        told[:, places] = head, memory, stood_still, odds.blends(head, memory, share, h)
    return told[0], told[1], told[2], told[3]
