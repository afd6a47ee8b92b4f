"""What a stretch of trading came to: return, risk, drawdown, round trips, costs, exposure."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import fsum, sqrt

from msgspec import Struct

from bot.exact import EXACT
from bot.trading.events import Equity, Fill, FundingPayment, Position, Transfer

DAY_MS = 86_400_000
_YEAR_MS = 365.25 * DAY_MS
_DAILY_FROM_MS = 30 * DAY_MS
"""From so long a stretch on, returns are taken by the day."""


class RoundTrip(Struct, kw_only=True, gc=False):
    """One position from leaving zero (or turning over) to its end; ``closed_ms`` None while it is open.

    ``result`` is its realized PnL less its fees, plus the funding received, in quote currency.
    """

    symbol: str
    opened_ms: int
    closed_ms: int | None = None
    result: float = 0.0


class Performance(Struct, frozen=True, kw_only=True, gc=False):
    """Figures for people, as floats; amounts are in quote currency, shares and returns are fractions.

    - ``total_return``: what the account earned over its first equity (a simple return); deposits and
      withdrawals are not earnings. None without a positive first equity.
    - ``max_drawdown``: the deepest fall of equity from its highest point so far, as a share of that
      point, with deposits and withdrawals taken out of the curve.
    - ``round_trips``: how many positions ended within the stretch, by closing or turning over.
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
    """Follows an account's equity from its start, in constant memory but for one return a period.

    Amounts are in quote currency, times may stand still or step back a little (what is late counts
    when it becomes known). Deposits and withdrawals move neither return nor drawdown. Periods are UTC
    ``period_ms`` long; one in which nothing was added has the return 0.
    """

    def __init__(
        self,
        start_ms: int,
        start_equity: float,
        transfers: Iterable[Transfer] = (),
        *,
        period_ms: int = DAY_MS,
    ) -> None:
        pending = sorted(transfers, key=lambda transfer: transfer.time_ms, reverse=True)
        # What was transferred up to the start is in it already.
        while pending and pending[-1].time_ms <= start_ms:
            pending.pop()
        self._pending = pending
        self._period_ms = period_ms
        self._period: int | None = None
        self._base, self._moved = start_equity, 0.0
        self._returns = array("d")
        self._peak = start_equity
        self._sum, self._rows = start_equity, 1
        self.start_ms = self.end_ms = start_ms
        self.start_equity = self.end_equity = start_equity
        self.transferred = 0.0
        self.max_drawdown = 0.0

    def add(self, time_ms: int, equity: float) -> None:
        """Go on to the next equity."""
        # A close at midnight ends the day before.
        period = (time_ms - 1) // self._period_ms
        if self._period is None:
            self._period = period
        while self._period < period:
            self._returns.append(self._period_return())
            self._base, self._moved = self.end_equity, 0.0
            self._period += 1
        while self._pending and self._pending[-1].time_ms <= time_ms:
            amount = float(self._pending.pop().amount)
            self._moved += amount
            self.transferred += amount
        self.end_ms, self.end_equity = max(time_ms, self.end_ms), equity
        self._sum, self._rows = self._sum + equity, self._rows + 1
        earned = equity - self.transferred
        self._peak = max(self._peak, earned)
        if self._peak > 0:
            self.max_drawdown = max(self.max_drawdown, 1 - earned / self._peak)

    @property
    def mean_equity(self) -> float:
        """The mean over all equities added, the start included."""
        return self._sum / self._rows

    @property
    def total_return(self) -> float | None:
        """What was earned over the start (a simple return); None without a positive start."""
        if self.start_equity <= 0:
            return None
        return (self.end_equity - self.transferred - self.start_equity) / self.start_equity

    def returns(self) -> Sequence[float]:
        """Simple returns of all periods, the running one included; the first begins at the start."""
        return self._returns if self._period is None else [*self._returns, self._period_return()]

    def _period_return(self) -> float:
        return (self.end_equity - self._moved) / self._base - 1 if self._base > 0 else 0.0


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


