"""Sums over a series of bars or of scored votes: volatility, trend, the figures of a feature row, a gradient."""

import math

import numpy as np

from bot.model.kernels.compiled import Floats, compiled


@compiled(sums_in_order=False)
def ewma_volatility(squares: Floats, weights: Floats, minimum: float, volatilities: Floats) -> None:
    """√(Σ wᵢ · r²ᵢ): the weighted root mean square return, at least ``minimum``.

    ``squares`` (n + bars - 1,) are squared log returns, ``weights`` (bars,) sum to 1, oldest first. Written to
    ``volatilities`` (n,), a fraction a bar.
    """
    for first in range(len(volatilities)):
        total = 0.0
        for i in range(len(weights)):
            total += squares[first + i] * weights[i]
        volatilities[first] = max(math.sqrt(total), minimum)


@compiled(sums_in_order=False)
def recent_sums(
    squares: Floats, returns: Floats, volumes: Floats, weights: Floats, max_volume: float
) -> tuple[float, float, float, float]:
    """Four figures of a feature row, over the last ``bars`` bars; ``weights`` are (3, bars), all else (bars,).

    Σ w₀ · r² (the square of a short volatility), Σ w₁ · r and Σ w₂ · r (a fast and a slow trend), and the newest
    volume's z-score, (x - mean x) / std x with x = ln(1 + min(volume, ``max_volume``)); 0 where std x is 0.
    """
    short = fast = slow = 0.0
    for i in range(weights.shape[1]):
        short += squares[i] * weights[0, i]
        fast += returns[i] * weights[1, i]
        slow += returns[i] * weights[2, i]
    logs = np.empty_like(volumes)
    mean = variance = 0.0
    for i in range(len(volumes)):
        logs[i] = math.log1p(min(volumes[i], max_volume))
        mean += logs[i]
    mean /= len(logs)
    for i in range(len(logs)):
        variance += (logs[i] - mean) * (logs[i] - mean)
    std = math.sqrt(variance / len(logs))
    return short, fast, slow, (logs[-1] - mean) / std if std > 1e-9 else 0.0


@compiled(sums_in_order=False)
def trend_and_volatility(
    returns: Floats,
    bars: int,
    trend_bars: int,
    volatility_bars: int,
    means: Floats,
    errors: Floats,
    calmer: Floats,
) -> None:
    """What a regime is read from, for each window of ``bars`` returns in (n + bars - 1,); three (n,) are written.

    ``means``: the mean m of the window's last ``trend_bars`` returns; ``errors``: its standard error,
    √Σ(r - m)² / ``trend_bars``; ``calmer``: the fraction of all moving averages of ``volatility_bars`` absolute
    returns in the window that are below the newest one.
    """
    moves = np.empty(bars - volatility_bars + 1)
    for row in range(len(means)):
        end = row + bars
        mean = squares = 0.0
        for i in range(end - trend_bars, end):
            mean += returns[i]
        mean /= trend_bars
        for i in range(end - trend_bars, end):
            squares += (returns[i] - mean) * (returns[i] - mean)
        for move in range(len(moves)):
            moves[move] = 0.0
        for i in range(volatility_bars):
            for move in range(len(moves)):
                moves[move] += abs(returns[row + move + i])
        below = 0
        for move in range(len(moves)):
            below += moves[move] < moves[-1]
        means[row], errors[row] = mean, math.sqrt(squares) / trend_bars
        calmer[row] = below / len(moves)


@compiled(sums_in_order=False)
def logistic_gradient(
    columns: Floats, offsets: Floats, rose: Floats, coefficients: Floats
) -> tuple[Floats, Floats]:
    """Gradient (k,) and information (k, k) of a logistic regression's log likelihood, without a prior.

    p = 1 / (1 + exp(-offset - βᵀx)); gradient Σ x (y - p), information Σ x xᵀ p (1 - p). ``columns`` x is (k, n),
    ``offsets`` (n,) are log odds, ``rose`` y (n,) is 0 to 1, ``coefficients`` β (k,).
    """
    count = len(columns)
    gradient, information = np.zeros(count), np.zeros((count, count))
    for vote in range(len(rose)):
        log_odds = offsets[vote]
        for i in range(count):
            log_odds += coefficients[i] * columns[i, vote]
        expected = 1.0 / (1.0 + math.exp(-log_odds))
        for i in range(count):
            gradient[i] += columns[i, vote] * (rose[vote] - expected)
            for j in range(count):
                information[i, j] += columns[i, vote] * columns[j, vote] * expected * (1.0 - expected)
    return gradient, information
