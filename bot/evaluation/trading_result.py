"""What trading came to, net of costs, for the bot and for rules beside it; and how much of it luck would earn."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.evaluation.metrics import deflated_sharpe, probabilistic_sharpe
from bot.market import FundingRate
from bot.model.feature_table import Panel
from bot.trading.events import Equity, Fill, FundingPayment, RoundTrip
from bot.trading.performance import DAY_MS, EquityCurve, Estimate, performance_of, sharpe

_YEAR_MS = 365.25 * DAY_MS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SHIFTS = 1000


class Earnings(Struct, frozen=True, kw_only=True):
    """One way of trading over the test bars. Returns are simple and shares of the equity.

    ``net_return`` is after fees, spread, slippage and funding where rates are known; ``costs`` what fees,
    or a rule's turning, came to and ``funding`` what was received (negative: paid), all as shares of the
    first equity. ``sharpe`` is annualised from daily returns; ``probabilistic`` the probability that
    its true value is above 0, ``deflated`` that it is above what the luckiest of all trials shows.
    ``exposure`` is the share of bars with a position. None where nothing varies.
    """

    name: str
    net_return: float
    costs: float
    funding: float
    max_drawdown: float
    sharpe: Estimate | None
    probabilistic: float | None
    deflated: float | None
    trades: int
    exposure: float


def earned_by_bot(
    equity: Sequence[Equity],
    fills: Sequence[Fill],
    held: Ints,
    rows: Ints,
    trials: int,
    funding: Sequence[FundingPayment] = (),
    trips: Sequence[RoundTrip] = (),
) -> Earnings:
    """The bot's own account over a run."""
    first = float(equity[0].equity)
    curve = EquityCurve(equity[0].time_ms, first, float(equity[0].unit_value))
    for each in equity:
        curve.add(each.time_ms, float(each.equity), float(each.unit_value))
    performance = performance_of(curve, fills, funding, trips)
    return _judged(
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


def earned_by_rule(
    name: str,
    panel: Panel,
    rows: Ints,
    sides: Floats,
    *,
    fraction: float,
    cost: float,
    trials: int,
    rates: Floats | None = None,
) -> Earnings:
    """What holding ``fraction`` of the equity times ``sides[i]`` during bar ``rows[i]`` (contiguous) earns.

    ``cost`` is what changing a position by its whole worth takes, as a fraction. ``rates[i]`` sums the funding
    rates settled while the position of ``rows[i]`` is held (:func:`rates_within`), paid on its worth at the
    bar's close. The position is brought back to its share at each bar, free of charge: a rule is flattered
    by that, never the bot.
    """
    moves = np.diff(panel.log_close[rows[0] - 1 : rows[-1] + 1])
    turned = np.abs(np.diff(sides, prepend=0.0))
    paid = fraction * cost * turned
    received = -fraction * sides * np.exp(moves) * (0.0 if rates is None else rates)
    earned = fraction * sides * np.expm1(moves) - paid + received
    days, place = np.unique(panel.start_ms[rows] // DAY_MS, return_inverse=True)
    wealth = np.cumprod(1.0 + earned)
    ends = np.append(np.flatnonzero(np.diff(place)), len(place) - 1)
    daily = np.diff(np.log(wealth[ends]), prepend=0.0)
    peak = np.maximum.accumulate(np.append(1.0, wealth))[1:]
    del days
    return _judged(
        name,
        np.expm1(daily),
        net_return=float(wealth[-1] - 1.0),
        costs=float(paid.sum()),
        funding=float(received.sum()),
        max_drawdown=float((1.0 - wealth / peak).max()),
        trades=int(np.count_nonzero(turned)),
        exposure=float((sides != 0.0).mean()),
        trials=trials,
        period_ms=round(_YEAR_MS / panel.days_a_year),
    )


def _judged(
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
) -> Earnings:
    return Earnings(
        name=name,
        net_return=net_return,
        costs=costs,
        funding=funding,
        max_drawdown=max_drawdown,
        sharpe=sharpe(daily.tolist(), period_ms),
        probabilistic=_or_none(probabilistic_sharpe(daily)),
        deflated=_or_none(deflated_sharpe(daily, trials)),
        trades=trades,
        exposure=exposure,
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def rates_within(panel: Panel, rates: Iterable[FundingRate], end_ms: int) -> Floats:
    """For each bar the sum of the rates settled on what is held during it, up to ``end_ms``.

    What is held during a bar is held just before the next one begins, and in a gap between the two.
    """
    settled = [rate for rate in rates if panel.start_ms[0] < rate.time_ms <= end_ms]
    places = np.searchsorted(panel.start_ms, [rate.time_ms for rate in settled], "left") - 1
    sums = np.zeros(len(panel))
    np.add.at(sums, places, [float(rate.rate) for rate in settled])
    return sums


def sides_of(forecast: Floats, scored: Ints, rows: Ints, *, hold_bars: int, least: Floats) -> Floats:
    """The side (-1, 0, 1) that a rule holds during each of ``rows``.

    Every ``hold_bars`` bars it takes the newest scored forecast's sign, where that is at least ``least``
    from 0 (one entry a forecast), and keeps it that long. What is decided at a close is held from the next
    bar on.
    """
    sign = np.where(np.abs(forecast) >= least, np.sign(forecast), 0.0)
    decided = np.arange(rows[0], rows[-1] + 1, hold_bars)
    newest = np.searchsorted(scored, decided, "right") - 1
    chosen = np.where(newest >= 0, sign[np.maximum(newest, 0)], 0.0)
    # A forecast older than one holding time says nothing of now.
    stale = decided - scored[np.maximum(newest, 0)] >= hold_bars
    sides = np.repeat(np.where(stale, 0.0, chosen), hold_bars)[: len(rows)]
    return np.concatenate(([0.0], sides[:-1]))


def luck_of(panel: Panel, rows: Ints, held: Ints, *, seed: int = 0) -> float | None:
    """How often the same positions, begun at other times, would have earned at least as much before costs.

    The path of positions is shifted round the test bars 1,000 times, so that turnover and holding times stay
    as they are. None where nothing was ever held.
    """
    if not held.any():
        return None
    moves = np.diff(panel.log_close[rows[0] - 1 : rows[-1] + 1])
    actual = float(held @ moves)
    shifts = np.random.default_rng(seed).integers(1, len(held), _SHIFTS) if len(held) > 1 else np.ones(1, int)
    lucky = sum(float(np.roll(held, shift) @ moves) >= actual for shift in shifts.tolist())
    return (1 + lucky) / (1 + len(shifts))
