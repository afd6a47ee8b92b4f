import pytest

from bot.errors import ConfigError
from bot.model.features import FeatureWindow
from bot.model.recent import RecentBars
from bot.strategy import Costs, Situation, StrategyConfig
from strategies.buy_and_hold import BuyAndHoldStrategy
from strategies.moving_average_cross import MovingAverageCrossStrategy
from tests.factories import a_bar, a_position, an_equity

COSTS = Costs(taker_fee=0.00055, half_spread=0.0001, slippage=0.0001)


def decide(strategy, closes, position="0"):
    window = FeatureWindow()
    for number, close in enumerate(closes):
        window.push(bar := a_bar(number, close=close))
    return strategy.decide(
        Situation(
            bar=bar,
            recent=RecentBars(window),
            recollection=None,
            position=a_position(position, "0"),
            bars_held=0,
            account=an_equity(),
            costs=COSTS,
        )
    )


def test_buy_and_hold_buys_with_nothing_in_hand_and_never_again():
    strategy = BuyAndHoldStrategy(StrategyConfig())
    assert decide(strategy, [100]).action == "long"
    held = decide(strategy, [100, 50], position="0.5")
    assert (held.action, held.close_position) == ("hold", False)


def test_the_cross_is_long_above_and_short_below_the_slow_mean():
    strategy = MovingAverageCrossStrategy(StrategyConfig())
    rising, falling = list(range(100, 220)), list(range(220, 100, -1))
    up, down = decide(strategy, rising), decide(strategy, falling)
    assert up.action == "long"
    assert down.action == "short"
    # Means of 200..219 and 120..219 are 40 apart, of a close of 219.
    assert up.reason == "entry: the mean of 20 closes is 18.26 % above that of 100"


def test_the_cross_waits_for_its_slow_mean():
    signal = decide(MovingAverageCrossStrategy(StrategyConfig()), range(100, 199))
    assert (signal.action, signal.detail["gate"]) == ("hold", "bars")
    assert signal.reason == "bars: 99 of 100 unbroken bars known"


def test_the_cross_takes_its_lengths_from_the_options():
    strategy = MovingAverageCrossStrategy(StrategyConfig(options={"fast": 1, "slow": 3}))
    assert decide(strategy, [100, 100, 130]).action == "long"
    assert decide(strategy, [130, 130, 100]).action == "short"
    assert decide(strategy, [130, 130, 130]).action == "hold"


@pytest.mark.parametrize("options", [{"fast": 30, "slow": 20}, {"fast": 0}, {"slow": 2.5}, {"medium": 3}])
def test_lengths_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=r"strategy\.options"):
        MovingAverageCrossStrategy(StrategyConfig(options=options))


def test_buy_and_hold_takes_no_options():
    with pytest.raises(ConfigError, match=r"strategy\.options"):
        BuyAndHoldStrategy(StrategyConfig(options={"fast": 3}))
