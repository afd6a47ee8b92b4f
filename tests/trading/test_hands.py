"""What a person asks of the running account, and what the exchange does to a symbol, as inputs of the core."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.market import CLOSED, GONE, Listing
from bot.sessions.assembly import build_trader
from bot.trading.events import RESTING, Close, Pause, Resume, Transfer, Watch
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening
from tests.core import NOTHING_YET, a_config, a_trader
from tests.eager import Eager
from tests.factories import START_MS, a_bar, a_quote, a_signal, an_instrument

MINUTES = 900_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Wants:
    """Asks for the same at each close."""

    needs_memory = False

    def __init__(self, action="long", **signal):
        self.signal = a_signal(action, **signal)

    def decide(self, situation):
        return self.signal


def both_held(**config):
    """A trader that is long 2,000 worth of both symbols at 100, with the last steps' time."""
    trader = a_trader(a_config(*SYMBOLS, broker={"latency_ms": 0}, **config), Wants(), quotes=True)
    for index in (0, 1):
        for symbol in SYMBOLS:
            bar = a_bar(index, symbol=symbol)
            trader.advance(a_quote(symbol=symbol, time_ms=bar.close_ms - 1, mark="100"))
            trader.advance(bar)
    for symbol in SYMBOLS:
        (fill,) = trader.advance(a_quote(symbol=symbol, time_ms=bar.close_ms + 1, mark="100")).fills
        assert fill.side == "buy"
    return trader, bar.close_ms + 2


def next_bar(trader, index=2, symbol="BTCUSDT"):
    trader.advance(a_quote(symbol=symbol, time_ms=a_bar(index).close_ms - 1, mark="100"))
    return trader.advance(a_bar(index, symbol=symbol))


def test_a_close_by_hand_sells_at_market_and_nothing_enters_before_it_has():
    trader, now = both_held()
    step = trader.advance(Close(id=7, time_ms=now, symbol="BTCUSDT", note="enough"))
    (order,) = step.orders
    assert (order.signal_id, order.side, order.reduce_only) == (0, "sell", True)
    assert order.reason == "closed by hand: enough"
    assert step.answers[0].outcome.startswith("sells ")
    assert step.notices[0].kind == "close"
    # A newer decision neither withdraws it nor enters meanwhile.
    bar = a_bar(2, symbol="BTCUSDT")
    decided = trader.advance(bar)
    assert decided.orders == ()
    (fill,) = trader.advance(a_quote(time_ms=bar.close_ms + 1, mark="100")).fills
    assert (fill.order_id, fill.side) == (order.id, "sell")
    # The next decision is another one.
    assert [one.side for one in next_bar(trader, 3).orders] == ["buy"]


def test_a_reversal_while_a_close_by_hand_waits_only_closes():
    strategy = Wants()
    trader = a_trader(a_config("BTCUSDT", broker={"latency_ms": 0}), strategy, quotes=True)
    trader.advance(a_bar(0))
    trader.advance(a_quote(time_ms=a_bar(1).close_ms - 1))
    trader.advance(a_bar(1))
    trader.advance(a_quote(time_ms=a_bar(1).close_ms + 1))
    strategy.signal = a_signal("short")
    trader.advance(Close(id=1, time_ms=a_bar(1).close_ms + 2, symbol="BTCUSDT"))
    step = trader.advance(a_bar(2))
    assert [one.rule for one in step.rejections] == ["closing"]
    met = trader.advance(a_quote(time_ms=a_bar(2).close_ms + 1))
    assert trader._ledger.position("BTCUSDT").quantity == 0
    assert {order.status for order in met.orders} <= {"filled", "cancelled"}


def test_a_close_of_nothing_is_refused_in_words():
    trader, now = both_held()
    step = trader.advance(Close(id=1, time_ms=now, symbol="XRPUSDT"))
    assert step.orders == ()
    assert step.answers[0].error == "nothing of XRPUSDT is held, and no order rests"
    assert [notice.kind for notice in step.notices] == ["close_refused"]
    closed = trader.advance(Close(id=2, time_ms=now))
    assert [order.symbol for order in closed.orders] == list(SYMBOLS)


