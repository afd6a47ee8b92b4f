"""PriceGrid: what a whole series of bars shows of its market's rules, and what is inferred from that."""

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from bot.exact import EXACT, ZERO, is_multiple
from bot.market.bars import Bar
from bot.market.instruments import Category, Instrument
from bot.market.symbols import is_dated, is_dollar, quote_coin_of

_MIN_NOTIONAL = Decimal(5)
"""Quote currency; Bybit's for linear contracts and most of spot."""

_remainder = EXACT.remainder


class PriceGrid(Struct, frozen=True, kw_only=True):
    """Of all prices of a series: the widest grid that they lie on, the lowest and the highest."""

    step: Decimal
    low: Decimal
    high: Decimal

    @property
    def finest_digit(self) -> Decimal:
        """The place of the last decimal that any price uses, trailing zeros aside; 1 for whole numbers."""
        exponent = self.step.normalize(EXACT).as_tuple().exponent
        assert isinstance(exponent, int)  # prices are finite
        return Decimal(1).scaleb(min(0, exponent))

    def joined(self, other: "PriceGrid") -> "PriceGrid":
        """Of both series together."""
        step = _common(self.step, other.step)
        return PriceGrid(step=step, low=min(self.low, other.low), high=max(self.high, other.high))


class PriceGridCounter:
    """Finds the grid of a series, bar after bar."""

    def __init__(self) -> None:
        self._step = self._low = self._high = ZERO

    def add(self, open_: Decimal, high: Decimal, low: Decimal, close: Decimal) -> None:
        """Take a sound bar's prices into account."""
        if not self._step:
            self._step = self._low = self._high = open_
        for price in (open_, high, low, close):
            if _remainder(price, self._step):
                self._step = _common(self._step, price)
        if low < self._low:
            self._low = low
        if high > self._high:
            self._high = high

    def grid(self) -> PriceGrid | None:
        """The grid so far; None before the first price."""
        return PriceGrid(step=self._step, low=self._low, high=self._high) if self._step else None


def price_grid(bars: Iterable[Bar]) -> PriceGrid | None:
    """The grid of all prices of some bars; None without any."""
    counter = PriceGridCounter()
    for bar in bars:
        counter.add(bar.open, bar.high, bar.low, bar.close)
    return counter.grid()


def inferred_rules(symbol: str, category: Category, grid: PriceGrid) -> Instrument:
    """Rules for a symbol of which nobody tells any, by the prices of its whole series.

    The tick is the finest decimal that any price uses. A lot is the power of ten that is worth 1 to 10 in
    quote currency at the highest price, and the least that may be ordered; an order is worth at least 5
    where the symbol's name says that it is priced in dollars. Linear contracts are funded every 8 hours,
    but for dated ones.
    """
    quote = quote_coin_of(symbol)
    lot = Decimal(1).scaleb(-grid.high.adjusted())
    funded = category == "linear" and not is_dated(symbol)
    return Instrument(
        symbol=symbol,
        category=category,
        tick_size=grid.finest_digit,
        lot_size=lot,
        min_quantity=lot,
        min_notional=_MIN_NOTIONAL if is_dollar(quote) else ZERO,
        funding_interval_minutes=480 if funded else 0,
        source="inferred",
        quote_coin=quote,
    )


def fitted(rules: Instrument, grid: PriceGrid) -> Instrument:
    """``rules`` with a tick that a series fits: what is told of another time or place may be too coarse for it."""
    if is_multiple(grid.step, rules.tick_size):
        return rules
    return replace(rules, tick_size=min(grid.finest_digit, rules.tick_size))


def _common(one: Decimal, other: Decimal) -> Decimal:
    """The largest step that both are whole multiples of."""
    while other:
        one, other = other, _remainder(one, other)
    return one
