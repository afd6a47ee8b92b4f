import numpy as np

from bot.evaluation.bot_run import Protocol
from bot.evaluation.folds import Fold, folds_of, split
from bot.model.feature_table import feature_table
from tests.model.walks import walk


def test_folds_cover_all_rows_once_and_in_order():
    folds = folds_of(100, 351, 4)
    assert folds[0].first == 100
    assert folds[-1].end == 351
    assert [fold.end for fold in folds[:-1]] == [fold.first for fold in folds[1:]]


def test_a_fold_forecasts_its_own_rows_by_what_had_matured_when_it_began():
    fold = Fold(100, 200)
    assert fold.rows(np.array([99, 100, 150, 199, 200])).tolist() == [100, 150, 199]
    assert fold.matured_before(24) == 76
    assert fold.matured_before(101) == 0


def test_the_last_part_of_the_bars_is_scored_wherever_their_volatility_is_known():
    table = feature_table(walk(1_500))
    data = split(table, 500, Protocol(test_share=0.4, folds=3, every=7), 24)
    assert (data.first, data.test_rows[0], data.test_rows[-1]) == (900, 900, 1_499)
    assert data.scored.tolist() == list(range(900, 1_500, 7))
    assert (data.folds[0].first, data.folds[-1].end) == (900, 1_500)
    assert data.first_ms == table.start_ms[900]
    early = split(table, 0, Protocol(test_share=0.99, every=1), 24)
    assert early.first < early.scored[0]
    assert np.isfinite(table.volatility[early.scored]).all()
