import numpy as np
import pytest

from bot.evaluation.oracles import DELAY_BARS, Triggers, precision, retrieval_ceiling, triggers_of
from bot.synthetic import PRESETS, SyntheticMarket


def test_triggers_stand_just_behind_each_motifs_end():
    truth = SyntheticMarket(PRESETS["few"], 1, "15").truth("BTCUSDT", 0, 8_000)
    triggers = triggers_of(truth)
    ends = triggers.rows - DELAY_BARS
    assert len(ends) > 40
    assert (truth.remaining[ends] == 0).all()
    assert (truth.motif[ends] == triggers.motif).all()
    assert (truth.outcome[ends] == triggers.direction).all()


def test_the_ceiling_knows_earlier_matured_occurrences_of_the_same_motif_only():
    triggers = Triggers(
        rows=np.array([10, 20, 25, 40]),
        motif=np.array([1, 2, 1, 1]),
        direction=np.array([1.0, -1.0, 1.0, 1.0]),
    )
    outcome = np.full(60, np.nan)
    outcome[[10, 20, 25, 40]] = [2.0, -9.0, 4.0, 100.0]
    # Row 25 comes 15 bars after row 10: matured after 15 bars, not after 16. Three more count as nothing.
    assert retrieval_ceiling(triggers, outcome, 15) == pytest.approx([0.0, 0.0, 2.0 / 4, 6.0 / 5])
    assert retrieval_ceiling(triggers, outcome, 16) == pytest.approx([0.0, 0.0, 0.0, 2.0 / 4])


def test_precision_counts_neighbors_at_the_same_motif():
    truth = SyntheticMarket(PRESETS["few"], 1, "15").truth("BTCUSDT", 0, 8_000)
    triggers = triggers_of(truth)
    same = triggers.rows[triggers.motif == triggers.motif[0]]
    other = triggers.rows[triggers.motif != triggers.motif[0]]
    neighbors = np.array([[same[1], other[0], -1]])
    assert precision(neighbors, triggers.motif[:1], truth).tolist() == [0.5]
