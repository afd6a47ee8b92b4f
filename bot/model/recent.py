"""RecentBars: the last bars of a symbol as a strategy may see them, with nothing to change them by."""

from bot.model.features import FeatureWindow, Floats


class RecentBars:
    """The last unbroken bars of one symbol, oldest first, as read-only float64 arrays.

    The arrays are views: they hold until the next bar, so what is kept for longer is copied. They hold
    fewer than ``n`` values where fewer are known.
    """

    __slots__ = ("_window",)

    def __init__(self, window: FeatureWindow) -> None:
        self._window = window

    def __len__(self) -> int:
        return len(self._window)

    @property
    def next_start_ms(self) -> int:
        """When the bar after the newest one starts, on the market's clock; -1 where no bar is known."""
        return self._window.next_start_ms

    @property
    def interval_ms(self) -> int:
        """The bars' length; 0 where no bar is known."""
        return self._window.interval_ms

    def opens(self, n: int) -> Floats:
        return self._window.opens(n)

    def highs(self, n: int) -> Floats:
        return self._window.highs(n)

    def lows(self, n: int) -> Floats:
        return self._window.lows(n)

    def closes(self, n: int) -> Floats:
        return self._window.closes(n)

    def volumes(self, n: int) -> Floats:
        return self._window.volumes(n)

    def returns(self, n: int) -> Floats:
        """Log returns of the closes."""
        return self._window.returns(n)

    def squared_returns(self, n: int) -> Floats:
        return self._window.squared_returns(n)

    def scaled_returns(self, n: int) -> Floats:
        """Log returns over the volatility known before each of them, clipped at ±6."""
        return self._window.scaled_returns(n)

    def volatilities(self, n: int) -> Floats:
        """At each close, the expected absolute size (root mean square) of the next bar's log return."""
        return self._window.volatilities(n)

    def volatility(self) -> float | None:
        """The newest of :meth:`volatilities`, None if too few bars are known."""
        return self._window.volatility()
