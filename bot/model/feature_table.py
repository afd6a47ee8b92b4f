"""One symbol's bars as arrays, one row a bar: what was known at its close, and the realized outcome."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bot.market import ALWAYS_OPEN, Bar, Calendar
from bot.model.features import FEATURES, STATE_FEATURES, FeatureWindow, feature_row, state_row

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.float32]

LAGS = 48
"""Last returns over their volatilities in each row of inputs."""

INPUT_LAGS = 24
"""Of those, how many a regression is given."""


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Figures of ``n`` bars, ascending; NaN where too few contiguous bars came before.

    ``volatility`` (n,) is the expected size of the next bar's log return, a fraction, ``log_close`` (n,) the natural
    logarithm of the close. ``inputs`` (n, 32) are the bar's features and its last 24 returns over volatility,
    ``window`` (n, 48) the last 48 of those, ``states`` (n, 38) the inputs of the quantile forecast, which need more
    bars. ``contiguous_bars`` (n,) counts the bars that directly follow one another up to this one, by the market's
    clock; ``clock_ms`` (n,) are the bars' starts on that clock, ``start_ms`` in UTC. ``days_a_year`` have bars.
    """

    symbol: str
    interval: str
    start_ms: Ints
    clock_ms: Ints
    log_close: Floats
    volatility: Floats
    inputs: Rows
    window: Rows
    states: Rows
    contiguous_bars: Ints
    days_a_year: float

    def __len__(self) -> int:
        return len(self.start_ms)

    @property
    def has_state(self) -> NDArray[np.bool_]:
        """Which rows have a state."""
        return np.asarray(np.isfinite(self.states).all(axis=1))

    def outcome(self, horizon_bars: int) -> Floats:
        """Log return over the next ``horizon_bars`` over the volatility expected of them.

        NaN where a gap or the end comes first.
        """
        n = len(self)
        moved = np.full(n, np.nan)
        if n > horizon_bars:
            moved[:-horizon_bars] = self.log_close[horizon_bars:] - self.log_close[:-horizon_bars]
            whole = self.contiguous_bars[horizon_bars:] > horizon_bars
            moved[:-horizon_bars][~whole] = np.nan
        return np.asarray(moved / self.scale(horizon_bars))

    def scale(self, horizon_bars: int) -> Floats:
        """The volatility expected of the next ``horizon_bars`` log returns together."""
        return np.asarray(self.volatility * np.sqrt(horizon_bars))


def feature_table(bars: Sequence[Bar], calendar: Calendar = ALWAYS_OPEN) -> FeatureTable:
    """The table of one symbol's bars, ascending, through the bot's own window."""
    n = len(bars)
    window = FeatureWindow(calendar=calendar)
    volatility = np.full(n, np.nan)
    features = np.full((n, len(FEATURES)), np.nan, np.float32)
    lags = np.full((n, LAGS), np.nan, np.float32)
    states = np.full((n, len(STATE_FEATURES)), np.nan, np.float32)
    contiguous_bars = np.ones(n, np.int64)
    for i, bar in enumerate(bars):
        if i and window.continues_with(bar):
            contiguous_bars[i] = contiguous_bars[i - 1] + 1
        window.push(bar)
        scaled = window.scaled_returns(LAGS)
        row = feature_row(window)
        known = window.volatility()
        if len(scaled) == LAGS and row is not None and known is not None:
            volatility[i], features[i], lags[i] = known, row, scaled
            state = state_row(window)
            if state is not None:
                states[i] = state
    return FeatureTable(
        symbol=bars[0].symbol,
        interval=bars[0].interval,
        start_ms=np.array([bar.start_ms for bar in bars], np.int64),
        clock_ms=np.array([calendar.clock_ms(bar.start_ms) for bar in bars], np.int64),
        log_close=np.log(np.array([float(bar.close) for bar in bars])),
        volatility=volatility,
        inputs=np.hstack((features, lags[:, -INPUT_LAGS:])),
        window=lags,
        states=states,
        contiguous_bars=contiguous_bars,
        days_a_year=calendar.days_a_year,
    )
