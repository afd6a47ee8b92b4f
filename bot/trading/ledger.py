"""The ledger: cash and positions, to the last digit, as a fold over fills, funding and transfers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, Inexact
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from bot.errors import BrokenInvariant
from bot.exact import EXACT, ONE, ZERO
from bot.market import Funding, Mark, settlement_ms
from bot.trading.events import Equity, Fill, FundingPayment, Order, Position, Transfer
from bot.trading.held import Held, Settled
from bot.trading.position import book, unrealized_pnl


@contextmanager
def _exactly(what: str) -> Iterator[None]:
    try:
        yield
    except Inexact as error:
        raise BrokenInvariant(f"{what} needs more than {EXACT.prec} digits to be booked exactly") from error


def _funding_payment(quantity: Decimal, mark_price: Decimal, rate: Decimal) -> Decimal:
    """What a position receives at a settlement; longs pay a positive rate."""
    return EXACT.minus(EXACT.multiply(EXACT.multiply(quantity, mark_price), rate))


class Booked(Struct, frozen=True, kw_only=True, gc=False):
    """Fills as the ledger booked them; ``positions`` and ``equity`` are what each left behind, in their order."""

    fills: tuple[Fill, ...]
    positions: tuple[Position, ...]
    equity: tuple[Equity, ...]


class LedgerState(Struct, frozen=True, kw_only=True):
    """All that a :class:`Ledger` knows, however many fills led there. Amounts in quote currency.

    ``positions`` are in the order of first trade. ``realized``, ``fees``, ``funding``, ``transferred``
    and ``spent`` are sums over the whole account, ``traded`` the sum of each symbol's signed fills.
    """

    starting_cash: Decimal
    cash: Decimal
    transferred: Decimal
    realized: Decimal
    fees: Decimal
    funding: Decimal
    spent: Decimal
    positions: tuple[Position, ...]
    traded: dict[str, Decimal]
    settled: dict[str, Settled]
    marks: dict[str, Decimal]
    marked_ms: dict[str, int] = {}


class Ledger:
    """Sole owner of cash and positions, in quote currency.

    ``cash`` is kept at cost: what the account would hold if every open position were closed at its
    entry price. Every change is computed in full before anything is assigned, so a refused one
    leaves the books as they were.
    """

    def __init__(self, starting_cash: Decimal) -> None:
        self._starting_cash = starting_cash
        self._cash = starting_cash
        self._positions: dict[str, Position] = {}
        self._open: dict[str, Position] = {}
        self._marks: dict[str, Decimal] = {}
        self._marked_ms: dict[str, int] = {}
        self._held: dict[str, Held] = {}
        self._version = 0
        # Sums that booking never reads; check() compares the books with them.
        self._transferred = ZERO
        self._realized = ZERO
        self._fees = ZERO
        self._funding = ZERO
        self._spent = ZERO
        self._traded: dict[str, Decimal] = {}

    @classmethod
    def restore(
        cls,
        starting_cash: Decimal,
        fills: Iterable[Fill],
        funding: Iterable[FundingPayment],
        transfers: Iterable[Transfer],
        marks: Iterable[Mark] = (),
        opening: LedgerState | None = None,
    ) -> Self:
        """The ledger that a stored history leaves behind, whatever order its parts are given in.

        BrokenInvariant when a stored figure is not the one that the history itself leads to. ``opening`` is
        what it began with where that was more than cash.
        ``marks`` are the last ones known; a position that never had one is valued at its cost.
        """
        ledger = cls(starting_cash) if opening is None else cls.from_state(opening)
        # Ids ascend in the order of booking, which is what realized PnL depends on.
        for fill in sorted(fills, key=lambda fill: fill.id):
            (booked,) = ledger.post((fill,)).fills
            if booked.realized_pnl != fill.realized_pnl:
                raise BrokenInvariant(
                    f"fill {fill.id} is stored with realized PnL {fill.realized_pnl}, "
                    f"its history gives {booked.realized_pnl}"
                )
        for payment in funding:
            ledger._receive(payment)
        for transfer in transfers:
            ledger.transfer(transfer)
        for mark in marks:
            ledger.mark(mark.symbol, mark.price, mark.time_ms)
        ledger.check()
        return ledger

    @classmethod
    def from_state(cls, state: LedgerState) -> Self:
        """The very ledger that :meth:`snapshot` was taken of. BrokenInvariant if its books do not balance."""
        ledger = cls(state.starting_cash)
        ledger._cash = state.cash
        ledger._positions = {position.symbol: position for position in state.positions}
        ledger._open = {position.symbol: position for position in state.positions if position.quantity}
        ledger._marks, ledger._marked_ms = dict(state.marks), dict(state.marked_ms)
        ledger._held = {symbol: Held(settled) for symbol, settled in state.settled.items()}
        ledger._transferred = state.transferred
        ledger._realized = state.realized
        ledger._fees = state.fees
        ledger._funding = state.funding
        ledger._spent = state.spent
        ledger._traded = dict(state.traded)
        ledger.check()
        return ledger

    def snapshot(self) -> LedgerState:
        """Everything that the ledger goes on from, as a value."""
        return LedgerState(
            starting_cash=self._starting_cash,
            cash=self._cash,
            transferred=self._transferred,
            realized=self._realized,
            fees=self._fees,
            funding=self._funding,
            spent=self._spent,
            positions=self.positions,
            traded=dict(self._traded),
            settled={symbol: held.snapshot() for symbol, held in self._held.items()},
            marks=dict(self._marks),
            marked_ms=dict(self._marked_ms),
        )

    @property
    def cash(self) -> Decimal:
        """Cash at cost."""
        return self._cash

    @property
    def version(self) -> int:
        """Another number whenever cash or a position has changed."""
        return self._version

    @property
    def positions(self) -> tuple[Position, ...]:
        """Every position ever held, in the order of first trade; flat ones with quantity 0."""
        return tuple(self._positions.values())

    @property
    def open_positions(self) -> tuple[Position, ...]:
        """Every position that is not flat."""
        return tuple(self._open.values())

    @property
    def marks(self) -> Mapping[str, Decimal]:
        """The last mark of each symbol that had one."""
        return self._marks

    def position(self, symbol: str) -> Position:
        """The symbol's position; a flat one if it never traded."""
        return self._positions.get(symbol) or Position(symbol=symbol)

    @property
    def held_marks(self) -> tuple[Mark, ...]:
        """What open positions are valued at (those that ever had a mark)."""
        marks, marked_ms = self._marks, self._marked_ms
        return tuple(
            [
                Mark(symbol=symbol, price=marks[symbol], time_ms=marked_ms.get(symbol, 0))
                for symbol in self._open
                if symbol in marks
            ]
        )

    def mark(self, symbol: str, price: Decimal, time_ms: int = 0) -> None:
        """Value the symbol at ``price`` from now on: the last mark price, on spot and offline the close.

        ``time_ms`` is when the market was there (0: not known); an older one than is known changes nothing.
        """
        if time_ms >= self._marked_ms.get(symbol, 0):
            self._marks[symbol], self._marked_ms[symbol] = price, time_ms

    def equity(self, time_ms: int, value_of: Callable[[int, Decimal], Decimal] | None = None) -> Equity:
        """The account at the last marks (at cost where none has come yet), a unit of it by ``value_of``, else at 1."""
        cash = self._cash
        unrealized = self._unrealized() if self._open else ZERO
        equity = EXACT.add(cash, unrealized) if self._open else cash
        unit = ONE if value_of is None else value_of(time_ms, equity)
        return Equity(time_ms=time_ms, cash=cash, unrealized_pnl=unrealized, equity=equity, unit_value=unit)

    def exposure(self, waiting: Iterable[Order] = (), *, without: str | None = None) -> Decimal:
        """What all positions but ``without``'s are worth, signs aside, once the ``waiting`` orders fill.

        A symbol that was never marked counts at its cost; a waiting order for such a one, at nothing.
        """
        quantities = {symbol: position.quantity for symbol, position in self._open.items()}
        for order in waiting:
            if order.parent_id is not None:
                # A bracket's exits only take away, and mostly never do.
                continue
            left = EXACT.subtract(order.quantity, order.filled_quantity)
            change = left if order.side == "buy" else EXACT.minus(left)
            quantities[order.symbol] = EXACT.add(quantities.get(order.symbol, ZERO), change)
        total = ZERO
        for symbol, quantity in quantities.items():
            if symbol == without:
                continue
            mark = self._marks.get(symbol)
            value = self.position(symbol).cost if mark is None else EXACT.multiply(quantity, mark)
            total = EXACT.add(total, value.copy_abs())
        return total

    def spendable(self, waiting: Iterable[Order] = ()) -> Decimal:
        """On spot, the cash not bound in holdings, less what the ``waiting`` buys need at the last marks."""
        free = self._cash
        for position in self._open.values():
            free = EXACT.subtract(free, position.cost)
        for order in waiting:
            if order.side == "buy":
                left = EXACT.subtract(order.quantity, order.filled_quantity)
                needed = EXACT.multiply(left, self._marks.get(order.symbol, ZERO))
                free = EXACT.subtract(free, needed)
        return free

    def post(self, fills: Iterable[Fill]) -> Booked:
        """Book fills in the order given, all or none; gives them back with their realized PnL.

        BrokenInvariant for a fill whose notional is not quantity * price, or that is not a trade at all.
        """
        fills = tuple(fills)
        if not fills:
            return Booked(fills=(), positions=(), equity=())
        with _exactly(f"fill {fills[0].id} or one booked with it"):
            return self._post(fills)

    def _post(self, fills: tuple[Fill, ...]) -> Booked:
        cash, realized, fees, spent = self._cash, self._realized, self._fees, self._spent
        latest: dict[str, Position] = {}
        traded: dict[str, Decimal] = {}
        booked: list[Fill] = []
        positions: list[Position] = []
        balances: list[Decimal] = []
        for fill in fills:
            symbol = fill.symbol
            if fill.quantity <= 0 or fill.price <= 0:
                raise BrokenInvariant(f"fill {fill.id} has quantity {fill.quantity} at price {fill.price}")
            if fill.notional != EXACT.multiply(fill.quantity, fill.price):
                raise BrokenInvariant(
                    f"fill {fill.id} has notional {fill.notional}, not {fill.quantity} * {fill.price}"
                )
            after, pnl = book(latest.get(symbol) or self.position(symbol), fill)
            latest[symbol] = after
            cash = EXACT.add(cash, EXACT.subtract(pnl, fill.fee))
            realized = EXACT.add(realized, pnl)
            fees = EXACT.add(fees, fill.fee)
            before = traded.get(symbol, self._traded.get(symbol, ZERO))
            if fill.side == "buy":
                spent = EXACT.add(spent, fill.notional)
                traded[symbol] = EXACT.add(before, fill.quantity)
            else:
                spent = EXACT.subtract(spent, fill.notional)
                traded[symbol] = EXACT.subtract(before, fill.quantity)
            booked.append(replace(fill, realized_pnl=pnl))
            positions.append(after)
            balances.append(cash)
        for symbol, quantity in traded.items():
            if latest[symbol].quantity != quantity:
                raise BrokenInvariant(
                    f"{symbol}: position {latest[symbol].quantity}, but its fills sum to {quantity}"
                )

        self._version += 1
        self._realized, self._fees, self._spent = realized, fees, spent
        self._traded.update(traded)
        equity: list[Equity] = []
        for fill, after, cash in zip(fills, positions, balances, strict=True):
            self._cash, self._positions[fill.symbol] = cash, after
            if after.quantity:
                self._open[fill.symbol] = after
            else:
                self._open.pop(fill.symbol, None)
            if fill.symbol not in self._held:
                self._held[fill.symbol] = Held()
            change = fill.quantity if fill.side == "buy" else EXACT.minus(fill.quantity)
            self._held[fill.symbol].record(fill.time_ms, change)
            equity.append(self.equity(fill.time_ms))
        return Booked(fills=tuple(booked), positions=tuple(positions), equity=tuple(equity))

    def settle(self, funding: Funding) -> FundingPayment | None:
        """Charge a settlement on the position held just before its time, however late its rate is known.

        None when that position was flat, and for a settlement that was charged already.
        """
        held, time_ms = self._held.get(funding.symbol), settlement_ms(funding.time_ms)
        if held is None or held.is_charged(time_ms):
            return None
        quantity = held.before(time_ms)
        if not quantity or (funding.shorts_only and quantity > 0):
            return None
        with _exactly(f"{funding.symbol}: funding at {time_ms}"):
            payment = FundingPayment(
                symbol=funding.symbol,
                time_ms=time_ms,
                rate=funding.rate,
                mark_price=funding.mark_price,
                quantity=quantity,
                payment=_funding_payment(quantity, funding.mark_price, funding.rate),
                mark_source=funding.mark_source,
            )
            self._receive(payment)
        return payment

    def _receive(self, payment: FundingPayment) -> None:
        due = _funding_payment(payment.quantity, payment.mark_price, payment.rate)
        if payment.payment != due:
            raise BrokenInvariant(
                f"{payment.symbol}: funding at {payment.time_ms} is {payment.payment}, its figures give {due}"
            )
        held = self._held.get(payment.symbol)
        if held is None:
            raise BrokenInvariant(f"{payment.symbol}: funding at {payment.time_ms}, but it never traded")
        cash, funding = EXACT.add(self._cash, payment.payment), EXACT.add(self._funding, payment.payment)
        self._version += 1
        self._cash, self._funding = cash, funding
        held.charge(payment.time_ms)

    def transfer(self, transfer: Transfer) -> None:
        """Book a deposit (positive) or a withdrawal (negative)."""
        with _exactly(f"transfer {transfer.id}"):
            cash = EXACT.add(self._cash, transfer.amount)
            transferred = EXACT.add(self._transferred, transfer.amount)
        self._version += 1
        self._cash, self._transferred = cash, transferred

    def check(self) -> None:
        """BrokenInvariant, with the figures, unless the books agree with the sums kept beside them.

        Cash = starting cash + transfers + realized - fees + funding; each position = the sum of its
        signed fills; equity = money never spent + holdings at their marks, which holds only if
        realized PnL, costs and unrealized PnL together lose nothing.
        """
        add, subtract = EXACT.add, EXACT.subtract
        paid_in = add(add(self._starting_cash, self._transferred), subtract(self._funding, self._fees))
        expected = add(paid_in, self._realized)
        if self._cash != expected:
            raise BrokenInvariant(
                f"cash is {self._cash}, but {self._starting_cash} at the start "
                f"+ {self._transferred} transferred + {self._realized} realized "
                f"- {self._fees} fees + {self._funding} funding = {expected}"
            )
        worth = subtract(paid_in, self._spent)
        for symbol, position in self._positions.items():
            if position.quantity != self._traded[symbol]:
                raise BrokenInvariant(
                    f"{symbol}: position {position.quantity}, but its fills sum to {self._traded[symbol]}"
                )
            if position.quantity:
                mark = self._marks.get(symbol)
                value = position.cost if mark is None else EXACT.multiply(position.quantity, mark)
                worth = add(worth, value)
        equity = add(self._cash, self._unrealized())
        if equity != worth:
            raise BrokenInvariant(
                f"equity is {equity}, but money left over and holdings at their marks are worth {worth}"
            )

    def _unrealized(self) -> Decimal:
        total: Decimal | None = None
        for symbol, position in self._open.items():
            mark = self._marks.get(symbol)
            if mark is not None:
                gain = unrealized_pnl(position, mark)
                total = gain if total is None else EXACT.add(total, gain)
        return ZERO if total is None else total
