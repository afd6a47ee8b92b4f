"""What came of a decision that asked for something: one outcome, in the words of what stopped it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from bot.exact import EXACT, ZERO
from bot.trading.asked import Asked
from bot.trading.events import RESTING, Order
from bot.trading.unfilled import split

OutcomeKind = Literal[
    "filled",
    "partly_filled",
    "open",
    "rejected",
    "unfilled",
    "expired",
    "already_there",
    "halted",
    "paused",
    "not_stated",
]

KINDS: dict[OutcomeKind, str] = {
    "filled": "filled",
    "partly_filled": "partly filled",
    "open": "open",
    "rejected": "rejected",
    "unfilled": "ended unfilled",
    "expired": "expired unfilled",
    "already_there": "already there",
    "halted": "halted",
    "paused": "paused",
    "not_stated": "no order, and no reason was kept",
}
"""What people call them."""

_NOT_MET = "not_met: no quote or bar has come for it yet"
_NO_MORE = "no_more: the market has given it no more yet"

_BARRED: dict[str, OutcomeKind] = {"halted": "halted", "paused": "paused"}


class DecisionOutcome(Struct, frozen=True, kw_only=True):
    """What came of a long, short or close. Quantities in base coin, of its own orders, brackets aside.

    ``cause`` names what stopped it (a rule, what the market did not give, what was there before), "" where
    all was filled; ``words`` says it in a sentence. ``ordered`` and ``accepted`` say how far it came.
    """

    kind: OutcomeKind
    cause: str
    words: str
    asked: Asked
    quantity: Decimal = ZERO
    filled: Decimal = ZERO
    ordered: bool = False
    accepted: bool = False


def outcome_of(asked: Asked, no_order: str, orders: Sequence[Order]) -> DecisionOutcome:
    """The one outcome of a decision, by its orders as they stand now.

    ``no_order`` is the core's reason for drafting none (:attr:`bot.trading.events.Step.no_order`).
    """
    if no_order:
        cause = _cause(no_order)
        kind: OutcomeKind = (
            "already_there" if cause.startswith("already_") else _BARRED.get(cause, "rejected")
        )
        return DecisionOutcome(kind=kind, cause=cause, words=no_order, asked=asked)
    own = [order for order in orders if order.parent_id is None]
    if not own:
        words = "no order followed, and this database was written before reasons were kept"
        return DecisionOutcome(kind="not_stated", cause="not_stated", words=words, asked=asked)
    quantity = filled = ZERO
    for order in own:
        quantity = EXACT.add(quantity, order.quantity)
        filled = EXACT.add(filled, order.filled_quantity)
    accepted = any(order.status != "rejected" or order.active_ms is not None for order in own)
    short_of = [order for order in own if order.filled_quantity != order.quantity]
    if not short_of:
        words = "; ".join(["filled", *(order.reason for order in own if order.reason)])
        kind, cause = "filled", ""
    else:
        stopped = min(short_of, key=_gravity)
        kind, cause, words = _stopped(stopped)
        if filled:
            words = f"{filled:f} of {quantity:f}, the rest {KINDS[kind]}: {words}"
            kind = "partly_filled"
    return DecisionOutcome(
        kind=kind,
        cause=cause,
        words=words,
        asked=asked,
        quantity=quantity,
        filled=filled,
        ordered=True,
        accepted=accepted,
    )


def _stopped(order: Order) -> tuple[OutcomeKind, str, str]:
    """What an order that was not filled whole ended in, or waits for."""
    if order.status in RESTING:
        _, note = split(order.reason)
        note = note or (_NOT_MET if order.active_ms is None and not order.filled_quantity else _NO_MORE)
        return "open", _cause(note), note
    cause = _cause(order.reason)
    if order.status == "rejected":
        return _BARRED.get(cause, "rejected"), cause, order.reason
    return "expired" if "expired: " in order.reason else "unfilled", cause, order.reason


def _gravity(order: Order) -> int:
    """What still may happen comes first, then what a rule forbade."""
    if order.status in RESTING:
        return 0
    return 1 if order.status == "rejected" else 2


def _cause(reason: str) -> str:
    """The name before a reason's colon; of a reason without one, its words as one name."""
    name, colon, _ = reason.partition(":")
    return name if colon and " " not in name else reason.partition(";")[0].partition(",")[0].replace(" ", "_")
