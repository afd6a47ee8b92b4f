"""For tests of your own: a recorded session, replayed in one line, with no network and no database."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from bot.config import from_json
from bot.errors import ConfigError
from bot.market import Bar, Notice
from bot.sessions import loop
from bot.sessions.assembly import build_trader, load_strategy, recorded_strategy
from bot.shipped import shipped_strategies
from bot.store.recording.header import Header
from bot.store.recording.reader import Recording
from bot.strategy import Strategy
from bot.trading.events import Equity, Fill, FundingPayment, Order, Position, Signal


class ReplayedSession(Struct, frozen=True, kw_only=True):
    """What a session came to, each list in the order in which it came about.

    ``signals[i]`` is the decision on ``bars[i]``. ``orders`` are as they stand at the end, by number,
    those that the session began with included; ``positions`` likewise, by symbol. ``equity`` has a row
    for each closed bar, fill and funding payment.
    """

    header: Header
    bars: list[Bar]
    signals: list[Signal]
    orders: list[Order]
    fills: list[Fill]
    funding: list[FundingPayment]
    equity: list[Equity]
    positions: dict[str, Position]
    notices: list[Notice]


def replay(
    recording: Path | str, *, strategy: Strategy | None = None, config: Mapping[str, Any] | None = None
) -> ReplayedSession:
    """Run a recorded session through the bot: ``session = replay("my.rec.zst")``.

    ``strategy`` decides in place of the recorded one, on the same bars and quotes; without it a recorded one
    that ships with the bot, or what ``config`` names. ``config`` maps keys
    such as ``"risk.max_position_fraction"`` to values in place of the recorded ones; what was recorded
    (``run.*``) stands. Raises InputError for an unusable recording, ConfigError for a wrong key or value.

    Quotes were recorded as the session took them: all that came while an order waited, else one a
    second at most. So another strategy's orders may meet a quote a second later than they would have live.
    """
    overrides = {} if config is None else config
    for key in overrides:
        if key.startswith("run."):
            raise ConfigError(f"override: {key}: a replay keeps the symbols and interval that were recorded")
    shipped = shipped_strategies()
    recorded = Recording.read(recording, allowed=shipped.values())
    header = recorded.header
    settings = from_json(header.config_json, overrides, f"the configuration recorded in {recording}")
    if strategy is None:
        named = "strategy.name" in overrides
        strategy = load_strategy(settings, shipped) if named else recorded_strategy(recorded, settings)
    trader = build_trader(settings, strategy, recorded.instruments, header.opening, quotes=True)
    orders = {order.id: order for order in header.opening.open_orders}
    session = ReplayedSession(
        header=header,
        bars=[],
        signals=[],
        orders=[],
        fills=[],
        funding=[],
        equity=[],
        positions={position.symbol: position for position in header.opening.ledger.positions},
        notices=[],
    )
    for entry in recorded.lived(trader.observe_all):
        step = loop.advance(trader, entry)
        if step.bar is not None and step.signal is not None:
            session.bars.append(step.bar)
            session.signals.append(step.signal)
        orders.update((order.id, order) for order in step.orders)
        session.fills.extend(step.fills)
        session.funding.extend(step.funding)
        session.equity.extend(step.equity)
        session.positions.update((position.symbol, position) for position in step.positions)
        session.notices.extend(step.notices)
    session.orders.extend(orders[id] for id in sorted(orders))
    return session
