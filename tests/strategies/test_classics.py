"""Channel breakout, mean reversion and pair spread decide as their docstrings say."""

from decimal import Decimal

import numpy as np
import pytest

from bot.errors import ConfigError
from bot.model.features import FeatureWindow
from bot.model.recent import RecentBars
from bot.strategy import Situation, StrategyConfig
from bot.trading.events import Signal
from strategies.channel_breakout import ChannelBreakoutStrategy
from strategies.mean_reversion import MeanReversionStrategy
from strategies.pair_spread import PairSpreadStrategy
from tests.core import a_config, a_trader, merged, run
from tests.factories import a_bar, a_position, an_equity
from tests.strategies.test_contract import COSTS


def decide(strategy, bars, position="0"):
    window = FeatureWindow()
    for bar in bars:
        window.push(bar)
    return strategy.decide(
        Situation(
            bar=bars[-1],
            recent=RecentBars(window),
            recollection=None,
            position=a_position(position, "0"),
            bars_held=0,
            account=an_equity(),
            costs=COSTS,
        )
    )


def closing_at(*closes):
    return [a_bar(number, close=str(close)) for number, close in enumerate(closes)]


# Channel breakout.


def breakout(*last, **options):
    """Decided after five bars between 99 and 101."""
    strategy = ChannelBreakoutStrategy(StrategyConfig(options={"bars": 5, "trail": 4.0, **options}))
    bars = [a_bar(i, close="100", high="101", low="99") for i in range(5)]
    return decide(strategy, [*bars, *last])


def test_a_close_above_all_highs_before_it_enters_long_with_a_trailing_stop():
    signal = breakout(a_bar(5, close="102.01", high="103"))
    assert (signal.action, signal.trail_distance, signal.stop_distance) == ("long", 4.0, None)
    assert signal.reason == "entry: 1.00 % above the high of 5 bars"
    assert breakout(a_bar(5, close="98", low="90")).action == "short"


def test_a_high_that_does_not_close_outside_is_no_breakout():
    for bar in (a_bar(5, close="101", high="110"), a_bar(5, close="99", low="90")):
        signal = breakout(bar)
        assert (signal.action, signal.detail["gate"]) == ("hold", "breakout")


def test_the_channel_is_as_long_as_the_options_say_and_waits_until_it_is():
    later = [a_bar(i, close="95") for i in range(5, 10)]
    assert breakout(*later, a_bar(10, close="96")).action == "long"
    assert breakout(*later, a_bar(10, close="96"), bars=9).action == "hold"
    waits = breakout(a_bar(5, close="200"), bars=6)
    assert waits.reason == "bars: 5 of 6 unbroken bars known before this one"


# Mean reversion.


def reversion(*closes, position="0", **options):
    strategy = MeanReversionStrategy(StrategyConfig(options={"bars": 10, **options}))
    return decide(strategy, closing_at(*closes), position)


def test_far_below_the_mean_it_bids_below_the_close_and_far_above_it_offers_above():
    # Nine times 100 and once 90: the mean is 99, the deviation 3.
    signal = reversion(*[100] * 9, 90)
    assert signal == Signal.long(
        "entry: 3.00 deviations below the mean of 10 closes",
        limit_distance=0.5,
        valid_bars=3,
        post_only=True,
        stop=8.0,
        time_stop_bars=48,
        confidence=0.5,
        detail={"gate": "entry", "score": -3.0},
        checks=signal.checks,
    )
    assert reversion(*[100] * 9, 110).action == "short"
    assert reversion(*[100] * 9, 90, stretch=3.5).reason.startswith("stretched: only 3.00 deviations below")
    assert reversion(*[100] * 10).action == "hold"
    assert reversion(*[100] * 9).reason == "bars: 9 of 10 unbroken bars known"


@pytest.mark.parametrize(
    ("position", "last", "closes"),
    [("1", 90, False), ("1", 110, True), ("-1", 110, False), ("-1", 90, True), ("1", 100, True)],
)
def test_what_is_held_is_closed_at_the_mean_and_not_before(position, last, closes):
    signal = reversion(*[100] * 9, last, position=position)
    assert (signal.action, signal.close_position) == ("hold", closes)


# Pair spread.


class Records(PairSpreadStrategy):
    """As it ships; keeps what it said."""

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        self.said = []

    def decide(self, situation: Situation) -> Signal:
        signal = super().decide(situation)
        self.said.append((situation.bar.symbol, situation.bar.close_ms, signal))
        return signal


