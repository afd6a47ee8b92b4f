import numpy as np
import pytest

from bot.model.calibration import Calibration, CalibrationFit, Vote, log_odds

STEP = 1_000
NOW = 10**9


def a_vote(share, *, base_ratio=0.5, moments=1_000, similarity=1.0):
    return Vote.of(share, base_ratio, moments, similarity=similarity)


def probability(share, *, slope=1.0, alike=1.0, base_ratio=0.5):
    fit = CalibrationFit(vote_slope=slope, n_votes=0, similarity_rank=alike)
    return fit.rise_probability(a_vote(share, base_ratio=base_ratio))


def taught(votes, *, slope, seed=1, span_ms=NOW):
    """A calibration after votes, evenly more or less alike, that came true as this slope says."""
    rng = np.random.default_rng(seed)
    calibration = Calibration(span_ms)
    for i in range(votes):
        share, alike = float(rng.uniform(0.15, 0.85)), float(rng.random())
        rose = rng.random() < probability(share, slope=slope, alike=alike)
        calibration.learn("BTCUSDT", i * STEP, a_vote(share, similarity=alike), 0.01 if rose else -0.01)
    return calibration


def test_without_any_past_a_vote_is_worth_next_to_nothing():
    fit = Calibration(NOW).fit_at(NOW, 0)
    assert (fit.n_votes, fit.similarity_rank) == (0, 1.0)
    assert fit.rise_probability(a_vote(0.95, base_ratio=0.55)) == pytest.approx(0.55, abs=0.01)


def test_a_vote_of_the_base_rate_is_the_base_rate_however_it_is_calibrated():
    assert probability(0.62, slope=3.0, base_ratio=0.62) == pytest.approx(0.62)


@pytest.mark.parametrize("slope", [0.4, 1.0, 2.5])
def test_seventy_percent_comes_to_mean_that_seven_of_ten_come_true(slope):
    calibration = taught(6_000, slope=slope)
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        for alike in (0.1, 0.5, 0.9):
            truth = probability(share, slope=slope, alike=alike)
            fit = calibration.fit_at(NOW, 1_000, alike)
            assert fit.rise_probability(a_vote(share)) == pytest.approx(truth, abs=0.03)


def test_the_less_similar_moments_are_the_less_their_vote_counts():
    calibration = taught(1_000, slope=1.0)
    fits = [calibration.fit_at(NOW, 1_000, similarity) for similarity in (-1.0, 0.3, 0.6, 2.0)]
    calibrated = [fit.rise_probability(a_vote(0.8)) for fit in fits]
    assert calibrated == sorted(calibrated)
    assert 0.5 < calibrated[0] < 0.51
    assert calibrated[-1] > 0.7
    assert [fit.similarity_rank for fit in fits] == pytest.approx([0.0, 0.3, 0.6, 1.0], abs=0.03)


def test_votes_without_skill_count_nothing_and_wrong_ones_are_not_reversed():
    for slope in (0.0, -1.0):
        fit = taught(4_000, slope=slope).fit_at(NOW, 1_000)
        assert 0.5 < fit.rise_probability(a_vote(0.8)) < 0.56


def test_belief_is_the_maximum_of_the_penalised_likelihood():
    calibration = taught(300, slope=0.7)
    settled = calibration._scored
    alike = [calibration.fit_at(NOW, 1_000, each.vote.similarity).similarity_rank for each in settled]
    leans = np.array([each.vote.log_odds_ratio for each in settled]) * np.square(alike)
    rose = np.array([each.rose for each in settled])

    def loss(slope):
        return float(np.sum(np.logaddexp(0, slope * leans) - rose * slope * leans)) + slope**2 / 2

    slope = calibration.fit_at(NOW, 1_000).vote_slope
    for nudge in (-0.01, 0.01):
        assert loss(slope + nudge) > loss(slope)


def test_nothing_that_came_true_later_is_known_earlier():
    early, late = taught(200, slope=1.0), taught(200, slope=1.0)
    for i in range(200, 400):
        late.learn("BTCUSDT", i * STEP, a_vote(0.8), -0.01)
    assert late.fit_at(199 * STEP, 1_000) == early.fit_at(199 * STEP, 1_000)
    assert late.fit_at(400 * STEP, 1_000) != early.fit_at(400 * STEP, 1_000)


