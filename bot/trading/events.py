"""What the bot decides and what comes of it: signals, orders, fills, equity, and the Step that holds them."""

import math
from decimal import Decimal
from typing import Any, Literal, get_args

from msgspec import Struct

from bot.market import Bar, Notice

Action = Literal["long", "short", "hold"]
Side = Literal["buy", "sell"]
OrderType = Literal["market"]
OrderStatus = Literal["open", "filled", "rejected", "cancelled"]

_ACTIONS: tuple[Action, ...] = get_args(Action)


class Signal(Struct, frozen=True, kw_only=True, gc=False):
    """What a strategy wants. Dimensionless: no quantity, no price.

    ``long`` and ``short`` ask for a position in that direction, ``hold`` leaves things as they are,
    or closes the position where ``close_position`` is set. Returns are log returns over
    ``horizon_bars``, gross, None where nothing is known. ``reason`` is a sentence for a person and
    names the gate that decided. Stop and target are distances from the entry in units of the
    volatility of one bar; ``time_stop_bars`` limits the holding time. ``detail`` is kept as JSON.
    """

    action: Action
    reason: str
    confidence: float = 0.0
    expected_return: float | None = None
    return_std: float | None = None
    positive_ratio: float | None = None
    horizon_bars: int | None = None
    close_position: bool = False
    stop_distance: float | None = None
    target_distance: float | None = None
    time_stop_bars: int | None = None
    detail: dict[str, Any] = {}

    def contradiction(self) -> str | None:
        """Why this cannot be a signal, in a few words, or None when it can: strategies are anybody's."""
        if self.action not in _ACTIONS:
            return f"action is {self.action!r}, none of {', '.join(_ACTIONS)}"
        if not isinstance(self.reason, str) or not self.reason:
            return f"reason is {self.reason!r}, not a sentence"
        if not isinstance(self.confidence, int | float) or not 0.0 <= self.confidence <= 1.0:
            return f"confidence is {self.confidence!r}, not a number from 0 to 1"
        for name in ("expected_return", "return_std", "positive_ratio"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
                return f"{name} is {value!r}, not a finite number"
        if self.horizon_bars is not None and not isinstance(self.horizon_bars, int):
            return f"horizon_bars is {self.horizon_bars!r}, not a whole number"
        return None


class Order(Struct, frozen=True, kw_only=True, gc=False):
    """An order as it stands now. ``quantity`` is positive, in base coin and whole lots.

    ``due_ms`` is the earliest time at which a quote may fill it: decision plus latency.
    """

    id: int
    signal_id: int
    symbol: str
    side: Side
    quantity: Decimal
    created_ms: int
    updated_ms: int
    due_ms: int
    type: OrderType = "market"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    reduce_only: bool = False
    status: OrderStatus = "open"
    reason: str = ""


class Rejection(Struct, frozen=True, kw_only=True, gc=False):
    """An order that was not placed: the rule that stopped it, and why in words."""

    order: Order
    rule: str
    reason: str


class Fill(Struct, frozen=True, kw_only=True, gc=False):
    """One execution. ``rule`` names what priced it from ``reference_price``.

    The broker leaves ``realized_pnl`` at 0; the ledger books the fill and fills it in.
    """

    id: int
    order_id: int
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    notional: Decimal
    fee: Decimal
    liquidity: Literal["maker", "taker"]
    time_ms: int
    rule: str
    reference_price: Decimal
    late: bool = False
    realized_pnl: Decimal = Decimal(0)


class FundingPayment(Struct, frozen=True, kw_only=True, gc=False):
    """Funding on the position held just before ``time_ms``; a positive payment was received."""

    symbol: str
    time_ms: int
    rate: Decimal
    mark_price: Decimal
    quantity: Decimal
    payment: Decimal


class Transfer(Struct, frozen=True, kw_only=True, gc=False):
    """A deposit (positive) or withdrawal after the start, in quote currency."""

    id: int
    time_ms: int
    amount: Decimal
    reason: str


class Position(Struct, frozen=True, kw_only=True, gc=False):
    """A symbol's position. ``quantity`` is signed; ``cost`` is its exact signed cost in quote currency.

    ``opened_ms`` is when the position last left zero or changed sides.
    """

    symbol: str
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    opened_ms: int = 0
    updated_ms: int = 0


class Equity(Struct, frozen=True, kw_only=True, gc=False):
    """The account at one moment: ``equity`` = ``cash`` + ``unrealized_pnl``, in quote currency."""

    time_ms: int
    cash: Decimal
    unrealized_pnl: Decimal
    equity: Decimal


class Step(Struct, frozen=True, kw_only=True, gc=False):
    """Everything that one event caused; written to the disk whole or not at all.

    ``orders`` are those placed, rejected, filled or cancelled, as they stand after the event.
    ``equity`` has a row for each fill, funding payment, transfer and closed bar, in that order.
    ``recollection`` (a :class:`bot.model.similarity.Recollection`) is None without a memory.
    """

    time_ms: int
    bar: Bar | None = None
    signal_id: int | None = None
    signal: Signal | None = None
    recollection: Any = None
    orders: tuple[Order, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    fills: tuple[Fill, ...] = ()
    funding: tuple[FundingPayment, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    positions: tuple[Position, ...] = ()
    equity: tuple[Equity, ...] = ()
    notices: tuple[Notice, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return self.bar is None and not (
            self.orders
            or self.fills
            or self.funding
            or self.transfers
            or self.positions
            or self.notices
            or self.equity
        )
