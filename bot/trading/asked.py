"""What a decision asks for, and why nothing is ordered for it."""

from typing import Literal

from bot.market import minute_text
from bot.trading.events import Halt, Order, Position, Signal

Asked = Literal["long", "short", "close"]


def asked_of(signal: Signal) -> Asked | None:
    """What the signal wants to change; None where it leaves things as they are."""
    if signal.action != "hold":
        return signal.action
    return "close" if signal.close_position else None


class NoOrder:
    """Why a signal that nobody refused changes nothing; the words on a position are made once, as it lasts for bars."""

    def __init__(self) -> None:
        self._position: Position | None = None
        self._already = ""

    def why(self, signal: Signal, position: Position) -> str:
        """The reason as ``name: words``; "" where the signal asks for nothing."""
        action, held = signal.action, position.quantity
        if action == "hold":
            return "already_flat: there is no position to close" if signal.close_position else ""
        if held and (held > 0) == (action == "long"):
            if position is not self._position:
                self._position, self._already = position, f"already_{action}: {held.copy_abs():f} is held"
            return self._already
        return "already_flat: spot is not sold short, and none of it is held"


def already_ordered(order: Order) -> str:
    """The same where a resting entry is what the signal asks for: in the same words at every bar."""
    return f"already_ordered: order {order.id} rests at {order.limit_price:f}, {order.quantity:f} of it"


def why_halted(signal: Signal, halt: Halt) -> str:
    """The same of one that came while everything is being sold."""
    if asked_of(signal) is None:
        return ""
    return f"halted: since {minute_text(halt.time_ms)} UTC by {halt.rule}"
