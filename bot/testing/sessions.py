"""Sessions in one line, with no network and no database: a recorded one again, or bars from the first on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import Struct

from bot.config import Config, from_json
from bot.errors import ConfigError, InputError
from bot.market import Bar, Instrument, Notice
from bot.sessions import loop
from bot.sessions.assembly import build_trader, load_strategy, recorded_strategy, strategy_of
from bot.shipped import shipped_strategies
from bot.sources.instruments import shipped as shipped_rules
from bot.store.recording.header import Header
from bot.store.recording.reader import Recording
from bot.strategy import Strategy, StrategyConfig
from bot.trader import Trader
from bot.trading.events import Equity, Fill, FundingPayment, Order, Position, RoundTrip, Signal, Step
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening


class BacktestedSession(Struct, frozen=True, kw_only=True):
    """What a session came to, each list in the order in which it came about.

    ``signals[i]`` is the decision on ``bars[i]``. ``orders`` are as they stand at the end, by number,
    those that the session began with included; ``positions`` likewise, by symbol. ``round_trips`` are as they
    stand at the end, by number. ``equity`` has a row for each closed bar, fill and funding payment.
    """

    bars: list[Bar] = []
    signals: list[Signal] = []
    orders: list[Order] = []
    fills: list[Fill] = []
    funding: list[FundingPayment] = []
    equity: list[Equity] = []
    positions: dict[str, Position] = {}
    notices: list[Notice] = []
    round_trips: list[RoundTrip] = []


class ReplayedSession(BacktestedSession, frozen=True, kw_only=True):
    """The same of a recorded session; ``header`` is what it began with."""

    header: Header


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
    session = ReplayedSession(header=header)
    session.positions.update((position.symbol, position) for position in header.opening.ledger.positions)
    steps = (loop.advance(trader, entry) for entry in recorded.lived(trader.observe_all))
    _collect(session, header.opening, steps)
    return session


def backtest(
    bars: Iterable[Bar],
    strategy: Strategy | Callable[[StrategyConfig], Strategy] | str,
    *,
    warmup: int = 0,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> BacktestedSession:
    """Decide on bars in memory, by the bot's defaults: ``session = backtest(bars, Reversal, bars_back=3)``.

    ``bars`` are of one interval and of any symbols; they enter the core in the order of their closes, those of one
    close by their symbols' names. The first ``warmup`` bars are observed, not decided on. ``strategy`` is a class,
    an instance, or a name. ``config`` maps keys such as ``"broker.taker_fee"`` to values; ``options`` are the
    strategy's own. Each symbol has the shipped rules of Bybit's contract, or plain ones that round nothing coarser
    than its prices. Raises InputError without bars, ConfigError for a wrong key, value or option, StrategyError
    where the strategy fails.
    """
    fed = in_core_order(bars)
    settings = config_of(fed, strategy, config or {}, options)
    made = made_strategy(strategy, settings)
    trader = in_memory(fed, made, settings)
    trader.observe_all(fed[:warmup])
    session = BacktestedSession()
    _collect(session, beginning(settings), map(trader.advance, fed[warmup:]))
    return session


def in_core_order(bars: Iterable[Bar]) -> list[Bar]:
    """Bars in the order in which they enter the core. Raises InputError for none, and for several intervals."""
    fed = sorted(bars, key=lambda bar: (bar.close_ms, bar.symbol))
    if len({bar.interval for bar in fed}) != 1:
        raise InputError("bars: give at least one bar, and all of one interval")
    return fed


def config_of(
    bars: Sequence[Bar],
    strategy: object,
    overrides: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Config:
    """The configuration of a run over these bars, under overrides and a strategy's options."""
    given = {
        "run.symbols": sorted({bar.symbol for bar in bars}),
        "run.interval": bars[0].interval,
        "strategy.on_error": "stop",
        **({"strategy.name": strategy} if isinstance(strategy, str) else {}),
        **{f"strategy.options.{name}": value for name, value in options.items()},
        **overrides,
    }
    return from_json("{}", given, "the configuration")


def made_strategy(strategy: Any, settings: Config) -> Strategy:
    """The strategy of a name, a class, or the instance itself."""
    if isinstance(strategy, str):
        return load_strategy(settings, shipped_strategies())
    if isinstance(strategy, type):
        return strategy_of(strategy, settings, f"{strategy.__module__}:{strategy.__qualname__}")
    made: Strategy = strategy
    return made


def in_memory(bars: Sequence[Bar], strategy: Strategy, settings: Config) -> Trader:
    """A Trader at the start of an account, with rules for the symbols of these bars; bars price its orders."""
    rules = {symbol: _rules(symbol, bars) for symbol in settings.run.symbols}
    return build_trader(settings, strategy, rules, beginning(settings), quotes=False)


def beginning(settings: Config) -> Opening:
    """An account that has just begun with ``broker.starting_cash``."""
    ledger = Ledger(settings.broker.starting_cash).snapshot()
    return Opening(ledger=ledger, open_orders=(), next_signal_id=1, next_order_id=1, next_fill_id=1)


def _rules(symbol: str, bars: Sequence[Bar]) -> Instrument:
    listed = shipped_rules().get(("linear", symbol))
    if listed is not None:
        return listed
    digits = max(-int(bar.close.as_tuple().exponent) for bar in bars if bar.symbol == symbol)
    smallest = Decimal("0.000001")
    return Instrument(
        symbol=symbol,
        tick_size=min(Decimal("0.01"), Decimal(1).scaleb(-max(0, digits))),
        lot_size=smallest,
        min_quantity=smallest,
        source="inferred",
    )


def _collect(session: BacktestedSession, opening: Opening, steps: Iterable[Step]) -> None:
    """Sort what Steps brought into the session's lists."""
    orders = {order.id: order for order in opening.open_orders}
    trips = {trip.id: trip for trip in opening.track.trips if trip.closed_ms is None}
    for step in steps:
        if step.bar is not None and step.signal is not None:
            session.bars.append(step.bar)
            session.signals.append(step.signal)
        orders.update((order.id, order) for order in step.orders)
        trips.update((trip.id, trip) for trip in step.round_trips)
        session.fills.extend(step.fills)
        session.funding.extend(step.funding)
        session.equity.extend(step.equity)
        session.positions.update((position.symbol, position) for position in step.positions)
        session.notices.extend(step.notices)
    session.orders.extend(orders[id] for id in sorted(orders))
    session.round_trips.extend(trips[id] for id in sorted(trips))