@pytest.mark.parametrize("scope", [None, "BTCUSDT"])
def test_a_pause_stops_entries_and_no_exits_until_it_is_resumed(scope):
    trader, now = both_held()
    trader.advance(Close(id=1, time_ms=now))
    for symbol in SYMBOLS:
        trader.advance(a_quote(symbol=symbol, time_ms=now + 1, mark="100"))
    step = trader.advance(Pause(id=2, time_ms=now + 2, symbol=scope, note="news"))
    assert step.pauses == (Pause(id=2, time_ms=now + 2, symbol=scope, note="news"),)
    again = trader.advance(Pause(id=3, time_ms=now + 3, symbol=scope))
    assert "already" in again.answers[0].outcome
    assert [one.rule for one in next_bar(trader).rejections] == ["paused"]
    other = next_bar(trader, symbol="ETHUSDT")
    assert [one.rule for one in other.rejections] == ([] if scope else ["paused"])
    resumed = trader.advance(Resume(id=4, time_ms=now + 4, symbol=scope))
    assert [pause.resumed_ms for pause in resumed.pauses] == [now + 4]
    assert [one.side for one in next_bar(trader, 3).orders] == ["buy"]


def test_a_pause_holds_over_a_restart():
    trader, now = both_held()
    risk = trader.advance(Pause(id=2, time_ms=now, symbol="BTCUSDT")).risk
    again = a_trader(a_config(*SYMBOLS), Wants(), quotes=True, opening=replace(NOTHING_YET, risk=risk))
    trader.advance(a_bar(2))
    next_bar(again, 2)
    assert [one.rule for one in next_bar(again, 3).rejections] == ["paused"]


def test_what_is_dropped_is_only_closed_and_let_go_once_flat():
    trader, now = both_held()
    step = trader.advance(Watch(id=0, time_ms=now, drop=("ETHUSDT",), note="taken off"))
    assert [(one.symbol, one.state) for one in step.watched] == [("ETHUSDT", "closing_only")]
    assert step.answers == ()
    # It is valued as before.
    assert next_bar(trader, symbol="ETHUSDT").equity[-1].equity == next_bar(trader).equity[-1].equity
    trader.advance(Close(id=1, time_ms=now + MINUTES, symbol="ETHUSDT"))
    sold = trader.advance(a_quote(symbol="ETHUSDT", time_ms=now + MINUTES + 1, mark="100"))
    assert [(one.symbol, one.state) for one in sold.watched] == [("ETHUSDT", "let_go")]
    assert [one.rule for one in next_bar(trader, 3, "ETHUSDT").rejections] == ["closing_only"]
    back = trader.advance(Watch(id=2, time_ms=now + 2, add=(an_instrument("ETHUSDT"),)))
    assert [(one.symbol, one.state) for one in back.watched] == [("ETHUSDT", "trading")]
    assert [one.side for one in next_bar(trader, 4, "ETHUSDT").orders] == ["buy"]


@pytest.mark.parametrize(("told", "price"), [("90", "90"), (None, "95")])
def test_a_contract_that_is_closed_settles_at_the_delivery_price_or_the_last_mark(told, price):
    trader, now = both_held()
    trader.advance(a_quote(time_ms=now, mark="95"))
    before = trader._ledger.cash
    listing = Listing(
        symbol="BTCUSDT", time_ms=now + 1, status=CLOSED, price=None if told is None else Decimal(told)
    )
    step = trader.advance(listing)
    (fill,) = step.fills
    assert (fill.rule, fill.price, fill.fee) == ("settlement", Decimal(price), 0)
    assert step.equity[-1].cash == before + fill.realized_pnl
    assert trader._ledger.position("BTCUSDT").quantity == 0
    assert [notice.kind for notice in step.notices] == ["listing", "settlement"]
    assert trader._ledger.position("ETHUSDT").quantity > 0
    assert [one.rule for one in trader.advance(a_bar(2)).rejections] == ["not_trading"]


@pytest.mark.parametrize("status", ["PreLaunch", "Delivering", GONE])
def test_what_nobody_trades_stays_held_at_its_last_mark_and_a_halt_says_that_it_could_not_sell_it(status):
    trader, now = both_held(risk={"max_daily_loss": "0.05", "max_drawdown": "0.05"})
    step = trader.advance(Listing(symbol="BTCUSDT", time_ms=now, status=status))
    assert step.fills == ()
    held = trader._ledger.position("BTCUSDT").quantity
    refused = trader.advance(Close(id=1, time_ms=now, symbol="BTCUSDT"))
    assert refused.orders == ()
    assert "cannot be closed" in refused.answers[0].error
    trader.advance(a_quote(symbol="ETHUSDT", bid="60", ask="60.1", time_ms=now + 1, mark="60"))
    halted = trader.advance(a_bar(2, symbol="ETHUSDT", close="60"))
    assert len(halted.halts) == 1
    assert [order.symbol for order in halted.orders if order.status in RESTING] == ["ETHUSDT"]
    told = [notice.detail for notice in halted.notices if notice.kind == "halt"]
    assert f"cannot be sold: {held:f} BTCUSDT ({status})" in told[0]


