"""Broker and ledger agree with a model in exact fractions, to the last digit, whatever happens in whatever order."""

import random
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from bot.exact import EXACT
from bot.market import CLOSED, TRADING, Book, Funding, Level, Listing, Quote, RiskTier
from bot.trading.account import AccountTrack, began_with
from bot.trading.broker import PaperBroker
from bot.trading.config import RiskConfig
from bot.trading.events import RESTING, Close, Order, Pause, Resume, Signal, Transfer, Watch
from bot.trading.fills import BrokerConfig
from bot.trading.hands import Hands
from bot.trading.ledger import Ledger
from bot.trading.limits import RiskContext
from bot.trading.margin import Margin
from bot.trading.risk import RiskReview
from bot.trading.sizing import Sizer
from bot.trading.waiting import make_way
from tests.factories import START_MS, a_bar, an_equity, an_instrument, an_order
from tests.trading import rational

CASH = "300.5"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
"""The last one is not traded from the start."""
INSTRUMENTS = {
    symbol: an_instrument(
        symbol,
        min_notional=Decimal(0),
        max_leverage=Decimal(100),
        tiers=tuple(
            RiskTier(
                limit=Decimal("Infinity") if upto is None else Decimal(int(upto)),
                maintenance_rate=Decimal(rate.numerator) / rate.denominator,
                initial_rate=Decimal("0.01"),
                max_leverage=Decimal(100),
                deduction=Decimal(off),
            )
            for upto, rate, off in rational.TIERS
        ),
    )
    for symbol in SYMBOLS
}

OPEN = RiskConfig(
    max_position_fraction=Decimal(100),
    max_total_fraction=Decimal(100),
    max_quote_age_bars=0,
    require_contiguous_bars=0,
    brier_guard_forecasts=0,
    max_daily_loss=Decimal(0),
    max_drawdown=Decimal(0),
)
"""No limits but those that a person sets by hand."""

SIZING = replace(OPEN, max_position_fraction=Decimal(2))

seeds = st.integers(0, 2**32)


