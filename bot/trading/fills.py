"""FillModel: what a quote, a book or a bar has to give to an order, and at which price."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from bot.exact import BASIS_POINT, EXACT, ZERO, floor_to, require_within, to_tick
from bot.market import Bar, Book, Instrument, Level, Quote

_ONE = Decimal(1)

FillRule = Literal["quote", "book", "bar"]
Preset = Literal["optimistic", "realistic", "pessimistic"]


class FillAssumptions(Struct, frozen=True, kw_only=True):
    """What a preset makes of the configured figures: factors, and whether a mere touch fills a limit.

    A more optimistic preset's price is never worse, whatever the size: where ``share`` is halved, ``impact``
    at least doubles.
    """

    spread: Decimal
    slippage: Decimal
    impact: Decimal
    share: Decimal | None
    """Of ``max_volume_share``; None lets a fill take the whole bar."""
    touch: bool = False


PRESETS: dict[Preset, FillAssumptions] = {
    "optimistic": FillAssumptions(
        spread=Decimal(1), slippage=Decimal(0), impact=Decimal(0), share=None, touch=True
    ),
    "realistic": FillAssumptions(spread=Decimal(1), slippage=Decimal(1), impact=Decimal(1), share=Decimal(1)),
    "pessimistic": FillAssumptions(
        spread=Decimal(2), slippage=Decimal(3), impact=Decimal(4), share=Decimal("0.5")
    ),
}
"""Assumptions on how the market treats an order: without cost, as expected, and as on a bad day."""


class BrokerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[broker]`` of the configuration.

    ``starting_cash`` is in quote currency, fees are fractions of the notional (defaults: Bybit's
    linear contracts without VIP level). An order may meet the market ``latency_ms`` after its decision.

    ``fill_model`` is what prices orders live: the first ``quote``, the recorded depth of the ``book``,
    or the next ``bar``'s open; offline runs have bars alone. ``fill_preset`` names the assumptions on spread,
    slippage, impact and volume (:data:`PRESETS`).
    ``slippage_bps`` worsens every market fill; ``half_spread_bps`` stands in for the spread where bars
    are all there is. A fill as large as all that is at hand (the bar's volume; beyond the book, its
    depth) is worse by another ``impact_bps``, a smaller one by its share of that. No bar fills more
    than ``max_volume_share`` of its volume. A basis point is 0.0001.

    ``leverage`` holds for each linear symbol that ``symbol_leverage`` does not name.

    Of shares (category equity), ``fractional_shares`` may be traded, and ``borrow_rate`` is what a short pays
    a year, as a fraction of its value.
    """

    starting_cash: Decimal = Decimal("10000")
    taker_fee: Decimal = Decimal("0.00055")
    maker_fee: Decimal = Decimal("0.0002")
    latency_ms: Annotated[int, Meta(ge=0, le=60_000)] = 250
    fill_model: FillRule = "quote"
    fill_preset: Preset = "realistic"
    half_spread_bps: Decimal = Decimal("1")
    slippage_bps: Decimal = Decimal("1")
    impact_bps: Decimal = Decimal("50")
    max_volume_share: Decimal = Decimal("0.1")
    leverage: Decimal = Decimal("1")
    symbol_leverage: dict[str, Decimal] = {}
    fractional_shares: bool = False
    borrow_rate: Decimal = Decimal("0.003")

    def __post_init__(self) -> None:
        require_within("starting_cash", self.starting_cash, "0.01", "1000000000000")
        # A maker may be paid; a taker never is.
        require_within("taker_fee", self.taker_fee, "0", "0.1")
        require_within("maker_fee", self.maker_fee, "-0.1", "0.1")
        require_within("half_spread_bps", self.half_spread_bps, "0", "1000")
        require_within("slippage_bps", self.slippage_bps, "0", "1000")
        require_within("impact_bps", self.impact_bps, "0", "1000")
        require_within("max_volume_share", self.max_volume_share, "0.0001", "1")
        require_within("leverage", self.leverage, "1", "200")
        require_within("borrow_rate", self.borrow_rate, "0", "10")
        for symbol, leverage in self.symbol_leverage.items():
            require_within(f"symbol_leverage.{symbol}", leverage, "1", "200")

    def leverage_of(self, symbol: str) -> Decimal:
        """The leverage that is set for a linear symbol."""
        return self.symbol_leverage.get(symbol, self.leverage)


def at_most(quantity: Decimal, left: Decimal, lot_size: Decimal) -> Decimal:
    """All of ``quantity`` where so much is left, else whole lots of what is."""
    return quantity if quantity <= left else floor_to(left, lot_size)


