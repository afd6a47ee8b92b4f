"""Features: the last closed bars of one symbol as floats, and what is computed from them.

Every figure here is a function of a fixed, finite number of last bars. A session that observes the last
:data:`RECEPTIVE_BARS` bars again therefore computes the same figures, bit for bit, as one that was never
interrupted. Figures of many bars at once come from the code that computes one: rows of :func:`windows_of`, each
summed by itself, so that a row's bits do not depend on how many there are.
"""

import math
from array import array
from itertools import pairwise, starmap
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar

T = TypeVar("T", bound=np.generic)

Floats = NDArray[np.float64]
Key = NDArray[np.float32]
Keys = NDArray[np.float32]

KEY_BARS = 48
"""Returns in a plain key."""

VOLATILITY_BARS = 256
"""Returns in each volatility; the weight of the oldest is below a thousandth of the newest one's."""

RECEPTIVE_BARS = KEY_BARS + VOLATILITY_BARS + 1
"""Contiguous bars that a plain key, a feature row and a regime depend on, at most."""

WINDOW_BARS = 1024
"""Bars kept of each symbol, for strategies that use more of the past than a key does."""

FEATURES = (
    "return", "trend_6", "trend_25", "volatility_ratio", "magnitude", "volume",
    "hour_sine", "hour_cosine",
)  # fmt: skip
"""Columns of :func:`feature_row`."""

STATE_BARS = 500
"""Returns in a state row's longest figure, which needs ``STATE_BARS + 1`` contiguous bars."""

STATE_SIZES, STATE_RETURNS = 16, 8
"""Last absolute and signed returns in a state row."""

STATE_FEATURES = (
    *FEATURES,
    "weekday_sine", "weekday_cosine", "range", "day_ratio", "long_ratio", "daily_volatility",
    *(f"size_{age}" for age in range(STATE_SIZES - 1, -1, -1)),
    *(f"return_{age}" for age in range(STATE_RETURNS - 1, -1, -1)),
)  # fmt: skip
"""Columns of :func:`state_row`."""

_DECAY = 0.97
_SHORT_DECAY = 0.85
_CLIP = 6.0
_MIN_VOLATILITY = 1e-12
_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_DAY_RATIO_BARS = 24
_COMMON_DAILY_VOLATILITY = 0.03
_PARKINSON = 2.0 * math.sqrt(math.log(2.0))
_MIN_RATIO = math.exp(-_CLIP)
# Where a volume exceeds it, a row stays finite.
_MAX_VOLUME = 1e300


def _ewma_weights(decay: float) -> Floats:
    """Exponential weights w_i ∝ decay^age of the last 256 returns, oldest first, summing to 1."""
    weights = decay ** np.arange(VOLATILITY_BARS - 1, -1, -1, dtype=np.float64)
    return np.asarray(weights / weights.sum())


_WEIGHTS = _ewma_weights(_DECAY)
# Of the short volatility and of the two trends.
_RECENT_WEIGHTS = np.stack(
    [_ewma_weights(decay) for decay in (_SHORT_DECAY, 1.0 - 2.0 / 7.0, 1.0 - 2.0 / 26.0)]
)


def log_return(before: float, after: float) -> float:
    """ln(after / before), finite for all positive prices."""
    if 1e-150 < before < 1e150 and 1e-150 < after < 1e150:
        return math.log(after / before)
    return math.log(min(max(after, 1e-150), 1e150)) - math.log(min(max(before, 1e-150), 1e150))


def windows_of(run: NDArray[T], length: int) -> NDArray[T]:
    """All windows of ``length`` values in a series (n,), oldest first: (n - length + 1, length).

    Each row is contiguous in memory: a sum along it is taken in the same order for one window as for many.
    """
    count = max(0, len(run) - length + 1)
    # What sliding_window_view gives, without its overhead, which is more than most sums over one window.
    view: NDArray[T] = np.ndarray((count, length), run.dtype, run, strides=2 * run.strides)
    return np.ascontiguousarray(view)


def unit_rows(rows: Floats) -> NDArray[np.float32]:
    """(n, length) to float32 rows of unit length; rows of zeros stay."""
    # The largest first: the squares of returns near the smallest float would vanish.
    largest = np.maximum.reduce(np.abs(rows), axis=1, keepdims=True)
    scaled = rows / np.where(largest == 0.0, 1.0, largest)
    length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return np.asarray(scaled / np.where(length == 0.0, 1.0, length), dtype=np.float32)


