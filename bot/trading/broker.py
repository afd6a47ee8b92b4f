"""PaperBroker: resting orders meet the next quote or bar."""

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from bot.market import Bar, Instrument, Quote
from bot.trading.events import Fill, Order, Rejection
from bot.trading.fills import BrokerConfig, FillModel

Matched = tuple[tuple[Fill, ...], tuple[Order, ...]]
"""Fills, and the orders that they filled as they stand now."""

_NOTHING: Matched = ((), ())


class PaperBroker:
    """Sole owner of resting orders, and of the numbers of orders and fills.

    Orders never leave this process. One symbol's orders are matched in the order of their numbers.
    """

    def __init__(
        self,
        config: BrokerConfig,
        instruments: Mapping[str, Instrument],
        *,
        next_order_id: int = 1,
        next_fill_id: int = 1,
    ) -> None:
        self._fill_model = FillModel(config, instruments)
        self._latency_ms = config.latency_ms
        self._next_order_id = next_order_id
        self._next_fill_id = next_fill_id
        self._waiting: dict[str, tuple[Order, ...]] = {}

    def restore(self, open_orders: Iterable[Order]) -> None:
        """Take up orders that were resting when an earlier session ended, under their old numbers."""
        for order in sorted(open_orders, key=lambda order: order.id):
            self._rest(order)
            self._next_order_id = max(self._next_order_id, order.id + 1)

    def waits(self, symbol: str) -> bool:
        """Whether an order of this symbol is resting."""
        return symbol in self._waiting

    @property
    def open_orders(self) -> tuple[Order, ...]:
        """All resting orders, by number."""
        orders = (order for waiting in self._waiting.values() for order in waiting)
        return tuple(sorted(orders, key=lambda order: order.id))

    def place(self, orders: Iterable[Order]) -> tuple[Order, ...]:
        """Number drafts, date them (decision plus latency), and let them rest."""
        placed = []
        for draft in orders:
            order = replace(self._numbered(draft), due_ms=draft.created_ms + self._latency_ms)
            self._rest(order)
            placed.append(order)
        return tuple(placed)

    def refuse(self, rejections: Iterable[Rejection]) -> tuple[Rejection, ...]:
        """Number orders that were never placed: they are kept beside the others."""
        return tuple(replace(rejection, order=self._numbered(rejection.order)) for rejection in rejections)

    def cancel(self, symbol: str, time_ms: int, reason: str) -> tuple[Order, ...]:
        """Withdraw all resting orders of a symbol: a new target replaces what still waits for an old one."""
        return tuple(
            replace(order, status="cancelled", reason=reason, updated_ms=time_ms)
            for order in self._waiting.pop(symbol, ())
        )

    def match_quote(self, quote: Quote) -> Matched:
        """Fill what is due by the time of this quote."""
        if quote.symbol not in self._waiting:
            return _NOTHING
        return self._match(
            quote.symbol,
            quote.time_ms,
            due=lambda order: order.due_ms <= quote.time_ms,
            fill=lambda order, fill_id: self._fill_model.at_quote(order, quote, fill_id=fill_id),
        )

    def match_open(self, bar: Bar, *, late: bool = False) -> Matched:
        """Fill what was decided at or before this bar's start, at its open.

        For runs without quotes, and with ``late`` for a bar whose quotes were missed live.
        """
        if bar.symbol not in self._waiting:
            return _NOTHING
        return self._match(
            bar.symbol,
            bar.start_ms,
            due=lambda order: order.created_ms <= bar.start_ms,
            fill=lambda order, fill_id: self._fill_model.at_open(order, bar, fill_id=fill_id, late=late),
        )

    def _match(
        self,
        symbol: str,
        time_ms: int,
        *,
        due: Callable[[Order], bool],
        fill: Callable[[Order, int], Fill],
    ) -> Matched:
        waiting = self._waiting[symbol]
        filled = tuple(order for order in waiting if due(order))
        if not filled:
            return _NOTHING
        fills = tuple(fill(order, id) for id, order in enumerate(filled, self._next_fill_id))
        self._next_fill_id += len(fills)
        if len(filled) == len(waiting):
            del self._waiting[symbol]
        else:
            self._waiting[symbol] = tuple(order for order in waiting if not due(order))
        return fills, tuple(replace(order, status="filled", updated_ms=time_ms) for order in filled)

    def _numbered(self, draft: Order) -> Order:
        number = self._next_order_id
        self._next_order_id += 1
        return replace(draft, id=number)

    def _rest(self, order: Order) -> None:
        self._waiting[order.symbol] = (*self._waiting.get(order.symbol, ()), order)
