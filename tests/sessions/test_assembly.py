from decimal import Decimal
from typing import get_args

import pytest
from msgspec.structs import replace

from bot.config import Config, RunConfig
from bot.errors import BrokenInvariant, ConfigError
from bot.model.similarity import ModelConfig
from bot.sessions.assembly import (
    build_trader,
    checkpoint_sha256,
    configuration_name,
    find_checkpoint,
    load_strategy,
    opening_of,
    restore_ledger,
)
from bot.store.account.state import AccountState
from bot.strategy import StrategyConfig
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.account import AccountTrack, began_with
from bot.trading.config import RiskConfig
from bot.trading.fills import BrokerConfig, Preset
from bot.trading.ledger import Ledger
from strategies import STRATEGIES
from strategies.buy_and_hold import BuyAndHoldStrategy
from tests.core import NOTHING_YET, a_config, run
from tests.eager import Eager
from tests.factories import START_MS, a_bar, a_fill, a_position, a_signal, an_equity, an_instrument, an_order


def strategy(name, **options):
    return load_strategy(Config(strategy=StrategyConfig(name=name, options=options)), STRATEGIES)


def an_account(**fields):
    nothing = dict.fromkeys(("fills", "funding", "transfers", "open_orders", "positions", "progress"), ())
    numbers = {f"next_{name}_id": 1 for name in ("signal", "order", "fill", "transfer")}
    cash = Decimal(10_000)
    known = {"starting_cash": cash, "equity": None, "track": began_with(cash), **nothing, **numbers}
    return AccountState(**(known | fields))


def test_a_strategy_is_found_by_its_short_name_or_by_its_path():
    assert isinstance(strategy("buy_and_hold"), BuyAndHoldStrategy)
    assert isinstance(strategy("strategies.buy_and_hold:BuyAndHoldStrategy"), BuyAndHoldStrategy)
    assert isinstance(strategy("tests.eager:Eager"), Eager)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("clairvoyance", "'clairvoyance' is none of buy_and_hold, channel_breakout, historical_similarity"),
        ("no.such:Thing", "no module 'no'"),
        ("strategies.buy_and_hold:Nothing", "has no class 'Nothing'"),
        ("bot.strategy:StrategyConfig", "StrategyConfig"),
    ],
)
def test_what_is_no_strategy_is_told_with_the_key_that_named_it(name, told):
    with pytest.raises(ConfigError, match=r"^strategy") as error:
        strategy(name)
    assert told in str(error.value)


def test_a_configuration_keeps_its_name_on_whatever_its_memory_is_searched():
    config = Config()
    plain = strategy("buy_and_hold")
    on_a_gpu = replace(config, memory=replace(config.memory, gpu=True))
    smaller = replace(config, memory=replace(config.memory, size=500))
    assert configuration_name(on_a_gpu, plain) == configuration_name(config, plain)
    assert configuration_name(smaller, plain) != configuration_name(config, plain)


def test_options_that_a_strategy_does_not_take_are_told():
    with pytest.raises(ConfigError, match=r"strategy\.options"):
        strategy("buy_and_hold", speed=3)


def test_a_trader_goes_on_with_the_numbers_the_position_and_the_orders_of_the_account():
    bought = a_fill(3, side="buy", quantity="2", price="100", order_id=7, time_ms=START_MS)
    track = AccountTrack(began_with(Decimal(10_000)), 60_000)
    track.book(Ledger(Decimal(10_000)).post([bought]), ())
    resting = an_order(id=8, side="sell", quantity="2", created_ms=START_MS, signal_id=41)
    account = an_account(
        fills=(bought,), open_orders=(resting,), next_signal_id=42, next_order_id=9, next_fill_id=4,
        positions=(a_position("2", "200"),), equity=an_equity("10000"), track=track.snapshot(),
    )  # fmt: skip
    config = a_config("BTCUSDT", strategy={"name": "buy_and_hold"})
    instruments = {"BTCUSDT": an_instrument()}
    trader = build_trader(
        config, load_strategy(config, STRATEGIES), instruments, opening_of(account), quotes=False
    )
    assert trader.waits("BTCUSDT")
    sold, again = run(trader, [a_bar(0), a_bar(1)])
    assert [(fill.id, fill.order_id, fill.side) for fill in sold.fills] == [(4, 8, "sell")]
    assert sold.positions[0].quantity == 0
    assert [step.signal_id for step in (sold, again)] == [42, 43]


