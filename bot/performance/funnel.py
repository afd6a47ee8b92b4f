"""Funnel: from all decisions to round trips, how many came how far, and what stopped the others."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from bot.market import utc_text
from bot.performance.decisions import KINDS, DecisionOutcome, OutcomeKind
from bot.trading.asked import Asked
from bot.trading.events import Halt

ALL = ""
"""Stands for all symbols together."""


class Stop(Struct, frozen=True, kw_only=True):
    """What stopped ``count`` decisions at a step, and the first of them, in its own words."""

    cause: str
    count: int
    first_id: int
    first_reason: str

    @property
    def words(self) -> str:
        """``249 no_volume, first decision 1: nothing was traded ..``: the cause is not said twice."""
        reason = self.first_reason.removeprefix(f"{self.cause}: ")
        return f"{self.count:,} {self.cause}, first decision {self.first_id}: {reason}"


class FunnelStep(Struct, frozen=True, kw_only=True):
    """``count`` decisions came past a step; ``stops`` has all others, most frequent first."""

    name: str
    label: str
    count: int
    stops: tuple[Stop, ...] = ()

    @property
    def lost(self) -> int:
        """How many did not come past it."""
        return sum(stop.count for stop in self.stops)


class Funnel(Struct, frozen=True, kw_only=True):
    """One symbol's funnel, or that of all (``symbol`` ""). The steps are of entries: longs and shorts.

    ``outcomes`` counts what came of every decision that asked for something, closes too: by what it asked
    for, then by kind.
    """

    symbol: str
    steps: tuple[FunnelStep, ...]
    outcomes: dict[Asked, dict[OutcomeKind, int]]

    def count(self, name: str) -> int:
        """How many came past the step of this name; 0 where there is none."""
        return next((step.count for step in self.steps if step.name == name), 0)


class Funnels(Struct, frozen=True, kw_only=True):
    """The funnel of all symbols, and of each."""

    total: Funnel
    by_symbol: dict[str, Funnel]


class HaltedRun(Struct, frozen=True, kw_only=True):
    """A halt among the decisions of a run: it came at the close of number ``closes_before`` of ``closes``.

    ``refused`` counts the longs and shorts that it kept from being entered.
    """

    halt: Halt
    closes_before: int
    closes: int
    refused: int


class DecisionReport(Struct, frozen=True, kw_only=True):
    """What became of a run's decisions."""

    funnels: Funnels
    halts: tuple[HaltedRun, ...]


