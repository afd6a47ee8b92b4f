"""Probabilities, scored: the forecast's of a rise, and the confidence of long and short signals."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bot.evaluation.bot_run import BotRun, RecallTable
from bot.evaluation.findings import Calibrated, Signals
from bot.evaluation.folds import SymbolData, block_bars
from bot.evaluation.metrics import (
    calibrated_error_limit,
    calibration_error,
    calibration_errors,
    gain_interval,
    mean_interval,
)
from bot.market import INTERVAL_MS
from bot.model.feature_table import FeatureTable
from bot.performance.calibration_report import CalibrationCounter, CalibrationReport, Claim

Floats = NDArray[np.float64]


def calibrated(data: SymbolData, online: RecallTable, outcomes: Floats) -> Iterator[Calibrated]:
    """The predicted probability of a rise, over forecasts that do not overlap; nothing where there are none."""
    table, h = data.table, data.horizon_bars
    known = online.at(data.test_rows + data.offset)
    known = known.at(known.rows[np.isfinite(outcomes[known.rows])])
    apart = known.at(np.arange(data.first, len(table), h) + data.offset)
    if not len(apart.rows):
        return
    rose = (outcomes[apart.rows] > 0.0).astype(np.float64)
    places, block = apart.rows - data.offset, block_bars(h)
    squares, of_base_rate = (apart.rise_probability - rose) ** 2, (apart.base_rate - rose) ** 2
    forecasts = zip(places.tolist(), apart.rise_probability.tolist(), (rose > 0.0).tolist(), strict=True)
    yield Calibrated(
        symbol=data.symbol,
        forecasts=len(rose),
        error=calibration_error(apart.rise_probability, rose),
        limit=calibrated_error_limit(apart.rise_probability),
        errors=calibration_errors(
            known.rise_probability, (outcomes[known.rows] > 0.0).astype(np.float64), known.rows, h
        ),
        brier=mean_interval(squares, places, block),
        brier_gain=gain_interval(squares, of_base_rate, places, block),
        reliability=_reliability(
            _claim(table, row, h, predicted, right) for row, predicted, right in forecasts
        ),
    )


def signals(run: BotRun, symbols: Sequence[SymbolData], outcomes: Floats) -> Signals:
    """How many signals there were, and how well their confidence predicted."""
    claims = []
    for row, confidence, side in run.claims:
        if np.isfinite(outcomes[row]):
            data = next(data for data in reversed(symbols) if data.offset <= row)
            right = bool(side * outcomes[row] > 0.0)
            claims.append(_claim(data.table, row - data.offset, data.horizon_bars, confidence, right))
    return Signals(
        bars=run.decided,
        forecast=len(run.recalls.rows),
        signalled=run.signalled,
        gates=dict(run.gates),
        claims=_reliability(claims),
    )


def _claim(table: FeatureTable, row: int, horizon_bars: int, confidence: float, right: bool) -> Claim:
    interval_ms = INTERVAL_MS[table.interval]
    close_ms = int(table.clock_ms[row]) + interval_ms
    return Claim(
        symbol=table.symbol,
        start_ms=close_ms,
        end_ms=close_ms + horizon_bars * interval_ms,
        confidence=confidence,
        right=right,
    )


def _reliability(claims: Iterable[Claim]) -> CalibrationReport:
    counter = CalibrationCounter()
    for claim in claims:
        counter.add(claim)
    return counter.result()
