"""What the bot decides and what comes of it: signals, orders, fills, equity, and the Step that holds them."""

from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from bot.exact import EXACT
from bot.market import Bar, Book, Funding, Instrument, Listing, Mark, MarkSource, Notice, Quote, RuleChange
from bot.market.funding import KnownFunding
from bot.trading.signal import Action as Action
from bot.trading.signal import Signal as Signal
from bot.trading.signal import TimeInForce

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop_market", "take_profit", "trailing_stop"]
WatchState = Literal["trading", "closing_only", "let_go"]

# What a rule stopped is rejected: before it was placed, or what was left of it when it was to fill.
OrderStatus = Literal["pending", "open", "partially_filled", "filled", "rejected", "cancelled"]

RESTING: tuple[OrderStatus, ...] = ("pending", "open", "partially_filled")
"""The states from which an order may still fill: what a restart takes up again."""


class Order(Struct, frozen=True, kw_only=True, gc=False):
    """An order as it stands now. Quantities are positive, in base coin and whole lots.

    ``due_ms`` is the earliest time, on the market's clock, at which a quote may fill it: decision plus
    latency (a time stop: plus the bars it waits). ``active_ms`` is when it first met the market, or None before that.

    ``stop_price`` triggers a stop_market, take_profit or trailing_stop, which then trades as a market
    order does; ``triggered_ms`` says since when. A trailing stop keeps its level ``distance`` (in
    price) behind ``anchor``, the best price since it became active.

    ``parent_id`` names the entry of a bracket. Such a child is ``pending`` until the entry first fills;
    then its ``stop_price`` lies ``distance`` from that fill's price, and its quantity is what the
    entry's fills have opened; a time stop waits from the fill of a limit entry on. The children of one
    entry cancel each other. In a draft,
    0 stands for the entry before it. ``signal_id`` 0: no signal led to it, but a person who closes by
    hand, or the exchange that liquidates or settles.

    From ``valid_until_ms`` (on the market's clock; None: never) on a limit entry fills no more: the decision at
    the close that it falls on renews it, or it is cancelled.
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
    time_in_force: TimeInForce = "gtc"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    distance: Decimal | None = None
    anchor: Decimal | None = None
    reduce_only: bool = False
    parent_id: int | None = None
    filled_quantity: Decimal = Decimal(0)
    active_ms: int | None = None
    triggered_ms: int | None = None
    status: OrderStatus = "open"
    reason: str = ""
    valid_until_ms: int | None = None


def is_over(order: Order, clock_ms: int) -> bool:
    """Whether an entry was valid until then at most."""
    return order.valid_until_ms is not None and order.valid_until_ms <= clock_ms


class Rejection(Struct, frozen=True, kw_only=True, gc=False):
    """An order that was not placed, or not filled any further: the rule that stopped it, and why in words."""

    order: Order
    rule: str
    reason: str


class Fill(Struct, frozen=True, kw_only=True, gc=False):
    """One execution, priced by ``rule`` from ``reference_price`` under the preset ``preset``.

    ``reference_ms`` is the time of the quote or book, or the start of the bar, that priced it, and
    ``slippage`` by how much the price is worse than the reference: spread, slippage, impact and tick
    together, per unit. Rules: ``quote``, ``book``; by a bar ``next_open``, ``gap`` (a stop beyond which
    the bar opened), ``stop``, ``target``; ``limit`` at the order's own price; ``liquidation`` at the
    bankruptcy price; ``settlement`` of a contract that is delivered, at the exchange's price or the last mark.

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
    reference_ms: int = 0
    slippage: Decimal = Decimal(0)
    preset: str = ""


class FundingPayment(Struct, frozen=True, kw_only=True, gc=False):
    """Funding on the position held just before ``time_ms``; a positive payment was received.

    ``mark_source`` says what ``mark_price`` is.
    """

    symbol: str
    time_ms: int
    rate: Decimal
    mark_price: Decimal
    quantity: Decimal
    payment: Decimal
    mark_source: MarkSource = "mark"


class RoundTrip(Struct, frozen=True, kw_only=True, gc=False):
    """A position from leaving zero (or turning over) to flat (or its turn). Amounts in quote currency, exact.

    ``quantity`` and ``entry_notional`` sum what entered, ``exit_quantity`` and ``exit_notional`` what has
    left since. Funding belongs to the trip that was held just before its time, also where it is known
    after the end. ``adverse`` and ``favourable`` are the furthest that the price stood against and for the
    position, as fractions of its cost at the time: seen at its own fills, at closes, and at the highs and
    lows of bars that lie wholly within it. ``signal_id`` led to it (0: no decision did). ``bars`` is for
    how many it was held, None until it ends. ``exit_reason`` is ``stop``, ``target``, ``trailing_stop``,
    ``time_stop``, ``reversal``, ``decision``, ``liquidation``, or what its closing order says (``halted``).
    """

    id: int
    symbol: str
    side: Literal["long", "short"]
    signal_id: int = 0
    opened_ms: int
    closed_ms: int | None = None
    quantity: Decimal = Decimal(0)
    entry_notional: Decimal = Decimal(0)
    exit_quantity: Decimal = Decimal(0)
    exit_notional: Decimal = Decimal(0)
    realized_pnl: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    bars: int | None = None
    adverse: Decimal = Decimal(0)
    favourable: Decimal = Decimal(0)
    exit_reason: str = ""

    @property
    def net(self) -> Decimal:
        """What it brought: realized PnL less fees, plus the funding received."""
        return EXACT.add(EXACT.subtract(self.realized_pnl, self.fees), self.funding)


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