def summarize(
    equity: Iterable[Equity],
    fills: Iterable[Fill] = (),
    funding: Iterable[FundingPayment] = (),
    transfers: Iterable[Transfer] = (),
    *,
    held: Iterable[Position] = (),
) -> Performance | None:
    """The performance over a stretch, or None without any equity in it.

    Equity comes in the order it was written and is read once, so it may be longer than memory; its
    first row is the start. Fills are as the ledger booked them; ``held`` are the positions at the start.
    """
    rows = iter(equity)
    first = next(rows, None)
    if first is None:
        return None
    curve = EquityCurve(first.time_ms, float(first.equity), transfers)
    for row in rows:
        curve.add(row.time_ms, float(row.equity))
    return performance_of(curve, fills, funding, held=held)


def performance_of(
    curve: EquityCurve,
    fills: Iterable[Fill] = (),
    funding: Iterable[FundingPayment] = (),
    *,
    held: Iterable[Position] = (),
) -> Performance:
    """The performance over a curve, as :func:`summarize` has it."""
    fills, funding = list(fills), list(funding)
    trips = round_trips(fills, funding, held)
    results = [trip.result for trip in trips if trip.closed_ms is not None]
    lost = -sum(result for result in results if result < 0)
    return Performance(
        start_equity=curve.start_equity,
        end_equity=curve.end_equity,
        transferred=curve.transferred,
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


class RoundTrips:
    """Follows fills and funding, each symbol's in order of time, and holds only the positions still open.

    One of ``held`` counts from its own opening, with what it brought since. A fill that turns a position
    over ends one trip and begins another; its fee is split by quantity. Funding that becomes known only
    after its position has ended counts for none.
    """

    def __init__(self, held: Iterable[Position] = ()) -> None:
        self._quantities: defaultdict[str, Decimal] = defaultdict(Decimal)
        self._open: dict[str, RoundTrip] = {}
        for position in held:
            if position.quantity:
                self._quantities[position.symbol] = position.quantity
                self._open[position.symbol] = RoundTrip(symbol=position.symbol, opened_ms=position.opened_ms)

    @property
    def open(self) -> tuple[RoundTrip, ...]:
        """The trips that go on."""
        return tuple(self._open.values())

    def add(self, event: Fill | FundingPayment) -> RoundTrip | None:
        """Go on to the next event; the trip that it ended, or None."""
        symbol = event.symbol
        trip = self._open.get(symbol)
        if isinstance(event, FundingPayment):
            if trip is not None and trip.opened_ms < event.time_ms:
                trip.result += float(event.payment)
            return None
        before = self._quantities[symbol]
        change = event.quantity if event.side == "buy" else EXACT.minus(event.quantity)
        after = self._quantities[symbol] = EXACT.add(before, change)
        fee, opened = float(event.fee), 0.0
        turns_over = before > 0 > after or before < 0 < after
        if turns_over:
            closing = float(before.copy_abs()) / float(event.quantity)
            fee, opened = fee * closing, -fee * (1 - closing)
        if trip is None:
            trip = self._open[symbol] = RoundTrip(symbol=symbol, opened_ms=event.time_ms)
        trip.result += float(event.realized_pnl) - fee
        if after and not turns_over:
            return None
        del self._open[symbol]
        if turns_over:
            self._open[symbol] = RoundTrip(symbol=symbol, opened_ms=event.time_ms, result=opened)
        trip.closed_ms = event.time_ms
        return trip


def round_trips(
    fills: Iterable[Fill], funding: Iterable[FundingPayment] = (), held: Iterable[Position] = ()
) -> list[RoundTrip]:
    """All positions that the fills opened and closed, in order of opening; see :class:`RoundTrips`."""
    # Funding is paid on what was held just before its time, hence ahead of fills of that time.
    timeline: list[tuple[int, int, Fill | FundingPayment]] = [(p.time_ms, 0, p) for p in funding]
    timeline += [(fill.time_ms, fill.id, fill) for fill in fills]
    trips = RoundTrips(held)
    ended = [trips.add(event) for _, _, event in sorted(timeline, key=lambda entry: entry[:2])]
    known = [*(trip for trip in ended if trip is not None), *trips.open]
    return sorted(known, key=lambda trip: trip.opened_ms)


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
