"""A session as one HTML file: figures, charts, the funnel and its trades; nothing is fetched to show it."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bot.api.shown import html_table, value_chart
from bot.api.summary import Summary
from bot.errors import InputError

if TYPE_CHECKING:
    from bot.api.session import Session

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}th,td{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}"
)
_TRADES = (
    "symbol",
    "side",
    "opened",
    "closed",
    "quantity",
    "entry_price",
    "exit_price",
    "net",
    "exit_reason",
)
_SHOWN = 200


def write_page(path: Path, run: "Session", summary: Summary) -> None:
    """Write the file. InputError where it cannot be written."""
    title = escape(f"{summary.strategy} on {', '.join(summary.symbols)} {summary.interval}")
    equity, trades, funnel = run.equity, run.round_trips, run.funnel
    value = equity.unit_value
    fall = value / value.cummax() - 1
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
        f"<h1>{title}</h1>{html_table(summary.rows())}",
        value_chart("unit value of the account", {"account": value}),
        value_chart("drawdown", {"account": fall}),
        f"<h2>From decisions to round trips</h2>{funnel.to_html(na_rep='-')}",
        f"<h2>Trades</h2><p>{len(trades):,} in all, the last {min(len(trades), _SHOWN):,} shown</p>",
        trades[list(_TRADES)].tail(_SHOWN).to_html(na_rep="-"),
        "</html>\n",
    ]
    try:
        path.write_text("\n".join(parts), encoding="utf-8")
    except OSError as error:
        raise InputError(f"report {path}: {error.strerror}; name a file that can be written") from error
