"""A report for a person's eye."""

from bot.market import minute_text
from bot.performance.calibration_report import CalibrationReport, wilson
from bot.reports.account import Report
from bot.terminal.funnel import print_funnel, print_headlines
from bot.terminal.tables import print_table, print_text, print_title
from bot.trading.performance import DAY_MS, Estimate, Performance

_FEW_DAYS = 30


def print_report(found: Report) -> None:
    """Print what was traded on, performance beside buy and hold, trades, and calibration."""
    sessions = ", ".join(map(str, found.sessions))
    which = f"session {sessions}" if len(found.sessions) == 1 else f"sessions {sessions}"
    if found.last_of is not None and found.last_of > 1:
        which += f", the last of {found.last_of} (--all reports on all, --session N on one)"
    print_text(f"{found.database}: {found.mode} {found.category}, {which}")
    print_text(
        f"{found.bars} closed bars of {', '.join(found.symbols)} {found.interval}, "
        f"{minute_text(found.start_ms)} to {minute_text(found.end_ms)} UTC"
    )
    _print_runs(found)
    print_headlines(found.decisions)
    own = found.performance
    others = [each for each in (found.buy_and_hold, found.buy_and_hold_scaled) if each is not None]
    print_title("performance")
    print_table(
        ("", "bot", "buy and hold", *(f"at {each.exposure:.1%} exposure" for each in others[1:])),
        [
            ("start equity", *[f"{own.start_equity:,.2f}"] * (1 + len(others))),
            ("end equity", f"{own.end_equity:,.2f}", *(f"{each.end_equity:,.2f}" for each in others)),
            ("total return", _signed(own.total_return), *(_signed(each.total_return) for each in others)),
            ("max drawdown", f"{own.max_drawdown:.2%}", *(f"{each.max_drawdown:.2%}" for each in others)),
            (
                "Sharpe (annualized)",
                _estimate(found.risk.sharpe),
                *(_estimate(each.risk.sharpe) for each in others),
            ),
            (
                "Sortino (annualized)",
                _estimate(found.risk.sortino),
                *(_estimate(each.risk.sortino) for each in others),
            ),
        ],
    )
    if own.transferred:
        print_text(
            f"deposits and withdrawals: {own.transferred:+,.2f}, counted in neither return nor drawdown"
        )
    print_text(f"ratios: {_risk_text(found)}")
    if found.trials > 1:
        print_text(
            f"{found.trials} configurations were tried on these bars: the best of them looks better than it is"
        )
    print_text(
        "buy and hold: all symbols equally at their first close, the same taker fee, no funding, not sold"
        + (
            f"; beside it with {others[1].exposure:.1%} of the start, as much as the bot held on average at closes, "
            "long or short, and the rest in cash"
            if others[1:]
            else ""
        )
    )
    _print_trades(own)
    print_funnel(found.decisions)
    _print_confidence("calibration: all decisions", found.confidence)
    _print_confidence("calibration: long and short", found.confidence_acted_on)


def _print_runs(found: Report) -> None:
    """What each session ran with, where they differ: their figures are not of one kind."""
    ran = {(run.symbols, run.interval, run.strategy, run.checkpoint) for run in found.runs}
    if len(ran) < 2:
        return
    print_title("sessions that ran with different settings")
    print_table(
        ("session", "symbols", "interval", "strategy", "checkpoint"),
        [
            (
                str(run.id),
                ", ".join(run.symbols) or "-",
                run.interval or "-",
                run.strategy or "-",
                (run.checkpoint or "-")[:12],
            )
            for run in found.runs
        ],
    )
    print_text(
        f"performance and trades are of all of them; bars, buy and hold and confidence of {', '.join(found.symbols)} "
        f"{found.interval} alone, what the last one ran with"
    )


def _risk_text(found: Report) -> str:
    risk = found.risk
    length = "UTC day" if risk.period_ms == DAY_MS else "bar"
    text = (
        f"{risk.periods} simple returns, one a {length}, risk-free rate 0, a year of 365.25 days; "
        "± one standard error (delta method, returns taken as independent)"
    )
    days = (found.end_ms - found.start_ms) / DAY_MS
    if days < _FEW_DAYS:
        text += f"; {days:.1f} days scaled up to a year say little"
    return text


def _print_trades(own: Performance) -> None:
    print_title("trades")
    if own.hit_rate is None:
        won = "none closed yet"
    else:
        low, high = wilson(round(own.hit_rate * own.round_trips), own.round_trips)
        won = f"{own.hit_rate:.0%} won (95%: {low:.0%} to {high:.0%})"
    if own.profit_factor is None:
        factor = "- (nothing lost yet)" if own.round_trips else "-"
    else:
        factor = f"{own.profit_factor:.2f}"
    turnover = "-" if own.turnover is None else f"{own.turnover:.1f} times the mean equity"
    print_table(
        ("", ""),
        [
            ("round trips", f"{own.round_trips}, {won}, of {own.fills} fills"),
            *([("liquidations", f"{own.liquidations}")] if own.liquidations else []),
            ("profit factor", factor),
            ("time in market", f"{own.exposure:.0%}"),
            ("turnover", turnover),
            ("gross realized PnL", f"{own.realized_pnl:+,.2f}"),
            ("fees", f"{-own.fees:+,.2f}"),
            ("funding", f"{own.funding:+,.2f}"),
        ],
    )


def _print_confidence(title: str, found: CalibrationReport) -> None:
    print_title(title)
    if found.share_right is None or found.brier is None or found.brier_base is None:
        print("nothing to score yet: the horizon of no such decision has ended")
        return
    print_table(
        ("predicted", "forecasts", "mean predicted", "observed", "95% interval"),
        [
            (
                f"{each.low:.0%} to {each.high:.0%}",
                str(each.claims),
                f"{each.mean_confidence:.0%}",
                f"{each.share_right:.0%}",
                f"{each.share_low:.0%} to {each.share_high:.0%}",
            )
            for each in found.bins
        ],
    )
    print_text(
        f"{found.claims} forecasts that do not overlap, of {found.matured} matured; "
        f"predicted {found.mean_confidence:.0%}, observed {found.share_right:.0%}, ECE {found.ece:.1%}"
    )
    if found.bins[0].low < 0.5:
        print_text(
            "below 50%: the strategy went long or short although its probability favoured the other side"
        )
    verdict = "better" if found.brier < found.brier_base else "no better"
    print_text(
        f"Brier score {found.brier:.4f}, {verdict} than the base rate of {found.share_right:.0%} "
        f"({found.brier_base:.4f})"
    )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2%}"


def _estimate(value: Estimate | None) -> str:
    return "-" if value is None else f"{value.value:+.2f} ± {value.standard_error:.2f}"
