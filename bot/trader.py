"""The whole bot without the outside world: one event in, one Step out."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

from msgspec.structs import replace

from bot.costs import CostBook
from bot.market import INTERVAL_MS, Bar, Book, Funding, Instrument, Notice, Quote, RuleChange
from bot.market.calendars import ALWAYS_OPEN, Calendar
from bot.market.funding import KnownFunding
from bot.model.similarity import SimilarityModel
from bot.run_view import RunView
from bot.strategy import Costs, OnError, Situation, Strategy
from bot.strategy_guard import StrategyGuard, hold
from bot.trading.account import AccountTrack
from bot.trading.asked import NoOrder, already_ordered, why_halted
from bot.trading.broker import Matched, PaperBroker
from bot.trading.events import (
    Equity,
    Fill,
    Order,
    Position,
    Rejection,
    Request,
    Step,
    StrategyState,
    Watch,
)
from bot.trading.hands import Hands
from bot.trading.ledger import Ledger
from bot.trading.limits import RiskContext
from bot.trading.margin import Margin
from bot.trading.new_rules import rules_notices
from bot.trading.risk import RiskReview
from bot.trading.sizing import Sizer
from bot.trading.waiting import make_way

_LATE = "late: a newer bar had closed before this one came, so it opens nothing"


class Trader:
    """Owns the order of turns, and nothing else but the number of the next signal and the rules in force.

    Synchronous, silent, deterministic: the same in live, demo, replay and backtest. With ``quotes``
    orders wait for one (or for a book); without, they meet the next bar. ``instruments`` are the rules that
    its parts read; only what the exchange says of them changes them.
    """

    def __init__(
        self,
        *,
        model: SimilarityModel,
        strategy: Strategy,
        sizer: Sizer,
        risk: RiskReview,
        broker: PaperBroker,
        margin: Margin,
        ledger: Ledger,
        track: AccountTrack,
        instruments: dict[str, Instrument],
        costs_of: Callable[[Instrument], Costs],
        interval: str,
        quotes: bool,
        next_signal_id: int = 1,
        funding: Sequence[KnownFunding] = (),
        on_error: OnError = "stop",
        calendar: Calendar = ALWAYS_OPEN,
        strategy_states: Sequence[StrategyState] = (),
    ) -> None:
        self._calendar = calendar
        self._model = model
        self._strategy = StrategyGuard(strategy, on_error, strategy_states)
        self._states = self._strategy.states
        self._keeps_state = self._states.declared
        self._sizer = sizer
        self._risk = risk
        self._broker = broker
        self._margin = margin
        self._ledger = ledger
        self._track = track
        self._instruments = instruments
        self._costs_of = costs_of
        self._step_ms = INTERVAL_MS[interval]
        costs = {rules.symbol: costs_of(rules) for rules in instruments.values()}
        self._costs = CostBook(costs, self._step_ms, funding)
        self._run_view = RunView(model, ledger, track, broker, self._costs, instruments)
        self._quotes = quotes
        self._no_order = NoOrder()
        self._marked: set[str] = set()
        self._valued = frozenset(ledger.marks)
        self._hands = Hands(
            ledger=ledger,
            broker=broker,
            sizer=sizer,
            risk=risk,
            margin=margin,
            instruments=instruments,
            track=track,
            post=self._post,
        )
        self._next_signal_id = next_signal_id
        self._turns: dict[type, Callable[[Any], Step]] = {
            Bar: self.on_bar, Quote: self.on_quote, Book: self.on_book, Funding: self.on_funding,
            RuleChange: self.on_rules, **dict.fromkeys(get_args(Request), self.on_request),
        }  # fmt: skip

    def waits(self, symbol: str) -> bool:
        """Whether an order of this symbol waits for a quote."""
        return self._broker.waits(symbol)

    def observe(self, bar: Bar) -> None:
        """Learn from a bar of the past, without deciding anything."""
        self.observe_all([bar])

    def observe_all(self, bars: Sequence[Bar], first_query_ms: int | None = None) -> None:
        """Learn from bars of the past, in order of closes; see :meth:`SimilarityModel.observe_all`."""
        self._model.observe_all(bars, first_query_ms)
        for bar in bars:
            self._risk.observe(bar)
            # What an earlier session left is valued as it left it until the market says more.
            if bar.symbol not in self._valued:
                self._mark(bar, bar.close_ms)

    def advance(self, event: Bar | Quote | Book | Funding | RuleChange | Request) -> Step:
        """Advance by one event and report everything that it caused."""
        return self._turns[type(event)](event)

    def on_bar(self, bar: Bar) -> Step:
        """Advance by one closed bar: settle what waited for its open, recall, decide, order."""
        symbol, now_ms = bar.symbol, bar.close_ms
        fills: tuple[Fill, ...] = ()
        changed: tuple[Order, ...] = ()
        rejections: tuple[Rejection, ...] = ()
        equity: list[Equity] = []
        if bar.late or not self._quotes:
            # No quote comes for such a bar: orders meet its prices before anyone decides on its close.
            matched = self._broker.match_bar(bar, self._ledger, late=bar.late)
            changed, rejections = matched.orders, matched.rejections
            if matched.fills:
                fills = self._post(matched, equity)
        position = self._ledger.position(symbol)
        self._mark(bar, now_ms)

        recollection = self._model.observe(bar)
        self._risk.observe(bar)
        self._track.close(bar)
        account = self._ledger.equity(now_ms, self._track.value_of)
        equity.append(account)
        notices: tuple[Notice, ...] = ()
        if bar.late:
            signal = hold(_LATE, {"gate": "late"}, recollection)
        else:
            signal, notices = self._strategy.decide(
                Situation(
                    bar=bar,
                    recent=self._model.recent(symbol),
                    recollection=recollection,
                    position=position,
                    bars_held=self._track.bars_held(position, now_ms),
                    account=account,
                    costs=self._costs.of(symbol),
                    run=self._run_view,
                    state=self._states.of(symbol) if self._keeps_state else None,
                )
            )
        signal_id = self._next_signal_id
        self._next_signal_id += 1
        if signal.horizon_bars is not None:
            forecast = None if recollection is None else recollection.forecast
            self._risk.observe_signal(signal, bar, None if forecast is None else forecast.base_ratio)
        halt = self._risk.check_account_limits(bar, account, self._track)

        drafts: tuple[Order, ...] = ()
        unsized: tuple[Rejection, ...] = ()
        no_order = ""
        in_force = self._risk.halts.halt
        if in_force is not None and (halt is not None or position.quantity):
            no_order = why_halted(signal, in_force)
            changed = (
                *changed,
                *self._hands.sell_out(
                    symbol, now_ms, signal_id=signal_id, everything=halt is not None, late=bar.late
                ),
            )
        else:
            volatility = None
            if signal.measures_risk or self._sizer.needs_volatility:
                volatility = self._model.window(symbol).volatility()
            drafts, unsized = self._sizer.orders_for(
                signal, bar, position, account, signal_id=signal_id, volatility=volatility
            )
            if not drafts and not unsized:
                no_order = self._no_order.why(signal, position)
            if self._broker.waits(symbol):
                same, made_way = make_way(self._broker, signal, drafts, bar, position)
                changed = (*changed, *made_way)
                if same is not None:
                    drafts, no_order = (), already_ordered(same)
        if unsized:
            unsized = self._broker.refuse(unsized)
            changed = (*changed, *(refused.order for refused in unsized))
            rejections = (*rejections, *unsized)
        if drafts:
            exits_unknown = signal.measures_risk and volatility is None
            placed, refused = self._order(drafts, bar, position, account, exits_unknown=exits_unknown)
            changed, rejections = (*changed, *placed), (*rejections, *refused)
        if len(changed) > 1:
            # One that met the bar in vain may have been withdrawn since: it is told as it stands now.
            changed = tuple({order.id: order for order in changed}.values())
        if fills:
            notices += _liquidations(fills)
        if halt is not None:
            notices += (self._hands.halt_notice(halt),)
        trips, track = self._track.news()
        step = Step(
            time_ms=now_ms,
            bar=bar,
            signal_id=signal_id,
            signal=signal,
            recollection=recollection,
            orders=changed,
            equity=tuple(equity),
            notices=notices,
            risk=self._risk.state_if_changed(),
            no_order=no_order,
            marks=self._ledger.held_marks,
            watched=self._hands.let_go(symbol, now_ms),
            round_trips=trips,
            account=track,
            strategy_states=self._states.news() if self._keeps_state else (),
        )
        # What few bars bring is set apart: a call with more than 15 names is four times as slow.
        if not fills and not rejections and halt is None:
            return step
        return self._checked(
            replace(
                step,
                rejections=rejections,
                fills=fills,
                positions=(position,) if fills else (),
                halts=() if halt is None else (halt,),
            )
        )

    def on_quote(self, quote: Quote) -> Step:
        """Waiting orders meet the first quote after them; the position is valued at its mark price."""
        self._risk.observe_quote(quote)
        if not self._quotes:
            # Where bars price everything, they say what it is worth too: as in a run over bars alone.
            return Step(time_ms=quote.time_ms)
        if quote.mark is not None:
            self._marked.add(quote.symbol)
            self._ledger.mark(quote.symbol, quote.mark, quote.time_ms)
        return self._met(quote, self._broker.match_quote(quote, self._ledger))

    def on_book(self, book: Book) -> Step:
        """Waiting orders walk the first depth after them."""
        if not self._quotes:
            return Step(time_ms=book.time_ms)
        return self._met(book, self._broker.match_book(book, self._ledger))

    def on_funding(self, funding: Funding) -> Step:
        """Charge a settled rate on the position held just before its time."""
        known = self._costs.settle(funding)
        payment = self._ledger.settle(funding)
        if payment is None:
            return Step(time_ms=funding.time_ms, known_funding=known)
        row, trip = self._track.pay(payment, self._ledger.equity(payment.time_ms))
        if trip is not None and trip.closed_ms is not None:
            self._risk.observe_trip(trip, self._track.losing_run(trip.symbol), self._step_ms)
        return self._checked(
            Step(
                time_ms=payment.time_ms,
                funding=(payment,),
                equity=(row,),
                known_funding=known,
                marks=self._ledger.held_marks,
                **self._news(),
            )
        )

    def on_rules(self, change: RuleChange) -> Step:
        """The exchange has other rules for a symbol: they hold from now on, for what rests as well."""
        rules, time_ms = change.rules, change.time_ms
        old, self._instruments[rules.symbol] = self._instruments.get(rules.symbol, rules), rules
        orders = self._broker.apply_rules(rules, self._ledger.marks.get(rules.symbol), time_ms)
        notices = rules_notices(old, rules, orders, time_ms)
        return Step(time_ms=time_ms, orders=orders, notices=notices, rules=(rules,))

    def on_request(self, asked: Request) -> Step:
        """Carry out what a person, or the exchange, wants done to the account or a symbol."""
        if isinstance(asked, Watch):
            for rules in asked.add:
                self._costs.add(rules.symbol, self._costs_of(rules))
        return self._hands.take(asked)

    def _met(self, market: Quote | Book, matched: Matched) -> Step:
        """What came of orders that met a quote or a book."""
        if not matched.fills:
            return Step(
                time_ms=market.time_ms,
                orders=matched.orders,
                rejections=matched.rejections,
                watched=self._hands.let_go(market.symbol, market.time_ms) if matched.orders else (),
            )
        equity: list[Equity] = []
        fills = self._post(matched, equity)
        return self._checked(
            Step(
                time_ms=market.time_ms,
                orders=matched.orders,
                rejections=matched.rejections,
                notices=_liquidations(fills),
                fills=fills,
                positions=(self._ledger.position(market.symbol),),
                equity=tuple(equity),
                marks=self._ledger.held_marks,
                watched=self._hands.let_go(market.symbol, market.time_ms),
                **self._news(),
            )
        )

    def _post(self, matched: Matched, equity: list[Equity]) -> tuple[Fill, ...]:
        """Book fills and note the account right after each."""
        booked = self._ledger.post(matched.fills)
        rows, ended = self._track.book(booked, matched.orders)
        for trip in ended:
            self._risk.observe_trip(trip, self._track.losing_run(trip.symbol), self._step_ms)
        equity += rows
        return booked.fills

    def _news(self) -> dict[str, Any]:
        """What the risk review and the track go on from, where that has changed, and the trips that did."""
        trips, account = self._track.news()
        return {"risk": self._risk.state_if_changed(), "round_trips": trips, "account": account}

    def _mark(self, bar: Bar, close_ms: int) -> None:
        """Value at the close, unless the exchange tells the mark price itself."""
        if bar.symbol not in self._marked:
            self._ledger.mark(bar.symbol, bar.close, close_ms)

    def _order(
        self,
        drafts: tuple[Order, ...],
        bar: Bar,
        position: Position,
        account: Equity,
        *,
        exits_unknown: bool,
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
            exits=tuple(draft for draft in drafts if draft.parent_id is not None),
            exits_unknown=exits_unknown,
            closing=self._broker.closes_by_hand(bar.symbol),
            free_margin=self._margin.free(
                self._ledger.cash,
                self._ledger.open_positions,
                waiting,
                self._ledger.marks,
                without=bar.symbol,
            ),
        )
        passed, rejections = self._risk.review(drafts, context)
        placed = self._broker.place(passed)
        rejections = self._broker.refuse(rejections)
        return (*placed, *(rejection.order for rejection in rejections)), rejections

    def _checked(self, step: Step) -> Step:
        """The step, once the books behind it are known to balance."""
        if step.fills or step.funding:
            self._ledger.check()
        return step


def _liquidations(fills: tuple[Fill, ...]) -> tuple[Notice, ...]:
    """What a person should hear of."""
    return tuple(
        Notice(
            kind="liquidation",
            time_ms=fill.time_ms,
            symbol=fill.symbol,
            detail=f"{fill.quantity:f} at {fill.price:f}, which realized {fill.realized_pnl:f}",
        )
        for fill in fills
        if fill.rule == "liquidation"
    )