class Slice(Struct, frozen=True, kw_only=True, gc=False):
    """So much at one price, and the market's own price that it was made of."""

    quantity: Decimal
    price: Decimal
    reference: Decimal


class FillModel:
    """Prices orders, always on the side that is worse for the trader; every figure is exact.

    What takes pays the other side's price, worsened by the slippage (a bar: by half a spread too) and
    by its share of the impact, then rounded to the tick against the trader. What rests is filled at
    its own price, and only where the market trades through it. The preset says how much of all that.
    """

    def __init__(self, config: BrokerConfig, instruments: Mapping[str, Instrument]) -> None:
        assumed = PRESETS[config.fill_preset]
        self.preset = config.fill_preset
        self.touch = assumed.touch
        self._instruments = instruments
        self.slippage = EXACT.multiply(EXACT.multiply(config.slippage_bps, BASIS_POINT), assumed.slippage)
        half_spread = EXACT.multiply(EXACT.multiply(config.half_spread_bps, BASIS_POINT), assumed.spread)
        self.bar_worse = EXACT.add(half_spread, self.slippage)
        self.impact = EXACT.multiply(EXACT.multiply(config.impact_bps, BASIS_POINT), assumed.impact)
        share = assumed.share
        self.volume_share = Decimal(1) if share is None else EXACT.multiply(config.max_volume_share, share)

    def tick_size(self, symbol: str) -> Decimal:
        """The step of a symbol's prices, and the lowest of them."""
        return self._instruments[symbol].tick_size

    def lot_size(self, symbol: str) -> Decimal:
        """The step of a symbol's quantities."""
        return self._instruments[symbol].lot_size

    def worsened(
        self,
        symbol: str,
        reference: Decimal,
        worse: Decimal,
        *,
        buys: bool,
        part: Decimal = ZERO,
        whole: Decimal = _ONE,
    ) -> Decimal:
        """``reference`` worsened by ``worse`` and the impact of ``part`` of ``whole``, on the tick grid."""
        shift = EXACT.add(EXACT.multiply(worse, whole), EXACT.multiply(self.impact, part))
        factor = EXACT.add(whole, shift) if buys else EXACT.subtract(whole, shift)
        return to_tick(EXACT.multiply(reference, factor), whole, self.tick_size(symbol), up=buys)

    def through(self, price: Decimal, limit: Decimal, *, buys: bool) -> bool:
        """Whether a trade at ``price`` fills an order that rests at ``limit``."""
        if price == limit:
            return self.touch
        return price < limit if buys else price > limit


Place = tuple[bool, Decimal]
"""Where one trades: whether one buys, and at which price of the market's."""


class QuoteMarket:
    """The best bid and ask, and what is left of their displayed sizes after what was ``taken`` before.

    What was taken does not come again while its price is displayed: a real order would have used it up.
    """

    def __init__(self, model: FillModel, quote: Quote, taken: Mapping[Place, Decimal] = {}) -> None:
        self.time_ms = quote.time_ms
        self.bid, self.ask = quote.bid, quote.ask
        self._model = model
        self._symbol = quote.symbol
        self._sizes = {True: quote.ask_size, False: quote.bid_size}
        shown = (True, quote.ask), (False, quote.bid)
        self.taken = {place: taken[place] for place in shown if place in taken}

    def best(self, *, buys: bool) -> Decimal:
        """The best price that an order of this side could trade at."""
        return self.ask if buys else self.bid

    def take(self, quantity: Decimal, *, buys: bool, limit: Decimal | None = None) -> list[Slice]:
        """What an order that takes is given now, at most the displayed size, within its limit."""
        quantity = self._use(quantity, buys=buys)
        if not quantity:
            return []
        reference = self.ask if buys else self.bid
        price = self._model.worsened(self._symbol, reference, self._model.slippage, buys=buys)
        return [Slice(quantity=quantity, price=_within(price, limit, buys=buys), reference=reference)]

    def give(self, quantity: Decimal, limit: Decimal, *, buys: bool) -> Decimal:
        """How much of an order that rests at ``limit`` the market trades through."""
        opposite = self.ask if buys else self.bid
        if not self._model.through(opposite, limit, buys=buys):
            return ZERO
        return self._use(quantity, buys=buys)

    def _use(self, quantity: Decimal, *, buys: bool) -> Decimal:
        place = buys, self.ask if buys else self.bid
        return _use(self.taken, place, self._sizes[buys], quantity, self._model.lot_size(self._symbol))


