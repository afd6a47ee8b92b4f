"""The broker and the ledger once more, in exact fractions and as plainly as can be: what the tests hold them against.

Nothing of the bot is used here but the values that go in. Only two things are ever rounded: a price that
takes, to the tick against the trader; and the share of a cost that a partial close releases, to 1e-12.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from bot.market import Bar, Book, Funding, Quote
from bot.trading.events import Order, Signal

MINUTE = 60_000
STEP_MS = 15 * MINUTE
TICK, LOT = Fraction(1, 10), Fraction(1, 1000)
TAKER, MAKER = Fraction(55, 100_000), Fraction(2, 10_000)
HALF_SPREAD, SLIPPAGE, IMPACT, SHARE = 3, 2, 40, Fraction(1, 5)
LATENCY_MS, LEVERAGE = 250, 20
TIERS = ((Fraction(300), Fraction(1, 100), 0), (None, Fraction(2, 100), 3))
"""Up to which value, at which rate, and what is taken off."""
# Factors of spread, slippage, impact and share, and whether a touch is enough.
PRESETS = {
    "optimistic": (1, 0, 0, 1 / SHARE, True),
    "realistic": (1, 1, 1, 1, False),
    "pessimistic": (2, 3, 4, Fraction(1, 2), False),
}


@dataclass
class Resting:
    """An order that may still fill; ``sign`` is 1 for a buy."""

    id: int
    sign: int
    type: str
    tif: str
    quantity: Fraction
    limit: Fraction | None
    stop: Fraction | None
    distance: Fraction | None
    reduces: bool
    parent: int | None
    due: int
    pending: bool
    by_hand: bool = False
    filled: Fraction = Fraction(0)
    anchor: Fraction | None = None
    since: int | None = None
    triggered: bool = False
    until: int | None = None

    @property
    def left(self) -> Fraction:
        return self.quantity - self.filled

    def is_over(self, now: int) -> bool:
        return self.until is not None and now >= self.until


@dataclass
class Symbol:
    """One symbol's orders by number, its position at cost, and what was held when."""

    orders: dict[int, Resting] = field(default_factory=dict)
    held: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
    changes: list[tuple[int, Fraction]] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)
    taken: dict[tuple[int, Fraction], Fraction] = field(default_factory=dict)


