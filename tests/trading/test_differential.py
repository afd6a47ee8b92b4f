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
from bot.market import Book, Funding, Level, Quote, RiskTier
from bot.trading.broker import PaperBroker
from bot.trading.events import RESTING, Order, Transfer
from bot.trading.fills import BrokerConfig
from bot.trading.ledger import Ledger
from tests.factories import START_MS, a_bar, an_instrument, an_order
from tests.trading import rational

CASH = "300.5"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
INSTRUMENTS = {
    symbol: an_instrument(
        symbol,
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


class Accounts(RuleBasedStateMachine):
    """The bot's account beside the model's; every rule happens to both."""

    @initialize(preset=st.sampled_from(list(rational.PRESETS)), fill_model=st.sampled_from(["quote", "book"]))
    def begin(self, preset, fill_model):
        self.config = BrokerConfig(
            starting_cash=Decimal(CASH),
            latency_ms=rational.LATENCY_MS,
            fill_model=fill_model,
            fills=preset,
            half_spread_bps=Decimal(rational.HALF_SPREAD),
            slippage_bps=Decimal(rational.SLIPPAGE),
            impact_bps=Decimal(rational.IMPACT),
            max_volume_share=Decimal("0.2"),
            leverage=Decimal(rational.LEVERAGE),
        )
        self.broker = PaperBroker(self.config, INSTRUMENTS)
        self.ledger = Ledger(Decimal(CASH))
        self.model = rational.Account(Fraction(CASH), preset, fill_model)
        self.fills, self.funding, self.transfers, self.orders, self.rejected = [], [], [], {}, []
        self.quoted, self.booked = {}, {}
        self.lacking = 0
        self.now_ms = START_MS

    @rule(seed=seeds)
    def order(self, seed):
        dice = Dice(seed)
        drafts = dice.drafts(dice.choice(SYMBOLS), self.now_ms)
        self._keep(self.broker.place(drafts))
        self.model.place(drafts)

    @rule(seed=seeds)
    def quote(self, seed):
        dice = Dice(seed)
        self.now_ms += dice.choice([0, 1, 100, 250, 1_000, 60_000])
        symbol = dice.choice(SYMBOLS)
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
        symbol = dice.choice(SYMBOLS)
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
        dice = Dice(seed)
        low, first, last, high = sorted(dice.price() for _ in range(4))
        if dice.random() < 0.5:
            first, last = last, first
        index = -((START_MS - self.now_ms) // rational.STEP_MS)
        volume = dice.choice([dice.figure("0", "30", 3), Decimal(1000)])
        symbol = dice.choice(SYMBOLS)
        bar = a_bar(index, symbol=symbol, open=first, high=high, low=low, close=last, volume=volume)
        self.now_ms = bar.close_ms
        self._met(self.broker.match_bar(bar, self.ledger))
        self.model.bar(bar)

    @rule(seed=seeds)
    def fund(self, seed):
        dice = Dice(seed)
        funding = Funding(
            symbol=dice.choice(SYMBOLS),
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
        self.model.fund(funding)

    @rule(seed=seeds)
    def cancel(self, seed):
        symbol = Dice(seed).choice(SYMBOLS)
        self._keep(self.broker.cancel(symbol, self.now_ms, "the test says so"))
        self.model.cancel(symbol)

    @rule(seed=seeds)
    def settle(self, seed):
        """A contract is delivered; another of the same name may be listed later."""
        dice = Dice(seed)
        symbol, price = dice.choice(SYMBOLS), dice.price()
        self._keep(self.broker.cancel(symbol, self.now_ms, "not_trading"))
        position = self.ledger.position(symbol)
        if position.quantity:
            order, fill = self.broker.settle(
                position, price, self.now_ms, fee_rate=Decimal(0), reason="settled"
            )
            self._keep([order])
            self.fills += self.ledger.post((fill,)).fills
        self.model.settle(symbol, Fraction(price), self.now_ms)

    @rule(seed=seeds)
    def transfer(self, seed):
        # As much as keeps it trading, and now and then short of margin.
        bounds = ("-10", "300") if self.ledger.cash < 200 else ("-250", "10")
        amount, id = Dice(seed).figure(*bounds, 4), len(self.transfers) + 1
        self.transfers.append(Transfer(id=id, time_ms=self.now_ms, amount=amount, reason="test"))
        self.ledger.transfer(self.transfers[-1])
        self.model.transfer(Fraction(amount))

    @rule()
    def restart(self):
        """From what a database keeps: all that happened, and the orders that rest."""
        resting = [order for order in self.orders.values() if order.status in RESTING]
        self.broker = PaperBroker(
            self.config,
            INSTRUMENTS,
            next_order_id=max(self.orders, default=0) + 1,
            next_fill_id=len(self.fills) + 1,
        )
        self.broker.restore(resting)
        self.model.restart()
        again = Ledger.restore(Decimal(CASH), self.fills, self.funding, self.transfers)
        assert again.cash == self.ledger.cash
        assert again.snapshot().settled == self.ledger.snapshot().settled
        self.ledger = Ledger.from_state(self.ledger.snapshot())

    @invariant()
    def they_agree(self):
        if not hasattr(self, "model"):
            return
        self.ledger.check()
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

    def _met(self, matched):
        self.fills += self.ledger.post(matched.fills).fills
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
        assert sorted(self.rejected) == [
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
    market = [accounts.quote] * 12 if fill_model == "quote" else [accounts.quote] * 3 + [accounts.book] * 12
    deeds = (
        [accounts.order] * 8 + market + [accounts.bar] * 12 + [accounts.fund] * 4
        + [accounts.transfer] * 3 + [accounts.cancel] + [accounts.settle] * 2
    )  # fmt: skip
    for _ in range(4_000):
        dice.choice(deeds)(dice.getrandbits(32))
        accounts.they_agree()
        if dice.random() < 0.02:
            accounts.restart()
            accounts.they_agree()
    accounts.teardown()
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
