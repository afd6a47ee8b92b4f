"""What a newer decision makes of orders that wait for an older one: they stay, or make way."""

from collections.abc import Sequence

from bot.market import INTERVAL_MS, Bar
from bot.trading.broker import PaperBroker
from bot.trading.events import Order, Position, Side, Signal


def make_way(
    broker: PaperBroker, signal: Signal, drafts: Sequence[Order], bar: Bar, position: Position
) -> tuple[Order | None, tuple[Order, ...]]:
    """The resting entry that does what ``drafts`` ask for, which then need not be placed; and orders that changed.

    Entries whose bars have passed expire, unless the decision renews them. What waits for an older target is
    withdrawn where the decision asks for anything, but for what protects or goes on building its position.
    """
    symbol, now_ms = bar.symbol, bar.close_ms
    same: Order | None = None
    changed: tuple[Order, ...] = ()
    if drafts and drafts[0].type == "limit":
        same, changed = broker.renew(drafts, bar.start_ms, now_ms)
    changed = (*changed, *broker.expire(symbol, now_ms, INTERVAL_MS[bar.interval]))
    if same is not None or (signal.action == "hold" and not signal.close_position):
        return same, changed
    side: Side = "buy" if signal.action == "long" else "sell"
    on_course = signal.action != "hold" and (position.quantity > 0) == (side == "buy")
    withdrawn = broker.cancel(
        symbol,
        now_ms,
        "replaced by a newer decision",
        keep_exits=True,
        keep_entries=side if position.quantity and on_course else None,
    )
    return None, (*changed, *withdrawn)
