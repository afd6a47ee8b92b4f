"""A session's result in figures: counted while it runs, complete at its end."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from bot.market import utc_text
from bot.performance.funnel import DecisionReport
from bot.sessions.known_funding import FundingNote
from bot.store.account.funnel import load_decision_report
from bot.store.database import Database
from bot.trading.events import Position, Step
from bot.trading.performance import EquityCurve


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


class SessionCounter:
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
