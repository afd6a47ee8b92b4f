"""What a stretch of trading came to: return, risk, drawdown, round trips, costs, exposure."""

from array import array
from collections.abc import Iterable, Sequence
from math import fsum, sqrt

from msgspec import Struct

from bot.trading.events import Fill, FundingPayment, RoundTrip

DAY_MS = 86_400_000
_YEAR_MS = 365.25 * DAY_MS
_DAILY_FROM_MS = 30 * DAY_MS
"""From so long a stretch on, returns are taken by the day."""
_MOST_PERIODS = 1_000_000
"""Without anything noted, in a row: two millennia of days, two years of minutes."""


class Performance(Struct, frozen=True, kw_only=True, gc=False):
    """Figures for people, as floats; amounts are in quote currency, shares and returns are fractions.

    - ``total_return``: the change of a unit's value over the period (a simple return), which deposits and
      withdrawals do not move. None where the account began at nothing.
    - ``max_drawdown``: the largest decline of a unit's value from its highest so far, as a share of that.
    - ``round_trips``: how many positions ended within the period, by closing or turning over.
    - ``liquidations``: how many of them, or of their parts, the exchange ended by liquidation.
    - ``hit_rate``: the share of those whose result was above 0; None without any.
    - ``profit_factor``: what the winning ones won over what the losing ones lost; None where none lost.
    - ``realized_pnl`` (gross), ``fees`` and ``funding`` sum all fills and payments, open trips' too.
    - ``exposure``: the share of the time from first to last equity in which any position was open.
    - ``turnover``: what all fills were worth together, in multiples of the mean equity; None where that
      is not positive.
    """

    start_equity: float
    end_equity: float
    transferred: float
    total_return: float | None
    max_drawdown: float
    fills: int
    round_trips: int
    liquidations: int
    hit_rate: float | None
    profit_factor: float | None
    realized_pnl: float
    fees: float
    funding: float
    exposure: float
    turnover: float | None


class Estimate(Struct, frozen=True, kw_only=True, gc=False):
    """A figure that was estimated, with its standard error."""

    value: float
    standard_error: float


class EquityCurve:
    """Follows what an account is worth from its start, in constant memory but for one return a period.

    Equity is in quote currency; returns and drawdown are of the value of a unit, which transfers do not move.
    Times may stand still or step back a little (what is late counts when it becomes known). Periods are UTC
    ``period_ms`` long; one in which nothing was added has the return 0, and a million of them in a row are a
    ValueError. Where all was lost (a value of 0), its
    period and the whole have the return -1, and what follows begins anew.
    """

    def __init__(
        self, start_ms: int, start_equity: float, start_value: float = 1.0, *, period_ms: int = DAY_MS
    ) -> None:
        self._period_ms = period_ms
        self._period: int | None = None
        self._start = self._base = self._value = self._peak = start_value
        self._ruined = self._ruined_in_period = False
        self._returns = array("d")
        self._sum, self._rows = start_equity, 1
        self.start_ms = self.end_ms = start_ms
        self.start_equity = self.end_equity = start_equity
        self.max_drawdown = 0.0

    def add(self, time_ms: int, equity: float, value: float) -> None:
        """Go on to the next equity, and what a unit of it is worth."""
        # A close at midnight ends the day before.
        period = (time_ms - 1) // self._period_ms
        if self._period is None:
            self._period = period
        if period - self._period > _MOST_PERIODS:
            raise ValueError("equity was noted at times that lie further apart than any two of one account")
        while self._period < period:
            self._returns.append(self._period_return())
            self._base, self._ruined_in_period = self._value, False
            self._period += 1
        if time_ms > self.end_ms:
            self.end_ms = time_ms
        self.end_equity = equity
        self._sum += equity
        self._rows += 1
        if self._value <= 0 < value:
            self._base = self._peak = value
            if self._start <= 0:
                self._start = value
        elif value <= 0 < self._value:
            self._ruined = self._ruined_in_period = True
        self._value = value
        if value >= self._peak:
            self._peak = value
        elif self._peak > 0 and (fallen := 1 - value / self._peak) > self.max_drawdown:
            self.max_drawdown = fallen

    @property
    def mean_equity(self) -> float:
        """The mean over all equities added, the start included."""
        return self._sum / self._rows

    @property
    def total_return(self) -> float | None:
        """How a unit's value has changed since the start (a simple return); None where it began at nothing."""
        if self._ruined:
            return -1.0
        return self._value / self._start - 1 if self._start > 0 else None

    def returns(self) -> Sequence[float]:
        """Simple returns of all periods, the running one included; the first begins at the start."""
        return self._returns if self._period is None else [*self._returns, self._period_return()]

    def _period_return(self) -> float:
        if self._ruined_in_period:
            return -1.0
        return self._value / self._base - 1 if self._base > 0 else 0.0


