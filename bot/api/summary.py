"""Summary: a session's figures, flat, for reading and for comparing runs."""

from msgspec import Struct

from bot.api.shown import html_table, percent, text_table
from bot.market import minute_text
from bot.reports.account import Report
from bot.sessions.session import Summary as Ended


class Summary(Struct, frozen=True, kw_only=True):
    """A run's figures: amounts in quote currency, returns and shares as fractions, Sharpe and Sortino annualized.

    ``total_return`` and ``max_drawdown`` are of the account's unit value, which deposits do not move.
    ``buy_and_hold`` is the return of holding all symbols equally from their first close on. ``trades`` counts round
    trips, ``hit_rate`` is None without any, ``profit_factor`` where none lost. ``exposure`` is the part of the time
    with a position, ``turnover`` the traded worth over the mean equity. ``halted`` says which loss limit closed
    everything, and ``notes`` what to know before the figures are believed: missing funding, weights that knew what
    came.
    """

    mode: str
    strategy: str
    symbols: tuple[str, ...]
    interval: str
    start_ms: int
    end_ms: int
    bars: int
    decisions: int
    start_equity: float
    end_equity: float
    total_return: float | None
    max_drawdown: float
    sharpe: float | None
    sharpe_error: float | None
    sortino: float | None
    buy_and_hold: float | None
    fills: int
    trades: int
    hit_rate: float | None
    profit_factor: float | None
    fees: float
    funding: float
    exposure: float
    turnover: float | None
    halted: str | None = None
    notes: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """Names and figures for a person."""
        won = "" if self.hit_rate is None else f", {self.hit_rate:.0%} of them won"
        sharpe = "-" if self.sharpe is None else f"{self.sharpe:+.2f} ± {self.sharpe_error or 0:.2f}"
        rows = [
            (self.mode, f"{self.strategy} on {', '.join(self.symbols)} {self.interval}"),
            (
                "span",
                f"{minute_text(self.start_ms)} to {minute_text(self.end_ms)} UTC, {self.decisions:,} decisions",
            ),
            (
                "equity",
                f"{self.start_equity:,.2f} to {self.end_equity:,.2f} ({percent(self.total_return)}; "
                f"buy and hold {percent(self.buy_and_hold)})",
            ),
            ("max drawdown", f"{self.max_drawdown:.2%}"),
            ("Sharpe", sharpe),
            ("trades", f"{self.trades} of {self.fills} fills{won}"),
            ("costs", f"fees {self.fees:,.2f}, funding {self.funding:+,.2f}"),
        ]
        if self.halted is not None:
            rows.append(("HALTED", self.halted))
        return rows + [("NOTE", note) for note in self.notes]

    def __repr__(self) -> str:
        return text_table(self.rows(), indent=0)

    def _repr_html_(self) -> str:
        return html_table(self.rows())


def summary_of(report: Report, ended: Ended | None) -> Summary:
    """The figures of a report; ``ended`` is what a run in this process says of itself besides."""
    own, risk = report.performance, report.risk
    halts = [each.halt for each in report.decisions.halts if each.halt.resumed_ms is None]
    notes = []
    if ended is not None and ended.hindsight is not None:
        notes.append(ended.hindsight)
    if ended is not None and ended.funding_note is not None:
        notes += [text for _, text in ended.funding_note.lines()]
    return Summary(
        mode=report.mode,
        strategy=report.runs[-1].strategy,
        symbols=report.symbols,
        interval=report.interval,
        start_ms=report.start_ms,
        end_ms=report.end_ms,
        bars=report.bars,
        decisions=report.decisions.funnels.total.count("decisions"),
        start_equity=own.start_equity,
        end_equity=own.end_equity,
        total_return=own.total_return,
        max_drawdown=own.max_drawdown,
        sharpe=None if risk.sharpe is None else risk.sharpe.value,
        sharpe_error=None if risk.sharpe is None else risk.sharpe.standard_error,
        sortino=None if risk.sortino is None else risk.sortino.value,
        buy_and_hold=report.buy_and_hold.total_return,
        fills=own.fills,
        trades=own.round_trips,
        hit_rate=own.hit_rate,
        profit_factor=own.profit_factor,
        fees=own.fees,
        funding=own.funding,
        exposure=own.exposure,
        turnover=own.turnover,
        halted=None if not halts else f"{halts[-1].rule}: {halts[-1].reason}",
        notes=tuple(notes),
    )
