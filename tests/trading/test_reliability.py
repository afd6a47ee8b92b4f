"""Figures of stated confidence, worked out by hand."""

import numpy as np
import pytest

from bot.trading.reliability import (
    Claim,
    Reliability,
    ReliabilityCount,
    TrackRecord,
    TrackRecordState,
    wilson,
)
from tests.factories import a_bar, a_signal


def judged(*claims: Claim) -> Reliability:
    count = ReliabilityCount()
    for claim in claims:
        count.add(claim)
    return count.result()


def a_claim(
    start_ms: int, *, confidence: float = 0.7, right: bool = True, symbol: str = "BTCUSDT", span_ms: int = 10
) -> Claim:
    return Claim(
        symbol=symbol, start_ms=start_ms, end_ms=start_ms + span_ms, confidence=confidence, right=right
    )


def test_nothing_is_known_without_claims() -> None:
    found = judged()
    assert (found.claims, found.share_right, found.ece, found.brier, found.bins) == (0, None, None, None, ())


def test_claims_that_overlap_are_one_piece_of_evidence() -> None:
    found = judged(a_claim(0), a_claim(5, right=False), a_claim(10), a_claim(19, right=False), a_claim(20))
    assert (found.matured, found.claims, found.share_right) == (5, 3, 1.0)


def test_another_symbols_claims_do_not_overlap() -> None:
    found = judged(a_claim(0), a_claim(0, symbol="ETHUSDT", right=False), a_claim(3, symbol="ETHUSDT"))
    assert (found.claims, found.share_right) == (2, 0.5)


def test_bins_ece_and_brier_are_as_by_hand() -> None:
    found = judged(
        a_claim(0, confidence=0.62),
        a_claim(10, confidence=0.68, right=False),
        a_claim(20, confidence=0.6),
        a_claim(30, confidence=1.0),
    )
    low, high = found.bins
    assert (low.low, low.high, low.claims, low.share_right) == (0.6, 0.7, 3, pytest.approx(2 / 3))
    assert low.mean_confidence == pytest.approx(1.9 / 3)
    assert (high.low, high.high, high.claims, high.share_right) == (0.9, 1.0, 1, 1.0)
    assert found.ece == pytest.approx((2 - 1.9) / 4)
    assert found.brier == pytest.approx((0.38**2 + 0.68**2 + 0.4**2) / 4)
    assert found.brier_base == pytest.approx(0.75 * 0.25)


def test_a_wilson_interval_ends_where_the_share_seen_is_just_1_96_deviations_away() -> None:
    for right, claims in ((0, 5), (3, 10), (50, 80), (9, 9)):
        for edge in wilson(right, claims):
            if 0 < edge < 1:
                distance = abs(right / claims - edge) / np.sqrt(edge * (1 - edge) / claims)
                assert distance == pytest.approx(1.959964, rel=1e-6)
    assert wilson(0, 5)[0] == pytest.approx(0)
    assert wilson(9, 9)[1] == pytest.approx(1)


def record_of(size: int, *claims: tuple[float, bool]) -> TrackRecord:
    """A record of one-bar claims of a rise, each stated so and right or not."""
    record = TrackRecord(size, TrackRecordState())
    close = 100
    record.mature(a_bar(0, close=close))
    for index, (stated, right) in enumerate(claims):
        assert record.claim(a_signal(confidence=stated, horizon_bars=1), a_bar(index, close=close), None)
        close += 1 if right else -1
        assert record.mature(a_bar(index + 1, close=close))
    return record


def test_a_track_record_holds_each_claim_against_the_base_rate_known_when_it_was_made():
    squares = record_of(10, (0.9, True), (0.9, False), (0.6, True)).snapshot().squares
    assert np.array(squares) == pytest.approx(np.array([(0.01, 0.25), (0.81, (2 / 3) ** 2), (0.16, 0.25)]))


def test_claims_that_overlap_count_once_and_one_that_ends_in_a_hole_not_at_all():
    record = TrackRecord(10, TrackRecordState())
    signal = a_signal("short", confidence=0.7, horizon_bars=2)
    assert record.claim(signal, a_bar(0, close=100), None)
    assert not record.claim(signal, a_bar(1, close=100), None)
    assert record.claim(signal, a_bar(1, close=100, symbol="ETHUSDT"), None)
    assert not record.mature(a_bar(1, close=50))
    assert record.mature(a_bar(2, close=99))
    assert record.mature(a_bar(4, close=99, symbol="ETHUSDT"))
    assert record.snapshot().judged == 1
    assert np.array(record.snapshot().squares) == pytest.approx(np.array([(0.09, 0.25)]))


@pytest.mark.parametrize(
    ("action", "fields", "base_ratio", "rises"),
    [
        ("long", {}, None, True),
        ("short", {}, None, False),
        ("hold", {"positive_ratio": 0.55}, 0.6, False),
        ("hold", {"positive_ratio": 0.55}, None, True),
        ("hold", {}, 0.6, None),
        ("long", {"confidence": 0.0}, None, None),
        ("long", {"horizon_bars": None}, None, None),
    ],
)
def test_what_a_signal_claims(action, fields, base_ratio, rises):
    record = TrackRecord(10, TrackRecordState())
    signal = a_signal(action, **({"confidence": 0.7, "horizon_bars": 3} | fields))
    taken = record.claim(signal, a_bar(0), base_ratio)
    assert taken == (rises is not None)
    assert [claim.rises for claim in record.snapshot().open.values()] == [rises] * taken


def test_confidence_stands_while_too_little_is_known_and_while_it_is_as_good_as_the_base_rate():
    wrong = [(0.95, False)] * 20
    assert record_of(21, *wrong).worse_than_base() is None
    told = record_of(20, *wrong).worse_than_base()
    assert told is not None
    assert "over the last 20 claims confidence had a Brier score of 0.9025" in told
    assert record_of(20, *[(0.95, True)] * 20).worse_than_base() is None
    assert record_of(20, *[(0.5, True), (0.5, False)] * 10).worse_than_base() is None


def test_confidence_is_believed_again_once_what_was_wrong_is_long_past():
    claims = [(0.95, False)] * 10 + [(0.95, True)] * 10
    assert record_of(10, *claims[:10]).worse_than_base() is not None
    assert record_of(10, *claims).worse_than_base() is None


def test_a_record_of_no_size_takes_nothing():
    record = TrackRecord(0, TrackRecordState())
    assert not record.claim(a_signal(confidence=0.9, horizon_bars=1), a_bar(0), None)
    assert record.worse_than_base() is None