class HeldEqually:
    """What an account would be worth that bought all symbols at their first close and sold none.

    Each symbol gets the same share of ``cash`` (quote currency), ``fee`` (a fraction of the notional)
    included. Without funding, spread or lots.
    """

    def __init__(self, symbols: Sequence[str], cash: float, fee: float) -> None:
        self._share = cash / len(symbols)
        self._fee = fee
        self._values = dict.fromkeys(symbols, self._share)
        self._units: dict[str, float] = {}

    def value(self, symbol: str, close: float) -> float:
        """The whole account once this symbol has closed at ``close``."""
        units = self._units.setdefault(symbol, self._share / (close * (1 + self._fee)))
        self._values[symbol] = units * close
        return fsum(self._values.values())


def return_period_ms(stretch_ms: int, bar_ms: int) -> int:
    """How long the periods are whose returns are judged: days of a long stretch, else bars."""
    return max(DAY_MS, bar_ms) if stretch_ms >= _DAILY_FROM_MS else bar_ms


def sharpe(returns: Sequence[float], period_ms: int) -> Estimate | None:
    """Annualised Sharpe ratio (mean over sample deviation, no riskless rate); None without any deviation.

    The standard error is the delta method's, with the sample's own skew and kurtosis, for returns
    that are independent of each other: Lo's (2002) where they are normal, Mertens' (2002) else.
    """
    n = len(returns)
    if n < 2:
        return None
    mean = fsum(returns) / n
    deviation = sqrt(fsum((each - mean) ** 2 for each in returns) / (n - 1))
    # A constant's own rounding is no deviation.
    if deviation <= 1e-12 * abs(mean):
        return None
    ratio = mean / deviation
    scores = ((each - mean) / deviation for each in returns)
    return _annualised(ratio, [z - ratio / 2 * (z * z - 1) for z in scores], period_ms)


def sortino(returns: Sequence[float], period_ms: int) -> Estimate | None:
    """Annualised Sortino ratio (mean over the root mean square of the losses); None without a loss.

    The standard error as for :func:`sharpe`.
    """
    n = len(returns)
    if n < 2:
        return None
    mean = fsum(returns) / n
    squares = [min(each, 0.0) ** 2 for each in returns]
    downside = sqrt(fsum(squares) / n)
    if downside == 0:
        return None
    ratio = mean / downside
    influences = [
        (each - mean) / downside - ratio / 2 * (square / downside**2 - 1)
        for each, square in zip(returns, squares, strict=True)
    ]
    return _annualised(ratio, influences, period_ms)


def _annualised(ratio: float, influences: Sequence[float], period_ms: int) -> Estimate:
    """The ratio, and its error from how much each return moves it."""
    yearly = sqrt(_YEAR_MS / period_ms)
    error = sqrt(fsum(each * each for each in influences)) / len(influences)
    return Estimate(value=ratio * yearly, standard_error=error * yearly)


def performance_of(
    curve: EquityCurve,
    fills: Iterable[Fill] = (),
    funding: Iterable[FundingPayment] = (),
    trips: Iterable[RoundTrip] = (),
    transferred: float = 0.0,
) -> Performance:
    """The performance over a curve. ``trips`` are those that ended within it, and those that went on."""
    fills, trips = list(fills), sorted(trips, key=lambda trip: trip.opened_ms)
    results = [float(trip.net) for trip in trips if trip.closed_ms is not None]
    lost = -sum(result for result in results if result < 0)
    return Performance(
        start_equity=curve.start_equity,
        end_equity=curve.end_equity,
        transferred=transferred,
        total_return=curve.total_return,
        max_drawdown=curve.max_drawdown,
        fills=len(fills),
        round_trips=len(results),
        liquidations=sum(fill.rule == "liquidation" for fill in fills),
        hit_rate=sum(result > 0 for result in results) / len(results) if results else None,
        profit_factor=sum(result for result in results if result > 0) / lost if lost else None,
        realized_pnl=sum(float(fill.realized_pnl) for fill in fills),
        fees=sum(float(fill.fee) for fill in fills),
        funding=sum(float(payment.payment) for payment in funding),
        exposure=_exposure(trips, curve.start_ms, curve.end_ms),
        turnover=sum(float(fill.notional) for fill in fills) / curve.mean_equity
        if curve.mean_equity > 0
        else None,
    )


def _exposure(trips: list[RoundTrip], start_ms: int, end_ms: int) -> float:
    """The share of the time in which at least one of the trips, ordered by opening, was open."""
    if end_ms <= start_ms:
        return 0.0
    covered_ms, counted_to_ms = 0, start_ms
    for trip in trips:
        closed_ms = end_ms if trip.closed_ms is None else min(trip.closed_ms, end_ms)
        opened_ms = max(trip.opened_ms, counted_to_ms)
        if closed_ms > opened_ms:
            covered_ms += closed_ms - opened_ms
            counted_to_ms = closed_ms
    return covered_ms / (end_ms - start_ms)
