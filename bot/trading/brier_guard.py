"""The rolling Brier score of confidence, which blocks entries while it is worse than the base rate's."""

from decimal import Decimal
from math import sqrt

from msgspec import Struct

from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar
from bot.trading.events import Signal


def likelier(rises: bool, confidence: float) -> tuple[bool, float]:
    """A leaning as the direction that it holds for likelier: 45 % for a rise are 55 % for a fall.

    Moments can lean to one side against their base rate, and the other still be the likelier one.
    """
    return (rises, confidence) if confidence >= 0.5 else (not rises, 1.0 - confidence)


class PendingForecast(Struct, frozen=True, kw_only=True, gc=False):
    """A forecast of a direction whose horizon still runs, made at a close of ``price``.

    ``stated`` is its probability, ``base`` the base rate's. ``end_ms`` is the market's clock's.
    """

    end_ms: int
    price: Decimal
    rises: bool
    stated: float
    base: float


class BrierState(Struct, frozen=True, kw_only=True):
    """What a :class:`RollingBrierScore` resumes from: pending forecasts by symbol, counts, the rolling window.

    ``squares`` holds for each scored forecast, oldest first, the squared error of its probability and of the
    base rate.
    """

    open: dict[str, PendingForecast] = {}
    judged: int = 0
    right: int = 0
    squares: tuple[tuple[float, float], ...] = ()


class RollingBrierScore:
    """Scores confidence as outcomes mature, compared with the base rate known when the forecast was made.

    The base rate is the fraction of all earlier forecasts that were right, begun with one right and one wrong.
    One symbol's forecasts that overlap count once, and one whose horizon ends in a gap does not count. The
    last ``size`` forecasts are compared (0: none is taken at all).
    """

    def __init__(self, size: int, state: BrierState, calendar: Calendar = ALWAYS_OPEN) -> None:
        self._size = size
        self._calendar = calendar
        self.open = dict(state.open)
        """Forecasts by symbol whose outcome is still to come."""
        self._judged = state.judged
        self._right = state.right
        self._squares = list(state.squares[-size:]) if size else []

    def snapshot(self) -> BrierState:
        """Everything that the score resumes from, as a value."""
        return BrierState(
            open=dict(self.open), judged=self._judged, right=self._right, squares=tuple(self._squares)
        )

    def add(self, signal: Signal, bar: Bar, base_ratio: float | None) -> bool:
        """Take a signal's forecast at a bar's close; whether it counts.

        A long forecasts a rise and a short a fall; a hold leans to the side on which its moments ended
        more often than ``base_ratio``, the memory's own fraction of rises, and forecasts the likelier one.
        """
        if not self._size or not signal.confidence or signal.horizon_bars is None or bar.symbol in self.open:
            return False
        if signal.action == "hold":
            if signal.positive_ratio is None:
                return False
            leans_up = signal.positive_ratio > (0.5 if base_ratio is None else base_ratio)
            rises, stated = likelier(leans_up, signal.confidence)
        else:
            rises, stated = signal.action == "long", signal.confidence
        self.open[bar.symbol] = PendingForecast(
            end_ms=self._calendar.clock_ms(bar.close_ms) + signal.horizon_bars * INTERVAL_MS[bar.interval],
            price=bar.close,
            rises=rises,
            stated=stated,
            base=(self._right + 1) / (self._judged + 2),
        )
        return True

    def mature(self, bar: Bar) -> bool:
        """Score the symbol's pending forecast where this close ends its horizon; whether anything changed."""
        forecast = self.open.get(bar.symbol)
        if forecast is None or (now_ms := self._calendar.clock_ms(bar.close_ms)) < forecast.end_ms:
            return False
        del self.open[bar.symbol]
        if now_ms == forecast.end_ms:
            right = bar.close > forecast.price if forecast.rises else bar.close < forecast.price
            self._judged += 1
            self._right += right
            self._squares.append(((forecast.stated - right) ** 2, (forecast.base - right) ** 2))
            del self._squares[: -self._size]
        return True

    def worse_than_base_rate(self) -> str | None:
        """Why confidence is not to be traded on, with the figures; None where it is, or too few are known.

        Its score must be worse by more than one standard error of the difference: equal skill is no fault.
        """
        count = len(self._squares)
        if not self._size or count < self._size:
            return None
        excess = [stated - base for stated, base in self._squares]
        mean = sum(excess) / count
        error = sqrt(sum((value - mean) ** 2 for value in excess)) / count
        if mean <= error:
            return None
        stated, base = (sum(pair[place] for pair in self._squares) / count for place in (0, 1))
        return (
            f"over the last {count} claims confidence had a Brier score of {stated:.4f}, the base rate "
            f"{base:.4f}: worse by {mean:.4f}, more than its standard error {error:.4f}"
        )