class _Column:
    """One float64 series whose last values are always one contiguous slice.

    ``view`` can never be written to; ``room`` is the same memory, for the window that fills it.
    """

    __slots__ = ("room", "values", "view")

    def __init__(self, length: int) -> None:
        # Writing one number into an array is faster than into NumPy; all see the same memory.
        self.values = array("d", bytes(8 * length))
        self.room: Floats = np.frombuffer(self.values, dtype=np.float64)
        # Over a read-only buffer the flag cannot be set back.
        self.view: Floats = np.frombuffer(memoryview(self.values).toreadonly(), dtype=np.float64)


class FeatureWindow:
    """The last contiguous bars of one symbol, at most ``capacity``, as float64 arrays, oldest first.

    A bar that does not directly follow its predecessor, by the market's clock, empties the window first. Accessors
    return read-only views (up to ``n``,) that are valid until the next ``push``; fewer values where fewer are known.
    All but closes is computed at the first access.
    """

    def __init__(self, capacity: int = WINDOW_BARS, calendar: Calendar = ALWAYS_OPEN) -> None:
        if capacity < RECEPTIVE_BARS:
            raise ValueError(f"a window holds at least {RECEPTIVE_BARS} bars, not {capacity}")
        self.capacity = capacity
        # Twice the room: the newest bars move to the front only once every `capacity` bars.
        self._columns = [_Column(2 * capacity) for _ in range(10)]
        self._open, self._high, self._low, self._close, self._volume = self._columns[:5]
        self._return, self._square, self._scaled, self._volatility, self._closed = self._columns[5:]
        self._calendar = calendar
        self._next_start_ms = -1
        self._interval = ""
        self._interval_ms = 0
        self._end = 0
        self._unread: list[Bar] = []  # the newest bars, of which only the close has been read
        self._derived = 0  # bars before this place have their return
        self._returns = 0  # contiguous returns before it
        self._scaled_returns = 0  # contiguous scaled returns before it
        self._volatilities = 0  # contiguous volatilities before it

    def __len__(self) -> int:
        return min(self._end, self.capacity)

    @property
    def next_start_ms(self) -> int:
        """When the bar after the newest one starts on the market's clock; -1 for an empty window."""
        return self._next_start_ms

    @property
    def interval_ms(self) -> int:
        """The bars' length; 0 for an empty window."""
        return self._interval_ms

    def push(self, bar: Bar) -> None:
        """Append the next closed bar."""
        start_ms = self._calendar.clock_ms(bar.start_ms)
        if start_ms != self._next_start_ms:
            self._end = self._derived = 0
            self._unread.clear()
        self._interval = bar.interval
        self._interval_ms = INTERVAL_MS[bar.interval]
        self._next_start_ms = start_ms + self._interval_ms
        end = self._end
        if end == 2 * self.capacity:
            end = self._move_to_front()
        self._close.values[end] = float(bar.close)
        self._closed.values[end] = bar.start_ms + self._interval_ms
        self._unread.append(bar)
        self._end = end + 1

    def continues_with(self, bar: Bar) -> bool:
        """Whether the bar directly follows the newest one."""
        return self._calendar.clock_ms(bar.start_ms) == self._next_start_ms

    def close_ms(self, back: int = 0) -> int:
        """When the bar ``back`` bars before the newest one closed, ms UTC; it must be in the window."""
        return int(self._closed.values[self._end - 1 - back])

    def bars_a_day(self) -> float:
        """How many bars a day of this market has."""
        return self._calendar.bars_a_day(self.close_ms(), self._interval)

    def opens(self, n: int) -> Floats:
        return self._of_bars(self._open, n)

    def highs(self, n: int) -> Floats:
        return self._of_bars(self._high, n)

    def lows(self, n: int) -> Floats:
        return self._of_bars(self._low, n)

    def closes(self, n: int) -> Floats:
        return self._close.view[self._end - min(n, self._end, self.capacity) : self._end]

    def volumes(self, n: int) -> Floats:
        return self._of_bars(self._volume, n)

    def close_times(self, n: int) -> Floats:
        """When the bars closed, in UTC milliseconds."""
        return self._closed.view[self._end - min(n, self._end, self.capacity) : self._end]

    def returns(self, n: int) -> Floats:
        """Log returns of the closes."""
        self._derive()
        return self._return.view[self._end - min(n, self._returns, self.capacity) : self._end]

    def squared_returns(self, n: int) -> Floats:
        self._derive()
        return self._square.view[self._end - min(n, self._returns, self.capacity) : self._end]

    def scaled_returns(self, n: int) -> Floats:
        """Log returns over the volatility known before each of them, clipped at ±6."""
        self._derive()
        return self._scaled.view[self._end - min(n, self._scaled_returns, self.capacity) : self._end]

    def volatilities(self, n: int) -> Floats:
        """At each close, the expected size (root mean square) of the next bar's log return, a fraction."""
        self._derive()
        return self._volatility.view[self._end - min(n, self._volatilities, self.capacity) : self._end]

    def volatility(self) -> float | None:
        """The newest of :meth:`volatilities`, None if too few bars are known."""
        newest = self.volatilities(1)
        return float(newest[0]) if len(newest) else None

    def _of_bars(self, column: _Column, n: int) -> Floats:
        """The last values of a column that is read from the bars themselves."""
        if self._unread:
            for place, bar in enumerate(self._unread, self._end - len(self._unread)):
                self._open.values[place] = float(bar.open)
                self._high.values[place] = float(bar.high)
                self._low.values[place] = float(bar.low)
                self._volume.values[place] = float(bar.volume)
            self._unread.clear()
        return column.view[self._end - min(n, self._end, self.capacity) : self._end]

    def _move_to_front(self) -> int:
        del self._unread[: -self.capacity]
        shift = self._end - self.capacity
        for column in self._columns:
            column.room[: self.capacity] = column.room[shift : self._end]
        self._end = self.capacity
        self._derived = max(0, self._derived - shift)
        self._returns = min(self._returns, self._derived)
        return self._end

    def _derive(self) -> None:
        """Compute returns up to the newest bar; each depends on the same bars whenever it is computed."""
        first, end = self._derived, self._end
        if first == 0:
            # The oldest bar in the window has no predecessor, hence no return.
            self._returns = self._scaled_returns = self._volatilities = 0
            first = min(1, end)
        if first < end:
            from bot.model.kernels import series

            returns, squares, volatility = self._return.room, self._square.room, self._volatility.room
            returns[first:end] = list(starmap(log_return, pairwise(self._close.values[first - 1 : end])))
            squares[first:end] = returns[first:end] * returns[first:end]
            self._returns += end - first
            # The first places with enough returns for a volatility, and for one at the bar before.
            known, scaled = (
                max(first, end - max(0, self._returns - VOLATILITY_BARS + 1 - before)) for before in (0, 1)
            )
            if known < end:
                behind, found = squares[known + 1 - VOLATILITY_BARS : end], volatility[known:end]
                series.ewma_volatility(behind, _WEIGHTS, _MIN_VOLATILITY, found)
            ratios = returns[scaled:end] / volatility[scaled - 1 : end - 1]
            self._scaled.room[scaled:end] = np.minimum(np.maximum(ratios, -_CLIP), _CLIP)
            self._volatilities = end - known + (self._volatilities if known == first else 0)
            self._scaled_returns = end - scaled + (self._scaled_returns if scaled == first else 0)
        self._derived = end


