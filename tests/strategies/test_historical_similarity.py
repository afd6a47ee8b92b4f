import pytest
from msgspec.structs import replace

from bot.errors import ConfigError
from bot.model.calibration import CalibrationFit
from bot.model.features import FeatureWindow
from bot.model.forecast import forecast_from
from bot.model.memory.moments import BaseRate
from bot.model.recent import RecentBars
from bot.model.similarity import Recollection
from bot.strategy import Costs, Situation, StrategyConfig
from strategies.historical_similarity import HistoricalSimilarityStrategy
from tests.factories import a_bar, a_neighbor, a_position, a_recollection, an_equity, an_outlook

COSTS = Costs(taker_fee=0.00055, half_spread=0.0001, slippage=0.0001)
FLAT = a_position("0", "0")


OUTLOOK = an_outlook()


def moments(
    rose, fell, *, size=0.01, fall=None, similarity=0.83, base_ratio=0.5, calibration=None, outlook=None
):
    """A recollection of so many equal votes for a rise and for a fall."""
    count = rose + fell
    outcomes = [size] * rose + [-(fall or size)] * fell
    neighbors = [
        a_neighbor(weight=1 / count, forward_return=outcome, similarity=similarity) for outcome in outcomes
    ]
    base = BaseRate(moments=1_000, mean_move=0.0, mean_absolute_move=size / 0.01, rise_rate=base_ratio)
    return a_recollection(
        *neighbors, forecast=forecast_from(neighbors, base, 8.0, 0.01, calibration, outlook)
    )


def decide(recollection, *, position=FLAT, bars_held=0, costs=COSTS, **config):
    situation = Situation(
        bar=a_bar(),
        recent=RecentBars(FeatureWindow()),
        recollection=recollection,
        position=position,
        bars_held=bars_held,
        account=an_equity(),
        costs=costs,
    )
    return HistoricalSimilarityStrategy(StrategyConfig(**config)).decide(situation)


def gate(signal):
    return signal.detail["gate"]


def test_many_moments_that_rose_are_a_long_and_many_that_fell_a_short():
    up, down = decide(moments(18, 2)), decide(moments(2, 18))
    assert (up.action, down.action) == ("long", "short")
    assert up.expected_return == pytest.approx(-down.expected_return)
    assert up.confidence == pytest.approx(down.confidence)
    assert up.confidence == pytest.approx((18 + 4) / 28)
    assert gate(up) == "entry"


def test_the_reason_says_how_many_how_alike_which_way_and_against_what():
    assert decide(moments(18, 2)).reason == (
        "entry: 90% of 20 neighbors rose (effective 20, best similarity 0.83), "
        "p-value 0.0004; expected +0.57%, costs 0.15%"
    )


def test_eight_of_ten_fair_coins_are_no_signal():
    signal = decide(moments(8, 2))
    assert signal.action == "hold"
    assert gate(signal) == "significance"
    assert "p-value 0.11" in signal.reason


def test_nothing_to_recall_is_a_hold_that_says_why():
    signal = decide(Recollection(regime=None, missing="12 of 305 unbroken bars known"))
    assert (signal.action, gate(signal)) == ("hold", "memory")
    assert signal.reason == "memory: 12 of 305 unbroken bars known"
    assert signal.expected_return is None
    assert signal.horizon_bars is None


def test_moments_unlike_this_one_are_not_listened_to():
    signal = decide(moments(18, 2, similarity=0.2))
    assert (signal.action, gate(signal)) == ("hold", "similarity")


def test_a_lean_that_loses_money_on_average_is_not_followed():
    signal = decide(moments(18, 2, size=0.001, fall=0.05))
    assert (signal.action, gate(signal)) == ("hold", "direction")


def test_a_gain_below_the_costs_is_not_taken_and_funding_is_a_cost():
    thin = moments(18, 2, size=0.004)
    assert decide(thin).action == "long"
    dear = Costs(taker_fee=0.002, half_spread=0.0001, slippage=0.0001)
    assert gate(decide(thin, costs=dear)) == "costs"
    funded = Costs(taker_fee=0.00055, half_spread=0.0001, slippage=0.0001, funding_rate=0.001, funding_bars=8)
    assert gate(decide(thin, costs=funded, horizon_bars=24)) == "costs"
    assert decide(moments(2, 18, size=0.004), costs=funded, horizon_bars=24).action == "short"


def test_confidence_below_the_threshold_is_a_hold():
    signal = decide(moments(18, 2), confidence_threshold=0.8)
    assert (signal.action, gate(signal)) == ("hold", "confidence")