class Halt(Struct, frozen=True, kw_only=True, gc=False):
    """From ``time_ms`` on everything is sold and nothing entered, by ``rule`` and for a ``reason`` in words.

    ``resumed_ms`` is when a person let it go on, with a ``note``; None while it is in force.
    """

    id: int
    rule: str
    reason: str
    time_ms: int
    resumed_ms: int | None = None
    note: str = ""


class Pause(Struct, frozen=True, kw_only=True, gc=False):
    """From ``time_ms`` on a person wants nothing entered, into ``symbol`` or (None) at all; exits go on.

    ``id`` is the request's. ``resumed_ms`` is when a person let it go on; None while it is in force.
    """

    id: int
    time_ms: int
    symbol: str | None = None
    note: str = ""
    resumed_ms: int | None = None


class Resume(Struct, frozen=True, kw_only=True, gc=False):
    """A person's leave to go on: after the halt and all pauses, or after the pause of one ``symbol``.

    Ids ascend; one that was granted is not granted again.
    """

    id: int
    time_ms: int
    note: str = ""
    symbol: str | None = None


class Close(Struct, frozen=True, kw_only=True, gc=False):
    """A person wants a symbol's orders withdrawn and its position closed at market, or (None) all of them."""

    id: int
    time_ms: int
    symbol: str | None = None
    note: str = ""


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """What became of a person's request: what was done, and why not, or not all of it, was."""

    id: int
    time_ms: int
    outcome: str = ""
    error: str = ""


class Watch(Struct, frozen=True, kw_only=True):
    """Which symbols may be entered from now on.

    ``add`` are the rules of symbols that may, ``drop`` symbols that may not: what is held of those is
    closed in its own time, and then they are let go. ``id`` is the request's, 0 where nobody asked but
    the session's start says so, and ``note`` why.
    """

    id: int
    time_ms: int
    add: tuple[Instrument, ...] = ()
    drop: tuple[str, ...] = ()
    note: str = ""


Request = Resume | Transfer | Close | Pause | Watch | Listing
"""What a person wants done, and what the exchange does to a symbol."""


class History(Struct, frozen=True, kw_only=True):
    """Closed bars of a symbol that joins, ascending: observed, not decided on."""

    bars: tuple[Bar, ...]


Input = History | Bar | Quote | Book | Funding | RuleChange | Request | Notice | Answer
"""What moves the core, and what else belongs to a session's rows: notices, and answers to what never reached it."""


class Watched(Struct, frozen=True, kw_only=True, gc=False):
    """Whether a symbol is traded, only closed, or no longer watched, since when and why."""

    symbol: str
    state: WatchState
    since_ms: int
    reason: str


class StrategyState(Struct, frozen=True, kw_only=True, gc=False):
    """What a strategy (``module:Class``) keeps of a symbol since ``updated_ms``: its ``State`` as JSON."""

    symbol: str
    strategy: str
    updated_ms: int
    state: str


class Equity(Struct, frozen=True, kw_only=True, gc=False):
    """The account at one moment: ``equity`` = ``cash`` + ``unrealized_pnl``, in quote currency.

    ``unit_value`` is what one unit of it is worth (:class:`bot.trading.account.AccountTrack`); it began at 1.
    """

    time_ms: int
    cash: Decimal
    unrealized_pnl: Decimal
    equity: Decimal
    unit_value: Decimal = Decimal(1)


class Step(Struct, frozen=True, kw_only=True, gc=False):
    """Everything that one event caused; written to the disk whole or not at all.

    ``orders`` are those placed, rejected, changed, filled or cancelled, as they stand after the event.
    ``equity`` has a row for each fill, funding payment, transfer and closed bar, in that order.
    ``recollection`` (a :class:`bot.model.similarity.Recollection`) is None without a memory.
    ``round_trips`` are those that began, changed or ended, as they stand after the event; one that ended
    before changes by funding that became known late. ``account`` (a
    :class:`bot.trading.account.TrackState` without its trips) is what the account's track goes on from,
    where that has changed.
    ``halts`` are those that began or ended. ``risk`` (a :class:`bot.trading.risk.RiskState`) is what
    the risk review goes on from, where that has changed. ``no_order`` says why nothing was drafted for a
    signal that asks for something, as ``name: words``. ``known_funding`` is what a settlement taught.
    ``marks`` are those that the last row of equity values open positions at. ``watched`` are symbols that are
    traded, only closed or let go from now on, ``pauses`` those that began or ended, and ``answers`` say what
    became of requests. ``strategy_states`` are the strategy's own, where a decision has changed them.
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
    halts: tuple[Halt, ...] = ()
    rules: tuple[Instrument, ...] = ()
    risk: Any = None
    no_order: str = ""
    known_funding: KnownFunding | None = None
    marks: tuple[Mark, ...] = ()
    watched: tuple[Watched, ...] = ()
    pauses: tuple[Pause, ...] = ()
    answers: tuple[Answer, ...] = ()
    round_trips: tuple[RoundTrip, ...] = ()
    account: Any = None
    strategy_states: tuple[StrategyState, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing has happened: at most ``known_funding`` is to be written."""
        return self.bar is None and not (
            self.orders
            or self.fills
            or self.funding
            or self.transfers
            or self.positions
            or self.notices
            or self.equity
            or self.halts
            or self.rules
            or self.watched
            or self.pauses
            or self.answers
            or self.risk is not None
            or self.round_trips
            or self.account is not None
        )
