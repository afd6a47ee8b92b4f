"""Rows of Bybit's REST answers to market values. Pure: nothing raised but MalformedFrame and InverseContract."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from bot.exchange import plausible, wire
from bot.exchange.plausible import MalformedFrame, shown
from bot.market import Bar, BarSource, Category, Instrument, RiskTier


class InverseContract(Exception):
    """A contract that is settled in its own coin; the text is its symbol."""


def bar_from_row(row: Any, symbol: str, interval: str, source: BarSource) -> Bar:
    """A bar from one row of REST klines: [start, open, high, low, close, volume, turnover], all text.

    https://bybit-exchange.github.io/docs/v5/market/kline
    """
    if not isinstance(row, list) or len(row) < 7:
        raise MalformedFrame("no row of seven figures")
    return wire.bar_of(symbol, interval, plausible.time_ms(row[0]), row[1:7], source)


def row_start_ms(row: Any) -> int:
    """The start of a bar from one row of REST klines."""
    if not isinstance(row, list) or not row:
        raise MalformedFrame("no row of figures")
    return plausible.time_ms(row[0])


def row_price(row: Any, place: int) -> Decimal:
    """One of the prices in a row of REST klines."""
    if not isinstance(row, list) or len(row) <= place:
        raise MalformedFrame("a row with too few figures")
    return plausible.price(row[place])


def delivery_price(rows: Iterable[Any], symbol: str) -> Decimal | None:
    """What a contract was delivered at last, from rows of ``delivery-price``; None where none is of it."""
    try:
        own = [row for row in rows if row["symbol"] == symbol]
        newest = max(own, key=lambda row: plausible.time_ms(row["deliveryTime"]), default=None)
        return None if newest is None else plausible.price(newest["deliveryPrice"])
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedFrame(f"delivery of {symbol}: {shown(error)}") from error


def risk_tiers(rows: Iterable[Any], symbol: str) -> tuple[RiskTier, ...]:
    """A symbol's risk tiers, ascending, from rows of ``risk-limit``.

    https://bybit-exchange.github.io/docs/v5/market/risk-limit. An empty ``mmDeduction`` is none.
    """
    try:
        tiers = [
            RiskTier(
                limit=plausible.amount(row["riskLimitValue"]),
                maintenance_rate=plausible.rate(row["maintenanceMargin"]),
                initial_rate=plausible.share(row["initialMargin"]),
                max_leverage=plausible.leverage(row["maxLeverage"]),
                deduction=plausible.amount(row.get("mmDeduction") or "0"),
            )
            for row in rows
            if row["symbol"] == symbol
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedFrame(f"risk limits of {symbol}: {shown(error)}") from error
    if any(tier.maintenance_rate < 0 or not tier.limit for tier in tiers):
        raise MalformedFrame(f"risk limits of {symbol}: a tier without a limit, or with less than no margin")
    return tuple(sorted(tiers, key=lambda tier: tier.limit))


def funding_rate(row: Any, symbol: str) -> tuple[int, Decimal]:
    """When a rate was settled, and the rate, from one row of ``funding/history``."""
    try:
        if row.get("symbol", symbol) != symbol:
            raise MalformedFrame(f"a rate of {shown(row['symbol'])} among those of {symbol}")
        return plausible.time_ms(row["fundingRateTimestamp"]), plausible.rate(row["fundingRate"])
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedFrame(f"funding of {symbol}: {shown(error)}") from error


def instrument(fields: Any, category: Category, known_ms: int = 0) -> Instrument:
    """A symbol's rules from ``instruments-info``.

    https://bybit-exchange.github.io/docs/v5/market/instrument. Spot's step is ``basePrecision`` and
    its limit that counts ``minOrderAmt``; linear gives ``fundingInterval`` in minutes. A dated future is
    delivered and never funded. ``known_ms`` is the answer's time. Raises InverseContract for one that is not linear.
    """
    if not isinstance(fields, dict):
        raise MalformedFrame(f"rules that are {shown(fields)}")
    if shown(fields.get("contractType", "")).startswith("'Inverse"):
        raise InverseContract(plausible.name(fields.get("symbol", "?")))
    try:
        lots, prices = fields["lotSizeFilter"], fields["priceFilter"]
        spot = category == "spot"
        unfunded = spot or fields.get("contractType") == "LinearFutures"
        largest = lots.get("maxMarketOrderQty" if spot else "maxMktOrderQty")
        delivery = fields.get("deliveryTime") or "0"
        return Instrument(
            symbol=plausible.name(fields["symbol"]),
            category=category,
            tick_size=plausible.step(prices["tickSize"]),
            lot_size=plausible.step(lots["basePrecision"] if spot else lots["qtyStep"]),
            min_quantity=plausible.amount(lots.get("minOrderQty", "0")),
            min_notional=plausible.amount(lots.get("minOrderAmt" if spot else "minNotionalValue", "0")),
            max_market_quantity=plausible.amount(largest) if largest else None,
            funding_interval_minutes=0
            if unfunded
            else plausible.funding_minutes(fields.get("fundingInterval", 480)),
            max_leverage=plausible.leverage(fields.get("leverageFilter", {}).get("maxLeverage", "1")),
            known_ms=known_ms,
            status=plausible.name(fields.get("status") or "Trading"),
            delivery_ms=0 if delivery in ("0", 0) else plausible.time_ms(delivery),
            base_coin=plausible.name(fields.get("baseCoin", "")),
            quote_coin=plausible.name(fields.get("quoteCoin", "")),
        )
    except MalformedFrame as error:
        raise MalformedFrame(f"instrument {shown(fields.get('symbol', '?'))}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedFrame(f"instrument {shown(fields.get('symbol', '?'))}: {shown(error)}") from error
