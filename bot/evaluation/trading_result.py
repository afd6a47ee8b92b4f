"""Trading performance net of costs, of the bot and of baselines; and how probable it is without any skill."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from bot.evaluation import baselines
from bot.evaluation.folds import SymbolData
from bot.evaluation.metrics import deflated_sharpe, probabilistic_sharpe
from bot.market import FundingRate
from bot.model.feature_table import FeatureTable
from bot.trading.events import Equity, Fill, FundingPayment, RoundTrip
from bot.trading.performance import DAY_MS, EquityCurve, Estimate, performance_of, sharpe

_YEAR_MS = 365.25 * DAY_MS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SHIFTS = 1000
_TRADED = (baselines.RAW, baselines.PATH, baselines.RIDGE, baselines.TREES, baselines.LEAKED)


class BaselineCosts(Struct, frozen=True, kw_only=True):
    """What trading a baseline costs, as a fraction of the value turned over, and how much of the equity it holds."""

    cost_per_turnover: float
    position_fraction: float


class TradingResult(Struct, frozen=True, kw_only=True):
    """One way of trading over the test bars. Returns are simple and fractions of the equity.

    ``net_return`` is after fees, spread, slippage and funding where rates are known; ``costs`` are fees, or
    a baseline's cost of turnover, and ``funding`` what was received (negative: paid), all as fractions of
    the first equity. ``sharpe`` is annualized from daily returns; ``psr`` the probability that its true
    value is above 0, ``dsr`` that it is above the best expected of all trials by chance. ``exposure`` is
    the fraction of bars with a position. None where nothing varies.
    """

    name: str
    net_return: float
    costs: float
    funding: float
    max_drawdown: float
    sharpe: Estimate | None
    psr: float | None = field(name="probabilistic")
    dsr: float | None = field(name="deflated")
    trades: int
    exposure: float


def bot_result(
    equity: Sequence[Equity],
    fills: Sequence[Fill],
    held: Ints,
    rows: Ints,
    trials: int,
    funding: Sequence[FundingPayment] = (),
    trips: Sequence[RoundTrip] = (),
) -> TradingResult:
    """The bot's own account over a run."""
    first = float(equity[0].equity)
    curve = EquityCurve(equity[0].time_ms, first, float(equity[0].unit_value))
    for point in equity:
        curve.add(point.time_ms, float(point.equity), float(point.unit_value))
    performance = performance_of(curve, fills, funding, trips)
    return _result(
        "the bot",
        np.array(curve.returns(), np.float64),
        net_return=performance.total_return or 0.0,
        costs=performance.fees / first,
        funding=performance.funding / first,
        max_drawdown=performance.max_drawdown,
        trades=performance.round_trips,
        exposure=float((held[rows] != 0).mean()),
        trials=trials,
    )


