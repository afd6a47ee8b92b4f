"""What every strategy that ships keeps to."""

import importlib
import subprocess
import sys

import pytest

from bot.costs import CostBook
from bot.market import INTERVAL_MS
from bot.model.memory.moments import MemoryConfig
from bot.model.recent import RecentBars
from bot.model.similarity import SimilarityModel
from bot.run_view import RunView
from bot.strategy import Costs, Situation, Strategy, StrategyConfig, declared_checks
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.account import AccountTrack, began_with
from bot.trading.broker import PaperBroker
from bot.trading.checks import first_failed
from bot.trading.fills import BrokerConfig
from bot.trading.ledger import Ledger
from strategies import STRATEGIES
from tests.factories import a_position, an_equity, an_instrument

SYMBOLS = ("BTCUSDT", "ETHUSDT")
COSTS = Costs(taker_fee=0.00055, half_spread=0.0001, slippage=0.0001)


def build(name, **config):
    module, _, cls = STRATEGIES[name].partition(":")
    return getattr(importlib.import_module(module), cls)(StrategyConfig(name=name, **config))


def a_view(model):
    """What a strategy sees of a run of two symbols that has traded nothing yet."""
    config, instruments = BrokerConfig(), {symbol: an_instrument(symbol) for symbol in SYMBOLS}
    return RunView(
        model,
        Ledger(config.starting_cash),
        AccountTrack(began_with(config.starting_cash), INTERVAL_MS["15"]),
        PaperBroker(config, instruments),
        CostBook(dict.fromkeys(SYMBOLS, COSTS), INTERVAL_MS["15"], ()),
        instruments,
    )


def situations():
    """Some moments of a market with an edge, with each kind of position."""
    market = SyntheticMarket(PRESETS["demo"], 5, "15")
    model = SimilarityModel(MemoryConfig(), interval="15", horizon_bars=24)
    view = a_view(model)
    for i, (bar, other) in enumerate(
        zip(*(market.bars(symbol, 0, 6_000) for symbol in SYMBOLS), strict=True)
    ):
        asked = i % 37 == 0
        recollection = model.observe(bar, recall=asked)
        if asked:
            for quantity, held in (("0", 0), ("0.5", 3), ("-0.5", 24)):
                yield Situation(
                    bar=bar,
                    recent=RecentBars(model.window(bar.symbol)),
                    recollection=recollection,
                    position=a_position(quantity, "0"),
                    bars_held=held,
                    account=an_equity(),
                    costs=COSTS,
                    run=view,
                )
        # The second symbol's bar of a close enters after the first one's decision.
        model.observe(other, recall=False)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_situation_gives_the_same_signal(name):
    strategy = build(name)
    assert isinstance(strategy, Strategy)
    actions = set()
    for situation in situations():
        signal = strategy.decide(situation)
        assert strategy.decide(situation) == signal
        assert build(name).decide(situation) == signal
        actions.add(signal.action)
    assert len(actions) > 1


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_signal_says_which_gate_decided_and_why(name):
    strategy = build(name)
    for situation in situations():
        signal = strategy.decide(situation)
        assert signal.reason.startswith(signal.detail["gate"] + ": ")
        assert 0.0 <= signal.confidence <= 1.0
        assert not (signal.close_position and signal.action != "hold")


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_entry_passed_every_declared_check_and_a_hold_names_the_one_that_failed(name):
    strategy = build(name)
    declared = list(declared_checks(strategy))
    seen = set()
    for situation in situations():
        signal = strategy.decide(situation)
        failed = first_failed(signal.checks)
        assert [check.name for check in signal.checks] == declared[: len(signal.checks)]
        assert (failed is None) == (signal.action != "hold")
        if failed is None:
            assert len(signal.checks) == len(declared)
        elif signal.detail["gate"] in declared:
            assert signal.detail["gate"] == failed.name
        seen.add(failed)
    assert len(seen) > 1


def test_naming_the_strategies_imports_none_of_them():
    code = "import sys, strategies; print([m for m in sys.modules if m.startswith(('strategies.', 'bot', 'numpy'))])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def decisions(preset, seed, *, warm, bars, horizon=24):
    """Action and what followed, of each bar after the warm-up, with every position flat."""
    market = SyntheticMarket(PRESETS[preset], seed, "15")
    model = SimilarityModel(MemoryConfig(), interval="15", horizon_bars=horizon)
    strategy = build("historical_similarity", horizon_bars=horizon)
    feed = market.bars("BTCUSDT", 0, warm + bars + horizon)
    for i, bar in enumerate(feed[: warm + bars]):
        recollection = model.observe(bar, recall=i >= warm)
        if recollection is not None:
            situation = Situation(
                bar=bar,
                recent=RecentBars(model.window(bar.symbol)),
                recollection=recollection,
                position=a_position("0", "0"),
                bars_held=0,
                account=an_equity(),
                costs=COSTS,
            )
            yield strategy.decide(situation).action, float(feed[i + horizon].close - bar.close)


@pytest.mark.parametrize("horizon", [4, 24])
def test_a_market_without_an_edge_gives_a_signal_on_less_than_one_bar_in_a_hundred(horizon):
    actions = [a for a, _ in decisions("none", 21, warm=3_000, bars=4_000, horizon=horizon)]
    assert sum(a != "hold" for a in actions) <= 0.01 * len(actions)


def test_a_market_with_an_edge_is_traded_and_mostly_rightly():
    taken = [(a, after) for a, after in decisions("demo", 22, warm=8_000, bars=600) if a != "hold"]
    right = sum((after > 0) == (a == "long") for a, after in taken)
    assert len(taken) > 30
    assert right > 0.65 * len(taken)