class BookMarket:
    """The recorded depth, and what is left of it after what was ``taken`` before, as in a quote."""

    def __init__(self, model: FillModel, book: Book, taken: Mapping[Place, Decimal] = {}) -> None:
        self.time_ms = book.time_ms
        self.bid, self.ask = book.bids[0].price, book.asks[0].price
        self._model = model
        self._symbol = book.symbol
        self._sides = {True: book.asks, False: book.bids}
        shown = ((buys, level.price) for buys, side in self._sides.items() for level in side)
        self.taken = {place: taken[place] for place in shown if place in taken} if taken else {}

    def best(self, *, buys: bool) -> Decimal:
        """The best price that an order of this side could trade at."""
        return self.ask if buys else self.bid

    def take(self, quantity: Decimal, *, buys: bool, limit: Decimal | None = None) -> list[Slice]:
        """Level by level what an order that takes is given; without a limit always all of it.

        What the book does not hold comes at its worst level, with the impact of its share of the depth.
        """
        model, symbol = self._model, self._symbol
        slices = []
        levels = self._sides[buys]
        for level in levels:
            reference = level.price
            if not quantity or (limit is not None and (reference > limit if buys else reference < limit)):
                break
            part = self._use(level, quantity, buys=buys)
            if part:
                price = model.worsened(symbol, reference, model.slippage, buys=buys)
                price = _within(price, limit, buys=buys)
                slices.append(Slice(quantity=part, price=price, reference=reference))
                quantity = EXACT.subtract(quantity, part)
        if quantity and limit is None:
            reference = levels[-1].price
            price = model.worsened(
                symbol, reference, model.slippage, buys=buys, part=quantity, whole=_depth(levels)
            )
            slices.append(Slice(quantity=quantity, price=price, reference=reference))
        return slices

    def give(self, quantity: Decimal, limit: Decimal, *, buys: bool) -> Decimal:
        """How much of an order that rests at ``limit`` the levels trade through."""
        given = ZERO
        for level in self._sides[buys]:
            if not self._model.through(level.price, limit, buys=buys):
                break
            given = EXACT.add(given, self._use(level, EXACT.subtract(quantity, given), buys=buys))
        return given

    def _use(self, level: Level, quantity: Decimal, *, buys: bool) -> Decimal:
        place = buys, level.price
        return _use(self.taken, place, level.size, quantity, self._model.lot_size(self._symbol))


class BarMarket:
    """A bar, and what is left of the share of its volume that may be filled in it."""

    def __init__(self, model: FillModel, bar: Bar) -> None:
        self.bar = bar
        self._model = model
        self._left = EXACT.multiply(bar.volume, model.volume_share)

    def best(self, *, buys: bool) -> Decimal:
        """The best price that came for an order of this side."""
        return self.bar.low if buys else self.bar.high

    def take(
        self, quantity: Decimal, reference: Decimal, *, buys: bool, limit: Decimal | None = None
    ) -> list[Slice]:
        """What an order that takes at ``reference`` is given, within its limit."""
        quantity = self.use(quantity)
        if not quantity:
            return []
        model, bar = self._model, self.bar
        price = model.worsened(
            bar.symbol, reference, model.bar_worse, buys=buys, part=quantity, whole=bar.volume
        )
        return [Slice(quantity=quantity, price=_within(price, limit, buys=buys), reference=reference)]

    def use(self, quantity: Decimal) -> Decimal:
        """So much of ``quantity`` as the bar's volume still has for it."""
        quantity = at_most(quantity, self._left, self._model.lot_size(self.bar.symbol))
        self._left = EXACT.subtract(self._left, quantity)
        return quantity

    def inside(self, price: Decimal, *, buys: bool) -> Decimal:
        """``price``, or where that lies on the far side of the bar's range, the range's edge."""
        return min(price, self.bar.high) if buys else max(price, self.bar.low)


Market = QuoteMarket | BookMarket | BarMarket


def _within(price: Decimal, limit: Decimal | None, *, buys: bool) -> Decimal:
    """An order is never filled beyond its limit."""
    if limit is None:
        return price
    return min(price, limit) if buys else max(price, limit)


def _use(
    taken: dict[Place, Decimal], place: Place, size: Decimal, quantity: Decimal, lot_size: Decimal
) -> Decimal:
    """So much of ``quantity`` as is left of the displayed size; it is noted as taken."""
    before = taken.get(place, ZERO)
    quantity = at_most(quantity, max(EXACT.subtract(size, before), ZERO), lot_size)
    if quantity:
        taken[place] = EXACT.add(before, quantity)
    return quantity


def _depth(levels: Sequence[Level]) -> Decimal:
    total = ZERO
    for level in levels:
        total = EXACT.add(total, level.size)
    return total