class Encoder(Protocol):
    """Computes a key from a bar and those before it: a unit vector that is similar where their shapes are."""

    dimension: int
    """Length of a key."""
    window_bars: int
    """Bars that a key describes; moments closer than half of that count as one."""
    receptive_bars: int
    """Contiguous bars that a key depends on."""

    def last_keys(self, window: FeatureWindow, n: int) -> Keys:
        """The keys at the closes of the newest ``n`` bars: float32 (n, dimension), the newest last.

        Each of unit length, or zero where the price did not move; fewer where too few bars are known. A bar's key
        has the same bits whenever it is computed, and with however many others.
        """
        ...


def key_of(encoder: Encoder, window: FeatureWindow) -> Key | None:
    """The newest bar's key (dimension,); None where too few bars are known or the price did not move."""
    keys = encoder.last_keys(window, 1)
    return keys[0] if keys.any() else None


class PlainEncoder:
    """The last 48 returns, each over the volatility known before it: the baseline of trained encoders."""

    dimension = KEY_BARS
    window_bars = KEY_BARS
    receptive_bars = RECEPTIVE_BARS

    def last_keys(self, window: FeatureWindow, n: int) -> Keys:
        """See :class:`Encoder`."""
        return unit_rows(windows_of(window.scaled_returns(n + KEY_BARS - 1), KEY_BARS))


