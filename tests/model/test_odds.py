import math

import numpy as np
import pytest
from msgspec.structs import replace

from bot.model.odds import LEVELS, MAX_LOG_SCALE, NEAREST, Odds, OddsNetwork, Standing

NETWORK = OddsNetwork(inputs=7, width=12, dimension=5)


def some_weights(network: OddsNetwork = NETWORK, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = {
        name: (0.4 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in network.shapes().items()
    }
    weights["inputs.spread"] = np.full(network.inputs, 0.8, np.float32)
    return weights


def some_odds(**changes: float) -> Odds:
    """Odds of random weights, but for the figures named, the same at each horizon."""
    weights = some_weights()
    for name, figure in changes.items():
        weights[name] = np.full(3, figure, np.float32)
    return Odds(NETWORK, weights)


def some_memory(count: int = 400, seed: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States and ascending outcomes, and rows to ask with."""
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((count, 5)).astype(np.float32)
    return states, np.sort(rng.standard_normal(count)), rng.standard_normal((30, 7)).astype(np.float32)


def test_many_rows_at_once_give_what_each_gives() -> None:
    odds = some_odds()
    _, _, rows = some_memory()
    for h in (1, 7, 24):
        together, each = odds.standings(rows, h), [odds.standing(row, h) for row in rows]
        assert np.abs(together.state - np.stack([one.state for one in each])).max() < 5e-6
        assert together.scale == pytest.approx([float(one.scale) for one in each], rel=1e-5)
    assert np.abs(odds.heads(rows) - np.stack([odds.head(row) for row in rows])).max() < 5e-6


def test_many_recalls_at_once_give_what_each_gives() -> None:
    odds = some_odds(log_temperature=-2.0)
    states, outcomes, rows = some_memory(count=4000)
    known = np.random.default_rng(3).random((len(rows), len(outcomes))) < 0.8
    known[4] = False
    for h in (1, 7, 24):
        quantiles, shares = odds.recalled_by(states, outcomes, odds.standings(rows, h), h, known)
        for i, row in enumerate(rows):
            one = odds.recalled(states[known[i]], outcomes[known[i]], odds.standing(row, h), h)
            if one is None:
                assert i == 4
                assert shares[i] == 0.0
                continue
            assert np.abs(quantiles[i] - one.quantiles).max() < 1e-3 * odds.standing(row, h).scale
            assert shares[i] == pytest.approx(one.share, abs=1e-5)


def test_quantiles_ascend() -> None:
    odds = some_odds()
    states, outcomes, rows = some_memory()
    assert (np.diff(odds.heads(rows), axis=-1) >= 0).all()
    recalled = odds.recalled(states, outcomes, odds.standing(rows[0], 4), 4)
    assert recalled is not None
    assert (np.diff(recalled.quantiles) >= 0).all()


def test_attention_without_temperature_is_the_plain_distribution() -> None:
    odds = some_odds(log_temperature=-30.0)
    states, outcomes, rows = some_memory()
    query = odds.standing(rows[0], 4)
    recalled = odds.recalled(states, outcomes, query, 4)
    assert recalled is not None
    assert recalled.effective_sample_size == pytest.approx(len(outcomes), rel=1e-4)
    plain = np.quantile(outcomes, LEVELS, method="inverted_cdf")
    assert np.abs(recalled.quantiles / query.scale - plain).max() < 0.02


def test_what_is_recalled_is_told_in_the_scale_of_who_asks() -> None:
    odds = some_odds()
    states, outcomes, rows = some_memory()
    state = odds.standing(rows[0], 4).state
    one, twice = (odds.recalled(states, outcomes, Standing(state, np.array(x)), 4) for x in (1.0, 2.0))
    assert one is not None
    assert twice is not None
    assert (twice.quantiles == 2.0 * one.quantiles).all()
    assert (twice.share, twice.effective_sample_size) == (one.share, one.effective_sample_size)


def test_scales_have_a_horizon_and_stay_within_bounds_however_odd_the_bar() -> None:
    odds = some_odds()
    rows = some_memory()[2]
    low, between, high = (odds.standings(rows, h).scale for h in (4, 10, 24))
    assert not np.array_equal(low, high)
    share = math.log(10 / 4) / math.log(24 / 4)
    inside = np.maximum(np.abs(np.log(low)), np.abs(np.log(high))) < MAX_LOG_SCALE
    assert inside.sum() > 10
    assert between[inside] == pytest.approx((low ** (1 - share) * high**share)[inside])
    odd = odds.standings(1e6 * rows, 4).scale
    assert odd.max() == pytest.approx(math.exp(MAX_LOG_SCALE))
    assert odd.min() == pytest.approx(math.exp(-MAX_LOG_SCALE))


def test_the_memory_counts_for_nothing_where_nothing_is_recalled() -> None:
    odds = some_odds(gate=9.0)
    states, outcomes, rows = some_memory()
    head = odds.at(odds.head(rows[0]), 4)
    assert odds.recalled(states[:0], outcomes[:0], odds.standing(rows[0], 4), 4) is None
    assert (odds.blend(head, None, 4) == head).all()


def test_what_is_far_from_everything_known_is_left_to_the_head() -> None:
    odds = some_odds(gate=9.0, log_temperature=0.0, null=-50.0)
    states, outcomes, rows = some_memory()
    head = odds.at(odds.head(rows[0]), 4)
    near, far = (
        odds.recalled(states, outcomes, Standing(np.full(5, place, np.float32), np.array(1.0)), 4)
        for place in (0.0, 100.0)
    )
    assert near is not None
    assert far is not None
    assert near.share > 0.99
    assert far.share < 1e-6
    assert np.abs(odds.blend(head, far, 4) - head).max() < 1e-5
    assert np.abs(odds.blend(head, near, 4) - near.quantiles).max() < 0.01


def test_a_horizon_between_two_trained_ones_lies_between_them() -> None:
    odds = some_odds()
    heads = odds.head(some_memory()[2][0])
    for low, between, high in ((1, 2, 4), (4, 16, 24)):
        ends = np.stack((odds.at(heads, low), odds.at(heads, high)))
        told = odds.at(heads, between)
        assert (told >= ends.min(axis=0) - 1e-12).all()
        assert (told <= ends.max(axis=0) + 1e-12).all()
        assert (
            min(odds.gate(low), odds.gate(high)) < odds.gate(between) < max(odds.gate(low), odds.gate(high))
        )
    assert (odds.at(heads, 24) == heads[2]).all()
    assert (odds.at(heads, 100) == heads[2]).all()


def test_the_order_of_what_is_asked_for_does_not_change_the_bits() -> None:
    odds = some_odds()
    states, outcomes, rows = some_memory()
    first = [odds.recalled(states, outcomes, odds.standing(row, 4), 4) for row in rows]
    again = [odds.recalled(states.copy(), outcomes.copy(), odds.standing(row, 4), 4) for row in rows[::-1]][
        ::-1
    ]
    for one, other in zip(first, again, strict=True):
        assert one is not None
        assert other is not None
        assert one.quantiles.tobytes() == other.quantiles.tobytes()


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = some_weights()
    with pytest.raises(ValueError, match="gate"):
        Odds(NETWORK, {name: value for name, value in weights.items() if name != "gate"})
    with pytest.raises(ValueError, match=r"not float32 \(3,\)"):
        Odds(NETWORK, weights | {"gate": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="not finite"):
        Odds(NETWORK, weights | {"gate": np.full(3, np.nan, np.float32)})
    with pytest.raises(ValueError, match="ascend"):
        replace(NETWORK, horizons=(4, 1))


def test_only_the_nearest_share_the_attention_and_equally_near_ones_all_do() -> None:
    # So warm that whoever shares the attention has nearly as much of it as any other.
    odds = some_odds(log_temperature=-9.0)
    rng = np.random.default_rng(5)
    states = rng.standard_normal((NEAREST + 500, NETWORK.dimension)).astype(np.float32)
    outcomes = np.sort(rng.standard_normal(len(states)))
    query = Standing(states[7], np.array(0.5))
    distances = ((states.astype(np.float64) - states[7]) ** 2).sum(axis=1)
    near = np.sort(np.argsort(distances)[:NEAREST])
    among_all = odds.recalled(states, outcomes, query, 4)
    alone = odds.recalled(states[near], outcomes[near], query, 4)
    assert among_all is not None
    assert alone is not None
    np.testing.assert_array_equal(among_all.quantiles, alone.quantiles)
    assert among_all.share == pytest.approx(alone.share, abs=1e-5)
    assert among_all.effective_sample_size == pytest.approx(NEAREST, rel=1e-3)
    same = odds.recalled(np.repeat(states[7:8], len(states), axis=0), outcomes, query, 4)
    assert same is not None
    assert same.effective_sample_size == pytest.approx(len(states))
