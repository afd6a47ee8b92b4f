"""Figures of predicted confidence, worked out by hand."""

import numpy as np
import pytest

from bot.performance.calibration_report import CalibrationCounter, CalibrationReport, Claim, wilson


def judged(*claims: Claim) -> CalibrationReport:
    count = CalibrationCounter()
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
