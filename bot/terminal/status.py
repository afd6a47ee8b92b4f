"""The status of a session for a person's eye."""

from collections.abc import Sequence

from bot.market import INTERVAL_MS, plain, utc_text
from bot.store.account.status import FeedQuality, Status
from bot.terminal.explanation import halt_text, pause_text, print_orders
from bot.terminal.funnel import print_funnel, print_headlines
from bot.terminal.hands import mark_cells, print_requests, print_watched
from bot.terminal.money import money_text, price_text
from bot.terminal.tables import print_table, print_text, print_title

# The demo's market runs on its own clock, so only these modes' bars have an age.
_REAL_TIME_MODES = ("testnet", "mainnet")

_FINITE_MODES = ("backtest", "replay")


def print_status(found: Status, now_ms: int) -> None:
    """Print what the session is doing, and how sound its data are; ``now_ms`` is the clock's time."""
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


def _session_text(found: Status) -> str:
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


def _feed_row(feed: FeedQuality, found: Status, now_ms: int) -> Sequence[str]:
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


def _in_real_time(found: Status) -> bool:
    return found.running is not None and found.mode in _REAL_TIME_MODES


def _sold_text(found: Status) -> str:
    """What a halt has come to so far."""
    held = [f"{plain(one.quantity)} {one.symbol}" for one in found.positions if one.quantity]
    return f"still held: {', '.join(held)}" if held else "everything is sold"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