class Dice(random.Random):
    """Throws what the market and a trader may do."""

    def figure(self, low: str, high: str, places: int) -> Decimal:
        """A decimal of so many places between two bounds."""
        scale = 10**places
        first, last = (int(Decimal(bound) * scale) for bound in (low, high))
        return Decimal(self.randint(first, last)).scaleb(-places)

    def price(self) -> Decimal:
        return self.figure("80", "120", 1) if self.random() < 0.2 else self.figure("96", "104", 1)

    def sides(self) -> list[tuple[Level, ...]]:
        """Bids and asks of a book, a few levels each."""
        mid, sides = self.price(), []
        for sign in (-1, 1):
            prices = sorted({mid + sign * self.figure("0.1", "2", 1) for _ in range(4)}, reverse=sign < 0)
            sides.append(tuple(Level(price=price, size=self.figure("0.01", "5", 4)) for price in prices))
        return sides

    def far(self) -> Decimal:
        """A distance; now and then further than to any price."""
        return self.figure("100", "200", 1) if self.random() < 0.02 else self.figure("0.1", "7", 1)

    def drafts(self, symbol: str, now_ms: int) -> list[Order]:
        """An order of any type, and some exits."""
        type = self.choice(["market"] * 3 + ["limit"] * 3 + ["stop_market", "take_profit", "trailing_stop"])
        entry = an_order(
            symbol=symbol,
            side=self.choice(["buy", "sell"]),
            quantity=self.figure("0.001", "9", 3),
            created_ms=now_ms,
            type=type,
            limit_price=self.price() if type == "limit" else None,
            stop_price=self.price() if type in ("stop_market", "take_profit") else None,
            distance=self.far() if type == "trailing_stop" else None,
            time_in_force=self.choice(["gtc", "gtc", "ioc", "post_only"]) if type == "limit" else "gtc",
            reduce_only=self.random() < 0.2,
            valid_until_ms=now_ms + self.randint(1, 4) * rational.STEP_MS
            if type == "limit" and self.random() < 0.3
            else None,
        )
        exits = []
        for kind in self.sample(
            ["stop_market", "take_profit", "trailing_stop", "market"], self.randint(0, 3)
        ):
            waits_ms = self.randint(1, 3) * rational.STEP_MS if kind == "market" else 0
            exits.append(
                an_order(
                    symbol=symbol,
                    side="sell" if entry.side == "buy" else "buy",
                    quantity=entry.quantity,
                    created_ms=now_ms,
                    due_ms=now_ms + waits_ms,
                    type=kind,
                    distance=None if kind == "market" else self.far(),
                    reduce_only=True,
                    parent_id=0,
                    status="pending",
                )
            )
        return [entry, *exits]

    def signal(self, close: Decimal) -> Signal:
        """What a strategy may say: entries with a size, mostly with a limit, and closes of a part."""
        choice = self.random()
        if choice < 0.2:
            return Signal.hold("the test says so")
        if choice < 0.4:
            return Signal.close("the test says so", fraction=self.choice([1.0, 0.5, self.uniform(0.001, 1)]))
        limit, distance = None, None
        if self.random() < 0.6:
            limit = self.choice([close, close - 1, close + 1, self.price(), self.figure("80", "120", 3)])
            limit = Decimal("3.5") if self.random() < 0.03 else limit
        elif self.random() < 0.5:
            distance = self.choice([0.0, 0.5, self.uniform(-3, 3), 250.0])
        limited = limit is not None or distance is not None
        force = self.choice(["", "", "", "post_only", "ioc"]) if limited else ""
        enter = Signal.long if self.random() < 0.5 else Signal.short
        return enter(
            "the test says so",
            size=self.choice([0.0001, 0.3, self.uniform(0.001, 4)]),
            limit=limit,
            limit_distance=distance,
            valid_bars=self.choice([None, 1, 2, 3]) if limited and force != "ioc" else None,
            post_only=force == "post_only",
            ioc=force == "ioc",
            stop=self.choice([None, None, self.uniform(0.1, 9)]),
            trail=self.choice([None, None, self.uniform(0.1, 9)]),
            target=self.choice([None, None, self.uniform(0.1, 9)]),
            time_stop_bars=self.choice([None, None, 1, 2, 3]),
        )