def pair_run(first, second, **options):
    """What it said of two series of closes, and the steps."""
    options = {"bars": 20, **options}
    config = a_config(strategy={"options": options}, risk={"require_contiguous_bars": 0})
    strategy = Records(config.strategy)
    feeds = [
        [a_bar(i, symbol=symbol, close=str(close)) for i, close in enumerate(closes)]
        for symbol, closes in (("BTCUSDT", first), ("ETHUSDT", second))
    ]
    return strategy.said, run(a_trader(config, strategy), merged(*feeds))


def apart(bars=30, back=30):
    """A pair at about 100 that comes apart for three bars, and is together again."""
    flat = [Decimal(100) + Decimal(i % 3) / 10 for i in range(bars)]
    return [*flat, *[Decimal(110)] * 3, *flat[:back]], [Decimal(50)] * (bars + 3 + back)


def test_the_dear_one_is_sold_and_the_cheap_one_bought_each_by_what_is_known_at_its_close():
    said, steps = pair_run(*apart())
    entries = [(symbol, close_ms, signal) for symbol, close_ms, signal in said if signal.action != "hold"]
    (first_eth,) = {close for symbol, close, _ in entries[:1]}
    assert (entries[0][0], entries[0][2].action) == ("ETHUSDT", "long")
    # At that close ETHUSDT had not closed yet for BTCUSDT: its leg follows at the next one.
    assert (entries[1][0], entries[1][2].action) == ("BTCUSDT", "short")
    assert entries[1][1] == first_eth + 15 * 60_000
    assert all(signal.size == 0.2 for _, _, signal in entries)
    closes = [signal for _, _, signal in said if signal.close_position]
    assert [signal.reason[:16] for signal in closes] == ["apart: met again"] * len(closes)
    assert {position.symbol: position.quantity for step in steps for position in step.positions} == {
        "BTCUSDT": 0, "ETHUSDT": 0,
    }  # fmt: skip


def test_each_leg_is_scored_by_closes_of_the_same_times():
    first, second = apart()
    said, _ = pair_run(first, second, entry=0.5, exit=0.1)
    scores = {(symbol, close): signal.detail.get("score") for symbol, close, signal in said}
    compared = 0
    for (symbol, close_ms), score in scores.items():
        index = (close_ms - a_bar(0).close_ms) // (15 * 60_000) - (symbol == "BTCUSDT")
        if score is None:
            continue
        ratio = np.log([float(a / b) for a, b in zip(first, second, strict=True)][index - 19 : index + 1])
        expected = (ratio[-1] - ratio.mean()) / ratio.std()
        assert score == pytest.approx(expected if symbol == "BTCUSDT" else -expected)
        compared += 1
    assert compared > 10


def test_a_leg_whose_other_was_refused_is_closed_again():
    first, second = apart(back=0)
    # Ten thousand a coin and more: a tenth of equity is less than a lot of it.
    said, steps = pair_run(
        [close * 1_000_000 for close in first] + [Decimal(110_000_000)] * 4, [*second, *second[:4]]
    )
    alone = [(symbol, signal) for symbol, _, signal in said if signal.detail["gate"] == "legs"]
    assert [(symbol, signal.close_position) for symbol, signal in alone] == [("ETHUSDT", True)]
    assert "no spread" in alone[0][1].reason
    assert any(step.rejections for step in steps)


def test_other_symbols_are_left_alone():
    config = a_config(strategy={"options": {"pair": "ETHUSDT,SOLUSDT"}})
    signal = decide(PairSpreadStrategy(config.strategy), closing_at(100, 101))
    assert (signal.action, signal.reason) == ("hold", "pair: BTCUSDT is not of ETHUSDT,SOLUSDT")


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        (ChannelBreakoutStrategy, {"bars": 1}),
        (ChannelBreakoutStrategy, {"trail": 0}),
        (MeanReversionStrategy, {"stretch": 11}),
        (MeanReversionStrategy, {"valid_bars": 0}),
        (PairSpreadStrategy, {"pair": "BTCUSDT"}),
        (PairSpreadStrategy, {"pair": "BTCUSDT,BTCUSDT"}),
        (PairSpreadStrategy, {"entry": 1, "exit": 1}),
        (PairSpreadStrategy, {"size": 0}),
    ],
)
def test_options_that_make_no_sense_are_refused(strategy, options):
    with pytest.raises(ConfigError, match=r"strategy\.options"):
        strategy(StrategyConfig(options=options))
