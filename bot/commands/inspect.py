"""What a person asks of a database: the trade log, the status, and why a decision was made."""

import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bot.commands.chosen_database import chosen_database, database_line
from bot.commands.options import DatabaseOptions
from bot.commands.stored_calendar import stored_calendar
from bot.config import Config
from bot.exact import ZERO
from bot.market import INTERVAL_MS, minute_text, plain, utc_text
from bot.store import decisions, queries
from bot.store.account.tables import Trade
from bot.store.believed import readable
from bot.store.database import Database
from bot.store.funnel import load_decision_report
from bot.terminal.explanation import halt_text, pause_text, percent, print_explanation, print_orders
from bot.terminal.funnel import print_funnel, print_headlines
from bot.terminal.hands import mark_cells, print_requests, print_watched
from bot.terminal.money import money_text, price_text
from bot.terminal.tables import print_table, print_text, print_title

OK = 0

# The demo's market runs on its own clock, so only these modes' bars have an age.
_REAL_TIME_MODES = ("testnet", "mainnet")

_FINITE_MODES = ("backtest", "replay")

_TRADE_COLUMNS = (
    *("fill", "signal", "time UTC", "symbol", "side", "quantity", "price", "fee", "pnl"),
    *("conf", "expected", "closest moments", "reason"),
)
_TRADE_COLUMNS_ON_SCREEN = ("fill", "time UTC", "symbol", "side", "quantity", "price", "pnl")


async def run(
    options: DatabaseOptions, config: Config, show: Callable[[Path], Coroutine[Any, Any, int]]
) -> int:
    """What ``show`` shows of the database that the options mean."""
    path = await chosen_database(options, config)
    with readable(path):
        return await show(path)


async def trades(db_path: Path | str, *, limit: int | None = None, json: bool = False) -> int:
    """Print the trade log, oldest fill first."""
    async with Database.open(db_path, readonly=True) as database:
        log_rows = await queries.load_trades(database, limit=limit)
        report = None if log_rows else await load_decision_report(database, None)
        line = await database_line(database)
    if json:
        _print_json(log_rows)
        return OK
    print_text(line)
    if not log_rows:
        print("no trades yet; `run_bot.py explain` says why the last bar led to none")
        print_headlines(report)
    elif sys.stdout.isatty():
        _print_trades_on_screen(log_rows)
    else:
        print_table(_TRADE_COLUMNS, [_trade_row(trade) for trade in log_rows])
    return OK


