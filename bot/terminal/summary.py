"""A session's summary for a person's eye."""

from collections.abc import Mapping

import msgspec

from bot import program
from bot.sessions.session import Summary
from bot.terminal.funnel import print_funnel, print_headlines
from bot.terminal.tables import print_text

_FIGURES_AT = 17
"""Where the figures of the summary stand in their lines."""


def print_summary(summary: Summary, *, as_json: bool) -> None:
    """Tell a person, or with ``as_json`` a program, on standard output."""
    if as_json:
        print(msgspec.json.encode(summary).decode())
        return
    database = f" --db {summary.database}" if summary.run is None else f" --run {summary.run}"
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
        lines.append(f"  IN-SAMPLE      {summary.hindsight}")
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
        f"  {program.call()} explain{database}    why the last decision was made",
        f"  {program.call()} trades{database}     every fill, with the moments it looked like",
        f"  sqlite3 {summary.database} 'SELECT * FROM trade_log'",
    ]
    print("\n".join(commands))


def _counts(counts: Mapping[str, int] | Mapping[str, str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