def test_the_order_in_which_votes_came_in_and_what_lies_before_the_span_do_not_matter():
    rng = np.random.default_rng(3)
    votes = [
        (symbol, i * STEP, a_vote(float(rng.uniform(0.2, 0.8))), float(rng.standard_normal()))
        for i in range(300)
        for symbol in ("ADAUSDT", "BTCUSDT")
    ]
    whole, backwards, recent = (Calibration(100 * STEP) for _ in range(3))
    for vote in votes:
        whole.learn(*vote)
    for i in rng.permutation(200).tolist():
        backwards.learn(*votes[400 + i])
    for vote in votes[-200:]:
        recent.learn(*vote)
    for now_ms in (299 * STEP, 320 * STEP):
        assert whole.fit_at(now_ms, 1) == backwards.fit_at(now_ms, 1) == recent.fit_at(now_ms, 1)
    assert whole.fit_at(299 * STEP, 1).n_votes == 200


def test_what_a_memory_of_less_than_half_the_size_said_does_not_count():
    calibration = Calibration(NOW)
    for i, moments in enumerate([100, 400, 500, 501, 1_000]):
        calibration.learn("BTCUSDT", (i + 1) * STEP, a_vote(0.7, moments=moments), 0.01)
    assert [calibration.fit_at(NOW, now).n_votes for now in (100, 1_000, 1_002, 5_000)] == [5, 3, 2, 0]


def test_a_return_of_zero_is_half_a_rise():
    for returns in ([0.0] * 100, [0.01, -0.01] * 50):
        calibration = Calibration(NOW)
        for i, value in enumerate(returns):
            calibration.learn("BTCUSDT", i * STEP, a_vote(0.7), value)
        assert calibration.fit_at(NOW, 1_000).vote_slope == 0.01


def test_log_odds_are_finite_for_every_share():
    assert log_odds(0.5) == 0.0
    assert log_odds(1.0) == pytest.approx(-log_odds(0.0))
    assert log_odds(1.0) < 10


def taught_by_the_head(votes, *, worth, slope=0.0, seed=2):
    """A calibration after votes and heads of which the head's lean came true ``worth`` times."""
    rng = np.random.default_rng(seed)
    calibration = Calibration(NOW)
    truth = CalibrationFit(vote_slope=slope, n_votes=0, head_slope=worth)
    for i in range(votes):
        share, head = rng.uniform(0.2, 0.8, 2).tolist()
        vote = Vote.of(share, 0.5, 1_000, head)
        rose = rng.random() < truth.rise_probability(vote)
        calibration.learn("BTCUSDT", i * STEP, vote, 0.01 if rose else -0.01)
    return calibration.fit_at(NOW, 1_000)


@pytest.mark.parametrize(("worth", "slope"), [(1.0, 0.0), (0.5, 0.8), (0.0, 0.8), (0.0, 0.0)])
def test_vote_and_head_each_count_as_far_as_they_came_true(worth, slope):
    fit = taught_by_the_head(6_000, worth=worth, slope=slope)
    assert fit.head_slope == pytest.approx(worth, abs=0.08)
    assert fit.vote_slope == pytest.approx(slope, abs=0.12)


def test_a_head_that_was_wrong_is_not_turned_round_and_spoils_no_vote():
    fit = taught_by_the_head(4_000, worth=-1.0, slope=0.8)
    assert fit.head_slope == 0.0
    assert fit.vote_slope == pytest.approx(0.75, abs=0.15)


def test_without_a_past_a_head_is_worth_nothing():
    fit = Calibration(NOW).fit_at(NOW, 0)
    assert fit.head_slope == 0.0
    vote = Vote.of(0.5, 0.5, 1_000, head_ratio=0.9)
    assert fit.rise_probability(vote) == 0.5


def test_a_vote_beside_a_head_that_says_nothing_counts_as_without_one():
    with_head, without = Calibration(NOW), Calibration(NOW)
    rng = np.random.default_rng(5)
    for i in range(300):
        share, rose = float(rng.uniform(0.2, 0.8)), float(rng.standard_normal())
        without.learn("BTCUSDT", i * STEP, a_vote(share), rose)
        with_head.learn("BTCUSDT", i * STEP, Vote.of(share, 0.5, 1_000, 0.5), rose)
    assert with_head.fit_at(NOW, 1_000) == without.fit_at(NOW, 1_000)