def feature_row(window: FeatureWindow, back: int = 0) -> NDArray[np.float32] | None:
    """The newest bar as a float32 row of :data:`FEATURES`, in [-6, 6]; None where too few bars are known.

    With ``back``, the bar ``back`` bars before it, as known at its own close.
    Return, exponential trends of 6 and 25 bars and the absolute return are in units of the volatility
    known before the bar; the volatility ratio is the logarithm of short over long; the volume is its
    logarithm's distance from the mean of 256 bars in standard deviations; the hour is UTC's, of the
    bar's close.
    """
    scaled = _before(window.scaled_returns(1 + back), back)
    if not len(scaled):
        return None
    return np.array(_feature_row(window, back), dtype=np.float32)


def _feature_row(window: FeatureWindow, back: int) -> list[float]:
    """The figures of :func:`feature_row` where enough bars are known."""
    from bot.model.kernels import series

    newest = float(window.scaled_returns(1 + back)[0])
    known_before = float(window.volatilities(2 + back)[0])
    short, fast, slow, volume = series.recent_sums(
        _before(window.squared_returns(VOLATILITY_BARS + 1 + back), back + 1),
        _before(window.returns(VOLATILITY_BARS + back), back),
        _before(window.volumes(VOLATILITY_BARS + back), back),
        _RECENT_WEIGHTS,
        _MAX_VOLUME,
    )
    close_ms = window.close_ms(back)
    hour = 2.0 * math.pi * (close_ms % _DAY_MS) / _DAY_MS
    ratio = math.log(max(math.sqrt(short), _MIN_VOLATILITY) / known_before)
    row = (newest, fast / known_before, slow / known_before, ratio, abs(newest), volume)
    return [*map(_clipped, row), math.sin(hour), math.cos(hour)]


def state_row(window: FeatureWindow, back: int = 0) -> NDArray[np.float32] | None:
    """Inputs of the quantile forecast: float32 of :data:`STATE_FEATURES`, in [-6, 6].

    :func:`feature_row`, then: the time of the week (UTC, of the close); logarithms of the newest bar's
    Parkinson volatility and of the root mean square return of 24 and of 500 bars, over the volatility
    expected of the next bar; the logarithm of that volatility a day, over 3 %; and the last 16 absolute
    and 8 signed scaled returns, oldest first. None where fewer than 501 contiguous bars are known.
    With ``back``, the bar ``back`` bars before the newest, as known at its own close.
    """
    squares = _before(window.squared_returns(STATE_BARS + back), back)
    if len(squares) < STATE_BARS:
        return None
    expected = float(window.volatilities(1 + back)[0])
    close_ms = window.close_ms(back)
    week = 2.0 * math.pi * (close_ms % _WEEK_MS) / _WEEK_MS
    low, high = float(window.lows(1 + back)[0]), float(window.highs(1 + back)[0])
    parkinson = log_return(low, high) / _PARKINSON
    day, long = (float(np.add.reduce(squares[-bars:])) / bars for bars in (_DAY_RATIO_BARS, STATE_BARS))
    figures = [
        _log_ratio(parkinson, expected),
        _log_ratio(math.sqrt(day), expected),
        _log_ratio(math.sqrt(long), expected),
        _log_ratio(expected * math.sqrt(window.bars_a_day()), _COMMON_DAILY_VOLATILITY),
    ]
    scaled: list[float] = _before(window.scaled_returns(STATE_SIZES + back), back).tolist()
    row = [*_feature_row(window, back), math.sin(week), math.cos(week), *map(_clipped, figures)]
    return np.array([*row, *map(abs, scaled), *scaled[-STATE_RETURNS:]], dtype=np.float32)


def _before(run: Floats, back: int) -> Floats:
    """All but the last ``back``."""
    return run[: max(0, len(run) - back)]


def _clipped(figure: float) -> float:
    return min(max(figure, -_CLIP), _CLIP)


def _log_ratio(figure: float, unit: float) -> float:
    """Their ratio's logarithm, and -6 where the figure is that small or nothing."""
    return math.log(max(figure / unit, _MIN_RATIO))
