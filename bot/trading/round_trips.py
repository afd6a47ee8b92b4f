"""Round trips: positions from leaving zero, or turning over, to flat; what each brought, and how many lost in a row."""

from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from msgspec import Struct
from msgspec.structs import replace

from bot.errors import BrokenInvariant
from bot.exact import EXACT, ZERO
from bot.market import ALWAYS_OPEN, Bar, Calendar
from bot.trading.events import Fill, FundingPayment, Order, Position, RoundTrip
from bot.trading.position import quotient

_EXCURSION = Context(prec=18, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])
"""Excursions are shown, never booked, so they may be rounded."""

_MAX_ENDED = 1000
"""Ended trips of a symbol that are kept for late funding: as far back as any rate was ever waited for."""

_LOWEST, _HIGHEST = Decimal("-Infinity"), Decimal("Infinity")

_EXITS = {"stop_market": "stop", "take_profit": "target", "trailing_stop": "trailing_stop"}


class LosingRun(Struct, frozen=True, kw_only=True):
    """How many trips of a symbol had lost in a row when the one numbered ``trip_id`` had ended."""

    trip_id: int = 0
    losses: int = 0


class _OpenTrip:
    """A trip that goes on: the position behind it, and prices between which no excursion grows."""

    __slots__ = ("_cost", "_quantity", "_spent", "high", "low", "opened_ms", "trip")

    def __init__(self, trip: RoundTrip) -> None:
        self.trip = trip
        self.opened_ms = trip.opened_ms
        self.hold(*_held(trip))

    def hold(self, quantity: Decimal, cost: Decimal) -> None:
        self._quantity, self._cost, self._spent = quantity, cost, cost.copy_abs()
        self.high, self.low = _LOWEST, _HIGHEST

    def reach(self, price: Decimal) -> None:
        """The price came to this: the excursion may have grown."""
        if price < self.low:
            self.low = price
        if price > self.high:
            self.high = price
        if not self._spent:
            return
        gain = EXACT.subtract(EXACT.multiply(price, self._quantity), self._cost)
        move = _EXCURSION.divide(gain, self._spent)
        trip = self.trip
        if move > trip.favourable:
            self.trip = replace(trip, favourable=move)
        elif (against := move.copy_negate()) > trip.adverse:
            self.trip = replace(trip, adverse=against)


