"""FillModel: which quote or bar prices an order, and what the fill costs."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Struct

from bot.market import Bar, Instrument, Quote
from bot.trading.events import Fill, Order
from bot.trading.exact import BASIS_POINT, EXACT, ceil_to, floor_to, is_multiple, require_within


class BrokerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[broker]`` of the configuration.

    ``starting_cash`` is in quote currency, fees are fractions of the notional (defaults: Bybit's
    linear contracts without VIP level). An order may meet a quote ``latency_ms`` after its decision.
    ``slippage_bps`` worsens every market fill; ``half_spread_bps`` stands in for the spread where
    bars are all there is. A basis point is 0.0001.
    """

    starting_cash: Decimal = Decimal("10000")
    taker_fee: Decimal = Decimal("0.00055")
    maker_fee: Decimal = Decimal("0.0002")
    latency_ms: Annotated[int, Meta(ge=0, le=60_000)] = 250
    half_spread_bps: Decimal = Decimal("1")
    slippage_bps: Decimal = Decimal("1")

    def __post_init__(self) -> None:
        require_within("starting_cash", self.starting_cash, "0.01", "1000000000000")
        # A maker may be paid; a taker never is.
        require_within("taker_fee", self.taker_fee, "0", "0.1")
        require_within("maker_fee", self.maker_fee, "-0.1", "0.1")
        require_within("half_spread_bps", self.half_spread_bps, "0", "1000")
        require_within("slippage_bps", self.slippage_bps, "0", "1000")


def round_against(price: Decimal, *, buys: bool, tick_size: Decimal, reference_price: Decimal) -> Decimal:
    """``price`` on the tick grid, up for a buy and down for a sell, never below one tick.

    A reference price off that grid shows that the market's ticks are finer than the rules say (a
    default for an unknown symbol can be coarser than its whole price); its own last digit is the
    tick then.
    """
    if not is_multiple(reference_price, tick_size):
        exponent = reference_price.as_tuple().exponent
        assert isinstance(exponent, int)  # a price is finite
        tick_size = Decimal((0, (1,), exponent))
    return ceil_to(price, tick_size) if buys else max(floor_to(price, tick_size), tick_size)


class FillModel:
    """Prices market orders, always on the side that is worse for the trader; every figure is exact.

    Rule ``quote``: a buy pays the ask, a sell gets the bid, worsened by the slippage. Rule
    ``next_open``: the bar's open, worsened by half a spread and the slippage. Both are then rounded
    to the tick against the trader. The fee is quantity * price * taker fee.
    """

    def __init__(self, config: BrokerConfig, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = instruments
        self._taker_fee = config.taker_fee
        self._quote_worse = EXACT.multiply(config.slippage_bps, BASIS_POINT)
        self._open_worse = EXACT.multiply(EXACT.add(config.half_spread_bps, config.slippage_bps), BASIS_POINT)

    def at_quote(self, order: Order, quote: Quote, *, fill_id: int) -> Fill:
        """The fill of a market order by this quote, at the quote's time."""
        reference = quote.ask if order.side == "buy" else quote.bid
        return self._market(
            order, fill_id, reference, self._quote_worse, time_ms=quote.time_ms, rule="quote", late=False
        )

    def at_open(self, order: Order, bar: Bar, *, fill_id: int, late: bool) -> Fill:
        """The fill of a market order by this bar's open, at the bar's start."""
        return self._market(
            order, fill_id, bar.open, self._open_worse, time_ms=bar.start_ms, rule="next_open", late=late
        )

    def _market(
        self,
        order: Order,
        fill_id: int,
        reference: Decimal,
        worse: Decimal,
        *,
        time_ms: int,
        rule: str,
        late: bool,
    ) -> Fill:
        buys = order.side == "buy"
        factor = EXACT.add(1, worse) if buys else EXACT.subtract(1, worse)
        price = round_against(
            EXACT.multiply(reference, factor),
            buys=buys,
            tick_size=self._instruments[order.symbol].tick_size,
            reference_price=reference,
        )
        notional = EXACT.multiply(order.quantity, price)
        return Fill(
            id=fill_id,
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            price=price,
            notional=notional,
            fee=EXACT.multiply(notional, self._taker_fee),
            liquidity="taker",
            time_ms=time_ms,
            rule=rule,
            reference_price=reference,
            late=late,
        )
