"""RunView: what a strategy may see of its run beyond the bar that it decides on."""

from collections.abc import Mapping

from msgspec import Struct

from bot.costs import CostBook, Costs
from bot.market import Instrument
from bot.model.recent import RecentBars
from bot.model.similarity import SimilarityModel
from bot.trading.account import AccountTrack
from bot.trading.broker import PaperBroker
from bot.trading.events import Order, Position, RoundTrip
from bot.trading.ledger import Ledger


class OtherSymbol(Struct, frozen=True, kw_only=True, eq=False):
    """Another symbol of the run, as known at the close that is decided on; nothing of it can be written to.

    ``recent`` holds its bars that had closed by then and had entered the core; ``recent.close_ms`` says when
    the newest of them closed. All else is what the account holds and has ordered of it, as in a
    :class:`~bot.strategy.Situation`.
    """

    symbol: str
    recent: RecentBars
    position: Position
    bars_held: int
    round_trip: RoundTrip | None
    open_orders: tuple[Order, ...]
    costs: Costs


class RunView:
    """Reads the parts that a Trader owns; asked for nothing, it costs nothing."""

    def __init__(
        self,
        model: SimilarityModel,
        ledger: Ledger,
        track: AccountTrack,
        broker: PaperBroker,
        costs: CostBook,
        instruments: Mapping[str, Instrument],
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._track = track
        self._broker = broker
        self._costs = costs
        self._instruments = instruments

    def other(self, symbol: str, now_ms: int) -> OtherSymbol:
        """A symbol as known at ``now_ms``. Raises LookupError for one that the run does not have."""
        if symbol not in self._instruments:
            known = ", ".join(sorted(self._instruments))
            raise LookupError(f"{symbol} is no symbol of this run, which has {known}; add it to run.symbols")
        position = self._ledger.position(symbol)
        return OtherSymbol(
            symbol=symbol,
            recent=self._model.recent(symbol).as_of(now_ms),
            position=position,
            bars_held=self._track.bars_held(position, now_ms),
            round_trip=self.round_trip(symbol),
            open_orders=self.open_orders(symbol),
            costs=self._costs.of(symbol),
        )

    def open_orders(self, symbol: str) -> tuple[Order, ...]:
        """A symbol's orders that may still fill, by number."""
        return self._broker.open_orders_of(symbol)

    def round_trip(self, symbol: str) -> RoundTrip | None:
        """A symbol's round trip so far; None where it is flat."""
        return self._track.current_trip(symbol)
