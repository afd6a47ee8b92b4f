"""PaperBroker: resting orders meet the next quote, book or bar, by one set of rules (:mod:`bot.trading.walk`)."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from bot.exact import EXACT
from bot.market import ALWAYS_OPEN, Bar, Book, Calendar, Instrument, Quote
from bot.trading.events import Fill, Order, Position, Rejection, Side, is_over
from bot.trading.fills import BarMarket, BookMarket, BrokerConfig, FillModel, Place, QuoteMarket
from bot.trading.ledger import Ledger
from bot.trading.margin import Margin
from bot.trading.new_rules import under_new_rules
from bot.trading.unfilled import withdrawn
from bot.trading.walk import Walk


class Matched(Struct, frozen=True, kw_only=True, gc=False):
    """What came of a quote, book or bar: ``orders`` are all that changed, as they stand now.

    ``rejections`` tell of what the account could not back once it was to be filled.
    """

    fills: tuple[Fill, ...] = ()
    orders: tuple[Order, ...] = ()
    rejections: tuple[Rejection, ...] = ()


_NOTHING = Matched()


class PaperBroker:
    """Sole owner of resting orders, and of the numbers of orders and fills.

    Orders never leave this process. The ledger that is matched against is read alone, and as it is
    before the fills that come of it are booked.
    """

    def __init__(
        self,
        config: BrokerConfig,
        instruments: Mapping[str, Instrument],
        margin: Margin | None = None,
        *,
        next_order_id: int = 1,
        next_fill_id: int = 1,
        calendar: Calendar = ALWAYS_OPEN,
    ) -> None:
        self._calendar = calendar
        self._fill_model = FillModel(config, instruments)
        self._margin = margin or Margin(config, instruments)
        self._fee_rates = config.maker_fee, config.taker_fee
        self._latency_ms = config.latency_ms
        self._walks_books = config.fill_model == "book"
        self._next_order_id = next_order_id
        self._next_fill_id = next_fill_id
        # By symbol, then by number, ascending.
        self._resting: dict[str, dict[int, Order]] = {}
        # By symbol: as of which version of the books, the price, and whether the position is long.
        self._alarms: dict[str, tuple[int, Decimal | None, bool]] = {}
        # Of what is displayed, while an order waits for more. A restart forgets it: the market has moved on.
        self._taken: dict[str, dict[Place, Decimal]] = {}

    def restore(self, open_orders: Iterable[Order]) -> None:
        """Take up orders that were resting when an earlier session ended, under their old numbers."""
        for order in sorted(open_orders, key=lambda order: order.id):
            self._rest(order)
            self._next_order_id = max(self._next_order_id, order.id + 1)

    def waits(self, symbol: str) -> bool:
        """Whether an order of this symbol is resting."""
        return symbol in self._resting

    @property
    def open_orders(self) -> tuple[Order, ...]:
        """All resting orders, by number."""
        orders = (order for resting in self._resting.values() for order in resting.values())
        return tuple(sorted(orders, key=lambda order: order.id))

    def open_orders_of(self, symbol: str) -> tuple[Order, ...]:
        """A symbol's resting orders, by number."""
        return tuple(self._resting.get(symbol, {}).values())

    def place(self, orders: Iterable[Order]) -> tuple[Order, ...]:
        """Number drafts, add the latency to when they are due, and let them rest.

        A draft whose ``parent_id`` is 0 becomes a child of the last draft before it that has none.
        """
        placed = []
        entry_id = 0
        for draft in orders:
            order = replace(self._numbered(draft), due_ms=draft.due_ms + self._latency_ms)
            if draft.parent_id is None:
                entry_id = order.id
            else:
                order = replace(order, parent_id=draft.parent_id or entry_id)
            self._rest(order)
            placed.append(order)
        return tuple(placed)

    def refuse(self, rejections: Iterable[Rejection]) -> tuple[Rejection, ...]:
        """Number orders that were never placed: they are kept beside the others."""
        return tuple(replace(rejection, order=self._numbered(rejection.order)) for rejection in rejections)

    def cancel(
        self,
        symbol: str,
        time_ms: int,
        reason: str,
        *,
        keep_exits: bool = False,
        keep_entries: Side | None = None,
        keep_closes: bool = False,
    ) -> tuple[Order, ...]:
        """Withdraw a symbol's resting orders.

        ``keep_exits`` leaves brackets whose entry has filled and closes asked for by hand, ``keep_entries``
        entries of that side and their brackets, ``keep_closes`` all that can only reduce the position.
        """
        resting = self._resting.pop(symbol, {})
        kept: dict[int, Order] = {}
        for order in resting.values():
            if order.parent_id is not None:
                keep = order.parent_id in kept or (keep_exits and order.status != "pending")
            else:
                by_hand = keep_exits and not order.signal_id
                entry = order.side == keep_entries and not order.reduce_only
                keep = by_hand or entry or (keep_closes and order.reduce_only)
            if keep:
                kept[order.id] = order
        if kept:
            self._resting[symbol] = kept
        else:
            self._taken.pop(symbol, None)
        clock_ms = self._calendar.clock_ms(time_ms)
        return tuple(
            withdrawn(order, reason, time_ms, clock_ms) for order in resting.values() if order.id not in kept
        )

    def renew(
        self, drafts: Sequence[Order], since_ms: int, time_ms: int
    ) -> tuple[Order | None, tuple[Order, ...]]:
        """The resting entry that is what these drafts of a limit entry ask for, and it where it has changed.

        It is if side, limit, time in force and the kinds of exits are the same, nothing of it has filled, and
        it was valid until after ``since_ms``. Its validity becomes the drafts'; all else stays.
        """
        wanted, *exits = drafts
        resting = self._resting.get(wanted.symbol, {})
        since_ms = self._calendar.clock_ms(since_ms)
        for order in resting.values():
            if (
                _entry_terms(order) == _entry_terms(wanted)
                and not order.filled_quantity
                and not is_over(order, since_ms)
                and [child.type for child in resting.values() if child.parent_id == order.id]
                == [child.type for child in exits]
            ):
                if order.valid_until_ms == wanted.valid_until_ms:
                    return order, ()
                order = replace(order, valid_until_ms=wanted.valid_until_ms, updated_ms=time_ms)
                self._rest(order)
                return order, (order,)
        return None, ()

    def expire(self, symbol: str, time_ms: int, interval_ms: int) -> tuple[Order, ...]:
        """Cancel entries of a symbol that are valid no longer, with the brackets that guard nothing yet."""
        resting = self._resting.get(symbol, {})
        clock_ms = self._calendar.clock_ms(time_ms)
        over = {order.id for order in resting.values() if is_over(order, clock_ms)}
        if not over:
            return ()
        changed = []
        for order in list(resting.values()):
            if order.id in over:
                assert order.valid_until_ms is not None
                bars = (order.valid_until_ms - self._calendar.clock_ms(order.created_ms)) // interval_ms
                reason = f"expired: valid for {bars} bar{'s' if bars > 1 else ''}"
            elif order.parent_id in over and order.status == "pending":
                reason = f"order {order.parent_id}, its entry, opened nothing"
            else:
                continue
            del resting[order.id]
            changed.append(withdrawn(order, reason, time_ms, clock_ms))
        if not resting:
            del self._resting[symbol]
            self._taken.pop(symbol, None)
        return tuple(changed)

    def apply_rules(self, rules: Instrument, mark: Decimal | None, time_ms: int) -> tuple[Order, ...]:
        """Bring a symbol's resting orders onto new rules, or withdraw them; those that changed.

        ``mark`` prices those that name no price. The bracket of a withdrawn entry goes with it.
        """
        self._alarms.pop(rules.symbol, None)
        changed: list[Order] = []
        gone: set[int] = set()
        for order in self._resting.get(rules.symbol, {}).values():
            if order.parent_id in gone and order.status == "pending":
                reason = f"order {order.parent_id}, its entry, opened nothing"
                after = withdrawn(order, reason, time_ms)
            else:
                after = under_new_rules(order, rules, mark, time_ms)
            if after.status == "cancelled":
                gone.add(order.id)
            if after != order:
                changed.append(after)
        for order in changed:
            if order.id in gone:
                del self._resting[rules.symbol][order.id]
            else:
                self._rest(order)
        if not self._resting.get(rules.symbol, True):
            del self._resting[rules.symbol]
            self._taken.pop(rules.symbol, None)
        return tuple(changed)

    def settle(
        self, position: Position, price: Decimal, time_ms: int, *, fee_rate: Decimal, reason: str
    ) -> tuple[Order, Fill]:
        """The exchange ends a contract: what closes the whole position at its price, whatever the market says."""
        quantity = position.quantity.copy_abs()
        order = self._numbered(
            Order(
                id=0,
                signal_id=0,
                symbol=position.symbol,
                side="sell" if position.quantity > 0 else "buy",
                quantity=quantity,
                filled_quantity=quantity,
                created_ms=time_ms,
                updated_ms=time_ms,
                due_ms=time_ms,
                active_ms=time_ms,
                reduce_only=True,
                status="filled",
                reason=reason,
            )
        )
        notional = EXACT.multiply(quantity, price)
        fill = Fill(
            id=self._next_fill_id,
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=price,
            notional=notional,
            fee=EXACT.multiply(notional, fee_rate),
            liquidity="taker",
            time_ms=time_ms,
            rule="settlement",
            reference_price=price,
            reference_ms=time_ms,
        )
        self._next_fill_id += 1
        return order, fill

    def closes_by_hand(self, symbol: str) -> bool:
        """Whether a close that a person asked for still waits for the market."""
        return any(not order.signal_id for order in self._resting.get(symbol, {}).values())

    def match_quote(self, quote: Quote, ledger: Ledger) -> Matched:
        """Liquidate by the mark price; fill what is due by this quote, unless books are waited for."""
        symbol, mark = quote.symbol, quote.mark
        alarmed = mark is not None and self._alarmed(ledger, symbol, mark, mark)
        waits = symbol in self._resting and not self._walks_books
        if not alarmed and not waits:
            return _NOTHING
        walk = self._walk(ledger, symbol, rule="quote", reference_ms=quote.time_ms, late=False)
        if alarmed and mark is not None and walk.is_liquidated(mark):
            walk.liquidate(mark, quote.time_ms)
        if waits:
            market = QuoteMarket(self._fill_model, quote, self._taken.get(symbol, {}))
            walk.meet(market)
            self._taken[symbol] = market.taken
        return self._done(walk, symbol)

    def match_book(self, book: Book, ledger: Ledger) -> Matched:
        """Fill what is due by the depth of this book."""
        symbol = book.symbol
        if symbol not in self._resting:
            return _NOTHING
        walk = self._walk(ledger, symbol, rule="book", reference_ms=book.time_ms, late=False)
        market = BookMarket(self._fill_model, book, self._taken.get(symbol, {}))
        walk.meet(market)
        self._taken[symbol] = market.taken
        return self._done(walk, symbol)

    def match_bar(self, bar: Bar, ledger: Ledger, *, late: bool = False) -> Matched:
        """Walk the bar with what was decided at or before its start.

        For runs without quotes, and with ``late`` for a bar whose quotes were missed live.
        """
        if bar.symbol not in self._resting and not self._alarmed(ledger, bar.symbol, bar.low, bar.high):
            return _NOTHING
        walk = self._walk(ledger, bar.symbol, rule="next_open", reference_ms=bar.start_ms, late=late)
        open_ms = self._calendar.clock_ms(bar.start_ms)
        walk.along(BarMarket(self._fill_model, bar), open_ms + self._latency_ms)
        return self._done(walk, bar.symbol)

    def _alarmed(self, ledger: Ledger, symbol: str, low: Decimal, high: Decimal) -> bool:
        """Whether a price between these may liquidate the position; quick, for it is asked at each of them."""
        known = self._alarms.get(symbol)
        if known is None or known[0] != ledger.version:
            position = ledger.position(symbol)
            missing = self._margin.missing(ledger.cash, ledger.open_positions)
            alarm = self._margin.alarm(position, missing)
            known = self._alarms[symbol] = ledger.version, alarm, position.quantity > 0
        _, alarm, long = known
        return alarm is not None and (low <= alarm if long else high >= alarm)

    def _walk(self, ledger: Ledger, symbol: str, *, rule: str, reference_ms: int, late: bool) -> Walk:
        return Walk(
            self._resting.get(symbol, {}),
            symbol,
            ledger,
            self._fill_model,
            self._margin,
            self._fee_rates,
            next_order_id=self._next_order_id,
            next_fill_id=self._next_fill_id,
            rule=rule,
            reference_ms=reference_ms,
            late=late,
            calendar=self._calendar,
        )

    def _done(self, walk: Walk, symbol: str) -> Matched:
        self._next_order_id, self._next_fill_id = walk.next_order_id, walk.next_fill_id
        if walk.orders:
            self._resting[symbol] = walk.orders
        else:
            self._resting.pop(symbol, None)
            self._taken.pop(symbol, None)
        return Matched(
            fills=tuple(walk.fills),
            orders=tuple(walk.changed[id] for id in sorted(walk.changed)),
            rejections=tuple(walk.rejections),
        )

    def _numbered(self, draft: Order) -> Order:
        number = self._next_order_id
        self._next_order_id += 1
        return replace(draft, id=number)

    def _rest(self, order: Order) -> None:
        self._resting.setdefault(order.symbol, {})[order.id] = order


def _entry_terms(order: Order) -> tuple[object, ...]:
    """What makes two limit entries the same to whoever ordered them."""
    return order.type, order.parent_id, order.side, order.limit_price, order.time_in_force, order.reduce_only