class RoundTrips:
    """Follows fills, funding and bars in the order in which they are booked; part of an account's track.

    Holds the trips that go on, and ended ones for as long as late funding may still reach them. ``losing``
    counts those before. ``interval_ms`` is a bar's length.
    """

    def __init__(
        self,
        trips: Iterable[RoundTrip],
        losing: dict[str, LosingRun],
        next_id: int,
        interval_ms: int,
        calendar: Calendar = ALWAYS_OPEN,
    ) -> None:
        self._interval_ms = interval_ms
        self._calendar = calendar
        self.next_id = next_id
        self.losing = dict(losing)
        self._open: dict[str, _OpenTrip] = {}
        self._ended: dict[str, list[RoundTrip]] = {}
        for trip in trips:
            if trip.closed_ms is None:
                self._open[trip.symbol] = _OpenTrip(trip)
            else:
                self._ended.setdefault(trip.symbol, []).append(trip)
        self.changed: dict[int, RoundTrip] = {}
        """Trips that began, changed or ended, by number; whoever takes them empties it."""

    @property
    def kept(self) -> tuple[RoundTrip, ...]:
        """All that is held, by number."""
        trips = [trip for ended in self._ended.values() for trip in ended]
        trips += [going.trip for going in self._open.values()]
        return tuple(sorted(trips, key=lambda trip: trip.id))

    def current(self, symbol: str) -> RoundTrip | None:
        """The symbol's trip that goes on, as it stands now; None where it is flat."""
        found = self._open.get(symbol)
        return None if found is None else found.trip

    def losing_run(self, symbol: str) -> int:
        """How many of the symbol's last trips lost, in a row up to the last that ended."""
        run = 0
        for trip in reversed(self._ended.get(symbol, ())):
            if trip.net >= 0:
                return run
            run += 1
        return run + self.losing[symbol].losses if symbol in self.losing else run

    def bars_held(self, position: Position, now_ms: int) -> int:
        """For how many bars a position has been held, the first included; 0 for a flat one."""
        opened_ms = position.opened_ms if position.quantity else now_ms
        return self._calendar.bars_between(opened_ms, now_ms, self._interval_ms)

    def fill(self, fill: Fill, position: Position, order: Order | None) -> Iterator[RoundTrip]:
        """A fill of ``order`` was booked and left ``position``: the trip that it ended, if any.

        The fee of one that turns a position over is split by quantity.
        """
        change = fill.quantity if fill.side == "buy" else EXACT.minus(fill.quantity)
        before = EXACT.subtract(position.quantity, change)
        left = ZERO
        if before and (before > 0) != (change > 0):
            left = min(fill.quantity, before.copy_abs())
        entered, fee = EXACT.subtract(fill.quantity, left), fill.fee
        if left:
            part = quotient(EXACT.multiply(fee, left), fill.quantity) if entered else fee
            fee = EXACT.subtract(fee, part)
            yield from self._leave(fill, left, part, position, order, turns=bool(entered))
        if entered:
            self._enter(fill, entered, fee, position, order)

    def close(self, bar: Bar) -> None:
        """A bar has closed: how far its prices stood from what is held."""
        going = self._open.get(bar.symbol)
        if going is None:
            return
        trip = going.trip
        if bar.start_ms < going.opened_ms:
            going.reach(bar.close)
        else:
            if bar.low < going.low:
                going.reach(bar.low)
            if bar.high > going.high:
                going.reach(bar.high)
        if going.trip is not trip:
            self.changed[trip.id] = going.trip

    def pay(self, payment: FundingPayment) -> RoundTrip | None:
        """Funding was paid or received: the trip that held the position, None where that was too long ago."""
        time_ms = payment.time_ms
        going, ended = self._open.get(payment.symbol), self._ended.get(payment.symbol, [])
        if going is not None and going.trip.opened_ms < time_ms:
            going.trip = self.changed[going.trip.id] = _with_funding(going.trip, payment)
            return going.trip
        for place in range(len(ended) - 1, -1, -1):
            trip = ended[place]
            if trip.closed_ms is not None and trip.opened_ms < time_ms <= trip.closed_ms:
                ended[place] = self.changed[trip.id] = _with_funding(trip, payment)
                return ended[place]
        return None

    def _enter(
        self, fill: Fill, entered: Decimal, fee: Decimal, position: Position, order: Order | None
    ) -> None:
        symbol = fill.symbol
        if symbol in self._open:
            trip = self._open[symbol].trip
        else:
            trip = RoundTrip(
                id=self.next_id,
                symbol=symbol,
                side="long" if fill.side == "buy" else "short",
                signal_id=0 if order is None else order.signal_id,
                opened_ms=fill.time_ms,
            )
            self.next_id += 1
            self._open[symbol] = _OpenTrip(trip)
        going = self._open[symbol]
        going.trip = replace(
            trip,
            quantity=EXACT.add(trip.quantity, entered),
            entry_notional=EXACT.add(trip.entry_notional, EXACT.multiply(entered, fill.price)),
            fees=EXACT.add(trip.fees, fee),
        )
        going.hold(position.quantity, position.cost)
        going.reach(fill.price)
        self.changed[trip.id] = going.trip

    def _leave(
        self, fill: Fill, left: Decimal, fee: Decimal, position: Position, order: Order | None, *, turns: bool
    ) -> Iterator[RoundTrip]:
        symbol = fill.symbol
        going = self._open.get(symbol)
        if going is None:
            raise BrokenInvariant(f"{symbol}: fill {fill.id} reduces a position that no round trip holds")
        going.reach(fill.price)
        trip = going.trip
        trip = replace(
            trip,
            exit_quantity=EXACT.add(trip.exit_quantity, left),
            exit_notional=EXACT.add(trip.exit_notional, EXACT.multiply(left, fill.price)),
            realized_pnl=EXACT.add(trip.realized_pnl, fill.realized_pnl),
            fees=EXACT.add(trip.fees, fee),
        )
        if position.quantity and not turns:
            going.trip = self.changed[trip.id] = trip
            going.hold(position.quantity, position.cost)
            return
        trip = self.changed[trip.id] = replace(
            trip,
            closed_ms=fill.time_ms,
            bars=self._calendar.bars_between(trip.opened_ms, fill.time_ms, self._interval_ms),
            exit_reason=_exit_reason(fill, order, turns=turns),
        )
        del self._open[symbol]
        ended = self._ended.setdefault(symbol, [])
        ended.append(trip)
        if len(ended) > _MAX_ENDED:
            self._forget(symbol)
        yield trip

    def _forget(self, symbol: str) -> None:
        """Count the oldest ended trip, and keep no more of it."""
        trip = self._ended[symbol].pop(0)
        before = self.losing[symbol].losses if symbol in self.losing else 0
        self.losing[symbol] = LosingRun(trip_id=trip.id, losses=before + 1 if trip.net < 0 else 0)


def _held(trip: RoundTrip) -> tuple[Decimal, Decimal]:
    """The signed quantity and cost of the position that an open trip stands for."""
    sign = Decimal(1 if trip.side == "long" else -1)
    spent = EXACT.multiply(sign, EXACT.subtract(trip.entry_notional, trip.exit_notional))
    quantity = EXACT.multiply(sign, EXACT.subtract(trip.quantity, trip.exit_quantity))
    return quantity, EXACT.add(spent, trip.realized_pnl)


def _with_funding(trip: RoundTrip, payment: FundingPayment) -> RoundTrip:
    return replace(trip, funding=EXACT.add(trip.funding, payment.payment))


def _exit_reason(fill: Fill, order: Order | None, *, turns: bool) -> str:
    if fill.rule in ("liquidation", "settlement"):
        return fill.rule
    if order is not None and order.type in _EXITS:
        return _EXITS[order.type]
    if order is not None and order.parent_id is not None:
        return "time_stop"
    if order is not None and order.reduce_only and order.reason:
        # What is closed by no decision says why: `halted: everything is sold`.
        return order.reason.partition(":")[0]
    return "reversal" if turns else "decision"
