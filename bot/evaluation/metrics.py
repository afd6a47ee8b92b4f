"""Figures of forecasts, with errors: association, distributions, calibration, and Sharpe ratios of many trials.

Nothing here knows of bars. Rows are moments in order of time; ``places`` are their times in bars, so that
a block of the bootstrap holds what is close in time, whatever was left out.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.model.odds import LEVELS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_EULER = 0.5772156649015329
_NORMAL = NormalDist()
_DRAWS = 1000
_BINS = 10
_EQUAL_PARTS = 1_000


class Interval(Struct, frozen=True, kw_only=True, gc=False):
    """An estimate and its central 95 % interval; all NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float


def correlation(forecast: Floats, outcome: Floats) -> float:
    """Pearson's correlation; NaN where either side does not vary or fewer than three rows are given."""
    if len(forecast) < 3:
        return math.nan
    columns = _moments(forecast, outcome)
    return float(_correlation(columns.mean(axis=0)[None])[0])


def ranks(values: Floats) -> Floats:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse], dtype=np.float64)


def correlation_interval(
    forecast: Floats, outcome: Floats, places: Ints, block_bars: int, *, seed: int = 0
) -> Interval:
    """Pearson's correlation with its block-bootstrap interval."""
    if len(forecast) < 3:
        return Interval(value=math.nan, low=math.nan, high=math.nan)
    return _interval(_moments(forecast, outcome), _correlation, places, block_bars, seed)


def correlation_gain(
    forecast: Floats, baseline: Floats, outcome: Floats, places: Ints, block_bars: int, *, seed: int = 0
) -> Interval:
    """How much more a forecast correlates with the outcome than a baseline does, resampled in pairs."""
    columns = np.column_stack((_moments(forecast, outcome), _moments(baseline, outcome)))

    def gain(means: Floats) -> Floats:
        return _correlation(means[:, :5]) - _correlation(means[:, 5:])

    return _interval(columns, gain, places, block_bars, seed)


def mean_interval(values: Floats, places: Ints, block_bars: int, *, seed: int = 0) -> Interval:
    """The mean with its block-bootstrap interval."""
    return _interval(values[:, None], lambda means: means[:, 0], places, block_bars, seed)


def gain_interval(
    loss: Floats, baseline: Floats, places: Ints, block_bars: int, *, seed: int = 0
) -> Interval:
    """By what fraction a mean loss is below a baseline's, resampled in pairs."""
    columns = np.column_stack((loss, baseline))
    return _interval(columns, lambda means: 1.0 - means[:, 0] / means[:, 1], places, block_bars, seed)


def _interval(
    columns: Floats, statistic: Callable[[Floats], Floats], places: Ints, block_bars: int, seed: int
) -> Interval:
    """A statistic of column means, and its interval where whole blocks of time are drawn again."""
    if not len(columns):
        return Interval(value=math.nan, low=math.nan, high=math.nan)
    _, block = np.unique(places // block_bars, return_inverse=True)
    count = int(block.max()) + 1
    sums = np.column_stack([np.bincount(block, column, count) for column in columns.T])
    rows = np.bincount(block, minlength=count).astype(np.float64)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), _DRAWS)
    # Column by column: equal columns give equal means to the last bit, which one matrix product does not promise.
    means = np.column_stack([draws @ column for column in sums.T.copy()]) / (draws @ rows)[:, None]
    low, high = np.nanquantile(statistic(means), (0.025, 0.975)) if count > 1 else (math.nan, math.nan)
    return Interval(value=float(statistic(columns.mean(axis=0)[None])[0]), low=float(low), high=float(high))


def _moments(forecast: Floats, outcome: Floats) -> Floats:
    # Scaled first: the correlation stays as it is, and small numbers keep their digits.
    x = forecast / (np.abs(forecast).max() or 1.0)
    y = outcome / (np.abs(outcome).max() or 1.0)
    x, y = x - x.mean(), y - y.mean()
    return np.column_stack((x, y, x * x, y * y, x * y))


def _correlation(means: Floats) -> Floats:
    x, y, xx, yy, xy = means.T
    spread = (xx - x * x) * (yy - y * y)
    varies = spread > 1e-24
    return np.where(varies, (xy - x * y) / np.sqrt(np.where(varies, spread, 1.0)), math.nan)


def weighted_quantiles(values: Floats, weights: Floats, levels: Floats = LEVELS) -> Floats:
    """Quantiles (rows x levels) of each row's weighted sample (rows x samples, weights summing to 1).

    Between two sample points the quantile is interpolated; each point sits at the middle of its weight.
    A point of weight 0 counts for nothing.
    """
    order = np.argsort(values, axis=1, kind="stable")
    sorted_values = np.take_along_axis(values, order, axis=1)
    sorted_weights = np.take_along_axis(weights, order, axis=1)
    middles = np.cumsum(sorted_weights, axis=1) - sorted_weights / 2.0
    result = np.empty((len(values), len(levels)))
    for i in range(len(values)):
        counts = sorted_weights[i] > 0.0
        result[i] = np.interp(levels, middles[i][counts], sorted_values[i][counts])
    return result


