"""What trading costs a strategy, and what holding costs by the funding last settled."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from bot.market import Funding
from bot.market.funding import KnownFunding, Pace


class Costs(Struct, frozen=True, kw_only=True, gc=False):
    """What trading one symbol costs, as fractions of the notional, under the preset of fills in force.

    ``funding_rate`` is the last settled rate (positive: longs pay) and ``funding_bars`` the number
    of bars between two settlements, 0 where there is no funding.
    """

    taker_fee: float
    half_spread: float
    slippage: float
    funding_rate: float = 0.0
    funding_bars: float = 0.0

    def round_trip(self, direction: int, holding_bars: int) -> float:
        """Cost of entering (1 long, -1 short), holding for so many bars, and leaving again."""
        funding = 0.0
        if self.funding_bars:
            funding = direction * self.funding_rate * holding_bars / self.funding_bars
        return 2.0 * (self.taker_fee + self.half_spread + self.slippage) + funding


class CostBook:
    """Each symbol's costs as they stand now. ``known`` is what earlier sessions learned of its funding.

    What holding costs is the newest settled rate, at the interval that settlements keep.
    """

    def __init__(self, costs: Mapping[str, Costs], bar_ms: int, known: Iterable[KnownFunding] = ()) -> None:
        self._costs = dict(costs)
        self._bar_ms = bar_ms
        known_by_symbol = {one.symbol: one for one in known if one.symbol in self._costs}
        self._paces = {
            symbol: Pace(round(one.funding_bars * bar_ms), known_by_symbol.get(symbol))
            for symbol, one in self._costs.items()
        }
        for one in known_by_symbol.values():
            self._charge(one.symbol, one.rate)

    def add(self, symbol: str, costs: Costs) -> None:
        """A symbol is traded from now on; what is known of its costs already stands."""
        if symbol not in self._costs:
            self._costs[symbol] = costs
            self._paces[symbol] = Pace(round(costs.funding_bars * self._bar_ms))

    def of(self, symbol: str) -> Costs:
        """What trading the symbol costs now."""
        return self._costs[symbol]

    def settle(self, funding: Funding) -> KnownFunding | None:
        """What is known of the symbol's funding from now on; None where this settlement says nothing new."""
        symbol, pace = funding.symbol, self._paces.get(funding.symbol)
        if funding.shorts_only or pace is None or not pace.settled(funding.time_ms) or pace.newest_ms is None:
            return None
        self._charge(symbol, funding.rate)
        return KnownFunding(
            symbol=symbol,
            time_ms=pace.newest_ms,
            rate=funding.rate,
            every_ms=pace.every_ms,
            longer_ms=pace.longer_ms,
        )

    def _charge(self, symbol: str, rate: Decimal) -> None:
        bars = self._paces[symbol].every_ms / self._bar_ms
        self._costs[symbol] = replace(self._costs[symbol], funding_rate=float(rate), funding_bars=bars)