def baseline_result(
    name: str,
    table: FeatureTable,
    rows: Ints,
    sides: Floats,
    *,
    costs: BaselineCosts,
    trials: int,
    rates: Floats | None = None,
) -> TradingResult:
    """The result of holding a fraction of the equity times ``sides[i]`` during bar ``rows[i]`` (contiguous).

    ``rates[i]`` sums the funding rates settled while the position of ``rows[i]`` is held
    (:func:`rates_within`), paid on its value at the bar's close. The position is brought back to its fraction
    at each bar, free of charge: that flatters a baseline, never the bot.
    """
    fraction = costs.position_fraction
    moves = np.diff(table.log_close[rows[0] - 1 : rows[-1] + 1])
    turned = np.abs(np.diff(sides, prepend=0.0))
    paid = fraction * costs.cost_per_turnover * turned
    received = -fraction * sides * np.exp(moves) * (0.0 if rates is None else rates)
    earned = fraction * sides * np.expm1(moves) - paid + received
    _, place = np.unique(table.start_ms[rows] // DAY_MS, return_inverse=True)
    wealth = np.cumprod(1.0 + earned)
    ends = np.append(np.flatnonzero(np.diff(place)), len(place) - 1)
    daily = np.diff(np.log(wealth[ends]), prepend=0.0)
    peak = np.maximum.accumulate(np.append(1.0, wealth))[1:]
    return _result(
        name,
        np.expm1(daily),
        net_return=float(wealth[-1] - 1.0),
        costs=float(paid.sum()),
        funding=float(received.sum()),
        max_drawdown=float((1.0 - wealth / peak).max()),
        trades=int(np.count_nonzero(turned)),
        exposure=float((sides != 0.0).mean()),
        trials=trials,
        period_ms=round(_YEAR_MS / table.days_a_year),
    )


def baseline_results(
    data: SymbolData, forecasts: Mapping[str, Floats], costs: BaselineCosts, rates: Floats, trials: int
) -> list[TradingResult]:
    """What the baselines would have earned, traded once a horizon; ``rates`` sums each bar's funding.

    ``forecasts`` are of the mean scaled outcome at the scored rows, at the bot's own horizon.
    """
    table, h, rows = data.table, data.horizon_bars, data.test_rows
    always = np.zeros(len(data.scored))
    # Entering and leaving: a smaller forecast does not pay for its costs.
    break_even = 2.0 * costs.cost_per_turnover / table.scale(h)[data.scored]
    rules = {
        "momentum": (baselines.MOMENTUM, always),
        "reversal": (baselines.REVERSAL, always),
        "random entries": (baselines.RANDOM, always),
    } | {f"{method}, where it pays": (method, break_even) for method in _TRADED if method in forecasts}
    positions = {"flat": np.zeros(len(rows)), "buy and hold": np.ones(len(rows))} | {
        name: positions_from(
            np.nan_to_num(forecasts[method]), data.scored, rows, hold_bars=h, min_forecast=min_forecast
        )
        for name, (method, min_forecast) in rules.items()
    }
    return [
        baseline_result(
            f"{data.symbol} {name}", table, rows, sides, costs=costs, trials=trials, rates=rates[rows]
        )
        for name, sides in positions.items()
    ]


def _result(
    name: str,
    daily: Floats,
    *,
    net_return: float,
    costs: float,
    funding: float,
    max_drawdown: float,
    trades: int,
    exposure: float,
    trials: int,
    period_ms: int = DAY_MS,
) -> TradingResult:
    return TradingResult(
        name=name,
        net_return=net_return,
        costs=costs,
        funding=funding,
        max_drawdown=max_drawdown,
        sharpe=sharpe(daily.tolist(), period_ms),
        psr=_or_none(probabilistic_sharpe(daily)),
        dsr=_or_none(deflated_sharpe(daily, trials)),
        trades=trades,
        exposure=exposure,
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def rates_within(table: FeatureTable, rates: Iterable[FundingRate], end_ms: int) -> Floats:
    """For each bar the sum of the rates settled on what is held during it, up to ``end_ms``.

    What is held during a bar is held just before the next one begins, and in a gap between the two.
    """
    settled = [rate for rate in rates if table.start_ms[0] < rate.time_ms <= end_ms]
    places = np.searchsorted(table.start_ms, [rate.time_ms for rate in settled], "left") - 1
    sums = np.zeros(len(table))
    np.add.at(sums, places, [float(rate.rate) for rate in settled])
    return sums


def positions_from(
    forecast: Floats, scored: Ints, rows: Ints, *, hold_bars: int, min_forecast: Floats
) -> Floats:
    """The side (-1, 0, 1) that a baseline holds during each of ``rows``.

    Every ``hold_bars`` bars it takes the newest scored forecast's sign, where that is at least
    ``min_forecast`` from 0 (one a forecast), and keeps it that long. What is decided at a close is held from
    the next bar on.
    """
    sign = np.where(np.abs(forecast) >= min_forecast, np.sign(forecast), 0.0)
    decided = np.arange(rows[0], rows[-1] + 1, hold_bars)
    newest = np.searchsorted(scored, decided, "right") - 1
    chosen = np.where(newest >= 0, sign[np.maximum(newest, 0)], 0.0)
    # A forecast older than one holding time says nothing of now.
    stale = decided - scored[np.maximum(newest, 0)] >= hold_bars
    sides = np.repeat(np.where(stale, 0.0, chosen), hold_bars)[: len(rows)]
    return np.concatenate(([0.0], sides[:-1]))


def permutation_p_value(table: FeatureTable, rows: Ints, held: Ints, *, seed: int = 0) -> float | None:
    """How often the same positions, begun at other times, would have earned at least as much before costs.

    A permutation test: the path of positions is shifted circularly over the test bars 1,000 times, so that
    turnover and holding times stay as they are. None where nothing was ever held.
    """
    if not held.any():
        return None
    moves = np.diff(table.log_close[rows[0] - 1 : rows[-1] + 1])
    actual = float(held @ moves)
    shifts = np.random.default_rng(seed).integers(1, len(held), _SHIFTS) if len(held) > 1 else np.ones(1, int)
    as_good = sum(float(np.roll(held, shift) @ moves) >= actual for shift in shifts.tolist())
    return (1 + as_good) / (1 + len(shifts))
