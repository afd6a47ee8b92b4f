"""Moments that wait for their forward return."""

from collections import deque
from dataclasses import dataclass

from bot.market import INTERVAL_MS, Bar
from bot.model.calibration import Vote
from bot.model.features import Key, log_return
from bot.model.odds import Standing
from bot.model.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is known when a bar closes, and worth remembering.

    ``key`` is a float32 unit vector, ``shape`` another where shapes are compared; ``volatility`` is the
    size of the coming bar's log return as expected. ``standing``, of one bar, is there where the moment
    will be asked for odds. ``vote`` is what the memory and the head said at the time, where it will be held
    against what happens.
    """

    key: Key
    regime: str
    volatility: float
    shape: Shape | None = None
    standing: Standing | None = None
    vote: Vote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A moment and what came of it.

    Times are the market's clock's: ``matured_ms`` is the close of the bar that ended the horizon.
    ``forward_return`` is the log return from the moment's close to that one.
    """

    symbol: str
    start_ms: int
    matured_ms: int
    moment: Moment
    forward_return: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    start_ms: int
    due_start_ms: int
    close: float
    moment: Moment


class PendingOutcomes:
    """The moments of each symbol whose horizon is still running. Bars come on the market's clock."""

    def __init__(self, horizon_bars: int) -> None:
        self._horizon_bars = horizon_bars
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._next_start_ms: dict[str, int] = {}

    def settle(self, bar: Bar) -> list[Episode]:
        """The moments, none or one, whose horizon ended at this bar's close; they wait no longer.

        A bar that does not directly follow its symbol's last one drops what was waiting: a horizon
        with a gap in it has no outcome.
        """
        waiting = self._waiting.get(bar.symbol)
        if waiting is None or self._next_start_ms[bar.symbol] != bar.start_ms:
            waiting = self._waiting[bar.symbol] = deque()
        self._next_start_ms[bar.symbol] = bar.start_ms + INTERVAL_MS[bar.interval]
        if not waiting or waiting[0].due_start_ms != bar.start_ms:
            return []
        due = waiting.popleft()
        return [
            Episode(
                symbol=bar.symbol,
                start_ms=due.start_ms,
                matured_ms=bar.close_ms,
                moment=due.moment,
                forward_return=log_return(due.close, float(bar.close)),
            )
        ]

    def wait(self, bar: Bar, moment: Moment) -> None:
        """Let the moment at the close of ``bar``, which has just been settled with, wait."""
        due_start_ms = bar.start_ms + self._horizon_bars * INTERVAL_MS[bar.interval]
        self._waiting[bar.symbol].append(_Waiting(bar.start_ms, due_start_ms, float(bar.close), moment))
