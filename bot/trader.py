"""The whole bot without the outside world: one event in, one Step out."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from bot.errors import InputError
from bot.market import INTERVAL_MS, Bar, Funding, Quote
from bot.model.similarity import Recollection, SimilarityModel
from bot.strategy import Costs, Situation, Strategy
from bot.trading.broker import PaperBroker
from bot.trading.events import Equity, Fill, Order, Position, Rejection, Signal, Step
from bot.trading.ledger import Ledger, LedgerState
from bot.trading.risk import RiskContext, RiskReview
from bot.trading.sizing import Sizer


class Opening(Struct, frozen=True, kw_only=True):
    """All that a Trader goes on from, apart from history: the books, resting orders, and what is counted.

    What a session resumes from must come in through here, so that its recording holds it too.
    """

    ledger: LedgerState
    open_orders: tuple[Order, ...]
    next_signal_id: int
    next_order_id: int
    next_fill_id: int


class Trader:
    """Owns the order of turns, and nothing else but the number of the next signal.

    Synchronous, silent, deterministic: the same in live, demo, replay and backtest. With ``quotes``
    orders wait for one; without, they meet the next bar's open.
    """

    def __init__(
        self,
        *,
        model: SimilarityModel,
        strategy: Strategy,
        sizer: Sizer,
        risk: RiskReview,
        broker: PaperBroker,
        ledger: Ledger,
        costs: Mapping[str, Costs],
        interval: str,
        quotes: bool,
        next_signal_id: int = 1,
    ) -> None:
        self._model = model
        self._strategy = strategy
        self._sizer = sizer
        self._risk = risk
        self._broker = broker
        self._ledger = ledger
        self._costs = dict(costs)
        self._step_ms = INTERVAL_MS[interval]
        self._quotes = quotes
        self._marked: set[str] = set()
        self._next_signal_id = next_signal_id

    def waits(self, symbol: str) -> bool:
        """Whether an order of this symbol waits for a quote."""
        return self._broker.waits(symbol)

    def observe(self, bar: Bar) -> None:
        """Learn from a bar of the past, without deciding anything."""
        self._model.observe(bar, recall=False)
        self._risk.observe(bar)
        self._mark(bar)

    def advance(self, event: Bar | Quote | Funding) -> Step:
        """Advance by one event and report everything that it caused."""
        if isinstance(event, Bar):
            return self.on_bar(event)
        if isinstance(event, Quote):
            return self.on_quote(event)
        return self.on_funding(event)

    def on_bar(self, bar: Bar) -> Step:
        """Advance by one closed bar: settle what waited for its open, recall, decide, order."""
        symbol, now_ms = bar.symbol, bar.close_ms
        fills: tuple[Fill, ...] = ()
        changed: tuple[Order, ...] = ()
        equity: list[Equity] = []
        if bar.late or not self._quotes:
            # No quote comes for such a bar: orders meet its open before anyone sees its close.
            fills, changed = self._broker.match_open(bar, late=bar.late and self._quotes)
            fills = self._post(fills, equity)
        self._mark(bar)

        recollection = self._model.observe(bar)
        self._risk.observe(bar)
        position = self._ledger.position(symbol)
        account = self._ledger.equity(now_ms)
        equity.append(account)
        if bar.late:
            signal = _late(bar, recollection)
        else:
            signal = self._strategy.decide(
                Situation(
                    bar=bar,
                    recent=self._model.window(symbol),
                    recollection=recollection,
                    position=position,
                    bars_held=self._bars_held(position, now_ms),
                    account=account,
                    costs=self._costs[symbol],
                )
            )
            problem = signal.contradiction() if isinstance(signal, Signal) else f"{signal!r} is not a Signal"
            if problem is not None:
                raise InputError(f"{type(self._strategy).__name__}.decide: {problem}")
        signal_id = self._next_signal_id
        self._next_signal_id += 1

        if self._broker.waits(symbol) and (signal.action != "hold" or signal.close_position):
            # A new target replaces what still waits for an old one.
            cancelled = self._broker.cancel(symbol, now_ms, "replaced by a newer decision")
            changed = (*changed, *cancelled)
        drafts = self._sizer.orders_for(signal, bar, position, account, signal_id=signal_id)
        rejections: tuple[Rejection, ...] = ()
        if drafts:
            placed, rejections = self._order(drafts, bar, position, account)
            changed = (*changed, *placed)
        return self._checked(
            Step(
                time_ms=now_ms,
                bar=bar,
                signal_id=signal_id,
                signal=signal,
                recollection=recollection,
                orders=changed,
                rejections=rejections,
                fills=fills,
                positions=(position,) if fills else (),
                equity=tuple(equity),
            )
        )

    def on_quote(self, quote: Quote) -> Step:
        """Waiting orders meet the first quote after them; the position is valued at its mark price."""
        self._risk.observe_quote(quote)
        if quote.mark is not None:
            self._marked.add(quote.symbol)
            self._ledger.mark(quote.symbol, quote.mark)
        equity: list[Equity] = []
        fills, changed = self._broker.match_quote(quote)
        if not fills:
            return Step(time_ms=quote.time_ms, orders=changed)
        fills = self._post(fills, equity)
        return self._checked(
            Step(
                time_ms=quote.time_ms,
                orders=changed,
                fills=fills,
                positions=(self._ledger.position(quote.symbol),),
                equity=tuple(equity),
            )
        )

    def on_funding(self, funding: Funding) -> Step:
        """Charge a settled rate on the position held just before its time."""
        symbol = funding.symbol
        self._costs[symbol] = replace(self._costs[symbol], funding_rate=float(funding.rate))
        payment = self._ledger.settle(funding)
        if payment is None:
            return Step(time_ms=funding.time_ms)
        equity = (self._ledger.equity(funding.time_ms),)
        return self._checked(Step(time_ms=funding.time_ms, funding=(payment,), equity=equity))

    def _post(self, fills: tuple[Fill, ...], equity: list[Equity]) -> tuple[Fill, ...]:
        """Book each fill and note the account right after it."""
        booked: list[Fill] = []
        for fill in fills:
            booked += self._ledger.post((fill,))
            equity.append(self._ledger.equity(fill.time_ms))
        return tuple(booked)

    def _mark(self, bar: Bar) -> None:
        """Value at the close, unless the exchange tells the mark price itself."""
        if bar.symbol not in self._marked:
            self._ledger.mark(bar.symbol, bar.close)

    def _order(
        self, drafts: tuple[Order, ...], bar: Bar, position: Position, account: Equity
    ) -> tuple[tuple[Order, ...], tuple[Rejection, ...]]:
        """Review drafts and place what passes."""
        waiting = self._broker.open_orders
        context = RiskContext(
            bar=bar,
            position=position,
            equity=account,
            exposure=self._ledger.exposure(waiting, without=bar.symbol),
            spendable=self._ledger.spendable(waiting),
            needs_quote=self._quotes,
        )
        passed, rejections = self._risk.review(drafts, context)
        placed = self._broker.place(passed)
        rejections = self._broker.refuse(rejections)
        return (*placed, *(rejection.order for rejection in rejections)), rejections

    def _bars_held(self, position: Position, now_ms: int) -> int:
        return -(-(now_ms - position.opened_ms) // self._step_ms) if position.quantity else 0

    def _checked(self, step: Step) -> Step:
        """The step, once the books behind it are known to balance."""
        if step.fills or step.funding:
            self._ledger.check()
        return step


def _late(bar: Bar, recollection: Recollection | None) -> Signal:
    reason = "late: a newer bar had closed before this one came, so it opens nothing"
    detail = {"gate": "late"}
    if recollection is None or recollection.forecast is None:
        return Signal(action="hold", reason=reason, detail=detail)
    forecast = recollection.forecast
    return Signal(
        action="hold",
        reason=reason,
        expected_return=forecast.expected_return,
        return_std=forecast.return_std,
        positive_ratio=forecast.positive_ratio,
        detail=detail,
    )