class Accounts(RuleBasedStateMachine):
    """The bot's account beside the model's; every rule happens to both."""

    @initialize(preset=st.sampled_from(list(rational.PRESETS)), fill_model=st.sampled_from(["quote", "book"]))
    def begin(self, preset, fill_model):
        self.config = BrokerConfig(
            starting_cash=Decimal(CASH),
            latency_ms=rational.LATENCY_MS,
            fill_model=fill_model,
            fill_preset=preset,
            half_spread_bps=Decimal(rational.HALF_SPREAD),
            slippage_bps=Decimal(rational.SLIPPAGE),
            impact_bps=Decimal(rational.IMPACT),
            max_volume_share=Decimal("0.2"),
            leverage=Decimal(rational.LEVERAGE),
        )
        # As a Trader's parts do, all read the rules in force.
        self.rules = {symbol: INSTRUMENTS[symbol] for symbol in SYMBOLS[:2]}
        self.margin = Margin(self.config, self.rules)
        self.broker = PaperBroker(self.config, self.rules, self.margin)
        self.ledger = Ledger(Decimal(CASH))
        self.track = AccountTrack(began_with(Decimal(CASH)), rational.STEP_MS)
        self.risk = RiskReview(OPEN, self.rules)
        self.watched = set(self.rules)
        self.let_go, self.refused, self.asked, self.let_gone = [], [], 0, 0
        self.renewed, self.expired, self.parts = 0, 0, 0
        self.sizer = Sizer(SIZING, self.rules)
        self._take_hands()
        self.model = rational.Account(Fraction(CASH), preset, fill_model)
        self.fills, self.funding, self.transfers, self.orders, self.rejected = [], [], [], {}, []
        self.quoted, self.booked = {}, {}
        self.lacking = 0
        self.now_ms = START_MS

    def _take_hands(self):
        """A person's hands on the account's parts as they are now."""
        self.hands = Hands(
            ledger=self.ledger,
            broker=self.broker,
            sizer=Sizer(OPEN, self.rules),
            risk=self.risk,
            margin=self.margin,
            instruments=self.rules,
            track=self.track,
            post=self._post,
        )

    @rule(seed=seeds)
    def order(self, seed):
        """An order as a strategy asks for it; or one that is placed whatever a person has said before."""
        dice = Dice(seed)
        symbol = self._one(dice)
        drafts = dice.drafts(symbol, self.now_ms)
        if dice.random() < 0.5:
            self._keep(self.broker.place(drafts))
            self.model.place(symbol, [rational.as_placed(draft) for draft in drafts])
            return
        self._order(drafts, a_bar(symbol=symbol))
        self.model.ask(symbol, [rational.as_placed(draft) for draft in drafts])

    @rule(seed=seeds)
    def decide(self, seed):
        """A strategy's signal at the close of a bar, as the Trader turns it into orders."""
        dice = Dice(seed)
        bar = self._bar(dice)
        signal, volatility = dice.signal(bar.close), dice.uniform(0.001, 0.02)
        resting = [order for order in self.broker.open_orders if order.symbol == bar.symbol]
        if resting and resting[0].type == "limit" and dice.random() < 0.7:
            signal = self._again(resting, dice)
        equity = an_equity(cash=str(self.ledger.cash))
        position = self.ledger.position(bar.symbol)
        drafts, unsized = self.sizer.orders_for(
            signal, bar, position, equity, signal_id=1, volatility=volatility
        )
        if self.broker.waits(bar.symbol):
            same, changed = make_way(self.broker, signal, drafts, bar, position)
            self._keep(changed)
            self.renewed += same is not None
            self.expired += sum("expired" in order.reason for order in changed)
            drafts = () if same is not None else drafts
        self._refuse(unsized)
        if drafts:
            self.parts += signal.close_fraction != 1.0
            self._order(drafts, bar)
        most = Fraction(SIZING.max_position_fraction)
        self.model.decide(signal, bar, self.model.cash, most, volatility)

    def _again(self, resting, dice):
        """A signal for the entry that rests first, with exits of the same kinds; or all but the same."""
        entry, kinds = resting[0], [order.type for order in resting if order.parent_id == resting[0].id]
        ioc = entry.time_in_force == "ioc"
        return Signal(
            action="long" if entry.side == "buy" else "short",
            reason="the test says so again",
            size=0.5,
            limit_price=entry.limit_price,
            time_in_force=entry.time_in_force,
            valid_bars=None if ioc else dice.choice([None, 1, 2, 3]),
            stop_distance=1.0 if "stop_market" in kinds else None,
            trail_distance=1.0 if "trailing_stop" in kinds else None,
            target_distance=1.0 if "take_profit" in kinds else None,
            time_stop_bars=2 if ("market" in kinds) == (dice.random() < 0.9) else None,
        )

    def _order(self, drafts, bar):
        """Reviewed, and placed as far as that lets it."""
        context = RiskContext(
            bar=bar,
            position=self.ledger.position(bar.symbol),
            equity=an_equity(cash="1000000"),
            exposure=Decimal(0),
            spendable=Decimal(0),
            needs_quote=False,
            closing=self.broker.closes_by_hand(bar.symbol),
        )
        passed, rejections = self.risk.review(drafts, context)
        self._keep(self.broker.place(passed))
        self._refuse(rejections)

    def _refuse(self, rejections):
        refused = self.broker.refuse(rejections)
        self._keep(rejection.order for rejection in refused)
        self.refused += [rejection.order.id for rejection in refused]

    @rule(seed=seeds)
    def close(self, seed):
        """By hand, one symbol or all."""
        dice = Dice(seed)
        symbol = None if dice.random() < 0.3 else self._one(dice)
        self._take(Close(id=self._number(), time_ms=self.now_ms, symbol=symbol))
        self.model.close(list(self.model.symbols) if symbol is None else [symbol], self.now_ms)

    @rule(seed=seeds)
    def pause(self, seed):
        dice = Dice(seed)
        symbol = None if dice.random() < 0.3 else self._one(dice)
        self._take(Pause(id=self._number(), time_ms=self.now_ms, symbol=symbol))
        self.model.pause(symbol)

    @rule(seed=seeds)
    def resume(self, seed):
        dice = Dice(seed)
        symbol = None if dice.random() < 0.5 else self._one(dice)
        self._take(Resume(id=self._number(), time_ms=self.now_ms, symbol=symbol))
        self.model.resume(symbol)

    @rule(seed=seeds)
    def come_or_go(self, seed):
        """A symbol joins, for the first time or again, or is only closed from now on."""
        dice = Dice(seed)
        traded = sorted(self.watched - self.model.closing_only)
        if len(traded) > 1 and dice.random() < 0.5:
            symbol = dice.choice(traded)
            self._take(Watch(id=self._number(), time_ms=self.now_ms, drop=(symbol,), note="test"))
            self.model.drop(symbol)
        else:
            symbol = dice.choice(SYMBOLS)
            joins = (INSTRUMENTS[symbol],)
            self._take(Watch(id=self._number(), time_ms=self.now_ms, add=joins, note="test"))
            self.watched.add(symbol)
            self.model.join(symbol)

    @rule(seed=seeds)
    def quote(self, seed):
        dice = Dice(seed)
        self.now_ms += dice.choice([0, 1, 100, 250, 1_000, 60_000])
        symbol = self._one(dice)
        bid, ask = sorted((dice.price(), dice.price()))
        if symbol in self.quoted and dice.random() < 0.3:
            bid, ask = self.quoted[symbol]
        self.quoted[symbol] = bid, ask
        quote = Quote(
            symbol=symbol,
            time_ms=self.now_ms,
            bid=bid,
            bid_size=dice.figure("0", "9", 4),
            ask=ask,
            ask_size=dice.figure("0", "9", 4),
            mark=dice.choice([None, dice.price()]),
        )
        self._met(self.broker.match_quote(quote, self.ledger))
        self.model.quote(quote)

    @rule(seed=seeds)
    def book(self, seed):
        dice = Dice(seed)
        self.now_ms += dice.choice([0, 1, 100, 250, 1_000, 60_000])
        symbol = self._one(dice)
        book = self.booked.get(symbol)
        if book is not None and dice.random() < 0.3:
            book = replace(book, time_ms=self.now_ms)
        else:
            bids, asks = dice.sides()
            book = Book(symbol=symbol, time_ms=self.now_ms, bids=bids, asks=asks)
        self.booked[symbol] = book
        self._met(self.broker.match_book(book, self.ledger))
        self.model.book(book)

    @rule(seed=seeds)
    def bar(self, seed):
        self._bar(Dice(seed))

    def _bar(self, dice):
        """Orders meet a bar; it."""
        low, first, last, high = sorted(dice.price() for _ in range(4))
        if dice.random() < 0.5:
            first, last = last, first
        index = -((START_MS - self.now_ms) // rational.STEP_MS)
        volume = dice.choice([dice.figure("0", "30", 3), Decimal(1000)])
        symbol = self._one(dice)
        bar = a_bar(index, symbol=symbol, open=first, high=high, low=low, close=last, volume=volume)
        self.now_ms = bar.close_ms
        self._met(self.broker.match_bar(bar, self.ledger))
        self.model.bar(bar)
        return bar

    @rule(seed=seeds)
    def fund(self, seed):
        dice = Dice(seed)
        funding = Funding(
            # Also of what was let go since.
            symbol=dice.choice(sorted(self.rules)),
            # Of late, or days ago, on the minute or a little beside it.
            time_ms=self.now_ms
            - dice.choice(
                [dice.randint(-1_000, 2 * rational.STEP_MS), dice.randint(0, 400) * rational.STEP_MS]
            ),
            rate=dice.figure("-0.003", "0.003", 5),
            mark_price=dice.price(),
        )
        payment = self.ledger.settle(funding)
        if payment is not None:
            self.funding.append(payment)
            self.track.pay(payment, self.ledger.equity(payment.time_ms))
        self.model.fund(funding)

    @rule(seed=seeds)
    def cancel(self, seed):
        symbol = self._one(Dice(seed))
        self._keep(self.broker.cancel(symbol, self.now_ms, "the test says so"))
        self.model.cancel(symbol)

    @rule(seed=seeds)
    def settle(self, seed):
        """A contract is delivered; another of the same name may be listed later."""
        dice = Dice(seed)
        symbol, price = self._one(dice), dice.price()
        for status in (CLOSED, TRADING):
            self._take(Listing(symbol=symbol, time_ms=self.now_ms, status=status, price=price))
        self.model.settle(symbol, Fraction(price), self.now_ms)

    @rule(seed=seeds)
    def transfer(self, seed):
        # As much as keeps it trading, and now and then short of margin.
        bounds = ("-10", "300") if self.ledger.cash < 200 else ("-250", "10")
        amount, id = Dice(seed).figure(*bounds, 4), len(self.transfers) + 1
        self.transfers.append(Transfer(id=id, time_ms=self.now_ms, amount=amount, reason="test"))
        self.ledger.transfer(self.transfers[-1])
        self.track.move(amount, self.ledger.equity(self.now_ms))
        self.model.transfer(Fraction(amount))

    @rule()
    def restart(self):
        """From what a database keeps: all that happened, and the orders that rest."""
        resting = [order for order in self.orders.values() if order.status in RESTING]
        self.broker = PaperBroker(
            self.config,
            self.rules,
            self.margin,
            next_order_id=max(self.orders, default=0) + 1,
            next_fill_id=len(self.fills) + 1,
        )
        self.broker.restore(resting)
        self.model.restart()
        again = Ledger.restore(Decimal(CASH), self.fills, self.funding, self.transfers)
        assert again.cash == self.ledger.cash
        assert again.snapshot().settled == self.ledger.snapshot().settled
        self.ledger = Ledger.from_state(self.ledger.snapshot())
        self.track = AccountTrack(self.track.snapshot(), rational.STEP_MS)
        self.risk = RiskReview(OPEN, self.rules, self.risk.snapshot())
        self._take_hands()
        # A session's start says what is only closed; what was let go is known to nobody any more.
        for symbol in sorted(self.model.closing_only):
            if symbol in self.watched:
                self._take(Watch(id=0, time_ms=self.now_ms, drop=(symbol,)))
                self.model.drop(symbol)

    def live(self, dice, deeds):
        """So many deeds by the dice, a restart after one in fifty and one in the middle."""
        market = (
            [self.quote] * 12 if self.config.fill_model == "quote" else [self.quote] * 3 + [self.book] * 12
        )
        likely = (
            [self.order] * 10 + [self.decide] * 8 + market + [self.bar] * 12 + [self.fund] * 8 + [self.transfer] * 3
            + [self.cancel, self.settle, self.settle, self.close, self.pause]
            + [self.resume] * 4 + [self.come_or_go] * 3
        )  # fmt: skip
        for number in range(deeds):
            dice.choice(likely)(dice.getrandbits(32))
            self.they_agree()
            if number == deeds // 2 or dice.random() < 0.02:
                self.restart()
                self.they_agree()
        self.teardown()

    @invariant()
    def they_agree(self):
        if not hasattr(self, "model"):
            return
        self.ledger.check()
        gone = self.model.let_go()
        assert gone == {
            one.symbol for symbol in sorted(self.rules) for one in self.hands.let_go(symbol, self.now_ms)
        } | set(self.let_go)
        self.let_go.clear()
        self.watched -= gone
        self.let_gone += len(gone)
        assert Fraction(self.ledger.cash) == self.model.cash
        self.lacking += self.model.free() < 0
        for symbol, one in self.model.symbols.items():
            position = self.ledger.position(symbol)
            assert (Fraction(position.quantity), Fraction(position.cost)) == (one.held, one.cost)
        resting = {id: order for one in self.model.symbols.values() for id, order in one.orders.items()}
        assert [order.id for order in self.broker.open_orders] == sorted(resting)
        for order in self.broker.open_orders:
            mine = resting[order.id]
            assert Fraction(order.quantity) == mine.quantity
            assert Fraction(order.filled_quantity) == mine.filled
            assert (order.status == "pending", order.active_ms) == (mine.pending, mine.since)
            assert (order.triggered_ms is not None) == mine.triggered
            assert order.stop_price == _decimal(mine.stop)
            assert order.anchor == _decimal(mine.anchor)
            assert (order.limit_price, order.valid_until_ms) == (_decimal(mine.limit), mine.until)

    def _one(self, dice):
        """A symbol that bars and quotes come of."""
        return dice.choice(sorted(self.watched))

    def _number(self):
        self.asked += 1
        return self.asked

    def _take(self, asked):
        step = self.hands.take(asked)
        self.fills += step.fills
        self._keep(step.orders)
        self.let_go += [one.symbol for one in step.watched if one.state == "let_go"]

    def _post(self, matched, equity):
        booked = self.ledger.post(matched.fills)
        equity += self.track.book(booked, matched.orders)[0]
        return booked.fills

    def _met(self, matched):
        self.fills += self._post(matched, [])
        self._keep(matched.orders)
        self.rejected += [rejection.order.id for rejection in matched.rejections]

    def _keep(self, changed):
        self.orders.update({order.id: order for order in changed})

    def teardown(self):
        """Every fill was the model's, digit by digit."""
        if not hasattr(self, "model"):
            return
        told = [
            (
                fill.order_id,
                Fraction(fill.quantity) * (1 if fill.side == "buy" else -1),
                Fraction(fill.price),
                Fraction(fill.fee),
                Fraction(fill.realized_pnl),
                fill.rule,
                fill.time_ms,
            )
            for fill in self.fills
        ]
        assert told == self.model.fills
        assert self.rejected == self.model.rejected
        assert sorted(self.rejected + self.refused) == [
            id for id, order in self.orders.items() if order.status == "rejected"
        ]
        assert [fill.id for fill in self.fills] == list(range(1, len(self.fills) + 1))
        filled = {order.id: Decimal(0) for order in self.orders.values()}
        for fill in self.fills:
            filled[fill.order_id] = EXACT.add(filled[fill.order_id], fill.quantity)
        assert filled == {id: order.filled_quantity for id, order in self.orders.items()}


def _decimal(value: Fraction | None) -> Decimal | None:
    return None if value is None else Decimal(value.numerator) / Decimal(value.denominator)


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("preset", rational.PRESETS)
@pytest.mark.parametrize("fill_model", ["quote", "book"])
def test_they_agree_over_a_long_run_that_meets_every_rule(preset, fill_model):
    dice, accounts = Dice(preset + fill_model), Accounts()
    accounts.begin(preset, fill_model)
    accounts.live(dice, 6_000)
    met = Counter(fill.rule for fill in accounts.fills)
    assert set(met) == {
        fill_model,
        "next_open",
        "gap",
        "stop",
        "target",
        "limit",
        "liquidation",
        "settlement",
    }
    assert min(met.values()) >= 10, met
    assert len(accounts.rejected) >= 10
    assert accounts.lacking > 50
    ended = {order.status for order in accounts.orders.values()}
    assert ended >= {"filled", "cancelled", "rejected"}
    assert len(accounts.funding) > 30
    assert len(accounts.refused) > 30
    assert accounts.let_gone > 5
    assert min(accounts.renewed, accounts.expired, accounts.parts) >= 5


@pytest.mark.parametrize("seed", range(20))
def test_five_hundred_lives_each_with_restarts_come_to_the_last_digit(seed):
    """Twenty times twenty-five, so that they spread over the processors."""
    for life in range(25):
        dice, accounts = Dice(f"{seed} {life}"), Accounts()
        accounts.begin(dice.choice(list(rational.PRESETS)), dice.choice(["quote", "book"]))
        accounts.live(dice, dice.randint(40, 200))
