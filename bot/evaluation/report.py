"""What an evaluation found, as Markdown and charts for people."""

from collections.abc import Sequence
from math import isfinite

from bot.evaluation.findings import BarsReport, Calibrated
from bot.evaluation.ground_truth import MEMORY as MARKET_MEMORY
from bot.evaluation.ground_truth import PLAIN, MarketReport
from bot.evaluation.metrics import Interval
from bot.evaluation.plots import Line, Mark, interval_chart, line_chart
from bot.evaluation.trading_result import TradingResult
from bot.market.times import date_text
from bot.performance.calibration_report import CalibrationReport
from bot.trading.performance import Estimate

Page = tuple[str, dict[str, str]]
"""Markdown, and the charts that it shows: file name to SVG."""


def bars_page(report: BarsReport) -> Page:
    """The report of an evaluation on bars."""
    h = report.horizon_bars
    charts = {
        f"ic-{symbol}.svg": interval_chart(
            f"{symbol}: information coefficient, {h} bars ahead",
            [
                Mark(name=each.method, value=each.ic.value, low=each.ic.low, high=each.ic.high)
                for each in report.skill
                if each.symbol == symbol and each.horizon_bars == h
            ],
        )
        for symbol in _symbols(report)
    }
    charts["memory-size.svg"] = line_chart(
        "Memory size against skill",
        "moments remembered",
        f"IC {h} bars ahead, with 95 % intervals",
        [
            Line(
                name=symbol,
                points=[
                    (size, skill.ic.value)
                    for size, skills in sorted(report.sizes.items())
                    for skill in skills
                    if skill.symbol == symbol
                ],
                spans=[
                    (skill.ic.low, skill.ic.high)
                    for _, skills in sorted(report.sizes.items())
                    for skill in skills
                    if skill.symbol == symbol
                ],
            )
            for symbol in _symbols(report)
        ],
        log_x=True,
    )
    charts["calibration.svg"] = line_chart(
        "Probability of a rise: stated and seen",
        "stated",
        "share that rose, with 95 % intervals",
        [Line(name="perfect", points=[(0.0, 0.0), (1.0, 1.0)], faint=True)]
        + [_reliability_line(each.symbol, each.reliability) for each in report.calibration],
    )
    parts = [
        "# Evaluation on bars",
        f"Interval {report.interval}, the bot's own horizon {h} bars. Weights are frozen in each of "
        f"{report.protocol.folds} folds, the memory is online: a moment can be recalled once its outcome is over. "
        "IC is the correlation of forecast and outcome; outcomes are log returns over the volatility that "
        "was expected of them. [ ] is the 95 % interval of a block bootstrap.",
        _table(
            ("symbol", "bars", "gaps", "from", "forecast from", "to", "scored"),
            [
                (
                    each.symbol,
                    f"{each.bars:,}",
                    str(each.gaps),
                    date_text(each.first_ms),
                    date_text(each.test_ms),
                    date_text(each.last_ms),
                    f"{each.scored:,}",
                )
                for each in report.periods
            ],
        ),
        *(f"**Note:** {warning}." for warning in report.warnings),
        "## Forecasts of the mean",
        *(_skill_table(report, symbol) for symbol in _symbols(report)),
        *(f"![IC of {symbol}](ic-{symbol}.svg)" for symbol in _symbols(report)),
        "Differences on the same bars:",
        _table(
            ("symbol", "horizon", "forecast", "less", "IC"),
            [
                (each.symbol, str(each.horizon_bars), each.method, each.baseline, _signed(each.ic))
                for each in report.gains
            ],
        ),
        f"## The memory's vote by similarity of the nearest moment, {h} bars ahead",
        _table(
            ("symbol", "similarity", "bars", "IC"),
            [
                (each.symbol, f"{each.low:.2f} to {each.high:.2f}", str(each.bars), _signed(each.ic))
                for each in report.deciles
            ],
        ),
        "## Memory size against skill",
        _table(
            ("moments", *_symbols(report)),
            [
                (f"{size:,}", *(_signed(skill.ic) for skill in skills))
                for size, skills in sorted(report.sizes.items())
            ],
        ),
        "![Memory size against skill](memory-size.svg)",
        "## Forecast distributions",
        "CRPS of 19 quantiles, in units of the expected volatility; lower is better. The gain is over the "
        "EWMA-volatility empirical distribution.",
        _table(
            ("symbol", "horizon", "distribution", "CRPS", "gain", "in its 90 %"),
            [
                (
                    each.symbol,
                    str(each.horizon_bars),
                    each.method,
                    f"{each.crps:.4f}",
                    _percent(each.gain),
                    f"{each.coverage_90:.1%}",
                )
                for each in report.distributions
            ],
        ),
        _table(
            ("symbol", "horizon", "distribution", "over", "gain"),
            [
                (each.symbol, str(each.horizon_bars), each.method, each.baseline, _percent(each.gain))
                for each in report.distribution_gains
            ],
        ),
        "## Calibration",
        f"The stated probability of a rise within {h} bars, over forecasts that do not overlap; beside it the mean "
        f"error, the least and the largest, of the {h} ways to choose such forecasts.",
        _table(
            (
                "symbol",
                "forecasts",
                "ECE",
                "a true forecast's 95 %",
                f"ECE, {h} ways",
                "Brier",
                "gain over base rate",
            ),
            [_calibration_row(each) for each in report.calibration],
        ),
        "![Calibration](calibration.svg)",
        *(_reliability_table(each.symbol, each.reliability) for each in report.calibration),
        "## Signals",
        f"Of {report.signals.bars:,} bars, {_share(report.signals.forecast, report.signals.bars)} had a "
        f"forecast and {_share(report.signals.signalled, report.signals.bars)} a signal. Gates: "
        + ", ".join(
            f"{gate or 'none'} {_share(count, report.signals.bars)}"
            for gate, count in sorted(report.signals.gates.items(), key=lambda item: -item[1])
        )
        + ".",
        _reliability_table("signals", report.signals.claims),
        "## Trading performance, net of costs",
        f"After fees, spread and slippage, {_funded(report.funded)}. Baselines hold the same "
        f"fraction of the equity for {h} bars at a time. PSR is the probability that the Sharpe ratio is above 0, "
        "DSR that it is above the best that all trials on these bars "
        f"({report.protocol.trials}) are expected to show by chance.",
        _trading_table(report.trading),
        *(
            f"{symbol}: permutation p-value {p_value:.3f}: the bot's positions, begun at other times, earned at least "
            "as much before costs that often."
            for symbol, p_value in report.permutation_p_values.items()
            if p_value is not None
        ),
        *(["## Skipped", *(f"- {reason}" for reason in report.skipped)] if report.skipped else []),
    ]
    return "\n\n".join(part for part in parts if part) + "\n", charts


