"""What backs a position, what an order needs, and when one is liquidated: the exchange's own figures."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.market import Funding
from bot.trading.broker import PaperBroker
from bot.trading.config import RiskConfig
from bot.trading.events import Order, Position
from bot.trading.fills import BrokerConfig
from bot.trading.ledger import Ledger
from bot.trading.limits import RiskContext
from bot.trading.margin import Margin, tier_of
from bot.trading.position import unrealized_pnl
from bot.trading.risk import RiskReview
from tests.factories import START_MS, a_bar, a_position, a_quote, a_tier, an_equity, an_instrument, an_order

# The amount to maintain does not jump: 2,000,000 * (0.01 - 0.005) = 10,000.
TIERS = (a_tier("2000000", "0.005", "100"), a_tier("10000000", "0.01", "50", "10000"))


def a_margin(leverage: str = "10", **rules) -> Margin:
    rules = {"tiers": TIERS, "max_leverage": Decimal(100), **rules}
    return Margin(BrokerConfig(leverage=Decimal(leverage)), {"BTCUSDT": an_instrument(**rules)})


def test_a_tier_is_found_by_the_positions_value():
    rules = an_instrument(tiers=TIERS)
    assert [tier_of(rules, Decimal(value)) for value in ("1", "2000000", "2000000.01", "99999999")] == [
        TIERS[0], TIERS[0], TIERS[1], TIERS[1],
    ]  # fmt: skip
    unknown = tier_of(an_instrument(max_leverage=Decimal(25)), Decimal(10**9))
    assert (unknown.maintenance_rate, unknown.max_leverage, unknown.initial_rate) == (
        Decimal("0.005"), 25, Decimal("0.04"),
    )  # fmt: skip


def test_a_trade_comes_out_as_the_exchanges_own_arithmetic_has_it():
    """Long 0.1 at 60,000, ten times leveraged; funding at 60,500; sold at 61,200 as a maker."""
    config = BrokerConfig(leverage=Decimal(10), slippage_bps=Decimal(0), latency_ms=0)
    rules = {"BTCUSDT": an_instrument(max_leverage=Decimal(100))}
    broker, ledger, margin = PaperBroker(config, rules), Ledger(Decimal(10_000)), Margin(config, rules)

    def met(quote) -> list[Decimal]:
        return [fill.fee for fill in ledger.post(broker.match_quote(quote, ledger).fills).fills]

    broker.place([an_order(quantity="0.1")])
    assert met(a_quote(bid="59999.9", ask="60000")) == [Decimal("3.30")]
    position = ledger.position("BTCUSDT")
    assert margin.bankruptcy_price(position) == 54_000
    # 6,000 / 10, and 0.1 * 54,000 * 0.00055 to close it there.
    assert margin.reserved(position) == Decimal("602.97")
    assert margin.is_liquidated(position, Decimal("54271.35"))
    assert not margin.is_liquidated(position, Decimal("54271.36"))
    assert unrealized_pnl(position, Decimal(61_000)) == 100
    funding = Funding(
        symbol="BTCUSDT", time_ms=START_MS + 60_000, rate=Decimal("0.0001"), mark_price=Decimal(60_500)
    )
    assert ledger.settle(funding).payment == Decimal("-0.605")
    sale = an_order(side="sell", quantity="0.1", type="limit", limit_price=Decimal(61_200))
    broker.place([sale])
    assert met(a_quote(bid="61000", ask="61001", time_ms=START_MS + 60_010)) == []
    assert met(a_quote(bid="61200.1", ask="61201", time_ms=START_MS + 60_011)) == [Decimal("1.224")]
    assert ledger.cash == Decimal("10114.871")


@pytest.mark.parametrize(("side", "mark"), [("buy", "54271.3"), ("sell", "65671.7")])
def test_spot_is_never_liquidated_and_a_linear_contract_is(side, mark):
    sign = 1 if side == "buy" else -1
    position = a_position(quantity=str(sign), cost=str(sign * 60000))
    assert a_margin().is_liquidated(position, Decimal(mark))
    assert not a_margin(category="spot").is_liquidated(position, Decimal(mark))


prices = st.decimals("1", "100000", places=1)
quantities = st.decimals("0.001", "500", places=3)


@given(st.sampled_from([1, -1]), quantities, prices, prices, st.integers(1, 100))
def test_a_position_is_liquidated_exactly_where_its_margin_is_down_to_the_maintenance(
    sign, quantity, entry, mark, leverage
):
    margin = a_margin(str(leverage))
    position = a_position(quantity=str(sign * quantity), cost=str(sign * quantity * entry))
    value, cost = Fraction(quantity) * Fraction(mark), Fraction(quantity) * Fraction(entry)
    tier = TIERS[0] if value <= 2_000_000 else TIERS[1]
    left = cost / leverage + sign * (value - cost)
    maintenance = value * Fraction(tier.maintenance_rate) - Fraction(tier.deduction)
    assert margin.is_liquidated(position, mark) == (left <= maintenance and not (sign > 0 and leverage == 1))
    # Whoever waits for the alarm misses nothing.
    alarm = margin.alarm(position)
    if margin.is_liquidated(position, mark):
        assert alarm is not None
        assert mark <= alarm if sign > 0 else mark >= alarm


@given(st.sampled_from([1, -1]), quantities, prices, st.integers(2, 100))
def test_the_bankruptcy_price_leaves_nothing_of_the_margin_up_to_a_tick(sign, quantity, entry, leverage):
    position = a_position(quantity=str(sign * quantity), cost=str(sign * quantity * entry))
    price = a_margin(str(leverage)).bankruptcy_price(position)
    exact = Fraction(entry) * (1 - Fraction(sign, leverage))
    assert price == Decimal("0.1") or 0 <= sign * (exact - Fraction(price)) < Fraction(1, 10)


def judged(order: Order, *, leverage: str = "10", free: str = "1000", held: Position | None = None, **rules):
    """The rule that stops an entry, or None; the close is 100."""
    rules = {"tiers": TIERS, "max_leverage": Decimal(100), **rules}
    instruments = {"BTCUSDT": an_instrument(**rules)}
    margin = Margin(BrokerConfig(leverage=Decimal(leverage)), instruments)
    config = RiskConfig(max_position_fraction=Decimal(100), max_total_fraction=Decimal(100),
                        require_contiguous_bars=0)  # fmt: skip
    review = RiskReview(config, instruments, margin_rules=margin.rules)
    context = RiskContext(
        bar=a_bar(close="100"),
        position=held or Position(symbol="BTCUSDT"),
        equity=an_equity("1000000"),
        exposure=Decimal(0),
        spendable=Decimal(free),
        needs_quote=False,
        free_margin=Decimal(free),
    )
    _, rejections = review.review([order], context)
    return rejections[0].rule if rejections else None


def test_an_order_needs_its_margin_and_the_fees_of_its_way_in_and_out():
    # 10 * 100 / 10 = 100, 1000 * 0.00055 = 0.55 in, 900 * 0.00055 = 0.495 out.
    assert judged(an_order(quantity="10"), free="101.045") is None
    assert judged(an_order(quantity="10"), free="101.044") == "insufficient_margin"
    assert judged(an_order(quantity="10", side="sell"), free="101.155") is None
    assert judged(an_order(quantity="10", side="sell"), free="101.154") == "insufficient_margin"


def test_what_is_closed_first_gives_its_margin_back():
    held = a_position(quantity="10", cost="1000")
    assert judged(an_order(quantity="20", side="sell"), free="0.7", held=held) is None
    assert judged(an_order(quantity="21", side="sell"), free="0.7", held=held) == "insufficient_margin"


def test_spot_needs_the_whole_price_and_its_fee():
    spot = {"category": "spot", "tiers": ()}
    assert judged(an_order(quantity="5"), free="500.275", **spot) is None
    assert judged(an_order(quantity="5"), free="500.274", **spot) == "insufficient_margin"


def test_the_exchange_lends_less_on_larger_positions_and_nothing_beyond_its_last_tier():
    plenty = "100000000"
    assert judged(an_order(quantity="20000"), leverage="100", free=plenty) is None
    assert judged(an_order(quantity="20001"), leverage="100", free=plenty) == "risk_limit"
    assert judged(an_order(quantity="100000"), leverage="50", free=plenty) is None
    assert judged(an_order(quantity="100001"), leverage="50", free=plenty) == "risk_limit"
    assert judged(an_order(), leverage="11", max_leverage=Decimal(10)) == "risk_limit"


def test_waiting_orders_bind_margin_too_but_not_those_that_only_reduce():
    margin = a_margin()
    held = a_position(quantity="1", cost="100")
    waiting = [
        an_order(type="limit", limit_price=Decimal(50)),
        an_order(side="sell", quantity="9", reduce_only=True),
        an_order(side="sell", quantity="1"),
        an_order(symbol="BTCUSDT", quantity="2", filled_quantity=Decimal(1)),
    ]
    free = margin.free(Decimal(1000), [held], waiting, {"BTCUSDT": Decimal(200)})
    position = Decimal("10") + Decimal("90") * Decimal("0.00055")
    limit = Decimal("5") + (50 + 45) * Decimal("0.00055")
    market = Decimal("20") + (200 + 180) * Decimal("0.00055")
    assert free == 1000 - position - limit - market
    assert margin.free(Decimal(1000), [], waiting, {}, without="BTCUSDT") == 1000
