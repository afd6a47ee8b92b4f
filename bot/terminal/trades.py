"""The trade log for a person's eye, or for a pipe."""

import sys
from collections.abc import Sequence

from bot import program
from bot.exact import ZERO
from bot.market import minute_text, plain
from bot.performance.funnel import DecisionReport
from bot.store.account.tables import Trade
from bot.terminal.explanation import percent
from bot.terminal.funnel import print_headlines
from bot.terminal.money import money_text
from bot.terminal.tables import print_table, print_text

_TRADE_COLUMNS = (
    *("fill", "signal", "time UTC", "symbol", "side", "quantity", "price", "fee", "pnl"),
    *("conf", "expected", "closest moments", "reason"),
)
_TRADE_COLUMNS_ON_SCREEN = ("fill", "time UTC", "symbol", "side", "quantity", "price", "pnl")


def print_trades(log: Sequence[Trade], report: DecisionReport | None) -> None:
    """Print the log, oldest fill first: all columns into a pipe, on a screen what has the width.

    Of an empty one, ``report`` says why there was no trade.
    """
    if not log:
        print_text(f"no trades yet; `{program.name()} explain` says why the last bar led to none")
        print_headlines(report)
    elif sys.stdout.isatty():
        _print_on_screen(log)
    else:
        print_table(_TRADE_COLUMNS, [_trade_row(trade) for trade in log])


def _trade_row(trade: Trade) -> Sequence[str]:
    return (
        str(trade.fill_id),
        "-" if trade.signal_id is None else str(trade.signal_id),
        trade.time_utc,
        trade.symbol,
        trade.side,
        plain(trade.quantity),
        plain(trade.price),
        money_text(trade.fee),
        money_text(trade.realized_pnl, signed=True),
        "-" if trade.confidence is None else f"{trade.confidence:.2f}",
        percent(trade.expected_return),
        trade.closest_moments or "-",
        trade.reason or "-",
    )


def _print_on_screen(log: Sequence[Trade]) -> None:
    """The figures as a table; what led to each fill, which has no width, in lines below it."""
    rows, notes = [], []
    for trade in log:
        row = dict(zip(_TRADE_COLUMNS, _trade_row(trade), strict=True))
        row["time UTC"] = minute_text(trade.time_ms)
        rows.append([row[column] for column in _TRADE_COLUMNS_ON_SCREEN])
        below = [
            f"fee {row['fee']}, confidence {row['conf']}, expected {row['expected']}, signal {row['signal']}"
        ]
        if trade.reason:
            below.append(trade.reason)
        if trade.closest_moments:
            below.append(f"closest: {trade.closest_moments}")
        notes.append(below)
    print_table(_TRADE_COLUMNS_ON_SCREEN, rows, notes=notes)
    realized = sum((trade.realized_pnl for trade in log), ZERO)
    fees = sum((trade.fee for trade in log), ZERO)
    print(f"\n{len(log)} fills: realized {realized:+,.2f}, fees {fees:,.2f}")