async def status(db_path: Path | str, *, json: bool = False) -> int:
    """Print what the running or last session is doing, and how sound its data are."""
    async with Database.open(db_path, readonly=True) as database:
        found = await queries.load_status(database, await stored_calendar(database))
    if json:
        _print_json(found)
    else:
        _print_status(found, time.time_ns() // 1_000_000)
    return OK


async def explain(db_path: Path | str, signal_id: int | None = None, *, json: bool = False) -> int:
    """Print why one decision (by default the last) was made, and what came of it."""
    async with Database.open(db_path, readonly=True) as database:
        found = await decisions.load_explanation(database, signal_id)
        line = await database_line(database)
    if json:
        _print_json(found)
    else:
        print_text(line)
        print_explanation(found)
    return OK


def found_recording(named: str, database: Path) -> Path:
    """Where a stored recording is: its name is told as the session saw it, which may have run beside the database."""
    return Path(named) if Path(named).exists() else database.parent / named


def _print_json(value: Any) -> None:
    print(msgspec.json.encode(value).decode())


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


def _print_trades_on_screen(log_rows: Sequence[Trade]) -> None:
    """The figures as a table; what led to each fill, which has no width, in lines below it."""
    rows, notes = [], []
    for trade in log_rows:
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
    realized = sum((trade.realized_pnl for trade in log_rows), ZERO)
    fees = sum((trade.fee for trade in log_rows), ZERO)
    print(f"\n{len(log_rows)} fills: realized {realized:+,.2f}, fees {fees:,.2f}")


def _print_status(found: queries.Status, now_ms: int) -> None:
    print_text(f"{found.database}: {found.mode} {found.category}, {_session_text(found)}")
    print_headlines(found.decisions)
    if found.equity is None:
        print_text(f"equity {money_text(found.starting_cash)}: nothing has happened to it yet")
    else:
        # Deposits and withdrawals are no gain, and move no return.
        gain = found.equity.equity - found.starting_cash - found.transferred
        moved = f"; transfers {money_text(found.transferred, signed=True)}" if found.transferred else ""
        print_text(
            f"equity {money_text(found.equity.equity)} ({money_text(gain, signed=True)}, "
            f"{found.equity.unit_value - 1:+.2%}, since the start{moved}), drawdown {found.drawdown:.2%}, "
            f"cash {money_text(found.equity.cash)}, "
            f"unrealized {money_text(found.equity.unrealized_pnl, signed=True)}, "
            f"at {utc_text(found.equity.time_ms)} UTC"
        )
    if found.halt is not None:
        asked = "; a resume was asked for, and is taken as the bot runs" if found.resume_asked else ""
        print_text(f"HALTED {halt_text(found.halt)}; {_sold_text(found)}{asked}")
    for pause in found.pauses:
        print_text(pause_text(pause))
    print_requests(found.requests)
    print_text(f"decisions: {_counts(found.actions)}; events: {_counts(found.events)}")
    held = [position for position in found.positions if position.quantity]
    if held:
        print_title("positions")
        print_table(
            ("symbol", "quantity", "entry", "since UTC", "mark", "as of UTC"),
            [
                (
                    position.symbol,
                    plain(position.quantity),
                    price_text(position.cost / position.quantity),
                    utc_text(position.opened_ms),
                    *mark_cells(position.symbol, found, now_ms if _in_real_time(found) else None),
                )
                for position in held
            ],
        )
    else:
        print_text("no open position")
    print_watched(found.watched)
    if found.open_orders:
        print_title("resting orders")
        print_orders(found.open_orders)
    if found.rejections:
        print_title("rejected orders")
        print_table(("rule", "number"), [(rule, str(count)) for rule, count in found.rejections.items()])
        for one in found.last_rejections:
            print_text(
                f"{utc_text(one.time_ms)} {one.symbol} {one.side} {plain(one.quantity)} (decision "
                f"{one.signal_id}): {one.rule}: {one.reason}"
            )
    print_funnel(found.decisions)
    if found.feeds:
        print_title("bars")
        print_table(
            ("symbol", "interval", "bars", "missing", "by source", "decided", "late", "last close UTC"),
            [_feed_row(feed, found, now_ms) for feed in found.feeds],
            spare=("by source",),
        )


def _session_text(found: queries.Status) -> str:
    session = found.session
    if session is None:
        return "no session yet"
    started = f"session {session.id} of {utc_text(session.started_ms)} UTC"
    if found.running is not None:
        return f"{started} is running ({found.running})"
    if session.ended_ms is None:
        # Only a live session goes on from where it was cut off; the others are run again from their beginning.
        ends = "was interrupted" if found.mode in _FINITE_MODES else "was killed; the next start resumes it"
        return f"{started} {ends}"
    return f"{started} ended {utc_text(session.ended_ms)} UTC: {session.exit_reason}"


def _feed_row(feed: queries.FeedQuality, found: queries.Status, now_ms: int) -> Sequence[str]:
    close_ms = feed.last_start_ms + INTERVAL_MS[feed.interval]
    age = ""
    if _in_real_time(found):
        age = f" ({(now_ms - close_ms) // 1000} s ago)"
    return (
        feed.symbol,
        feed.interval,
        str(feed.bars),
        str(feed.missing),
        _counts(feed.by_source),
        str(feed.decided),
        str(feed.late),
        utc_text(close_ms) + age,
    )


def _in_real_time(found: queries.Status) -> bool:
    return found.running is not None and found.mode in _REAL_TIME_MODES


def _sold_text(found: queries.Status) -> str:
    """What a halt has come to so far."""
    held = [f"{plain(one.quantity)} {one.symbol}" for one in found.positions if one.quantity]
    return f"still held: {', '.join(held)}" if held else "everything is sold"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
