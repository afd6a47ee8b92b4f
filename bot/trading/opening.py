"""What a session goes on from, as one value."""

from msgspec import Struct

from bot.market.funding import KnownFunding
from bot.trading.account import TrackState, began_with
from bot.trading.events import Order, StrategyState
from bot.trading.ledger import LedgerState
from bot.trading.risk import NOTHING_YET, RiskState


class Opening(Struct, frozen=True, kw_only=True):
    """All that a Trader goes on from, apart from history: the books, resting orders, and what is counted.

    What a session resumes from must come in through here, so that its recording holds it too.
    """

    ledger: LedgerState
    open_orders: tuple[Order, ...]
    next_signal_id: int
    next_order_id: int
    next_fill_id: int
    risk: RiskState = NOTHING_YET
    funding: tuple[KnownFunding, ...] = ()
    account: TrackState | None = None
    strategy_states: tuple[StrategyState, ...] = ()

    @property
    def track(self) -> TrackState:
        """What the account's track goes on from; where none is given, the account begins with its cash."""
        return began_with(self.ledger.cash) if self.account is None else self.account
