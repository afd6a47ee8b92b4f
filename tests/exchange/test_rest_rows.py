import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.exchange import rest_rows
from bot.exchange.plausible import MalformedFrame
from bot.market import Instrument

FIXTURES = Path(__file__).parents[3] / "shared/data/bybit_fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="the shared sample messages are not here")

START = 1_672_324_800_000


@needs_fixtures
@pytest.mark.parametrize(
    ("category", "lot", "notional"), [("linear", "0.001", "5"), ("spot", "0.0001", "10")]
)
def test_instruments_are_read_from_both_categories(category: Any, lot: str, notional: str):
    answer = json.loads((FIXTURES / f"http_get_instruments_{category}.json").read_text())
    instrument: Instrument = rest_rows.instrument(answer["result"]["list"][0], category)
    assert (str(instrument.lot_size), str(instrument.min_notional)) == (lot, notional)
    assert (instrument.funding_interval_minutes > 0) == (category == "linear")


def contract(symbol: str, **changes: Any) -> dict[str, Any]:
    """A row of instruments-info, linear."""
    return {
        "symbol": symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": "BTC",
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "deliveryTime": "0",
        "leverageFilter": {"maxLeverage": "100.00"},
        "priceFilter": {"tickSize": "0.10"},
        "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxMktOrderQty": "119"},
        "fundingInterval": 480,
    } | changes


def test_an_instrument_says_who_told_its_rules_and_when():
    rules = rest_rows.instrument(contract("BTCUSDT"), "linear", known_ms=START)
    assert (rules.source, rules.known_ms, rules.status, rules.delivery_ms) == (
        "exchange",
        START,
        "Trading",
        0,
    )
    assert (rules.base_coin, rules.quote_coin) == ("BTC", "USDT")


def test_a_dated_future_is_delivered_and_never_funded():
    row = contract(
        "BTC-26DEC25", contractType="LinearFutures", quoteCoin="USDC", deliveryTime="1766736000000"
    )
    rules = rest_rows.instrument(row, "linear")
    assert (rules.funding_interval_minutes, rules.delivery_ms) == (0, 1_766_736_000_000)
    assert rules.quote_coin == "USDC"
    # A perpetual that is to be delisted is funded until then.
    rules = rest_rows.instrument(
        contract("OLDUSDT", status="Delivering", deliveryTime="1766736000000"), "linear"
    )
    assert (rules.funding_interval_minutes, rules.status) == (480, "Delivering")


@pytest.mark.parametrize("kind", ["InversePerpetual", "InverseFutures"])
def test_an_inverse_contract_is_told_apart(kind):
    with pytest.raises(rest_rows.InverseContract, match="BTCUSD"):
        rest_rows.instrument(contract("BTCUSD", contractType=kind, quoteCoin="USD"), "linear")


def tier(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "id": number, "symbol": "BTCUSDT", "riskLimitValue": str(2_000_000 * number),
        "maintenanceMargin": "0.005", "initialMargin": "0.01", "isLowestRisk": 1, "maxLeverage": "100.00",
        "mmDeduction": "",
    }  # fmt: skip
    return row | changes


def test_risk_tiers_ascend_whatever_their_order_and_other_symbols_are_left_out():
    rows = [tier(2, maintenanceMargin="0.01", mmDeduction="10000"), tier(1), tier(1, symbol="ETHUSDT")]
    first, second = rest_rows.risk_tiers(rows, "BTCUSDT")
    assert (first.limit, first.maintenance_rate, first.deduction) == (2_000_000, Decimal("0.005"), 0)
    assert (second.limit, second.max_leverage, second.deduction) == (4_000_000, 100, 10_000)
    with pytest.raises(MalformedFrame):
        rest_rows.risk_tiers([tier(1) | {"maxLeverage": None}], "BTCUSDT")
