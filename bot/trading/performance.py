"""What a stretch of trading came to: return, drawdown, round trips, costs, exposure."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from bot.trading.events import Equity, Fill, FundingPayment, Position, Transfer
from bot.trading.exact import EXACT, ZERO


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
    - ``hit_rate``: the share of those whose result was above 0; None without any.
    - ``profit_factor``: what the winning ones won over what the losing ones lost; None where none lost.
    - ``realized_pnl`` (gross), ``fees`` and ``funding`` sum all fills and payments, open trips' too.
    - ``exposure``: the share of the time from first to last equity in which any position was open.
    """

    start_equity: float
    end_equity: float
    transferred: float
    total_return: float | None
    max_drawdown: float
    fills: int
    round_trips: int
    hit_rate: float | None
    profit_factor: float | None
    realized_pnl: float
    fees: float
    funding: float
    exposure: float


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
    fills, funding = list(fills), list(funding)
    pending = sorted(transfers, key=lambda transfer: transfer.time_ms, reverse=True)
    rows = iter(equity)
    first = next(rows, None)
    if first is None:
        return None
    # What was transferred up to the first row is in it already.
    while pending and pending[-1].time_ms <= first.time_ms:
        pending.pop()
    start = peak = earned = float(first.equity)
    last, transferred, drawdown = first, 0.0, 0.0
    for last in rows:
        while pending and pending[-1].time_ms <= last.time_ms:
            transferred += float(pending.pop().amount)
        earned = float(last.equity) - transferred
        peak = max(peak, earned)
        if peak > 0:
            drawdown = max(drawdown, 1 - earned / peak)

    trips = round_trips(fills, funding, held)
    results = [trip.result for trip in trips if trip.closed_ms is not None]
    lost = -sum(result for result in results if result < 0)
    return Performance(
        start_equity=start,
        end_equity=float(last.equity),
        transferred=transferred,
        total_return=(earned - start) / start if start > 0 else None,
        max_drawdown=drawdown,
        fills=len(fills),
        round_trips=len(results),
        hit_rate=sum(result > 0 for result in results) / len(results) if results else None,
        profit_factor=sum(result for result in results if result > 0) / lost if lost else None,
        realized_pnl=sum(float(fill.realized_pnl) for fill in fills),
        fees=sum(float(fill.fee) for fill in fills),
        funding=sum(float(payment.payment) for payment in funding),
        exposure=_exposure(trips, first.time_ms, last.time_ms),
    )


def round_trips(
    fills: Iterable[Fill], funding: Iterable[FundingPayment] = (), held: Iterable[Position] = ()
) -> list[RoundTrip]:
    """The positions that the fills opened and closed, in order of opening.

    One of ``held`` counts from its own opening, with what it brought since the first of the fills.
    A fill that turns a position over ends one trip and begins another; its fee is split by quantity.
    """
    quantities: defaultdict[str, Decimal] = defaultdict(Decimal)
    trips: list[RoundTrip] = []
    running: dict[str, RoundTrip] = {}
    for position in held:
        if position.quantity:
            quantities[position.symbol] = position.quantity
            running[position.symbol] = RoundTrip(symbol=position.symbol, opened_ms=position.opened_ms)
            trips.append(running[position.symbol])
    # Funding is paid on what was held just before its time, hence ahead of fills of that time.
    timeline: list[tuple[int, int, Fill | FundingPayment]] = [(p.time_ms, 0, p) for p in funding]
    timeline += [(fill.time_ms, fill.id, fill) for fill in fills]
    for _, _, event in sorted(timeline, key=lambda entry: entry[:2]):
        symbol = event.symbol
        if isinstance(event, FundingPayment):
            if symbol in running:
                running[symbol].result += float(event.payment)
            continue
        before = quantities[symbol]
        change = event.quantity if event.side == "buy" else EXACT.minus(event.quantity)
        after = quantities[symbol] = EXACT.add(before, change)
        fee = float(event.fee)
        if before > 0 > after or before < 0 < after:
            share = float(before.copy_abs()) / float(event.quantity)
            running[symbol].result += float(event.realized_pnl) - fee * share
            running.pop(symbol).closed_ms = event.time_ms
            running[symbol] = RoundTrip(symbol=symbol, opened_ms=event.time_ms, result=-fee * (1 - share))
            trips.append(running[symbol])
            continue
        if before == ZERO:
            running[symbol] = RoundTrip(symbol=symbol, opened_ms=event.time_ms)
            trips.append(running[symbol])
        running[symbol].result += float(event.realized_pnl) - fee
        if after == ZERO:
            running.pop(symbol).closed_ms = event.time_ms
    return sorted(trips, key=lambda trip: trip.opened_ms)


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
