"""Baselines that a memory must beat, and two that cheat so that a leak is known when it is seen.

Each gives one figure a queried bar, in units of the volatility expected of the horizon. What is fitted is
fitted once a fold on rows whose outcome was over when the fold began; what is recalled is recalled online.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bot.evaluation.folds import Fold
from bot.model.feature_table import FeatureTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.float32]

Knows = Literal["past", "unmatured", "future"]
"""What a recall may see: outcomes that were over; also those still running; also moments yet to come."""

MOMENTUM, REVERSAL, RANDOM = "momentum", "reversal", "random"
RAW, PATH, RIDGE, TREES = "raw-window kNN", "price-path kNN", "ridge", "LightGBM"
LEAKED, FORESEEN = "LEAK: outcome known at once", "LEAK: memory of the future"

_BLOCK = 256
_OVER_FETCH = 8
_MOMENTUM_BARS = 24
_RIDGE = 100.0


def momentum(table: FeatureTable, queries: Ints) -> Floats:
    """The mean of the last 24 returns over volatility."""
    return np.asarray(table.window[queries, -_MOMENTUM_BARS:].mean(axis=1), np.float64)


def reversal(table: FeatureTable, queries: Ints) -> Floats:
    """The last return over volatility, turned round."""
    return np.asarray(-table.window[queries, -1], np.float64)


def noise(queries: Ints, seed: int) -> Floats:
    """Random forecasts: what no skill looks like."""
    return np.random.default_rng(seed).standard_normal(len(queries))


def window_keys(table: FeatureTable) -> Rows:
    """The last 48 returns over volatility as unit vectors; NaN rows where they are not known."""
    return _unit(table.window)


def path_keys(table: FeatureTable) -> Rows:
    """The path of the log price over the last 48 bars, its mean taken out, as unit vectors."""
    paths = np.cumsum(table.window, axis=1)
    return _unit(paths - paths.mean(axis=1, keepdims=True))


def _unit(rows: Rows) -> Rows:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, np.nan), np.float32)


def nearest_mean(
    keys: Rows,
    outcome: Floats,
    queries: Ints,
    *,
    neighbors: int,
    matured_bars: int,
    zone_bars: int,
    temperature: float,
    knows: Knows = "past",
) -> Floats:
    """The similarity-weighted mean outcome of each query's nearest distinct rows, by an exact scan.

    Rows count as distinct ``zone_bars`` apart, from each other and from the query; outcomes are over
    ``matured_bars`` later. 0 where nothing may be recalled. What cheats also sees the query's own
    surroundings, all but the query itself.
    """
    from bot.model.kernels.search import suppress_overlaps

    usable = np.isfinite(keys).all(axis=1) & np.isfinite(outcome)
    stored = np.flatnonzero(usable)
    matrix = np.ascontiguousarray(keys[stored])
    result = np.zeros(len(queries))
    fetch = min(len(stored), _OVER_FETCH * neighbors)
    wait = max(matured_bars, zone_bars) if knows == "past" else 1
    for begin in range(0, len(queries), _BLOCK):
        block = queries[begin : begin + _BLOCK]
        # Only rows before the block's last query can matter, unless the future is allowed.
        reach = len(stored) if knows == "future" else int(np.searchsorted(stored, block[-1] - wait, "right"))
        if not reach:
            continue
        scores = np.nan_to_num(keys[block]) @ matrix[:reach].T
        limit = np.searchsorted(stored, block - wait, "right")
        for i, query in enumerate(block.tolist()):
            row = scores[i]
            if knows == "future":
                row = np.where(stored == query, -np.inf, row)
                end = reach
            else:
                end = int(limit[i])
                row = row[:end]
            if not end:
                continue
            few = min(fetch, end)
            top = np.argpartition(row, end - few)[end - few :]
            top = top[np.argsort(-row[top], kind="stable")]
            chosen = suppress_overlaps(stored[top], zone_bars, neighbors)
            similarity = row[top][chosen]
            weight = np.exp((similarity - similarity[0]) / temperature)
            result[begin + i] = weight @ outcome[stored[top[chosen]]] / weight.sum()
    return result


Fit = Callable[[Rows, Floats], Callable[[Rows], Floats]]
"""Inputs and outcomes to a function from inputs to forecasts."""


def fitted(
    inputs: Rows, outcome: Floats, horizon_bars: int, folds: list[Fold], queries: Ints, fit: Fit
) -> Floats:
    """Forecasts of one fit a fold, each to the rows whose outcome was over when its fold began."""
    known = np.isfinite(outcome) & np.isfinite(inputs).all(axis=1)
    parts = []
    for fold in folds:
        train = np.flatnonzero(known[: fold.matured_before(horizon_bars)])
        rows = fold.rows(queries)
        parts.append(fit(inputs[train], outcome[train])(inputs[rows]))
    return np.concatenate(parts)


def ridge(inputs: Rows, outcome: Floats) -> Callable[[Rows], Floats]:
    """Linear regression of standardised inputs, shrunk by the weight of 100 rows."""
    mean, std = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    x = ((inputs - mean) / std).astype(np.float64)
    level = float(outcome.mean())
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ (outcome - level))

    def forecast(queries: Rows) -> Floats:
        return np.asarray(((queries - mean) / std).astype(np.float64) @ weights + level)

    return forecast


def lightgbm_missing() -> str:
    """Why there are no rows of LightGBM, as text; empty where it is installed."""
    try:
        import_module("lightgbm")
    except ImportError:
        return "lightgbm is not installed (pip install lightgbm)"
    return ""


def lightgbm(inputs: Rows, outcome: Floats, *, level: float | None = None) -> Callable[[Rows], Floats]:
    """Boosted trees: the mean, or with ``level`` that quantile. The same bits on every run."""
    trees = import_module("lightgbm")
    settings = {
        "objective": "l2" if level is None else "quantile",
        "num_leaves": 15,
        "learning_rate": 0.05,
        "min_data_in_leaf": 200,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "seed": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    if level is not None:
        settings["alpha"] = level
    booster = trees.train(settings, trees.Dataset(inputs, outcome), num_boost_round=80)
    return lambda queries: np.asarray(booster.predict(queries), np.float64)
