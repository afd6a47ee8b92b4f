"""A symbol's trading rules as a pretend exchange lists them: rows of instruments-info and risk-limit."""

from decimal import Decimal
from typing import Any

from bot.market import Instrument, plain
from bot.market.symbols import is_dated, quote_coin_of


def instrument_fields(instrument: Instrument) -> dict[str, Any]:
    """A row of instruments-info."""
    symbol, tick, lot = instrument.symbol, instrument.tick_size, instrument.lot_size
    quote = quote_coin_of(symbol) or "USDT"
    base = symbol.partition("-")[0].removesuffix("PERP").removesuffix(quote)
    common = {"symbol": symbol, "status": instrument.status, "baseCoin": base, "quoteCoin": quote}
    if instrument.category == "spot":
        return common | {
            "innovation": "0",
            "marginTrading": "utaOnly",
            "lotSizeFilter": {
                "basePrecision": plain(lot),
                "quotePrecision": "0.0000001",
                "minOrderQty": plain(instrument.min_quantity),
                "maxOrderQty": plain(lot * 1_000_000),
                "minOrderAmt": plain(instrument.min_notional),
                "maxOrderAmt": "4000000",
                "maxLimitOrderQty": plain(lot * 1_000_000),
                "maxMarketOrderQty": plain(lot * 500_000),
            },
            "priceFilter": {"tickSize": plain(tick)},
        }
    return common | {
        "contractType": "LinearFutures" if is_dated(symbol) else "LinearPerpetual",
        "launchTime": "1584230400000",
        "deliveryTime": str(instrument.delivery_ms),
        "deliveryFeeRate": "",
        "priceScale": str(max(0, -int(tick.as_tuple().exponent))),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {
            "minPrice": plain(tick),
            "maxPrice": plain(tick * 20_000_000),
            "tickSize": plain(tick),
        },
        "lotSizeFilter": {
            "maxOrderQty": plain(lot * 1_000_000),
            "minOrderQty": plain(instrument.min_quantity),
            "qtyStep": plain(lot),
            "postOnlyMaxOrderQty": plain(lot * 1_000_000),
            "maxMktOrderQty": plain(lot * 500_000),
            "minNotionalValue": plain(instrument.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": instrument.funding_interval_minutes,
        "settleCoin": quote,
        "copyTrading": "none",
        "upperFundingRate": "0.005",
        "lowerFundingRate": "-0.005",
        "isPreListing": False,
    }


def risk_tiers(symbol: str) -> list[dict[str, Any]]:
    """Risk tiers with a maintenance margin that is continuous from one to the next."""
    tiers = []
    width, deduction = 2_000_000, Decimal(0)
    for number in range(1, 6):
        maintenance = Decimal("0.005") * number
        if number > 1:
            deduction += width * (number - 1) * Decimal("0.005")
        tiers.append(
            {
                "id": number,
                "symbol": symbol,
                "riskLimitValue": str(width * number),
                "maintenanceMargin": plain(maintenance),
                "initialMargin": plain(2 * maintenance),
                "isLowestRisk": int(number == 1),
                "maxLeverage": f"{Decimal(100) / number:.2f}",
                "mmDeduction": plain(deduction.quantize(Decimal(1))) if deduction else "",
            }
        )
    return tiers
