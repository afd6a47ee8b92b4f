from decimal import Decimal

import numpy as np
import pytest

from bot.config import Config, RunConfig
from bot.evaluation.bot_run import Answers, KeptKeys, library_of, recalled, shuffles, walk
from bot.model.feature_table import panel_of
from bot.model.features import FeatureWindow, PlainEncoder, key_of
from bot.model.memory import MemoryConfig
from bot.model.similarity import ModelConfig, SimilarityModel
from bot.sessions.assembly import build_trader, load_strategy
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening
from strategies import STRATEGIES
from tests.factories import an_instrument
from tests.model.walks import walk as random_walk

HORIZON = 24
BARS = random_walk(1_400)
PANEL = panel_of(BARS)
LIBRARY = library_of([PANEL])
ASKED = np.arange(1_000, 1_400, 5)


def a_model() -> SimilarityModel:
    return SimilarityModel(MemoryConfig(neighbors=8), interval="15", horizon_bars=HORIZON)


def test_no_neighbor_is_recalled_before_its_outcome_was_over():
    answers = recalled(a_model(), BARS, LIBRARY, ASKED)
    assert answers.rows.tolist() == ASKED.tolist()
    assert (answers.neighbors + HORIZON <= answers.rows[:, None]).all()
    assert answers.weights.sum(axis=1) == pytest.approx(np.ones(len(ASKED)))


def test_a_frozen_memory_recalls_nothing_that_ended_later():
    frozen = recalled(a_model(), BARS, LIBRARY, ASKED, frozen_from_ms=BARS[900].start_ms)
    online = recalled(a_model(), BARS, LIBRARY, ASKED)
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
    run = walk(trader, BARS, LIBRARY, lambda bar: bar.start_ms >= BARS[1_000].start_ms)
    assert run.decided == 400
    assert len(run.equity) >= 400
    assert sum(run.gates.values()) == 400
    alone = recalled(a_model(), BARS, LIBRARY, ASKED)
    inside = run.answers.of(ASKED)
    assert np.array_equal(inside.neighbors, alone.neighbors)
    assert np.array_equal(inside.expected, alone.expected)


def test_a_vote_leaves_out_neighbors_whose_outcome_is_unknown():
    answers = Answers(
        rows=np.array([9]),
        expected=np.zeros(1),
        rising=np.full(1, 0.5),
        base=np.full(1, 0.5),
        similarity=np.ones(1),
        neighbors=np.array([[0, 1, 2, -1]]),
        weights=np.array([[0.5, 0.25, 0.25, 0.0]]),
    )
    outcome = np.array([np.nan, 1.0, 4.0, 7.0])
    assert answers.vote(outcome).tolist() == [2.5]


def test_shuffled_outcomes_are_the_same_ones_elsewhere():
    outcome = PANEL.outcome(HORIZON)
    known = np.isfinite(outcome)
    for dealt in shuffles(outcome, 1):
        assert np.array_equal(np.isfinite(dealt), known)
        assert np.array_equal(np.sort(dealt[known]), np.sort(outcome[known]))
        assert abs(np.corrcoef(dealt[known], outcome[known])[0, 1]) < 0.15


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
