"""What an evaluation on bars found, as values: each row of its report by the name of what was scored."""

from msgspec import Struct, field

from bot.evaluation.bot_run import Protocol
from bot.evaluation.metrics import Interval
from bot.evaluation.trading_result import TradingResult
from bot.performance.calibration_report import CalibrationReport


class Skill(Struct, frozen=True, kw_only=True):
    """The correlation of a forecast of the mean with the outcome, over ``bars`` scored bars."""

    symbol: str
    method: str
    horizon_bars: int
    bars: int
    ic: Interval
    rank_ic: Interval


class Gain(Struct, frozen=True, kw_only=True):
    """How much more one forecast's IC is than a baseline's, on the same bars."""

    symbol: str
    method: str
    baseline: str = field(name="rival")
    horizon_bars: int
    ic: Interval


class Decile(Struct, frozen=True, kw_only=True):
    """The IC of the memory's vote over a tenth of the bars, where the nearest moment's similarity lay in a range."""

    symbol: str
    low: float
    high: float
    bars: int
    ic: Interval


class DistributionScore(Struct, frozen=True, kw_only=True):
    """A forecast distribution: its mean CRPS in units of the expected volatility, lower is better.

    ``gain`` is by what fraction it is below the EWMA-volatility empirical distribution's; ``coverage_90``
    the fraction of outcomes inside its 5 % to 95 % quantiles.
    """

    symbol: str
    method: str
    horizon_bars: int
    bars: int
    crps: float
    gain: Interval
    coverage_90: float = field(name="covered")


class DistributionGain(Struct, frozen=True, kw_only=True):
    """By what fraction one distribution's CRPS is below a baseline's, on the same bars."""

    symbol: str
    method: str
    baseline: str = field(name="rival")
    horizon_bars: int
    gain: Interval


class Calibrated(Struct, frozen=True, kw_only=True):
    """The predicted probability of a rise compared with outcomes, over forecasts that do not overlap.

    A perfectly calibrated forecast's error stays below ``limit`` 95 times of 100. ``errors`` are the mean, the
    minimum and the maximum over every way to choose such forecasts from all that were made. ``brier_gain`` is by
    what fraction the Brier score is below that of the memory's own base rate.
    """

    symbol: str
    forecasts: int
    error: float
    limit: float
    errors: Interval
    brier: Interval
    brier_gain: Interval
    reliability: CalibrationReport


class Signals(Struct, frozen=True, kw_only=True):
    """What the strategy decided. ``claims`` scores the confidence of long and short signals."""

    bars: int
    forecast: int
    signalled: int
    gates: dict[str, int]
    claims: CalibrationReport


class Period(Struct, frozen=True, kw_only=True):
    """A symbol's bars and which of them were forecast."""

    symbol: str
    bars: int
    gaps: int
    first_ms: int
    test_ms: int
    last_ms: int
    scored: int


class BarsReport(Struct, frozen=True, kw_only=True):
    """Everything that an evaluation on bars found.

    ``skipped`` says why a row is missing, ``warnings`` what else to know before any figure is used.
    """

    interval: str
    horizon_bars: int
    protocol: Protocol
    periods: list[Period] = field(name="stretches")
    skill: list[Skill]
    gains: list[Gain]
    deciles: list[Decile] = field(name="tenths")
    distributions: list[DistributionScore] = field(name="density")
    distribution_gains: list[DistributionGain] = field(name="density_gains")
    calibration: list[Calibrated]
    signals: Signals
    trading: list[TradingResult] = field(name="earnings")
    permutation_p_values: dict[str, float | None] = field(name="luck")
    sizes: dict[int, list[Skill]]
    skipped: list[str] = field(name="left_out")
    warnings: list[str] = []
    funded: list[str] = []
    """Symbols whose funding was charged."""