def test_books_that_contradict_themselves_are_not_gone_on_with():
    bought = a_fill(1, side="buy", quantity="2", price="100", fee="0.11")
    account = an_account(fills=(bought,), positions=(a_position("2", "200"),), equity=an_equity("9999.89"))
    assert restore_ledger(account).cash == Decimal("9999.89")
    for wrong, told in (
        (replace(account, positions=(a_position("3", "200"),)), "position of BTCUSDT is stored as 3"),
        (replace(account, positions=(a_position("2", "201"),)), "at cost 201"),
        (replace(account, equity=an_equity("9999.90")), "the last equity row says cash 9999.90"),
        (replace(account, fills=(replace(bought, realized_pnl=Decimal(5)),)), "realized PnL 5"),
    ):
        with pytest.raises(BrokenInvariant, match=told):
            opening_of(wrong)


def test_keys_are_plain_without_a_checkpoint_and_the_shipped_ones_by_default():
    assert find_checkpoint(Config(model=ModelConfig(checkpoint=""))) is None
    shipped = find_checkpoint(Config())
    assert checkpoint_sha256(Config(), strategy("historical_similarity")) == shipped.sha256
    assert checkpoint_sha256(Config(), strategy("buy_and_hold")) is None
    assert (shipped.encoder.dimension, shipped.card.summary().split()[0]) == (64, "StreamingTransformer")


def test_a_checkpoint_that_cannot_be_used_is_told_with_its_key(tmp_path):
    config = Config(model=ModelConfig(checkpoint=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"^model\.checkpoint: .* is no checkpoint"):
        find_checkpoint(config)


def test_the_shipped_encoder_decides_from_the_first_bar_that_is_not_warm_up():
    config = replace(a_config("BTCUSDT"), model=ModelConfig())
    instruments = {"BTCUSDT": an_instrument(tick_size="0.1")}
    trader = build_trader(config, Eager(config.strategy), instruments, NOTHING_YET, quotes=False)
    bars = SyntheticMarket(PRESETS["demo"], 3, "15").bars("BTCUSDT", 0, 420)
    for bar in bars[:400]:
        trader.observe(bar)
    for step in run(trader, bars[400:]):
        assert len(step.recollection.neighbors) > 0
        assert step.recollection.forecast.calibration.n_votes > 0


PAID = {"half_spread_bps": Decimal(2), "slippage_bps": Decimal(3)}


@pytest.mark.parametrize("fills", get_args(Preset))
@pytest.mark.parametrize(("category", "taker_fee"), [("linear", "0.00055"), ("spot", "0.001")])
def test_costs_are_those_of_the_fills_that_the_preset_in_force_makes(fills, category, taker_fee):
    """A market order of no size to speak of pays, each way, what strategies were told."""
    broker = BrokerConfig(fill_preset=fills, impact_bps=Decimal(0), taker_fee=Decimal(taker_fee), **PAID)
    asked = []

    class Asks:
        needs_memory = False

        def __init__(self, config):
            pass

        def decide(self, situation):
            asked.append(situation)
            return a_signal("long")

    config = Config(
        run=RunConfig(symbols=("BTCUSDT",), interval="15", category=category),
        model=ModelConfig(checkpoint=""),
        broker=broker,
        risk=RiskConfig(require_contiguous_bars=0),
    )
    rules = {"BTCUSDT": an_instrument(tick_size="0.00001", category=category)}
    trader = build_trader(config, Asks(None), rules, NOTHING_YET, quotes=False)
    steps = run(trader, [a_bar(0), a_bar(1)])
    (fill,) = steps[1].fills
    (costs,) = {situation.costs for situation in asked[:1]}
    paid = float((fill.price - fill.reference_price) / fill.reference_price + fill.fee / fill.notional)
    assert costs.round_trip(1, 0) == pytest.approx(2 * paid, rel=1e-4)


@pytest.mark.parametrize("checks", [("trend",), {"trend": ""}, {1: "with the trend"}, "trend"])
def test_checks_that_are_no_names_with_labels_are_told_at_the_start(checks, monkeypatch):
    monkeypatch.setattr(BuyAndHoldStrategy, "checks", checks)
    with pytest.raises(ConfigError, match=r"^strategy.name: BuyAndHoldStrategy.checks is"):
        strategy("buy_and_hold")
