"""What an evaluation on bars found, as values: each row of its report by the name of what was judged."""

from msgspec import Struct

from bot.evaluation.bot_run import Protocol
from bot.evaluation.metrics import Interval
from bot.evaluation.trading_result import Earnings
from bot.trading.reliability import Reliability


class Skill(Struct, frozen=True, kw_only=True):
    """How a forecast of the mean goes with what came, over ``bars`` scored bars."""

    symbol: str
    method: str
    horizon_bars: int
    bars: int
    ic: Interval
    rank_ic: Interval


class Gain(Struct, frozen=True, kw_only=True):
    """How much more one forecast's IC is than another's, on the same bars."""

    symbol: str
    method: str
    rival: str
    horizon_bars: int
    ic: Interval


class Tenth(Struct, frozen=True, kw_only=True):
    """The IC of the memory's vote where the nearest moment was so similar."""

    symbol: str
    low: float
    high: float
    bars: int
    ic: Interval


class Density(Struct, frozen=True, kw_only=True):
    """A forecast distribution: its mean CRPS in units of the expected volatility, lower is better.

    ``gain`` is by what share it is below the EWMA-volatility empirical distribution's; ``covered`` the
    share of outcomes inside its 5 % to 95 % quantiles.
    """

    symbol: str
    method: str
    horizon_bars: int
    bars: int
    crps: float
    gain: Interval
    covered: float


class DensityGain(Struct, frozen=True, kw_only=True):
    """By what share one distribution's CRPS is below another's, on the same bars."""

    symbol: str
    method: str
    rival: str
    horizon_bars: int
    gain: Interval


class Calibrated(Struct, frozen=True, kw_only=True):
    """The stated probability of a rise against what came, over forecasts that do not overlap.

    A perfectly calibrated forecast's error stays below ``limit`` 95 times of 100. ``errors`` are the mean, the
    least and the largest over every way to choose such forecasts from all that were made. ``brier_gain`` is by
    what share the Brier score is below that of the memory's own base rate.
    """

    symbol: str
    forecasts: int
    error: float
    limit: float
    errors: Interval
    brier: Interval
    brier_gain: Interval
    reliability: Reliability


class Signals(Struct, frozen=True, kw_only=True):
    """What the strategy made of it. ``claims`` judges the confidence of long and short signals."""

    bars: int
    forecast: int
    signalled: int
    gates: dict[str, int]
    claims: Reliability


class Stretch(Struct, frozen=True, kw_only=True):
    """A symbol's bars and which of them were forecast."""

    symbol: str
    bars: int
    gaps: int
    first_ms: int
    test_ms: int
    last_ms: int
    scored: int


class BarsReport(Struct, frozen=True, kw_only=True):
    """Everything that an evaluation on bars found. ``left_out`` says why a row is missing, ``warnings`` what
    else to know before any figure is believed."""

    interval: str
    horizon_bars: int
    protocol: Protocol
    stretches: list[Stretch]
    skill: list[Skill]
    gains: list[Gain]
    tenths: list[Tenth]
    density: list[Density]
    density_gains: list[DensityGain]
    calibration: list[Calibrated]
    signals: Signals
    earnings: list[Earnings]
    luck: dict[str, float | None]
    sizes: dict[int, list[Skill]]
    left_out: list[str]
    warnings: list[str] = []
    funded: list[str] = []
    """Symbols whose funding was charged."""