class FunnelCount:
    """Counts decisions and outcomes in memory that grows with symbols and causes alone.

    ``checks`` are the strategy's, name to label, in its order. A check that fails without having been named
    there stands behind them.
    """

    def __init__(self, checks: Mapping[str, str]) -> None:
        self._labels = dict(checks)
        self._decisions: dict[str, int] = {}
        self._stops: dict[tuple[str, str], dict[str, Stop]] = {}
        self._outcomes: dict[str, dict[Asked, dict[OutcomeKind, int]]] = {}
        self._round_trips: dict[str, int] = {}

    def add_decisions(
        self,
        symbol: str,
        count: int,
        *,
        failed: str | None,
        late: bool,
        asked: Asked | None,
        first: tuple[int, str],
    ) -> None:
        """Count decisions that were alike: the check that ``failed``, whether ``late``, what was ``asked`` for.

        ``first`` is the number and the reason of the first of them.
        """
        for whose in (symbol, ALL):
            self._decisions[whose] = self._decisions.get(whose, 0) + count
        if late:
            self._stop(symbol, "in_time", "late", first, count)
        elif asked is None or asked == "close":
            self._stop(
                symbol, f"check {failed}" if failed else "signals", failed or asked or "hold", first, count
            )

    def add_outcome(self, symbol: str, signal_id: int, outcome: DecisionOutcome, count: int = 1) -> None:
        """Count what came of a decision that asked for something, or of ``count`` alike, the first so numbered."""
        for whose in (symbol, ALL):
            counts = self._outcomes.setdefault(whose, {}).setdefault(outcome.asked, {})
            counts[outcome.kind] = counts.get(outcome.kind, 0) + count
        if outcome.asked == "close":
            return
        first = signal_id, outcome.words
        if not outcome.ordered:
            self._stop(symbol, "orders", outcome.cause, first, count)
        elif not outcome.accepted:
            self._stop(symbol, "accepted", outcome.cause, first, count)
        elif not outcome.filled:
            self._stop(symbol, "filled", outcome.cause, first, count)

    def add_round_trips(self, symbol: str, count: int) -> None:
        """Count positions that were closed again."""
        for whose in (symbol, ALL):
            self._round_trips[whose] = self._round_trips.get(whose, 0) + count

    def result(self) -> Funnels:
        """The funnels so far."""
        symbols = sorted(set(self._decisions) - {ALL})
        return Funnels(
            total=self._funnel(ALL), by_symbol={symbol: self._funnel(symbol) for symbol in symbols}
        )

    def _stop(self, symbol: str, step: str, cause: str, first: tuple[int, str], count: int = 1) -> None:
        for whose in (symbol, ALL):
            stops = self._stops.setdefault((whose, step), {})
            known = stops.get(cause)
            if known is None:
                stops[cause] = Stop(cause=cause, count=count, first_id=first[0], first_reason=first[1])
                continue
            earlier = min((known.first_id, known.first_reason), first)
            stops[cause] = Stop(
                cause=cause, count=known.count + count, first_id=earlier[0], first_reason=earlier[1]
            )

    def _funnel(self, symbol: str) -> Funnel:
        left = self._decisions.get(symbol, 0)
        steps = [FunnelStep(name="decisions", label="decisions", count=left)]
        for key, name, label in self._steps():
            stops = self._stops.get((symbol, key), {}).values()
            left -= sum(stop.count for stop in stops)
            ordered = tuple(sorted(stops, key=lambda stop: (-stop.count, stop.first_id)))
            steps.append(FunnelStep(name=name, label=label, count=left, stops=ordered))
        trips = self._round_trips.get(symbol, 0)
        steps.append(FunnelStep(name="round_trips", label="round trips", count=trips))
        return Funnel(symbol=symbol, steps=tuple(steps), outcomes=self._outcomes.get(symbol, {}))

    def _steps(self) -> Iterable[tuple[str, str, str]]:
        """Key among the stops, name and label of each step between decisions and round trips."""
        if (ALL, "in_time") in self._stops:
            yield "in_time", "in_time", "in time"
        named = [
            key.removeprefix("check ") for whose, key in self._stops if not whose and key[:6] == "check "
        ]
        for name in (*self._labels, *(name for name in named if name not in self._labels)):
            yield f"check {name}", name, self._labels.get(name, f"past {name}")
        yield "signals", "signals", "signals"
        yield "orders", "orders", "orders"
        yield "accepted", "accepted", "accepted"
        yield "filled", "filled", "filled"


def headlines(report: DecisionReport) -> list[str]:
    """What a run says before its figures: halts, and why nothing was ever filled; none where there is nothing."""
    lines = []
    for one in report.halts:
        halt = one.halt
        line = (
            f"HALTED at bar {one.closes_before:,} of {one.closes:,}, closed at {utc_text(halt.time_ms)} UTC, "
            f"by {halt.rule}: {halt.reason}"
        )
        if not one.closes_before:
            line = f"HALTED before the first bar, since {utc_text(halt.time_ms)} UTC, by {halt.rule}: {halt.reason}"
        line += f"; {one.refused:,} longs and shorts after it were refused"
        if halt.resumed_ms is not None:
            line += f"; resumed {utc_text(halt.resumed_ms)} UTC"
        lines.append(line)
    nothing = why_no_trade(report.funnels.total)
    return lines if nothing is None else [*lines, f"NO TRADE: {nothing}"]


def why_no_trade(funnel: Funnel) -> str | None:
    """What a run without a fill says first; None where something was filled, or nothing was decided."""
    decisions, signals = funnel.count("decisions"), funnel.count("signals")
    if funnel.count("filled") or not decisions:
        return None
    if signals:
        stops = [stop for step in funnel.steps if step.name in _AFTER_SIGNALS for stop in step.stops]
        return f"{signals:,} signals and no fill; {_most(stops)}"
    stops = [stop for step in funnel.steps if step.name not in _AFTER_SIGNALS for stop in step.stops]
    return f"no signal in {decisions:,} decisions; {_most(stops)}"


def outcome_words(funnel: Funnel) -> str:
    """The outcomes of all that was asked for, in one line; "" where nothing was."""
    total: dict[OutcomeKind, int] = {}
    for counts in funnel.outcomes.values():
        for kind, count in counts.items():
            total[kind] = total.get(kind, 0) + count
    return ", ".join(f"{count:,} {KINDS[kind]}" for kind, count in sorted(total.items(), key=lambda c: -c[1]))


_AFTER_SIGNALS = ("orders", "accepted", "filled")


def _most(stops: list[Stop]) -> str:
    """The most frequent stop, as a count and the words of its first case."""
    if not stops:
        return "nothing was decided"
    stop = max(stops, key=lambda stop: stop.count)
    return stop.words
