from itertools import pairwise

import msgspec
import numpy as np
import pytest

from bot.market import INTERVAL_MS, grid_start_ms
from bot.synthetic import MONDAY_MS, PRESETS, MarketSpec, SyntheticMarket


def a_market(preset: str = "base", seed: int = 1, interval: str = "15") -> SyntheticMarket:
    return SyntheticMarket(PRESETS[preset], seed, interval)


def test_asking_for_more_bars_later_changes_none_of_the_first():
    patient, hasty = a_market(), a_market()
    first = hasty.bars("BTCUSDT", 0, 5_000)
    hasty.bars("ETHUSDT", 0, 9_000)
    later = hasty.bars("BTCUSDT", 0, 9_000)
    assert later[:5_000] == first
    assert later == patient.bars("BTCUSDT", 0, 9_000)


def test_a_bar_is_the_same_from_wherever_one_looks():
    market = a_market()
    assert market.bars("BTCUSDT", 4_090, 20)[10:] == a_market().bars("BTCUSDT", 4_100, 10)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_generated_bar_contradicts_itself_or_leaves_its_grid(preset: str):
    market = a_market(preset)
    for symbol in ("BTCUSDT", "DOGEUSDT", "NEVERHEARDUSDT"):
        rules = market.instrument(symbol)
        bars = market.bars(symbol, 0, 5_000)
        assert [bar.contradiction() for bar in bars] == [None] * len(bars)
        for bar in bars[::50]:
            prices = (bar.open, bar.high, bar.low, bar.close)
            assert not any(price % rules.tick_size for price in prices)
            assert not bar.volume % rules.lot_size
            assert bar.turnover is not None
            assert bar.low * bar.volume <= bar.turnover + bar.volume * rules.tick_size
            assert bar.turnover <= bar.high * bar.volume


def test_bars_follow_one_another_in_time_and_price():
    bars = a_market(interval="60").bars("ETHUSDT", 0, 500)
    assert bars[0].start_ms == MONDAY_MS
    for before, after in pairwise(bars):
        assert after.start_ms == before.close_ms
        assert after.open == before.close


@pytest.mark.parametrize("interval", INTERVAL_MS)
def test_every_interval_begins_on_its_own_grid(interval: str):
    market = a_market(interval=interval)
    assert grid_start_ms(market.start_ms(3), interval) == market.start_ms(3)
    assert market.index_of(market.start_ms(3)) == market.index_of(market.start_ms(4) - 1) == 3


def test_arrays_hold_the_same_figures_as_bars():
    market = a_market()
    bars, candles = market.bars("XRPUSDT", 4_000, 300), market.candles("XRPUSDT", 4_000, 300)
    for name in ("open", "high", "low", "close", "volume", "turnover"):
        assert getattr(candles, name) == pytest.approx([float(getattr(bar, name)) for bar in bars], rel=1e-12)


def test_symbols_and_seeds_differ_while_the_motifs_are_shared():
    market = a_market()
    returns = {
        (seed, symbol): np.diff(np.log(a_market(seed=seed).candles(symbol, 0, 4_000).close))
        for seed in (1, 2)
        for symbol in ("BTCUSDT", "ETHUSDT")
    }
    reference = returns.pop((1, "BTCUSDT"))
    assert all(abs(np.corrcoef(reference, other)[0, 1]) < 0.1 for other in returns.values())
    outcomes = []
    for symbol in ("BTCUSDT", "ETHUSDT"):
        truth = market.truth(symbol, 0, 30_000)
        outcomes.append({int(m): int(o) for m, o in zip(truth.motif, truth.outcome, strict=True) if m >= 0})
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == PRESETS["base"].motifs


def test_a_shape_and_its_reversal_have_opposite_outcomes():
    truth = a_market().truth("BTCUSDT", 0, 30_000)
    outcome = {int(m): int(o) for m, o in zip(truth.motif, truth.outcome, strict=True) if m >= 0}
    assert all(outcome[m] == -outcome[m + 1] for m in range(0, PRESETS["base"].motifs, 2))


