"""The whole core put together for tests: no network, no disk, a list is a feed."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from bot.config import Config
from bot.market import ALWAYS_OPEN, Bar, Calendar
from bot.sessions.assembly import build_trader
from bot.strategy import Strategy
from bot.trader import Trader
from bot.trading.events import Step
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening
from tests.eager import Eager
from tests.factories import an_instrument

NOTHING_YET = Opening(
    ledger=Ledger(Decimal("10000")).snapshot(),
    open_orders=(),
    next_signal_id=1,
    next_order_id=1,
    next_fill_id=1,
)
"""An account that has just begun with 10,000."""


def a_config(*symbols: str, **sections: dict[str, Any]) -> Config:
    """Short horizons, few neighbours and plain keys, so that hundreds of bars are enough and soon done.

    Sections override keys.
    """
    tree: dict[str, dict[str, Any]] = {
        "model": {"checkpoint": ""},
        "run": {"symbols": symbols or ("BTCUSDT", "ETHUSDT")},
        "memory": {"neighbors": 8, "warmup_bars": 400},
        "strategy": {"horizon_bars": 4},
        # Made-up prices jump further than a market does in a day.
        "risk": {"max_daily_loss": 0, "max_drawdown": 0},
    }
    for section, keys in sections.items():
        tree[section] = tree.get(section, {}) | keys
    return msgspec.convert(tree, Config, strict=False)


def a_trader(
    config: Config | None = None,
    strategy: Strategy | None = None,
    *,
    quotes: bool = False,
    opening: Opening = NOTHING_YET,
    calendar: Calendar = ALWAYS_OPEN,
) -> Trader:
    """A Trader at the start of an account, or where ``opening`` says; it trades eagerly."""
    config = config or a_config()
    instruments = {symbol: an_instrument(symbol, tick_size="0.01") for symbol in config.run.symbols}
    return build_trader(
        config, strategy or Eager(config.strategy), instruments, opening, quotes=quotes, calendar=calendar
    )


def merged(*feeds: Iterable[Bar]) -> list[Bar]:
    """Bars of several symbols in the order in which they enter the core."""
    return sorted((bar for feed in feeds for bar in feed), key=lambda bar: (bar.start_ms, bar.symbol))


def run(trader: Trader, events: Iterable[Any]) -> list[Step]:
    """What each event caused."""
    return [trader.advance(event) for event in events]
