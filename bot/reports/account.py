"""Report: a period of trading in figures, beside buy and hold, and whether its confidence can be believed."""

from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from bot.market import INTERVAL_MS, Category
from bot.performance.benchmark import BuyAndHold, Risk, held_at, risk_of
from bot.performance.calibration_report import CalibrationCounter, CalibrationReport, Claim
from bot.performance.funnel import DecisionReport
from bot.store.account.exposure import average_exposure
from bot.store.account.funnel import read_decision_report
from bot.store.account.period import (
    Period,
    load_period,
    period_performance,
    stream_claims,
    stream_closes,
    stream_equity,
)
from bot.store.account.sessions import SessionRun, read_session_runs
from bot.store.database import Database, Mode
from bot.store.runs.trials import EvaluatedBars, count_tried
from bot.trading.performance import EquityCurve, HeldEqually, Performance, return_period_ms


class Report(Struct, frozen=True, kw_only=True):
    """A period of trading in figures: amounts in quote currency, shares and returns as fractions.

    ``trials`` counts the configurations that ``backtest`` and ``evaluate``, on this database, have judged by
    bars of these symbols and times. ``confidence`` judges every stated leaning, holds' too,
    ``confidence_acted_on`` only longs and shorts. ``runs`` says what each session ran with; of several,
    ``symbols`` and ``interval``, and with them bars, buy and hold and confidence, are the last one's.
    ``buy_and_hold_scaled`` has the bot's average exposure; it is None where nothing tells that.
    ``last_of`` counts the sessions where nobody chose one and the last was taken, else it is None.
    """

    database: str
    mode: Mode
    category: Category
    sessions: tuple[int, ...]
    symbols: tuple[str, ...]
    interval: str
    start_ms: int
    end_ms: int
    bars: int
    trials: int
    performance: Performance
    risk: Risk
    buy_and_hold: BuyAndHold
    buy_and_hold_scaled: BuyAndHold | None
    confidence: CalibrationReport
    confidence_acted_on: CalibrationReport
    decisions: DecisionReport
    runs: tuple[SessionRun, ...]
    last_of: int | None


async def load_report(
    database: Database, session_id: int | None, *, whole: bool, index: Path | None
) -> Report:
    """The report of one session (None: the last) or of the ``whole`` account. Inside the caller's transaction.

    It takes memory that does not grow with the bars. ``index`` is that of the runs that counts what was tried on these
    bars; without it, none is counted. InputError where nothing has happened yet.
    """
    period = await load_period(database, session_id, whole=whole)
    run, opening = period.settings.run, period.opening
    period_ms = return_period_ms(period.last_ms - opening.time_ms, INTERVAL_MS[run.interval])

    start = float(opening.equity)
    curve = EquityCurve(opening.time_ms, start, float(opening.unit_value), period_ms=period_ms)
    only = None if whole else period.sessions[0].id
    runs, covered = await read_session_runs(database), {session.id for session in period.sessions}
    async for time_ms, equity, value in stream_equity(database, only):
        curve.add(time_ms, equity, value)

    held = HeldEqually(run.symbols, start, float(period.settings.broker.taker_fee))
    exposure = await average_exposure(database, period, only)
    holdings = {
        share: EquityCurve(opening.time_ms, start, period_ms=period_ms)
        for share in (1.0, *(() if exposure is None else (exposure,)))
    }
    bars = 0
    async for time_ms, symbol, close in stream_closes(database, run, opening.time_ms, period.last_ms):
        gained = held.value(symbol, close) - start
        for share, holding in holdings.items():
            worth = start + share * gained
            holding.add(time_ms, worth, worth / start if start > 0 else 0.0)
        bars += 1

    def claims(*, acted_on: bool) -> AsyncIterator[Claim]:
        return stream_claims(database, run, opening.time_ms, period.last_ms, acted_on=acted_on)

    return Report(
        database=str(database.path),
        mode=database.identity.mode,
        category=database.identity.category,
        sessions=tuple(session.id for session in period.sessions),
        symbols=run.symbols,
        interval=run.interval,
        start_ms=opening.time_ms,
        end_ms=period.last_ms,
        bars=bars,
        trials=0 if index is None else await count_tried(index, _judged(period)),
        performance=await period_performance(database, curve, only),
        risk=risk_of(curve, period_ms),
        buy_and_hold=held_at(1.0, holdings[1.0], period_ms),
        buy_and_hold_scaled=None if exposure is None else held_at(exposure, holdings[exposure], period_ms),
        confidence=await _reliability(claims(acted_on=False)),
        confidence_acted_on=await _reliability(claims(acted_on=True)),
        decisions=await read_decision_report(database, only),
        runs=tuple(run for run in runs if run.id in covered),
        last_of=len(runs) if session_id is None and not whole else None,
    )


def _judged(period: Period) -> EvaluatedBars:
    run, bar_ms = period.settings.run, INTERVAL_MS[period.settings.run.interval]
    return EvaluatedBars(
        symbols=run.symbols,
        interval=run.interval,
        first_ms=period.opening.time_ms,
        last_ms=period.last_ms - bar_ms,
    )


async def _reliability(claims: AsyncIterator[Claim]) -> CalibrationReport:
    count = CalibrationCounter()
    async for claim in claims:
        count.add(claim)
    return count.result()