def test_novel_motifs_appear_only_from_their_bar_on_and_flipped_ones_turn_there():
    spec = MarketSpec(motifs=4, novel_motifs=2, novel_from=20_000, flipped_motifs=2, flip_from=30_000)
    truth = SyntheticMarket(spec, 1, "15").truth("BTCUSDT", 0, 60_000)
    begins = truth.phase == 0
    bar = np.arange(60_000)
    assert not np.any(truth.motif[begins & (bar < 20_000)] >= 4)
    assert np.any(truth.motif[begins & (bar >= 20_000)] >= 4)

    def outcomes(motif: int, when: np.ndarray) -> set[int]:
        return set(truth.outcome[begins & (truth.motif == motif) & when].tolist())

    assert outcomes(0, bar < 30_000) == {-sign for sign in outcomes(0, bar >= 30_000)}
    assert outcomes(2, bar < 30_000) == outcomes(2, bar >= 30_000)


def test_outcomes_come_true_as_often_as_the_spec_says():
    truth = a_market().truth("BTCUSDT", 0, 200_000)
    ends = truth.remaining == 0
    came_true = np.mean(truth.outcome[ends] == truth.realised[ends])
    assert came_true == pytest.approx(PRESETS["base"].reliability, abs=0.04)


def test_the_expectation_is_unbiased_and_foretells_the_next_return():
    market = a_market("few")
    truth = market.truth("BTCUSDT", 0, 100_000)
    returns = np.diff(np.log(market.candles("BTCUSDT", 0, 100_000).close))
    expected, drifting = truth.expected_next[:-1], (truth.remaining < 0)[:-1] & (truth.motif >= 0)[:-1]
    slope = expected @ returns / (expected @ expected)
    assert slope == pytest.approx(1.0, abs=0.03)
    assert np.corrcoef(expected[drifting], returns[drifting])[0, 1] > 0.15


def test_the_control_has_no_edge():
    market = a_market("none")
    candles, truth = market.candles("BTCUSDT", 0, 200_000), market.truth("BTCUSDT", 0, 200_000)
    ends = np.flatnonzero(truth.remaining == 0)[:-1]
    log_close = np.log(candles.close)
    outcome = truth.outcome[ends] * (log_close[ends + 16] - log_close[ends])
    assert abs(outcome.mean()) < 3 * outcome.std() / np.sqrt(len(ends))
    assert abs(np.corrcoef(np.diff(log_close)[1:], np.diff(log_close)[:-1])[0, 1]) < 0.02


def test_a_million_bars_stay_sane_and_look_like_crypto():
    candles = a_market("base", seed=3).candles("ADAUSDT", 0, 1_000_000)
    returns = np.diff(np.log(candles.close))
    start = candles.open[0]
    assert start / 20 < candles.low.min() < candles.high.max() < 20 * start
    assert 0.002 < returns.std() < 0.006
    assert np.abs(returns).max() < 0.3
    squared = (returns / returns.std()) ** 2
    assert 5 < np.mean(squared**2) < 40
    # Volatility clusters: large moves follow large moves.
    calm = np.minimum(squared, 10.0)
    assert np.corrcoef(calm[1:], calm[:-1])[0, 1] > 0.1


def test_the_demo_market_repeats_itself_often_enough_to_be_remembered():
    truth = a_market("demo").truth("BTCUSDT", 0, 10_000)
    seen = np.bincount(truth.motif[truth.remaining == 0], minlength=PRESETS["demo"].motifs)
    assert seen.min() >= 8
    live = a_market("demo").truth("BTCUSDT", 10_000, 600)
    assert np.sum(live.remaining == 0) >= 2


def test_plain_windows_recognise_the_demo_motifs():
    """At a motif's end, the past windows nearest to it mostly ended the same way."""
    market, bars, window, horizon = a_market("demo"), 10_600, 48, 24
    close, truth = market.candles("BTCUSDT", 0, bars + horizon).close, market.truth("BTCUSDT", 0, bars)
    moves = np.diff(np.log(close), prepend=np.log(close[0])) / np.append(truth.volatility, np.ones(horizon))
    windows = np.lib.stride_tricks.sliding_window_view(np.clip(moves, -6, 6), window)
    keys = windows / np.maximum(np.linalg.norm(windows, axis=1, keepdims=True), 1e-9)
    ends = np.flatnonzero(truth.remaining == 0)
    past = ends[(ends >= window) & (ends < 10_000 - horizon)]
    live = ends[ends >= 10_000]
    for end in live:
        nearest = past[np.argsort(-keys[past - window + 1] @ keys[end - window + 1])[:8]]
        assert set(truth.motif[nearest].tolist()) == {int(truth.motif[end])}


def test_there_is_nothing_before_the_epoch():
    with pytest.raises(IndexError):
        a_market().bars("BTCUSDT", -1, 5)


def test_a_spec_out_of_bounds_is_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"motifs": 3}, MarketSpec)