class Account:
    """What the bot's broker and ledger should come to."""

    def __init__(self, cash: Fraction, preset: str, rule: str) -> None:
        spread, slip, impact, share, self.touch = PRESETS[preset]
        self.quote_worse = Fraction(SLIPPAGE * slip, 10_000)
        self.bar_worse = Fraction(HALF_SPREAD * spread, 10_000) + self.quote_worse
        self.impact = Fraction(IMPACT * impact, 10_000)
        self.share = SHARE * share
        self.cash = cash
        self.symbols = {"BTCUSDT": Symbol(), "ETHUSDT": Symbol()}
        self.paused: set[str | None] = set()
        self.closing_only: set[str] = set()
        self.leaving: set[str] = set()
        self.by_books = rule == "book"
        self.fills: list[tuple] = []
        self.rejected: list[int] = []
        self.next_id = 1

    def place(self, symbol: str, wanted: list[Resting]) -> None:
        """An entry, and the exits that are its children."""
        entry = self.next_id
        for order in wanted:
            order.id, order.parent = self.next_id, None if order is wanted[0] else entry
            order.due += LATENCY_MS
            self.symbols[symbol].orders[order.id] = order
            self.next_id += 1

    def ask(self, symbol: str, wanted: list[Resting]) -> None:
        """What a decision asks for, where a person may have said that nothing is to be entered."""
        first = wanted[0]
        one, quantity = self.symbols[symbol], first.quantity
        closing = min(quantity, max(-first.sign * one.held, Fraction(0)))
        entering = quantity - closing
        stopped = (
            not self.paused.isdisjoint({None, symbol})
            or symbol in self.closing_only
            or any(order.by_hand for order in one.orders.values())
            or first.reduces
        )
        if entering and not stopped:
            self.place(symbol, wanted)
            return
        if closing:
            # What only closes has no exits of its own.
            self.place(symbol, [first])
            self._reduce(first, closing)
        if entering:
            self.next_id += 1

    def decide(self, signal: Signal, bar: Bar, equity: Fraction, most: Fraction, volatility: float) -> None:
        """A decision at a close: what waits makes way, expires or stays, and what is new is asked for."""
        one, now = self.symbols[bar.symbol], bar.close_ms
        wanted, refused = self._wanted(one, signal, bar, equity, most, volatility)
        same = self._same(one, wanted, bar.start_ms)
        if same is not None:
            same.until = wanted[0].until
        for order in [order for order in one.orders.values() if order.is_over(now)]:
            self._drop(one, order)
        if same is None and (signal.action != "hold" or signal.close_position):
            sign = 1 if signal.action == "long" else -1
            builds = sign if signal.action != "hold" and sign * one.held > 0 else 0
            kept: dict[int, Resting] = {}
            for id, order in sorted(one.orders.items()):
                stays = order.by_hand or (order.sign == builds and not order.reduces)
                if stays if order.parent is None else order.parent in kept or not order.pending:
                    kept[id] = order
            one.orders = kept
        self._forget_idle(one)
        if refused:
            self.next_id += 1
        elif wanted and same is None:
            self.ask(bar.symbol, wanted)

    @staticmethod
    def _same(one: Symbol, wanted: list[Resting], start: int) -> Resting | None:
        """An entry that rests as it is wanted."""
        if not wanted or wanted[0].type != "limit":
            return None
        for order in one.orders.values():
            terms = [
                (each.type, each.sign, each.limit, each.tif, each.reduces) for each in (order, wanted[0])
            ]
            exits = [child.type for child in one.orders.values() if child.parent == order.id]
            alike = terms[0] == terms[1] and exits == [exit.type for exit in wanted[1:]]
            if order.parent is None and alike and not order.filled and not order.is_over(start):
                return order
        return None

    @staticmethod
    def _wanted(
        one: Symbol, signal: Signal, bar: Bar, equity: Fraction, most: Fraction, volatility: float
    ) -> tuple[list[Resting], bool]:
        """The order that a signal asks for with its exits, in whole lots and ticks; or that it is refused."""
        close, now = Fraction(bar.close), bar.close_ms

        def part(distance: float) -> Fraction:
            return close * Fraction(f"{distance * volatility:.6f}")

        if signal.action == "hold":
            if not (signal.close_position and one.held):
                return [], False
            size = abs(one.held)
            lots = size * Fraction(f"{signal.close_fraction:.6f}") // LOT * LOT
            if size - lots < LOT:
                lots = size
            sign = -1 if one.held > 0 else 1
            return ([_an_order(sign, lots, now, reduces=True)], False) if lots else ([], True)
        sign = 1 if signal.action == "long" else -1
        if sign * one.held > 0:
            return [], False
        limit = _fraction(signal.limit_price)
        if signal.limit_distance is not None:
            limit = close - sign * part(signal.limit_distance)
        if limit is not None:
            if not close / 10 <= limit <= close * 10:
                return [], True
            limit = max((limit // TICK if sign > 0 else -(-limit // TICK)) * TICK, TICK)
        money = min(Fraction(f"{signal.size:.6f}"), most) * max(equity, Fraction(0))
        lots = money / (close if limit is None else limit) // LOT * LOT
        if not (lots or one.held):
            return [], True
        entry = _an_order(sign, lots + abs(one.held), now, reduces=not lots)
        if limit is not None:
            entry.type, entry.tif, entry.limit = "limit", signal.time_in_force, limit
            if signal.valid_bars is not None:
                entry.until = now + signal.valid_bars * STEP_MS
        exits = []
        for type, distance in (
            ("stop_market", signal.stop_distance),
            ("trailing_stop", signal.trail_distance),
            ("take_profit", signal.target_distance),
        ):
            if lots and distance is not None:
                exit = _an_order(-sign, lots, now, reduces=True)
                exit.type, exit.pending = type, True
                exit.distance = max(-(-part(distance) // TICK) * TICK, TICK)
                exits.append(exit)
        if lots and signal.time_stop_bars is not None:
            exit = _an_order(-sign, lots, now + signal.time_stop_bars * STEP_MS, reduces=True)
            exit.pending = True
            exits.append(exit)
        return [entry, *exits], False

    @staticmethod
    def _reduce(order: Resting, quantity: Fraction) -> None:
        if quantity < order.quantity:
            order.quantity, order.reduces = quantity, True

    def close(self, symbols: list[str], now: int) -> None:
        """By hand: nothing rests any more, and what is held is sold at market."""
        for symbol in sorted(symbols):
            one = self.symbols[symbol]
            if not (one.orders or one.held):
                continue
            self.cancel(symbol)
            if one.held:
                one.orders[self.next_id] = Resting(
                    id=self.next_id, sign=-1 if one.held > 0 else 1, type="market", tif="gtc",
                    quantity=abs(one.held), limit=None, stop=None, distance=None, reduces=True, parent=None,
                    due=now + LATENCY_MS, pending=False, by_hand=True,
                )  # fmt: skip
                self.next_id += 1

    def pause(self, symbol: str | None) -> None:
        self.paused.add(symbol)

    def resume(self, symbol: str | None) -> None:
        self.paused -= {symbol} if symbol is not None else set(self.paused)

    def join(self, symbol: str) -> None:
        self.symbols.setdefault(symbol, Symbol())
        self.closing_only.discard(symbol)
        self.leaving.discard(symbol)

    def drop(self, symbol: str) -> None:
        """From now on it is only closed: what could open anything is withdrawn."""
        one = self.symbols[symbol]
        self.closing_only.add(symbol)
        self.leaving.add(symbol)
        kept: dict[int, Resting] = {}
        for id, order in sorted(one.orders.items()):
            closes = order.by_hand or order.reduces
            if closes if order.parent is None else order.parent in kept or not order.pending:
                kept[id] = order
        one.orders = kept
        self._forget_idle(one)

    def let_go(self) -> set[str]:
        """Symbols that are only closed and flat now: nobody watches them any more."""
        gone = {
            symbol
            for symbol in self.leaving
            if not (self.symbols[symbol].held or self.symbols[symbol].orders)
        }
        self.leaving -= gone
        return gone

    def cancel(self, symbol: str) -> None:
        self.symbols[symbol].orders.clear()
        self.symbols[symbol].taken.clear()

    def settle(self, symbol: str, price: Fraction, now: int) -> None:
        """The exchange ends a contract: nothing rests any more, and what is held is gone at its price, free."""
        one = self.symbols[symbol]
        self.cancel(symbol)
        if not one.held:
            return
        order = Resting(
            id=self.next_id, sign=-1 if one.held > 0 else 1, type="market", tif="gtc", quantity=abs(one.held),
            limit=None, stop=None, distance=None, reduces=True, parent=None, due=now, pending=False,
        )  # fmt: skip
        self.next_id += 1
        self._fill(one, order, order.quantity, price, Fraction(0), "settlement", now)

    def restart(self) -> None:
        for one in self.symbols.values():
            one.taken.clear()

    def transfer(self, amount: Fraction) -> None:
        self.cash += amount

    def fund(self, funding: Funding) -> None:
        one = self.symbols[funding.symbol]
        time_ms = math.floor(Fraction(funding.time_ms, MINUTE) + Fraction(1, 2)) * MINUTE
        held = sum((change for at, change in one.changes if at < time_ms), Fraction(0))
        if time_ms in one.settled or not held:
            return
        one.settled.add(time_ms)
        self.cash -= held * Fraction(funding.mark_price) * Fraction(funding.rate)

    def quote(self, quote: Quote) -> None:
        one, now = self.symbols[quote.symbol], quote.time_ms
        if quote.mark is not None and self._dead(one, Fraction(quote.mark)):
            self._liquidate(one, now)
        if not self.by_books:
            levels = {
                1: [(Fraction(quote.ask), Fraction(quote.ask_size))],
                -1: [(Fraction(quote.bid), Fraction(quote.bid_size))],
            }
            self._shown(one, now, levels, "quote")
        self._forget_idle(one)

    def book(self, book: Book) -> None:
        one = self.symbols[book.symbol]
        levels = {
            sign: [(Fraction(level.price), Fraction(level.size)) for level in side]
            for sign, side in ((1, book.asks), (-1, book.bids))
        }
        self._shown(one, book.time_ms, levels, "book")
        self._forget_idle(one)

    @staticmethod
    def _forget_idle(one: Symbol) -> None:
        if not one.orders:
            one.taken.clear()

    def _shown(self, one: Symbol, now: int, levels: dict[int, list[tuple]], rule: str) -> None:
        """Orders meet what is displayed; ``levels`` are prices and sizes, by the sign of who takes them."""
        shown = {(sign, price) for sign, side in levels.items() for price, _ in side}
        one.taken = {place: much for place, much in one.taken.items() if place in shown}

        def use(sign: int, price: Fraction, size: Fraction, wanted: Fraction) -> Fraction:
            before = one.taken.get((sign, price), Fraction(0))
            got = whole_lots(wanted, max(size - before, Fraction(0)))
            one.taken[sign, price] = before + got
            return got

        def market(order: Resting, left: Fraction, worst: Fraction | None = None) -> list[tuple]:
            sign, parts = order.sign, []
            for price, size in levels[sign]:
                if worst is not None and sign * (price - worst) > 0:
                    break
                got = use(sign, price, size, left)
                left -= got
                at = self._price(price, sign, self.quote_worse)
                parts.append((got, at if worst is None else _nearer(at, worst, sign), rule))
            if left and rule == "book" and worst is None:
                share = left / sum(size for _, size in levels[sign])
                last = levels[sign][-1][0]
                parts.append((left, self._price(last, sign, self.quote_worse + self.impact * share), rule))
            return parts

        def given(order: Resting, left: Fraction) -> Fraction:
            total = Fraction(0)
            for price, size in levels[order.sign]:
                if self._through(price, order.limit, order.sign):
                    total += use(order.sign, price, size, left - total)
            return total

        for id in sorted(one.orders):
            order = one.orders.get(id)
            if order is None or order.pending or order.due > now or order.is_over(now):
                continue
            other = levels[order.sign][0][0]
            new = order.since is None
            if new:
                order.since = now
            self._follow(order, other)
            if order.type == "limit":
                assert order.limit is not None
                if new and order.sign * (order.limit - other) >= 0:
                    self._arrive(one, order, now, market)
                elif left := self._may(one, order):
                    self._rest(one, order, given(order, left), order.limit, now)
                if order.tif == "ioc":
                    self._drop(one, order)
            elif self._goes(order, other):
                self._trade(one, order, now, market)

    def bar(self, bar: Bar) -> None:
        one, start, end = self.symbols[bar.symbol], bar.start_ms, bar.close_ms - 1
        first, high, low, last = (Fraction(price) for price in (bar.open, bar.high, bar.low, bar.close))
        volume = Fraction(bar.volume)
        budget = [volume * self.share]

        def use(left: Fraction) -> Fraction:
            got = whole_lots(left, budget[0])
            budget[0] -= got
            return got

        def at(reference: Fraction, rule: str) -> Callable:
            def market(order: Resting, left: Fraction, worst: Fraction | None = None) -> list[tuple]:
                got = use(left)
                if not got:
                    return []
                worse = self.bar_worse + self.impact * got / volume
                price = self._price(reference, order.sign, worse)
                return [(got, price if worst is None else _nearer(price, worst, order.sign), rule)]

            return market

        def within(price: Fraction, sign: int) -> Fraction:
            # A buy that rests is not given more than the bar's high, a sell not less than its low.
            return min(price, high) if sign > 0 else max(price, low)

        def stops() -> None:
            while True:
                reached = []
                for order in one.orders.values():
                    if order.type not in ("stop_market", "trailing_stop") or order.triggered:
                        continue
                    if order.pending or order.stop is None or order.since is None:
                        continue
                    if not (order.since <= start or order.since == end):
                        continue
                    extreme = high if order.sign > 0 else low
                    if order.sign * (extreme - order.stop) >= 0:
                        # A sale hurts one who is long, or has nothing; a purchase one who is short.
                        hurts = (order.sign < 0) == (one.held >= 0)
                        reached.append((0 if hurts else 1, order.sign * order.stop, order.id))
                stop = one.orders[min(reached)[2]] if reached else None
                worst = low if one.held > 0 else high
                if one.held and self._dead(one, worst):
                    saves = stop is not None and stop.sign * one.held < 0
                    if not saves or self._dead(one, within(stop.stop, -stop.sign)):
                        self._liquidate(one, end)
                        continue
                if stop is None:
                    return
                self._trade(one, stop, end, at(within(stop.stop, -stop.sign), "stop"))

        if self._dead(one, first):
            self._liquidate(one, start)
        for id in sorted(one.orders):
            order = one.orders.get(id)
            if order is None or order.pending or order.due - LATENCY_MS > start or order.is_over(start):
                continue
            new = order.since is None
            if new:
                order.since = start
                if order.type == "trailing_stop":
                    self._follow(order, first)
            elif order.since > start:
                continue
            if order.type == "limit":
                if new and order.sign * (order.limit - first) >= 0:
                    self._arrive(one, order, start, at(first, "next_open"))
                if order.tif == "ioc":
                    self._drop(one, order)
            elif self._goes(order, first):
                plain = order.type == "market" or order.triggered
                self._trade(one, order, start, at(first, "next_open" if plain else "gap"))
            else:
                self._follow(order, first)
        stops()
        for id in sorted(one.orders):
            order = one.orders.get(id)
            if order is None or order.pending or order.since is None or order.since > start:
                continue
            if order.is_over(start):
                continue
            best = low if order.sign > 0 else high
            price = order.limit if order.type == "limit" else order.stop
            if price is None or not self._through(best, price, order.sign):
                continue
            if order.type == "limit":
                if left := self._may(one, order):
                    self._rest(one, order, use(left), within(price, order.sign), end)
            elif order.type == "take_profit" and not order.triggered:
                self._trade(one, order, end, at(price, "target"))
        stops()
        for id in sorted(one.orders):
            order = one.orders.get(id)
            if order is None or order.type != "trailing_stop" or order.triggered or order.pending:
                continue
            if order.since is None or not (order.since <= start or order.since == end):
                continue
            best = low if order.sign > 0 else high
            self._follow(order, best if order.since <= start else last)
            if self._goes(order, last):
                self._trade(one, order, end, at(within(order.stop, -order.sign), "stop"))
        self._forget_idle(one)

    # Prices.

    def _price(self, reference: Fraction, sign: int, worse: Fraction) -> Fraction:
        ticks = reference * (1 + sign * worse) / TICK
        return max(math.ceil(ticks) if sign > 0 else math.floor(ticks), 1) * TICK

    def _through(self, price: Fraction, limit: Fraction, sign: int) -> bool:
        return sign * (limit - price) > 0 or (self.touch and price == limit)

    def _goes(self, order: Resting, price: Fraction) -> bool:
        if order.type == "market" or order.triggered:
            return True
        assert order.stop is not None
        if order.type == "take_profit":
            return self._through(price, order.stop, order.sign)
        return order.sign * (price - order.stop) >= 0

    @staticmethod
    def _follow(order: Resting, price: Fraction) -> None:
        """A trailing stop is as far from the best price as it was told."""
        if order.type != "trailing_stop" or order.triggered:
            return
        if order.anchor is None or order.sign * (order.anchor - price) > 0:
            order.anchor = price
            assert order.distance is not None
            order.stop = price + order.sign * order.distance
            order.stop = max(order.stop, TICK)

    # Orders.

    def _may(self, one: Symbol, order: Resting) -> Fraction:
        if not order.reduces:
            return order.left
        may = min(order.left, max(-order.sign * one.held, Fraction(0)))
        if not may:
            self._drop(one, order)
        return may

    def _arrive(self, one: Symbol, order: Resting, now: int, market: Callable) -> None:
        if order.tif == "post_only":
            self._drop(one, order)
        elif left := self._may(one, order):
            self._fill_all(one, order, market(order, left, order.limit), now)

    def _trade(self, one: Symbol, order: Resting, now: int, market: Callable) -> None:
        left = self._may(one, order)
        if not left:
            return
        order.triggered = order.triggered or order.type != "market"
        self._break_bracket(one, order)
        self._fill_all(one, order, market(order, left), now)

    def _rest(self, one: Symbol, order: Resting, got: Fraction, price: Fraction, now: int) -> None:
        if got:
            self._break_bracket(one, order)
            self._fill_all(one, order, [(got, price, "limit")], now)

    def _break_bracket(self, one: Symbol, order: Resting) -> None:
        for other in list(one.orders.values()):
            if order.parent is not None and other is not order and order.parent in (other.id, other.parent):
                self._drop(one, other)

    def _drop(self, one: Symbol, order: Resting) -> None:
        if one.orders.pop(order.id, None) is None:
            return
        for child in list(one.orders.values()):
            if child.parent == order.id and child.pending:
                self._drop(one, child)

    def _fill_all(self, one: Symbol, order: Resting, parts: list[tuple], now: int) -> None:
        for got, price, rule in parts:
            fee = MAKER if rule == "limit" else TAKER
            backed = self._backed(one, order, got, price, fee)
            self._fill(one, order, backed, price, fee, rule, now)
            if backed < got:
                self.rejected.append(order.id)
                self._drop(one, order)
                return

    def _backed(self, one: Symbol, order: Resting, got: Fraction, price: Fraction, fee: Fraction) -> Fraction:
        """How much of a part the account can carry: what it binds is the margin, and the fees in and out."""
        closing = min(got, max(-order.sign * one.held, Fraction(0)))
        if closing == got:
            return got
        free = self.free()
        if closing:
            free += _bound(one) + one.held * price - one.cost - closing * price * fee
        each = price * (Fraction(1, LEVERAGE) * (1 + TAKER * (LEVERAGE - order.sign)) + TAKER)
        lots = max(math.floor(free / each / LOT), 0)
        return min(got, closing + lots * LOT)

    def free(self) -> Fraction:
        return self.cash - sum(_bound(one) for one in self.symbols.values())

    def _fill(
        self, one: Symbol, order: Resting, got: Fraction, price: Fraction, fee: Fraction, rule: str, now: int
    ) -> None:
        if not got:
            return
        before = one.held
        realized = self._book(one, order.sign * got, price)
        self.cash += realized - got * price * fee
        one.changes.append((now, order.sign * got))
        self.fills.append((order.id, order.sign * got, price, got * price * fee, realized, rule, now))
        order.filled += got
        opened = abs(one.held) - (abs(before) if before * one.held > 0 else 0)
        for child in one.orders.values():
            if child.parent == order.id and opened > 0:
                if child.pending:
                    self._arm(child, price, now)
                    if child.type == "market" and order.type == "limit":
                        # So many bars from the fill of what rested, not from the decision.
                        child.due += max(now - order.due, 0)
                    child.quantity = opened
                else:
                    child.quantity += opened
        if not order.left:
            self._drop(one, order)
        if not one.held or before * one.held < 0:
            for other in list(one.orders.values()):
                if other.reduces and not other.pending and other.sign * one.held >= 0:
                    self._drop(one, other)

    def _arm(self, child: Resting, price: Fraction, now: int) -> None:
        child.pending, child.since = False, now
        if child.type == "trailing_stop":
            self._follow(child, price)
        elif child.type != "market":
            away = child.sign if child.type == "stop_market" else -child.sign
            child.stop = price + away * child.distance
            child.stop = max(child.stop, TICK)

    # Position.

    @staticmethod
    def _book(one: Symbol, change: Fraction, price: Fraction) -> Fraction:
        held = one.held
        one.held += change
        if held * change >= 0:
            one.cost += change * price
            return Fraction(0)
        if abs(change) < abs(held):
            # Python rounds a half to the even neighbour, as the documented rule does.
            released = Fraction(round(one.cost * abs(change) / abs(held) * 10**12), 10**12)
            one.cost -= released
            return -change * price - released
        realized = held * price - one.cost
        one.cost = one.held * price
        return realized

    def _margin(self, one: Symbol) -> Fraction:
        """What backs a position, less what the cash could not pay."""
        return max(abs(one.cost) / LEVERAGE - max(-self.free(), Fraction(0)), Fraction(0))

    def _dead(self, one: Symbol, mark: Fraction) -> bool:
        if not one.held:
            return False
        value = abs(one.held) * mark
        left = self._margin(one) + one.held * mark - one.cost
        rate, off = next((rate, off) for upto, rate, off in TIERS if upto is None or value <= upto)
        return left <= value * rate - off

    def _liquidate(self, one: Symbol, now: int) -> None:
        sign = 1 if one.held > 0 else -1
        price = self._price((one.cost - self._margin(one)) / one.held, -sign, Fraction(0))
        for other in list(one.orders.values()):
            self._drop(one, other)
        order = Resting(
            id=self.next_id, sign=-sign, type="market", tif="gtc", quantity=abs(one.held), limit=None,
            stop=None, distance=None, reduces=True, parent=None, due=now, pending=False,
        )  # fmt: skip
        self.next_id += 1
        self._fill(one, order, order.quantity, price, TAKER, "liquidation", now)


def as_placed(draft: Order) -> Resting:
    """A draft in fractions."""
    return Resting(
        id=0,
        sign=1 if draft.side == "buy" else -1,
        type=draft.type,
        tif=draft.time_in_force,
        quantity=Fraction(draft.quantity),
        limit=_fraction(draft.limit_price),
        stop=_fraction(draft.stop_price),
        distance=_fraction(draft.distance),
        reduces=draft.reduce_only,
        parent=None,
        due=draft.due_ms,
        pending=draft.status == "pending",
        until=draft.valid_until_ms,
    )


def _an_order(sign: int, quantity: Fraction, due: int, *, reduces: bool) -> Resting:
    """At market."""
    return Resting(
        id=0, sign=sign, type="market", tif="gtc", quantity=quantity, limit=None, stop=None, distance=None,
        reduces=reduces, parent=None, due=due, pending=False,
    )  # fmt: skip


def _bound(one: Symbol) -> Fraction:
    """The margin of a position, and the fee to close it where nothing is left of that."""
    sign = 1 if one.held > 0 else -1
    return abs(one.cost) / LEVERAGE * (1 + TAKER * (LEVERAGE - sign))


def whole_lots(quantity: Fraction, at_hand: Fraction) -> Fraction:
    return quantity if quantity <= at_hand else math.floor(at_hand / LOT) * LOT


def _nearer(price: Fraction, worst: Fraction, sign: int) -> Fraction:
    return min(price, worst) if sign > 0 else max(price, worst)


def _fraction(value) -> Fraction | None:
    return None if value is None else Fraction(value)
