"""What a person sees of marks, watched symbols and requests."""

from collections.abc import Sequence

from bot.market import plain, utc_text
from bot.sessions.by_hand import Asked
from bot.store.account.status import Status
from bot.store.account.tables import StoredRequest
from bot.terminal.money import price_text
from bot.terminal.tables import print_text
from bot.trading.events import Watched

_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60


def mark_cells(symbol: str, found: Status, now_ms: int | None) -> tuple[str, str]:
    """What a position is valued at, and how old that is: by the clock, or else by the account's last row."""
    mark = next((mark for mark in found.marks if mark.symbol == symbol), None)
    if mark is None:
        return "none yet: at cost", "-"
    if now_ms is None:
        now_ms = mark.time_ms if found.equity is None else found.equity.time_ms
    return price_text(mark.price), f"{utc_text(mark.time_ms)} ({_age(now_ms - mark.time_ms)} old)"


def print_watched(watched: Sequence[Watched]) -> None:
    """Symbols that are only closed; those that are traded are seen by their bars."""
    for one in watched:
        if one.state == "closing_only":
            print_text(f"{one.symbol} is only closed since {utc_text(one.since_ms)} UTC: {one.reason}")


def print_requests(requests: Sequence[StoredRequest]) -> None:
    """A person's last requests, and what became of them."""
    for asked in requests:
        what = f"request {asked.id}, {asked.kind} {asked.symbols or asked.amount or ''}".rstrip(" 0")
        if asked.done_ms is None:
            print_text(f"{what}: not taken yet; it is as the bot runs")
            continue
        error = f"REFUSED: {asked.error}" if asked.error else ""
        came = "; ".join(filter(None, (asked.outcome, error))) or "done"
        print_text(f"{what}, taken {utc_text(asked.done_ms)} UTC: {came}")


def asked_text(asked: Asked) -> str:
    """What was asked for, and what became of it, in a line."""
    what = f"{asked.kind} {asked.symbols}".rstrip()
    if asked.kind == "transfer":
        kind = "deposit" if asked.amount > 0 else "withdrawal"
        what = f"{kind} {asked.id} of {plain(asked.amount.copy_abs())}"
    elif asked.kind == "resume" and asked.halt is not None:
        halt = asked.halt
        what += f" (halted {utc_text(halt.time_ms)} UTC by {halt.rule}: {halt.reason})"
    if asked.outcome is not None or asked.error is not None:
        return f"{what}: " + "; ".join(
            filter(None, (asked.outcome, asked.error and f"REFUSED: {asked.error}"))
        )
    if asked.running is not None:
        return f"{what}: asked {asked.running}, which has not answered yet; `status` tells when it has"
    verb = (
        "books it" if asked.kind == "transfer" else f"{asked.kind}s" if asked.kind == "resume" else "takes it"
    )
    return f"{what}: the next start {verb}"


def _age(ms: int) -> str:
    seconds = max(0, ms) // 1000
    for unit, name in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