def market_page(report: MarketReport) -> Page:
    """The report of a study on generated markets."""
    study = report.study
    name = f"market-{study.market}-size.svg"
    chart = line_chart(
        f"Memory size against skill, market {study.market}",
        "moments remembered",
        "trigger IC, mean of seeds ± one standard error",
        [
            Line(
                name="memory",
                points=[(size, each.value) for size, each in sorted(report.sizes.items())],
                spans=[
                    (each.value - each.standard_error, each.value + each.standard_error)
                    for _, each in sorted(report.sizes.items())
                ],
            )
        ],
        log_x=True,
    )
    parts = [
        f"# Evaluation on generated markets: {study.market}",
        f"Markets: {len(study.seeds)} (seeds {', '.join(map(str, study.seeds))}) of {study.bars:,} bars, judged on "
        "the last 30 % at the bars shortly after a motif's end. IC is the correlation with the realized outcome; "
        "the last column is the correlation with the direction that belongs to the motif. Means over markets "
        "± one standard error.",
        _table(
            ("", "IC, all", "known motifs", "novel motifs", "share of ceiling", "direction"),
            [
                (
                    each.method, estimate_text(each.all), estimate_text(each.known), estimate_text(each.novel),
                    f"{report.share_of_ceiling[each.method]:.2f}", estimate_text(each.direction),
                )
                for each in report.across
            ],
        ),
        "Market by market:",
        _table(
            ("", "less", "IC, all", "known", "novel", "better in"),
            [
                (
                    each.method, each.baseline, estimate_text(each.all), estimate_text(each.known),
                    estimate_text(each.novel), f"{each.won} of {len(study.seeds)}",
                )
                for each in report.paired
            ],
        ),
        "## Memory size against skill",
        _table(
            ("moments", "IC"),
            [(f"{size:,}", estimate_text(each)) for size, each in sorted(report.sizes.items())],
        ),
        f"![Memory size against skill]({name})",
        "## Each market",
        _table(
            ("seed", "triggers", "precision", "of plain windows", "bars with a signal", "hit", "stated",
             "ECE", "a true forecast's 95 %", "net return", "Sharpe"),
            [
                (
                    str(each.seed), str(each.triggers), _ratio(each.precision.get(MARKET_MEMORY)),
                    _ratio(each.precision.get(PLAIN)), _ratio(each.signalled, 4), _ratio(each.hit_rate),
                    _ratio(each.stated), _ratio(each.calibration_error), _ratio(each.calibrated_limit),
                    "-" if each.trading is None else f"{each.trading.net_return:+.1%}",
                    "-" if each.trading is None else _sharpe(each.trading),
                )
                for each in report.seeds
            ],
        ),
        *report.notes,
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n", {name: chart}


def _symbols(report: BarsReport) -> list[str]:
    return [each.symbol for each in report.periods]


def _skill_table(report: BarsReport, symbol: str) -> str:
    horizons = sorted({each.horizon_bars for each in report.skill})
    mine = {(each.method, each.horizon_bars): each for each in report.skill if each.symbol == symbol}
    methods = list(dict.fromkeys(method for method, _ in mine))
    rows = []
    for method in methods:
        cells = [method]
        for h in horizons:
            skill = mine.get((method, h))
            cells.append("-" if skill is None else f"{_signed(skill.ic)} ({skill.rank_ic.value:+.3f})")
        rows.append(tuple(cells))
    return _table((f"{symbol}: IC (rank IC)", *(f"{h} bar{'s' * (h != 1)}" for h in horizons)), rows)


def _calibration_row(each: Calibrated) -> tuple[str, ...]:
    return (
        each.symbol, str(each.forecasts), f"{each.error:.3f}", f"{each.limit:.3f}",
        f"{each.errors.value:.3f} ({each.errors.low:.3f} to {each.errors.high:.3f})",
        f"{each.brier.value:.4f}", _percent(each.brier_gain),
    )  # fmt: skip


def _reliability_table(name: str, reliability: CalibrationReport) -> str:
    return _table(
        (f"{name}: stated", "claims", "mean stated", "came true", "95 %"),
        [
            (
                f"{each.low:.1f} to {each.high:.1f}", str(each.claims), f"{each.mean_confidence:.3f}",
                f"{each.share_right:.3f}", f"{each.share_low:.3f} to {each.share_high:.3f}",
            )
            for each in reliability.bins
        ],
    )  # fmt: skip


def _reliability_line(name: str, reliability: CalibrationReport) -> Line:
    return Line(
        name=name,
        points=[(each.mean_confidence, each.share_right) for each in reliability.bins],
        spans=[(each.share_low, each.share_high) for each in reliability.bins],
    )


def _funded(symbols: Sequence[str]) -> str:
    if not symbols:
        return "without funding (no rates are known, or they were left out)"
    return f"and the funding of {', '.join(symbols)}"


def _trading_table(results: Sequence[TradingResult]) -> str:
    return _table(
        ("", "net return", "costs", "funding", "max drawdown", "Sharpe", "PSR", "DSR", "trades", "exposure"),
        [
            (
                each.name, f"{each.net_return:+.1%}", f"{each.costs:.1%}", f"{each.funding:+.1%}",
                f"{each.max_drawdown:.1%}",
                _sharpe(each), _ratio(each.psr), _ratio(each.dsr), str(each.trades),
                f"{each.exposure:.0%}",
            )
            for each in results
        ],
    )  # fmt: skip


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; nothing without rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:+.2f} % [{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]"


def estimate_text(estimate: Estimate) -> str:
    """The value, and its standard error where one is known: of one market alone there is none."""
    if not isfinite(estimate.standard_error):
        return f"{estimate.value:+.3f}"
    return f"{estimate.value:+.3f} ± {estimate.standard_error:.3f}"


def _sharpe(result: TradingResult) -> str:
    each = result.sharpe
    return "-" if each is None else f"{each.value:+.2f} ± {each.standard_error:.2f}"


def _ratio(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"
