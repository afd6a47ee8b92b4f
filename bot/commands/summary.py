"""What a session came to: counted while it runs, told at its end."""

import os
import sys
from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.commands.funnel_text import print_funnel, print_headlines
from bot.commands.tables import print_text
from bot.market import utc_text
from bot.performance.funnel import DecisionReport
from bot.store.database import Database
from bot.store.funnel import load_decision_report
from bot.trading.events import Fill, FundingPayment, Position, Step
from bot.trading.performance import RoundTrips

_FIGURES_AT = 17
"""Where the figures of the summary stand in their lines."""


class Summary(Struct, frozen=True, kw_only=True):
    """A session's end in figures; amounts in quote currency, shares and returns as fractions.

    ``halted`` says since when and by which rule, where the last halt was not resumed; ``hindsight`` until
    when the model's weights knew of what came, where that reaches into the bars decided on. ``rules`` tells
    of each symbol's trading rules and where they are from, in runs that no exchange told them. ``decisions``
    is how far they came, None of a run that is written nowhere.
    """

    mode: str
    database: str
    session_id: int
    exit_reason: str
    bars: int
    late: int
    actions: dict[str, int]
    fills: int
    round_trips: int
    hit_rate: float | None
    fees: float
    funding: float
    start_equity: float
    end_equity: float
    total_return: float | None
    max_drawdown: float
    open_positions: dict[str, str]
    events: dict[str, int]
    halted: str | None
    seconds: float
    hindsight: str | None = None
    rules: tuple[str, ...] = ()
    decisions: DecisionReport | None = None


class Tally:
    """Counts what Steps bring, in constant memory."""

    def __init__(self, held: Iterable[Position], start_equity: float) -> None:
        self._positions = {position.symbol: position for position in held}
        self._trips = RoundTrips(self._positions.values())
        self._fills = self._ended = self._won = 0
        self._fees = self._funding = 0.0
        self._start = self._peak = self._last = start_equity
        self._transferred = 0.0
        self._drawdown = 0.0
        self.bars = 0
        self.late = 0
        self.first_start_ms: int | None = None
        self.last_start_ms: int | None = None
        self.actions: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._halted: str | None = None

    def count(self, step: Step) -> None:
        """Take one Step into account."""
        if step.bar is not None and step.signal is not None:
            self.bars += 1
            self.late += step.bar.late
            if self.first_start_ms is None:
                self.first_start_ms = step.bar.start_ms
            self.last_start_ms = step.bar.start_ms
            self.actions[step.signal.action] += 1
        self._transferred += sum(float(moved.amount) for moved in step.transfers)
        for row in step.equity:
            self._last = float(row.equity)
            # What was moved in or out is neither gain nor loss.
            earned = self._last - self._transferred
            self._peak = max(self._peak, earned)
            if self._peak > 0:
                self._drawdown = max(self._drawdown, 1 - earned / self._peak)
        events: tuple[Fill | FundingPayment, ...] = (*step.funding, *step.fills)
        for event in events:
            trip = self._trips.add(event)
            if trip is not None:
                self._ended += 1
                self._won += trip.result > 0
        self._fills += len(step.fills)
        self._fees += sum(float(fill.fee) for fill in step.fills)
        self._funding += sum(float(payment.payment) for payment in step.funding)
        for position in step.positions:
            self._positions[position.symbol] = position
        for halt in step.halts:
            resumed = halt.resumed_ms is not None
            self._halted = None if resumed else f"{utc_text(halt.time_ms)} UTC by {halt.rule}: {halt.reason}"
        for notice in step.notices:
            self.events[notice.kind] += 1
        if step.rejections:
            self.events["rejection"] += len(step.rejections)

    def summary(self, mode: str, database: str, session_id: int, exit_reason: str, seconds: float) -> Summary:
        """The figures so far."""
        return Summary(
            mode=mode,
            database=database,
            session_id=session_id,
            exit_reason=exit_reason,
            bars=self.bars,
            late=self.late,
            actions=dict(self.actions),
            fills=self._fills,
            round_trips=self._ended,
            hit_rate=self._won / self._ended if self._ended else None,
            fees=self._fees,
            funding=self._funding,
            start_equity=self._start,
            end_equity=self._last,
            total_return=(self._last - self._transferred) / self._start - 1 if self._start > 0 else None,
            max_drawdown=self._drawdown,
            open_positions={
                symbol: format(position.quantity, "f")
                for symbol, position in self._positions.items()
                if position.quantity
            },
            events=dict(self.events),
            halted=self._halted,
            seconds=seconds,
        )


async def with_decisions(summary: Summary) -> Summary:
    """The summary, with what became of the decisions that its database holds."""
    async with Database.open(summary.database, readonly=True) as database:
        return replace(summary, decisions=await load_decision_report(database, summary.session_id))


def hindsight(learned_ms: int | None, first_start_ms: int | None) -> str | None:
    """What to know before decisions from ``first_start_ms`` on are taken for a test; None where there is nothing.

    ``learned_ms`` is as :func:`bot.assembly.learned_until_ms` has it; either is None where there is no such bar.
    """
    if learned_ms is None or first_start_ms is None or first_start_ms > learned_ms:
        return None
    return (
        f"the model's odds have learned from outcomes until {utc_text(learned_ms)}, so decisions before know of "
        'what came; use later bars, train odds on earlier ones (train --odds-only, --to), or model.checkpoint = ""'
    )


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """Tell a person, or with ``as_json`` a program, on standard output."""
    if as_json:
        print(msgspec.json.encode(summary).decode())
        return
    database = f" --db {summary.database}"
    # As it was called, so that the lines can be pasted: a .venv need not be activated.
    python = os.path.relpath(sys.executable)
    if python.startswith(".."):
        python = "python"
    print_text(f"\nSession {summary.session_id} ({summary.mode}) ended: {summary.exit_reason}")
    print_headlines(summary.decisions)
    lines = [
        f"  bars decided   {summary.bars} ({summary.late} late), {_counts(summary.actions)}",
        f"  trades         {summary.fills} fills, {summary.round_trips} round trips"
        + (f", {summary.hit_rate:.0%} of them won" if summary.hit_rate is not None else ""),
        f"  costs          fees {summary.fees:,.2f}, funding {summary.funding:+,.2f}",
        f"  equity         {summary.start_equity:,.2f} to {summary.end_equity:,.2f}"
        + (f" ({summary.total_return:+.2%})" if summary.total_return is not None else "")
        + f", deepest fall {summary.max_drawdown:.2%}",
        f"  open positions {_counts(summary.open_positions) or 'none'}",
    ]
    lines += [f"  {'rules' if not number else '':<14} {text}" for number, text in enumerate(summary.rules)]
    if summary.events:
        lines.append(f"  events         {_counts(summary.events)}")
    if summary.hindsight is not None:
        lines.append(f"  NO TEST        {summary.hindsight}")
    for line in lines:
        print_text(line, indent=_FIGURES_AT)
    if summary.decisions is not None:
        print_funnel(summary.decisions)
        print()
    # Not to be broken: they are there to be pasted.
    commands = [
        f"  written to     {summary.database}",
        "",
        "Try next:",
        f"  {python} run_bot.py explain{database}    why the last decision was made",
        f"  {python} run_bot.py trades{database}     every fill, with the moments it looked like",
        f"  sqlite3 {summary.database} 'SELECT * FROM trade_log'",
    ]
    print("\n".join(commands))


def _counts(counts: dict[str, int] | dict[str, str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