def test_a_vote_whose_like_have_not_come_true_is_not_followed_and_the_figures_are_kept():
    doubted = decide(moments(18, 2, size=0.03, calibration=CalibrationFit(vote_slope=0.2, n_votes=400)))
    assert (doubted.action, gate(doubted)) == ("hold", "confidence")
    assert doubted.confidence == doubted.positive_ratio == pytest.approx(0.565, abs=1e-3)
    assert doubted.reason.endswith("such calls come true in 56%, 60% is required")
    assert doubted.detail["belief"] == {"slope": 0.2, "votes": 400, "head": 0.0, "alike": 1.0}
    assert doubted.detail["vote"] == pytest.approx(22 / 28)
    believed = decide(moments(18, 2, calibration=CalibrationFit(vote_slope=1.5, n_votes=400)))
    assert believed.action == "long"
    assert believed.confidence > 22 / 28


def test_head_and_gate_are_named_and_the_spread_is_that_of_the_blend():
    signal = decide(moments(18, 2, outlook=OUTLOOK))
    assert signal.reason.endswith("; without memory 54% up (memory weight 0.41)")
    assert signal.return_std == 0.02
    assert signal.detail["outlook"] == {"low": -0.03, "high": 0.04, "head_ratio": 0.54, "gate": 0.41}


def test_a_head_that_came_true_lifts_or_lowers_what_is_expected_of_a_vote():
    calibration = CalibrationFit(vote_slope=0.5, n_votes=400, head_slope=1.0)
    doubting = replace(OUTLOOK, head_ratio=0.2)
    with_it, against_it, alone = (
        decide(moments(18, 2, calibration=calibration, outlook=outlook))
        for outlook in (OUTLOOK, doubting, None)
    )
    assert with_it.confidence > alone.confidence > against_it.confidence
    assert with_it.expected_return > alone.expected_return > 0.0 > against_it.expected_return
    assert (against_it.action, gate(against_it)) == ("hold", "costs")


def test_what_all_moments_do_is_no_signal():
    assert gate(decide(moments(18, 2, base_ratio=0.9))) == "significance"


def test_a_vote_leans_against_the_base_rate_and_not_against_one_half():
    # More rose than fell, yet far fewer than usually do: a lean towards a fall, which half of them are no proof of.
    signal = decide(moments(17, 15, fall=0.012, base_ratio=0.8))
    assert (signal.action, gate(signal)) == ("hold", "confidence")
    assert "47% of 32 neighbors fell" in signal.reason
    assert signal.confidence == pytest.approx(1 - signal.positive_ratio)
    assert signal.positive_ratio > 0.5


def test_holds_carry_the_forecast_too():
    signal = decide(moments(6, 4))
    assert signal.action == "hold"
    assert signal.expected_return == pytest.approx(10 * 0.002 / 18)
    assert signal.positive_ratio == pytest.approx(10 / 18)
    assert signal.return_std is not None
    assert signal.horizon_bars == 24
    assert signal.detail["effective"] == pytest.approx(10.0)


LONG = a_position("0.5")
SHORT = a_position("-0.5")


def test_a_position_is_closed_at_the_horizon_and_not_before():
    undecided = moments(5, 5)
    early, due = (decide(undecided, position=LONG, bars_held=held) for held in (23, 24))
    assert (early.action, early.close_position) == ("hold", False)
    assert (due.action, due.close_position, gate(due)) == ("hold", True, "time_exit")
    blind = decide(Recollection(regime=None, missing="too few"), position=SHORT, bars_held=24)
    assert blind.close_position


def test_a_bar_that_confirms_the_side_keeps_the_position_beyond_the_horizon():
    signal = decide(moments(18, 2), position=LONG, bars_held=30)
    assert (signal.action, signal.close_position, gate(signal)) == ("long", False, "entry")


@pytest.mark.parametrize("held", [3, 30])
def test_an_opposite_signal_turns_the_position_round(held):
    signal = decide(moments(18, 2), position=SHORT, bars_held=held)
    assert (signal.action, signal.close_position, gate(signal)) == ("long", False, "reversal")


def test_options_set_the_significance_and_unknown_ones_are_named():
    assert decide(moments(8, 2), options={"significance": 0.2}).action == "long"
    with pytest.raises(ConfigError, match="significanse"):
        decide(moments(8, 2), options={"significanse": 0.2})
    with pytest.raises(ConfigError, match="significance"):
        decide(moments(8, 2), options={"significance": 2})
