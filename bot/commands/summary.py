"""What a session came to: counted while it runs, told at its end."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.commands.funnel_text import print_funnel, print_headlines
from bot.commands.tables import print_text
from bot.market import utc_text
from bot.performance.funnel import DecisionReport
from bot.sessions.known_funding import FundingNote
from bot.store.database import Database
from bot.store.funnel import load_decision_report
from bot.trading.events import Position, Step
from bot.trading.performance import EquityCurve

_FIGURES_AT = 17
"""Where the figures of the summary stand in their lines."""


class Summary(Struct, frozen=True, kw_only=True):
    """A session's end in figures; amounts in quote currency, shares and returns as fractions.

    ``halted`` says since when and by which rule, where the last halt was not resumed; ``hindsight`` until
    when the model's weights knew of what came, where that reaches into the bars decided on. ``rules`` tells
    of each symbol's trading rules and where they are from, in runs that no exchange told them. ``decisions``
    is how far they came, None of a run that is written nowhere. ``observed`` counts the bars of each symbol
    that warmed up the memory, and ``run`` is a backtest's name.
    ``funding_note`` says what of a backtest's funding was not charged; None where there is none to pay.
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
    observed: dict[str, int] = {}
    run: str | None = None
    funding_note: FundingNote | None = None


class Tally:
    """Counts what Steps bring, in constant memory but for a figure a day and a round trip.

    ``start_value`` is what a unit of the account was worth as it began.
    """

    def __init__(self, held: Iterable[Position], start_equity: float, start_value: float = 1.0) -> None:
        self._positions = {position.symbol: position for position in held}
        self._results: dict[int, Decimal] = {}
        self._fills = 0
        self._fees = self._funding = 0.0
        self.curve = EquityCurve(0, start_equity, start_value)
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
        for row in step.equity:
            self.curve.add(row.time_ms, float(row.equity), float(row.unit_value))
        for trip in step.round_trips:
            # Late funding may belong to one that had ended before this session.
            if trip.closed_ms is not None and (step.fills or trip.id in self._results):
                self._results[trip.id] = trip.net
        if step.fills:
            self._fills += len(step.fills)
            self._fees += sum(float(fill.fee) for fill in step.fills)
        if step.funding:
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
            round_trips=len(self._results),
            hit_rate=sum(net > 0 for net in self._results.values()) / len(self._results)
            if self._results
            else None,
            fees=self._fees,
            funding=self._funding,
            start_equity=self.curve.start_equity,
            end_equity=self.curve.end_equity,
            total_return=self.curve.total_return,
            max_drawdown=self.curve.max_drawdown,
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
    # Not read-only: the last one to close a database clears its log away, which a reader may not.
    async with Database.beside(summary.database) as database:
        return replace(summary, decisions=await load_decision_report(database, summary.session_id))


def hindsight(learned_ms: int | None, first_start_ms: int | None) -> str | None:
    """What to know before decisions from ``first_start_ms`` on are taken for a test; None where there is nothing.

    ``learned_ms`` is as :func:`bot.sessions.assembly.learned_until_ms` has it; either is None without such a bar.
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
    database = f" --db {summary.database}" if summary.run is None else f" --run {summary.run}"
    # As it was called, so that the lines can be pasted: a .venv need not be activated.
    python = os.path.relpath(sys.executable)
    if python.startswith(".."):
        python = "python"
    print_text(f"\nSession {summary.session_id} ({summary.mode}) ended: {summary.exit_reason}")
    print_headlines(summary.decisions)
    lines = (
        [f"  bars observed  {_counts(summary.observed)}, before the first decision"]
        if summary.observed
        else []
    )
    lines += [
        f"  bars decided   {summary.bars} ({summary.late} late), {_counts(summary.actions)}",
        f"  trades         {summary.fills} fills, {summary.round_trips} round trips"
        + (f", {summary.hit_rate:.0%} of them won" if summary.hit_rate is not None else ""),
        f"  costs          fees {summary.fees:,.2f}, funding {summary.funding:+,.2f}",
        f"  equity         {summary.start_equity:,.2f} to {summary.end_equity:,.2f}"
        + (f" ({summary.total_return:+.2%})" if summary.total_return is not None else "")
        + f", max drawdown {summary.max_drawdown:.2%}",
        f"  open positions {_counts(summary.open_positions) or 'none'}",
    ]
    lines += [f"  {'rules' if not number else '':<14} {text}" for number, text in enumerate(summary.rules)]
    if summary.events:
        lines.append(f"  events         {_counts(summary.events)}")
    if summary.hindsight is not None:
        lines.append(f"  NO TEST        {summary.hindsight}")
    for label, text in () if summary.funding_note is None else summary.funding_note.lines():
        lines.append(f"  {label:<14} {text}")
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


def _counts(counts: Mapping[str, int] | Mapping[str, str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
