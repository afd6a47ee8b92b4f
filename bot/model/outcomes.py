"""Moments whose horizon is still running, and their outcome once it has ended."""

from collections import deque
from dataclasses import dataclass

from bot.market import INTERVAL_MS, Bar
from bot.model.calibration import Vote
from bot.model.features import Key, log_return
from bot.model.odds import Standing
from bot.model.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One bar of one symbol as known at its close, and worth remembering.

    ``key`` is a float32 unit vector (dimension,), ``shape`` another (40,) where shapes are compared; ``volatility``
    is the expected size of the next bar's log return, a fraction. ``standing`` is its state and scale where the
    quantile forecast uses the moment. ``vote`` is what memory and network forecast at the time, where it will be
    scored.
    """

    key: Key
    regime: str
    volatility: float
    shape: Shape | None = None
    standing: Standing | None = None
    vote: Vote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaturedMoment:
    """A moment and its outcome.

    Times are the market clock's: ``matured_ms`` is the close of the bar that ended the horizon.
    ``forward_return`` is the log return from the moment's close to that one, a fraction.
    """

    symbol: str
    start_ms: int
    matured_ms: int
    moment: Moment
    forward_return: float


@dataclass(frozen=True, slots=True)
class _Pending:
    start_ms: int
    due_start_ms: int
    close: float
    moment: Moment


class PendingOutcomes:
    """The moments of each symbol whose horizon is still running. Bars come on the market's clock."""

    def __init__(self, horizon_bars: int) -> None:
        self._horizon_bars = horizon_bars
        self._pending: dict[str, deque[_Pending]] = {}
        self._next_start_ms: dict[str, int] = {}

    def mature(self, bar: Bar) -> list[MaturedMoment]:
        """The moments, none or one, whose horizon ended at this bar's close; they are pending no longer.

        A bar that does not directly follow its symbol's last one drops the symbol's pending moments: a horizon
        with a gap in it has no outcome.
        """
        pending = self._pending.get(bar.symbol)
        if pending is None or self._next_start_ms[bar.symbol] != bar.start_ms:
            pending = self._pending[bar.symbol] = deque()
        self._next_start_ms[bar.symbol] = bar.start_ms + INTERVAL_MS[bar.interval]
        if not pending or pending[0].due_start_ms != bar.start_ms:
            return []
        due = pending.popleft()
        return [
            MaturedMoment(
                symbol=bar.symbol,
                start_ms=due.start_ms,
                matured_ms=bar.close_ms,
                moment=due.moment,
                forward_return=log_return(due.close, float(bar.close)),
            )
        ]

    def add(self, bar: Bar, moment: Moment) -> None:
        """Add the moment at the close of ``bar``, which :meth:`mature` has just been called with."""
        due_start_ms = bar.start_ms + self._horizon_bars * INTERVAL_MS[bar.interval]
        self._pending[bar.symbol].append(_Pending(bar.start_ms, due_start_ms, float(bar.close), moment))
