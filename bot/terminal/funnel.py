"""The funnel for a person's eye: how many decisions came how far, by symbol, and what stopped the others."""

from bot.performance.funnel import DecisionReport, Funnel, headlines, outcome_words
from bot.terminal.tables import print_table, print_text, print_title

_MOST_SYMBOLS = 4
_MOST_CAUSES = 3


def print_headlines(report: DecisionReport | None) -> None:
    """Print what comes before any figure: halts, and why nothing was filled."""
    for line in headlines(report) if report is not None else ():
        print_text(line)


def print_funnel(report: DecisionReport) -> None:
    """Print the funnel of all decisions, with a column for each symbol where they are few, and all outcomes."""
    funnels = report.funnels
    print_title("from decisions to round trips")
    total = funnels.total
    if not total.count("decisions"):
        print_text("no decision yet")
        return
    symbols = list(funnels.by_symbol) if 1 < len(funnels.by_symbol) <= _MOST_SYMBOLS else []
    rows, notes = [], []
    for step in total.steps:
        by_symbol = (f"{funnels.by_symbol[symbol].count(step.name):,}" for symbol in symbols)
        rows.append((step.label, f"{step.count:,}", *by_symbol))
        notes.append(_notes(total, step.name))
    print_table(("", "all", *symbols), rows, notes=notes)
    if words := outcome_words(total):
        print_text(f"what was asked for, closes too: {words}")


def _notes(funnel: Funnel, name: str) -> list[str]:
    """What stopped decisions at a step: the most frequent causes, each with its first case."""
    step = next(step for step in funnel.steps if step.name == name)
    lines = [stop.words for stop in step.stops[:_MOST_CAUSES]]
    rest = step.lost - sum(stop.count for stop in step.stops[:_MOST_CAUSES])
    return [*lines, f"{rest:,} for other reasons"] if rest else lines
