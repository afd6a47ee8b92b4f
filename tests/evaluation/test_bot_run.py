from decimal import Decimal

import numpy as np
import pytest

from bot.config import Config, RunConfig
from bot.evaluation.bot_run import KeptKeys, RecallTable, permutations, recall_at, run_bot, stack_tables
from bot.model.feature_table import feature_table
from bot.model.features import FeatureWindow, PlainEncoder, key_of
from bot.model.memory.moments import MemoryConfig
from bot.model.similarity import ModelConfig, SimilarityModel
from bot.sessions.assembly import build_trader, load_strategy
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening
from strategies import STRATEGIES
from tests.factories import an_instrument
from tests.model.walks import walk as random_walk

HORIZON = 24
BARS = random_walk(1_400)
TABLE = feature_table(BARS)
STACKED = stack_tables([TABLE])
QUERIES = np.arange(1_000, 1_400, 5)


def a_model() -> SimilarityModel:
    return SimilarityModel(MemoryConfig(neighbors=8), interval="15", horizon_bars=HORIZON)


def test_no_neighbor_is_recalled_before_its_outcome_was_over():
    recalls = recall_at(a_model(), BARS, STACKED, QUERIES)
    assert recalls.rows.tolist() == QUERIES.tolist()
    assert (recalls.neighbors + HORIZON <= recalls.rows[:, None]).all()
    assert recalls.weights.sum(axis=1) == pytest.approx(np.ones(len(QUERIES)))


def test_a_frozen_memory_recalls_nothing_that_ended_later():
    frozen = recall_at(a_model(), BARS, STACKED, QUERIES, frozen_from_ms=BARS[900].start_ms)
    online = recall_at(a_model(), BARS, STACKED, QUERIES)
    assert frozen.neighbors.max() + HORIZON < 900
    assert online.neighbors.max() > 900


def test_the_whole_bot_recalls_what_its_model_alone_does():
    config = Config(
        run=RunConfig(symbols=("BTCUSDT",)),
        model=ModelConfig(checkpoint=""),
        memory=MemoryConfig(neighbors=8),
    )
    opening = Opening(
        ledger=Ledger(Decimal(1000)).snapshot(),
        open_orders=(),
        next_signal_id=1,
        next_order_id=1,
        next_fill_id=1,
    )
    trader = build_trader(
        config,
        load_strategy(config, STRATEGIES),
        {"BTCUSDT": an_instrument("BTCUSDT")},
        opening,
        quotes=False,
    )
    run = run_bot(trader, BARS, STACKED, lambda bar: bar.start_ms >= BARS[1_000].start_ms)
    assert run.decided == 400
    assert len(run.equity) >= 400
    assert sum(run.gates.values()) == 400
    alone = recall_at(a_model(), BARS, STACKED, QUERIES)
    inside = run.recalls.at(QUERIES)
    assert np.array_equal(inside.neighbors, alone.neighbors)
    assert np.array_equal(inside.expected, alone.expected)


def test_a_vote_leaves_out_neighbors_whose_outcome_is_unknown():
    recalls = RecallTable(
        rows=np.array([9]),
        expected=np.zeros(1),
        rise_probability=np.full(1, 0.5),
        base_rate=np.full(1, 0.5),
        similarity=np.ones(1),
        neighbors=np.array([[0, 1, 2, -1]]),
        weights=np.array([[0.5, 0.25, 0.25, 0.0]]),
    )
    outcome = np.array([np.nan, 1.0, 4.0, 7.0])
    assert recalls.vote(outcome).tolist() == [2.5]


def test_permuted_outcomes_are_the_same_ones_elsewhere():
    outcome = TABLE.outcome(HORIZON)
    known = np.isfinite(outcome)
    for permuted in permutations(outcome, 1):
        assert np.array_equal(np.isfinite(permuted), known)
        assert np.array_equal(np.sort(permuted[known]), np.sort(outcome[known]))
        assert abs(np.corrcoef(permuted[known], outcome[known])[0, 1]) < 0.15


def test_kept_keys_are_worked_out_once_and_are_the_encoders_own():
    plain, asked = PlainEncoder(), []

    class Counting(PlainEncoder):
        def last_keys(self, window, n):
            asked.append(window.next_start_ms)
            return super().last_keys(window, n)

    kept = KeptKeys(Counting())
    for _ in range(2):
        window = FeatureWindow()
        for bar in BARS[:500]:
            window.push(bar)
            key = key_of(kept, window)
            expected = key_of(plain, window) if len(window) >= plain.receptive_bars else None
            assert (key is None) == (expected is None)
            assert key is None or np.array_equal(key, expected)
    assert len(asked) == len(set(asked)) == 500 - plain.receptive_bars + 1
