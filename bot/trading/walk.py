"""Walk: one symbol's orders and position while a single quote, book or bar passes over them.

A quote or book is met by each order that is due, in the order of their numbers. A bar is walked like
this, so that what it leaves open is decided against the trader:

1. At its open, positions are liquidated, what takes is filled, and stops that the price has jumped over
   are filled there (``gap``).
2. Then come the stops and the liquidation that its range reaches, the side that hurts the position
   first, each side from the open outwards. A bracket that was entered within the bar can already be
   stopped out in it, ...
3. ... but targets and limits must have been there at the open. What they open may be stopped out as in 2.
4. Last the trailing anchors follow the bar's best price, and its close may still trigger them.

Fills of 2 to 4 carry the last millisecond of the bar, for only that it contains them is known. An entry that
is valid no longer meets nothing: the next decision renews or cancels it.

Stops and targets are triggered by the price that they would trade at (a sale's by the bid), or the bar's
range, where the exchange goes by the last trade: a stop comes no later for it, a target no sooner.

What a fill would open is held against the account and the exchange's tiers as they are then: what cash and
leverage cannot back (``insufficient_margin``), or a position of that worth may not be lent for (``risk_limit``),
is rejected, whatever was thought of it when it was decided.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from msgspec.structs import replace

from bot.exact import EXACT, ZERO
from bot.market import Bar, Calendar
from bot.trading.events import RESTING, Fill, Order, Rejection, is_over
from bot.trading.fills import BarMarket, BookMarket, FillModel, Market, QuoteMarket, Slice
from bot.trading.ledger import Ledger
from bot.trading.margin import Margin
from bot.trading.position import book, unrealized_pnl
from bot.trading.unfilled import noted, still_resting, withdrawn

_STOPS = ("stop_market", "trailing_stop")
_NOTHING_TO_REDUCE = "reduce_only: nothing is left to reduce"
_ALLOWS = {"insufficient_margin": "the account can back", "risk_limit": "the exchange lends for"}
_TRIGGERED = ("stop_market", "trailing_stop", "take_profit")


class Walk:
    """Begins with what rests and is held, and gathers the fills and the orders that changed."""

    def __init__(
        self,
        orders: dict[int, Order],
        symbol: str,
        ledger: Ledger,
        fill_model: FillModel,
        margin: Margin,
        fee_rates: tuple[Decimal, Decimal],
        *,
        next_order_id: int,
        next_fill_id: int,
        rule: str,
        reference_ms: int,
        late: bool,
        calendar: Calendar,
    ) -> None:
        self.orders = dict(orders)
        self.fills: list[Fill] = []
        self.changed: dict[int, Order] = {}
        self.rejections: list[Rejection] = []
        self.next_order_id = next_order_id
        self.next_fill_id = next_fill_id
        self._position = ledger.position(symbol)
        self._others = [other for other in ledger.open_positions if other.symbol != symbol]
        self._cash = ledger.cash
        self._lacking: Decimal | None = None
        self._model = fill_model
        self._margin = margin
        self._maker_fee, self._taker_fee = fee_rates
        self._rule = rule
        self._reference_ms = reference_ms
        self._late, self._calendar = late, calendar

    def meet(self, market: QuoteMarket | BookMarket) -> None:
        """Each order that is due meets the market as it is shown now."""
        now_ms = market.time_ms
        for order in self._standing(now_ms):
            if order.due_ms > now_ms:
                continue
            buys = order.side == "buy"
            # Where one could trade at once, and what the trigger is held against.
            opposite = market.best(buys=buys)
            arriving = order.active_ms is None
            if arriving:
                order = self._activated(order, now_ms, opposite)
            order = self._followed(order, opposite, now_ms)
            if order.type == "limit":
                limit = order.limit_price
                assert limit is not None
                if arriving and not (opposite > limit if buys else opposite < limit):
                    self._arrive(order, market, limit, now_ms)
                elif left := self._allowed(order, now_ms):
                    self._give(order, market.give(left, limit, buys=buys), limit, now_ms)
                self._expire(order.id, now_ms)
            elif self._takes(order, opposite):
                left = self._start(order, now_ms)
                self._fill(order.id, market.take(left, buys=buys) if left else (), now_ms, self._rule)
        self._say_why_not(market, now_ms, now_ms, now_ms)

    def along(self, market: BarMarket, due_ms: int) -> None:
        """Walk a bar as the module says; ``due_ms`` is until when an order must be due to meet its open."""
        bar = market.bar
        open_ms = self._calendar.clock_ms(bar.start_ms)
        if self.is_liquidated(bar.open):
            self.liquidate(bar.open, bar.start_ms)
        for order in self._standing(open_ms):
            if order.due_ms <= due_ms:
                self._at_open(order, market)
        inside_ms = bar.close_ms - 1
        self._reach_stops(market, inside_ms)
        for order in self._standing(open_ms):
            if self._was_there(order, bar.start_ms):
                self._reach_favourable(order, market, inside_ms)
        self._reach_stops(market, inside_ms)
        for order in self._standing(open_ms):
            if self._active_in(order, bar.start_ms, inside_ms):
                self._trail(order, market, inside_ms)
        self._say_why_not(market, due_ms, open_ms, inside_ms)

    def is_liquidated(self, mark: Decimal) -> bool:
        """Whether the position is, at this mark price."""
        if not self._position.quantity:
            return False
        return self._margin.is_liquidated(self._position, mark, self._missing())

    def liquidate(self, mark: Decimal, time_ms: int) -> None:
        """The exchange takes the position over at its bankruptcy price, and nothing rests any more."""
        position = self._position
        order = Order(
            id=self.next_order_id,
            signal_id=0,
            symbol=position.symbol,
            side="sell" if position.quantity > 0 else "buy",
            quantity=position.quantity.copy_abs(),
            created_ms=time_ms,
            updated_ms=time_ms,
            due_ms=time_ms,
            active_ms=time_ms,
            reduce_only=True,
            reason=f"liquidated: the mark price came to {mark:f}",
        )
        self.next_order_id += 1
        self._put(order)
        price = self._margin.bankruptcy_price(position, self._missing())
        slice = Slice(quantity=order.quantity, price=price, reference=price)
        self._fill(order.id, (slice,), time_ms, "liquidation")
        for other in list(self.orders.values()):
            self._cancel(other, time_ms, "the position was liquidated")

    # A bar.

    def _at_open(self, order: Order, market: BarMarket) -> None:
        bar = market.bar
        start_ms, price = bar.start_ms, bar.open
        buys = order.side == "buy"
        arriving = order.active_ms is None
        if arriving:
            order = self._activated(order, start_ms, price)
        elif not self._was_there(order, start_ms):
            return
        if order.type == "limit":
            limit = order.limit_price
            assert limit is not None
            if arriving and not (price > limit if buys else price < limit):
                self._arrive(order, market, limit, start_ms)
            self._expire(order.id, start_ms)
        elif self._takes(order, price):
            rule = "next_open" if order.type == "market" or order.triggered_ms is not None else "gap"
            self._take(order, market, price, start_ms, rule)
        else:
            self._followed(order, price, start_ms)

    def _reach_stops(self, market: BarMarket, inside_ms: int) -> None:
        bar = market.bar
        while True:
            stop = self._first_stop(bar, inside_ms)
            position = self._position
            if position.quantity:
                long = position.quantity > 0
                extreme = bar.low if long else bar.high
                if self.is_liquidated(extreme):
                    before = stop if stop is not None and (stop.side == "sell") == long else None
                    if before is None or self.is_liquidated(_reached(before, market)):
                        self.liquidate(extreme, inside_ms)
                        continue
            if stop is None:
                return
            self._take(stop, market, _reached(stop, market), inside_ms, "stop")

    def _first_stop(self, bar: Bar, inside_ms: int) -> Order | None:
        """The stop that the price reaches first, where the side that hurts the position is walked first."""
        found: list[tuple[bool, Decimal, int, Order]] = []
        for order in self.orders.values():
            if order.type not in _STOPS or order.triggered_ms is not None or order.stop_price is None:
                continue
            if not self._active_in(order, bar.start_ms, inside_ms):
                continue
            sells = order.side == "sell"
            if bar.low <= order.stop_price if sells else bar.high >= order.stop_price:
                hurts = sells == (self._position.quantity >= 0)
                outwards = EXACT.minus(order.stop_price) if sells else order.stop_price
                found.append((not hurts, outwards, order.id, order))
        return min(found)[-1] if found else None

    def _reach_favourable(self, order: Order, market: BarMarket, inside_ms: int) -> None:
        buys = order.side == "buy"
        extreme = market.best(buys=buys)
        if order.type == "limit":
            limit = order.limit_price
            assert limit is not None
            reached = self._model.through(extreme, limit, buys=buys)
            if reached and (left := self._allowed(order, inside_ms)):
                self._give(order, market.use(left), market.inside(limit, buys=buys), inside_ms)
        elif order.type == "take_profit" and order.triggered_ms is None:
            target = order.stop_price
            assert target is not None
            if self._model.through(extreme, target, buys=buys):
                self._take(order, market, target, inside_ms, "target")

    def _trail(self, order: Order, market: BarMarket, inside_ms: int) -> None:
        """Follow the best price that surely came while the order was there; the close comes after it."""
        bar = market.bar
        if order.type != "trailing_stop" or order.triggered_ms is not None:
            return
        was_there = self._was_there(order, bar.start_ms)
        best = (bar.high if order.side == "sell" else bar.low) if was_there else bar.close
        order = self._followed(order, best, inside_ms)
        if self._takes(order, bar.close):
            self._take(order, market, _reached(order, market), inside_ms, "stop")

    def _standing(self, clock_ms: int) -> Iterator[Order]:
        """By number, what may fill now, as it stands when its turn comes: any fill may end or arm others."""
        for id in list(self.orders):
            order = self.orders.get(id)
            if order is not None and order.status != "pending" and not is_over(order, clock_ms):
                yield order

    def _take(self, order: Order, market: BarMarket, reference: Decimal, time_ms: int, rule: str) -> None:
        left = self._start(order, time_ms)
        slices = market.take(left, reference, buys=order.side == "buy") if left else ()
        self._fill(order.id, slices, time_ms, rule)

    @staticmethod
    def _was_there(order: Order, start_ms: int) -> bool:
        return order.status != "pending" and order.active_ms is not None and order.active_ms <= start_ms

    @classmethod
    def _active_in(cls, order: Order, start_ms: int, inside_ms: int) -> bool:
        """Whether it was there at the open, or has come within this very walk."""
        return (order.status != "pending" and order.active_ms == inside_ms) or cls._was_there(order, start_ms)

    # An order.

    def _activated(self, order: Order, time_ms: int, price: Decimal) -> Order:
        order = replace(order, active_ms=time_ms, updated_ms=time_ms)
        if order.type == "trailing_stop":
            order = self._trailing(order, price)
        return self._put(order)

    def _followed(self, order: Order, price: Decimal, time_ms: int) -> Order:
        """The order, its trailing anchor moved to a better price."""
        if order.type != "trailing_stop" or order.triggered_ms is not None:
            return order
        assert order.anchor is not None
        if price > order.anchor if order.side == "sell" else price < order.anchor:
            return self._put(self._trailing(replace(order, updated_ms=time_ms), price))
        return order

    def _takes(self, order: Order, price: Decimal) -> bool:
        """Whether the order trades at once when the price on its other side is this."""
        if order.type == "market" or order.triggered_ms is not None:
            return True
        assert order.stop_price is not None
        buys = order.side == "buy"
        if order.type == "take_profit":
            return self._model.through(price, order.stop_price, buys=buys)
        return price >= order.stop_price if buys else price <= order.stop_price

    def _arrive(self, order: Order, market: Market, limit: Decimal, time_ms: int) -> None:
        """A limit order comes to a market that it could trade with at once."""
        buys = order.side == "buy"
        if order.time_in_force == "post_only":
            self._cancel(order, time_ms, "post_only: it would have taken")
            return
        left = self._allowed(order, time_ms)
        if not left:
            return
        if isinstance(market, BarMarket):
            slices = market.take(left, market.bar.open, buys=buys, limit=limit)
        else:
            slices = market.take(left, buys=buys, limit=limit)
        self._fill(order.id, slices, time_ms, self._rule)

    def _give(self, order: Order, quantity: Decimal, price: Decimal, time_ms: int) -> None:
        """Fill a resting order at its own price."""
        if quantity and self._start(order, time_ms):
            slice = Slice(quantity=quantity, price=price, reference=price)
            self._fill(order.id, (slice,), time_ms, "limit")

    def _expire(self, id: int, time_ms: int) -> None:
        order = self.orders.get(id)
        if order is not None and order.time_in_force == "ioc":
            self._cancel(order, time_ms, "ioc: nothing more was to be had at once")

    def _allowed(self, order: Order, time_ms: int) -> Decimal:
        """How much of the order may still fill; one that is to reduce and has nothing to is withdrawn."""
        left = EXACT.subtract(order.quantity, order.filled_quantity)
        if not order.reduce_only:
            return left
        left = min(left, self._reducible(order))
        if not left:
            self._cancel(order, time_ms, _NOTHING_TO_REDUCE)
        return left

    def _start(self, order: Order, time_ms: int) -> Decimal:
        """The order begins to trade: it is triggered, the rest of its bracket withdrawn; what it may fill."""
        left = self._allowed(order, time_ms)
        if not left:
            return left
        if order.type in _TRIGGERED and order.triggered_ms is None:
            self._put(replace(order, triggered_ms=time_ms, updated_ms=time_ms))
        if order.parent_id is not None:
            for other in list(self.orders.values()):
                if other.id != order.id and order.parent_id in (other.id, other.parent_id):
                    self._cancel(other, time_ms, f"order {order.id} of its bracket was reached")
        return left

    def _fill(self, id: int, slices: Iterable[Slice], time_ms: int, rule: str) -> None:
        """Fill an order by these, as far as what they open is backed and lent for; the rest is rejected."""
        fee_rate = self._maker_fee if rule == "limit" else self._taker_fee
        for slice in slices:
            order = self.orders[id]
            quantity, rule_broken = self._backed(order, slice, fee_rate)
            if quantity:
                self._fill_part(order, slice, quantity, fee_rate, time_ms, rule)
            if quantity != slice.quantity:
                asked = f"{quantity:f} of the {slice.quantity:f} that would have filled"
                reason = f"at {slice.price:f} {_ALLOWS[rule_broken]} {asked}"
                self._reject(self.orders[id], rule_broken, reason, time_ms)
                return

    def _backed(self, order: Order, slice: Slice, fee_rate: Decimal) -> tuple[Decimal, str]:
        """So much of a slice as only closes, or opens what is backed and lent for; and what forbids the rest."""
        held, price = self._position.quantity, slice.price
        against = held < 0 if order.side == "buy" else held > 0
        closing = min(slice.quantity, held.copy_abs()) if against else ZERO
        opening = EXACT.subtract(slice.quantity, closing)
        if not opening:
            return slice.quantity, ""
        cash, positions = self._cash, [*self._others, self._position]
        if closing:
            # All of it is closed first.
            fee = EXACT.multiply(EXACT.multiply(closing, price), fee_rate)
            cash = EXACT.add(cash, EXACT.subtract(unrealized_pnl(self._position, price), fee))
            positions = self._others
        backed = self._margin.backed(order.symbol, order.side, price, self._margin.free(cash, positions))
        lent = self._margin.lent(order.symbol, price, ZERO if against else held.copy_abs())
        broken = "risk_limit" if lent < backed else "insufficient_margin"
        return EXACT.add(closing, min(opening, backed, lent)), broken

    def _fill_part(
        self, order: Order, slice: Slice, quantity: Decimal, fee_rate: Decimal, time_ms: int, rule: str
    ) -> None:
        notional = EXACT.multiply(quantity, slice.price)
        fill = Fill(
            id=self.next_fill_id,
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=slice.price,
            notional=notional,
            fee=EXACT.multiply(notional, fee_rate),
            liquidity="maker" if rule == "limit" else "taker",
            time_ms=time_ms,
            rule=rule,
            reference_price=slice.reference,
            late=self._late,
            reference_ms=self._reference_ms,
            slippage=EXACT.subtract(slice.price, slice.reference).copy_abs(),
            preset=self._model.preset,
        )
        self.next_fill_id += 1
        self.fills.append(fill)
        before = self._position.quantity
        self._position, realized = book(self._position, fill)
        self._cash = EXACT.add(self._cash, EXACT.subtract(realized, fill.fee))
        self._lacking = None
        filled = EXACT.add(order.filled_quantity, fill.quantity)
        whole = filled == order.quantity
        order = replace(
            noted(order, "") if whole else order,
            filled_quantity=filled,
            status="filled" if whole else "partially_filled",
            updated_ms=time_ms,
        )
        self._arm(order, fill, before)
        self._put(order)
        after = self._position.quantity
        if not after or (before and (after > 0) != (before > 0)):
            for other in list(self.orders.values()):
                if other.reduce_only and other.status != "pending" and not self._reducible(other):
                    self._cancel(other, time_ms, _NOTHING_TO_REDUCE)

    def _arm(self, entry: Order, fill: Fill, before: Decimal) -> None:
        """Let the children of an entry protect what this fill has opened."""
        after = self._position.quantity
        same_side = (before > 0) == (after > 0)
        opened = after.copy_abs()
        if before and same_side:
            opened = EXACT.subtract(opened, before.copy_abs())
        if opened <= 0:
            return
        for child in list(self.orders.values()):
            if child.parent_id != entry.id:
                continue
            if child.status == "pending":
                child, quantity = self._placed(child, entry, fill), opened
            else:
                quantity = EXACT.add(child.quantity, opened)
            self._put(replace(child, quantity=quantity, updated_ms=fill.time_ms))

    def _placed(self, child: Order, entry: Order, fill: Fill) -> Order:
        """A child of a bracket as its entry first fills; one that waits, waits from then on if the entry rested."""
        child = replace(child, status="open", active_ms=fill.time_ms)
        if child.type == "trailing_stop":
            return self._trailing(child, fill.price)
        if child.type == "market":
            rested_ms = self._calendar.clock_ms(fill.time_ms) - entry.due_ms if entry.type == "limit" else 0
            return replace(child, due_ms=child.due_ms + max(rested_ms, 0))
        below = (child.side == "sell") == (child.type == "stop_market")
        return replace(child, stop_price=self._level(child, fill.price, below=below))

    def _trailing(self, order: Order, anchor: Decimal) -> Order:
        """A trailing stop whose best price is ``anchor``."""
        return replace(
            order, anchor=anchor, stop_price=self._level(order, anchor, below=order.side == "sell")
        )

    def _level(self, order: Order, price: Decimal, *, below: bool) -> Decimal:
        """The order's distance from ``price``, but not below the lowest price there is."""
        assert order.distance is not None
        away = EXACT.minus(order.distance) if below else order.distance
        return max(EXACT.add(price, away), self._model.tick_size(order.symbol))

    def _reducible(self, order: Order) -> Decimal:
        held = self._position.quantity
        against = held < 0 if order.side == "buy" else held > 0
        return held.copy_abs() if against else ZERO

    def _missing(self) -> Decimal:
        """What the cash lacks of the margin that is bound; worked out once between two fills."""
        if self._lacking is None:
            self._lacking = self._margin.missing(self._cash, [*self._others, self._position])
        return self._lacking

    def _reject(self, order: Order, rule: str, reason: str, time_ms: int) -> None:
        """What is left of the order will not be filled; what was, stays."""
        order = replace(order, status="rejected", reason=f"{rule}: {reason}", updated_ms=time_ms)
        self.rejections.append(Rejection(order=self._put(order), rule=rule, reason=reason))

    def _cancel(self, order: Order, time_ms: int, reason: str) -> None:
        self._put(withdrawn(order, reason, time_ms, self._calendar.clock_ms(time_ms)))

    def _say_why_not(self, market: Market, due_ms: int, clock_ms: int, time_ms: int) -> None:
        for order in still_resting(self._standing(clock_ms), market, self._model, due_ms):
            self._put(replace(order, updated_ms=time_ms))

    def _put(self, order: Order) -> Order:
        self.changed[order.id] = order
        if order.status in RESTING:
            self.orders[order.id] = order
            return order
        self.orders.pop(order.id, None)
        for child in list(self.orders.values()):
            if child.parent_id == order.id and child.status == "pending":
                self._cancel(child, order.updated_ms, f"order {order.id}, its entry, opened nothing")
        return order


def _reached(order: Order, market: BarMarket) -> Decimal:
    """Where within the bar a stop is reached: a level that was entered beyond its range, at its edge."""
    assert order.stop_price is not None
    return market.inside(order.stop_price, buys=order.side == "sell")