def crps(quantiles: Floats, outcome: Floats, levels: Floats = LEVELS) -> Floats:
    """Each row's continuous ranked probability score: twice the mean pinball loss of its quantiles.

    An approximation from below the outermost levels' tails, the same for every forecast compared.
    """
    error = outcome[:, None] - quantiles
    return np.asarray(2.0 * np.maximum(levels * error, (levels - 1.0) * error).mean(axis=1))


def learned_mixture(
    ours: Floats, baseline: Floats, outcome: Floats, places: Ints, horizon_bars: int
) -> Floats:
    """The mean of two forecasts' quantiles, each row weighted by outcomes that had matured before it: (n, levels).

    The weight of ``ours`` is the best one for the rows that ended ``horizon_bars`` or more before, were the loss of
    a mixture quadratic in it, as the losses of either alone and of equal parts say; it is drawn to equal parts
    as by a thousand rows more for which these are the best. ``places`` (n,) ascend.
    """
    losses = (crps(each, outcome) for each in (baseline, ours, (baseline + ours) / 2.0))
    known = np.searchsorted(places, places - horizon_bars, side="right")
    of_baseline, of_ours, of_both = (np.concatenate(((0.0,), np.cumsum(loss)))[known] for loss in losses)
    bend = 2.0 * (of_baseline + of_ours - 2.0 * of_both)
    believed = known / (known + _EQUAL_PARTS)
    # Where two forecasts are the same, any weight is as good.
    shift = np.zeros_like(bend)
    np.divide(believed * (of_baseline - of_ours), 2.0 * bend, out=shift, where=bend > 0.0)
    weight = 0.5 + np.clip(shift, -0.5, 0.5)[:, None]
    return np.asarray((1.0 - weight) * baseline + weight * ours)


def normal_quantiles(spread: Floats, levels: Floats = LEVELS) -> Floats:
    """Quantiles (rows x levels) of normal distributions around 0 with these standard deviations."""
    return np.outer(spread, [_NORMAL.inv_cdf(level) for level in levels.tolist()])


def calibration_error(predicted: Floats, realized: Floats) -> float:
    """Expected calibration error over ten equal bins: predicted probabilities compared with outcomes (0 to 1)."""
    if not len(predicted):
        return math.nan
    place = np.minimum((predicted * _BINS).astype(np.int64), _BINS - 1)
    return float(np.abs(np.bincount(place, predicted - realized, _BINS)).sum() / len(predicted))


def calibration_errors(predicted: Floats, realized: Floats, places: Ints, horizon_bars: int) -> Interval:
    """:func:`calibration_error` of forecasts ``horizon_bars`` apart: mean, minimum and maximum over every bar to
    begin at. One beginning alone depends on its hour.
    """
    errors = [
        calibration_error(predicted[chosen], realized[chosen])
        for begin in range(horizon_bars)
        if (chosen := places % horizon_bars == begin).any()
    ]
    if not errors:
        return Interval(value=math.nan, low=math.nan, high=math.nan)
    return Interval(value=float(np.mean(errors)), low=min(errors), high=max(errors))


def calibrated_error_limit(predicted: Floats, *, seed: int = 0) -> float:
    """The 95 % quantile of :func:`calibration_error` where every predicted probability is true."""
    rng = np.random.default_rng(seed)
    errors = [
        calibration_error(predicted, (rng.random(len(predicted)) < predicted).astype(np.float64))
        for _ in range(_DRAWS)
    ]
    return float(np.quantile(errors, 0.95))


def probabilistic_sharpe(returns: Floats, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio of these returns exceeds ``benchmark``, both per period.

    Bailey and López de Prado (2012), with the sample's own skew and kurtosis; NaN without any deviation.
    """
    n = len(returns)
    if n < 3 or not returns.std() > 1e-15:
        return math.nan
    z = (returns - returns.mean()) / returns.std()
    ratio = float(returns.mean() / returns.std(ddof=1))
    skew, kurtosis = float((z**3).mean()), float((z**4).mean())
    variance = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio
    if variance <= 0.0:
        return math.nan
    return _NORMAL.cdf((ratio - benchmark) * math.sqrt(n - 1) / math.sqrt(variance))


def best_of_trials_sharpe(trials: int, periods: int) -> float:
    """The Sharpe ratio per period that the best of ``trials`` without skill is expected to show.

    Bailey and López de Prado (2014), each trial's estimate varying as 1 / (periods - 1).
    """
    if trials < 2 or periods < 2:
        return 0.0
    first = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    second = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return ((1.0 - _EULER) * first + _EULER * second) / math.sqrt(periods - 1)


def deflated_sharpe(returns: Floats, trials: int) -> float:
    """:func:`probabilistic_sharpe` against the best expected of ``trials`` configurations without skill."""
    return probabilistic_sharpe(returns, best_of_trials_sharpe(trials, len(returns)))