def test_a_withdrawal_is_checked_again_when_it_is_booked():
    trader, now = both_held()
    step = trader.advance(Transfer(id=3, time_ms=now, amount=Decimal(-9000), reason="rent"))
    assert step.transfers == step.equity == ()
    assert "cannot be withdrawn" in step.answers[0].error
    assert [notice.kind for notice in step.notices] == ["transfer_refused"]
    assert trader.advance(Transfer(id=4, time_ms=now, amount=Decimal(-5000), reason="rent")).transfers


deeds = st.lists(
    st.tuples(
        st.sampled_from(
            ["bar", "bar", "bar", "quote", "close", "pause", "resume", "drop", "add", "closed", "gone"]
        ),
        st.sampled_from([*SYMBOLS, None]),
        st.integers(80, 120),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(deeds=deeds, cut=st.integers(0, 40))
def test_any_life_keeps_its_books_and_a_restart_goes_on_with_the_same_equity(deeds, cut):
    """Symbols that come, go, settle and are closed by hand; the account is put down and taken up in between."""
    config = a_config(*SYMBOLS, broker={"latency_ms": 0})
    rules = {symbol: an_instrument(symbol, tick_size="0.01") for symbol in SYMBOLS}
    trader = build_trader(config, Eager(config.strategy), rules, NOTHING_YET, quotes=True)
    fills, cash, orders, signals, now, bars = [], Decimal(10_000), {}, 1, START_MS, dict.fromkeys(SYMBOLS, 0)
    for number, (deed, scope, price) in enumerate(deeds, start=1):
        symbol = scope or SYMBOLS[0]
        now += 1
        if deed == "bar":
            event = a_bar(bars[symbol], symbol=symbol, close=price)
            bars[symbol] += 1
            now = max(now, event.close_ms)
        else:
            event = {
                "quote": a_quote(symbol=symbol, time_ms=now, bid=price, ask=price + 1, mark=price),
                "close": Close(id=number, time_ms=now, symbol=scope),
                "pause": Pause(id=number, time_ms=now, symbol=scope),
                "resume": Resume(id=number, time_ms=now, symbol=scope),
                "drop": Watch(id=number, time_ms=now, drop=(symbol,)),
                "add": Watch(id=number, time_ms=now, add=(rules[symbol],)),
                "closed": Listing(symbol=symbol, time_ms=now, status=CLOSED, price=Decimal(price)),
                "gone": Listing(symbol=symbol, time_ms=now, status=GONE),
            }[deed]
        step = trader.advance(event)
        fills += step.fills
        signals += step.signal is not None
        orders.update({order.id: order for order in step.orders})
        for row in step.equity:
            assert row.equity == row.cash + row.unrealized_pnl
        cash += sum((fill.realized_pnl - fill.fee for fill in step.fills), Decimal(0))
        assert trader._ledger.cash == cash
        trader._ledger.check()
        for one in SYMBOLS:
            signed = [
                fill.quantity if fill.side == "buy" else -fill.quantity
                for fill in fills
                if fill.symbol == one
            ]
            assert sum(signed, Decimal(0)) == trader._ledger.position(one).quantity
        if number == cut:
            before = trader._ledger.equity(now)
            held_marks = trader._ledger.held_marks
            ledger = Ledger.restore(Decimal(10_000), fills, (), (), held_marks)
            assert ledger.equity(now) == before
            opening = Opening(
                ledger=ledger.snapshot(),
                open_orders=tuple(order for order in orders.values() if order.status in RESTING),
                next_signal_id=signals,
                next_order_id=max(orders, default=0) + 1,
                next_fill_id=len(fills) + 1,
                risk=trader._risk.snapshot(),
            )
            known = dict(trader._instruments)
            trader = build_trader(config, Eager(config.strategy), known, opening, quotes=True)
            assert trader._ledger.equity(now) == before
