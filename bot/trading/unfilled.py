"""Why the market has given an order nothing, or not all of it: said while it rests, and when it is withdrawn."""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from bot.trading.events import Order
from bot.trading.fills import BarMarket, FillModel, Market

NO_VOLUME = "no_volume: nothing was traded in the bar that it met"
THIN_VOLUME = "thin_volume: no more of the volume of the bar that it met may be filled"
THIN_QUOTE = "thin_quote: no more was displayed at the prices that it may take"
LIMIT_NOT_REACHED = "limit_not_reached: the market has not traded through its limit"
NO_QUOTE = "no_quote: no quote or bar has come for it since it was due"

NOTES = (NO_VOLUME, THIN_VOLUME, THIN_QUOTE, LIMIT_NOT_REACHED, NO_QUOTE)
"""All that is said of an order that rests. Before the colon stands the name that reports count by."""

_JOINT = "; "
_THEN = "; then "


def still_resting(orders: Iterable[Order], market: Market, model: FillModel, due_ms: int) -> Iterator[Order]:
    """Those of ``orders``, all due until ``due_ms``, whose reason must change once they have met ``market``.

    What could have traded had too little to trade with; a limit may not have been reached. Stops and targets
    whose price has not come say nothing: that is what they are for.
    """
    for order in orders:
        if order.status == "pending" or order.active_ms is None or order.due_ms > due_ms:
            continue
        note = _shortage(market)
        if order.type == "limit":
            buys = order.side == "buy"
            assert order.limit_price is not None
            if not model.through(market.best(buys=buys), order.limit_price, buys=buys):
                note = LIMIT_NOT_REACHED
        elif order.type != "market" and order.triggered_ms is None:
            continue
        said = noted(order, note)
        if said is not order:
            yield said


def noted(order: Order, note: str) -> Order:
    """The order, with ``note`` ("": none) in place of what was said of it before; itself if it says so already."""
    origin, _ = split(order.reason)
    reason = _JOINT.join(part for part in (origin, note) if part)
    return order if reason == order.reason else replace(order, reason=reason)


def withdrawn(order: Order, reason: str, time_ms: int, clock_ms: int | None = None) -> Order:
    """The order, cancelled for ``reason``: after what the market had given it no more for, which comes first.

    ``clock_ms`` is what the market's clock shows then, None where that is UTC.
    """
    _, note = split(order.reason)
    due_by_ms = time_ms if clock_ms is None else clock_ms
    if not note and order.active_ms is None and order.status == "open" and order.due_ms < due_by_ms:
        note = NO_QUOTE
    reason = f"{note}{_THEN}{reason}" if note else reason
    return replace(order, status="cancelled", reason=reason, updated_ms=time_ms)


def split(reason: str) -> tuple[str, str]:
    """What the reason of a resting order says besides, and the note on why it rests ("" where there is none)."""
    for note in NOTES:
        if reason.endswith(note):
            return reason[: -len(note)].removesuffix(_JOINT), note
    return reason, ""


def _shortage(market: Market) -> str:
    if not isinstance(market, BarMarket):
        return THIN_QUOTE
    return THIN_VOLUME if market.bar.volume else NO_VOLUME
