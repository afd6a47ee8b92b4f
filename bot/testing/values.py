"""A bar and a situation that name only what matters to a test."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.costs import CostBook, Costs
from bot.exact import EXACT, ZERO
from bot.market import INTERVAL_MS, Bar, Instrument
from bot.model.memory.moments import MemoryConfig
from bot.model.similarity import Recollection, SimilarityModel
from bot.run_view import RunView
from bot.strategy import Situation
from bot.trading.account import AccountTrack, TrackState
from bot.trading.broker import PaperBroker
from bot.trading.events import Equity, Order, Position, RoundTrip
from bot.trading.fills import BrokerConfig
from bot.trading.ledger import Ledger

START_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC, a Monday: on the grid of every interval."""

Number = str | int | float | Decimal

_COSTS = Costs(taker_fee=0.00055, half_spread=0.0001, slippage=0.0001)


def a_bar(
    index: int = 0,
    *,
    close: Number = "100",
    open: Number | None = None,
    high: Number | None = None,
    low: Number | None = None,
    volume: Number = "1000",
    symbol: str = "BTCUSDT",
    interval: str = "60",
    start_ms: int | None = None,
) -> Bar:
    """The ``index``-th bar from :data:`START_MS` on; prices that are not named leave it just wide enough.

    >>> a_bar(3, close="101.5").close
    Decimal('101.5')
    """
    last = _decimal(close)
    first = last if open is None else _decimal(open)
    return Bar(
        symbol=symbol,
        interval=interval,
        start_ms=START_MS + index * INTERVAL_MS[interval] if start_ms is None else start_ms,
        open=first,
        high=max(first, last) if high is None else _decimal(high),
        low=min(first, last) if low is None else _decimal(low),
        close=last,
        volume=_decimal(volume),
    )


def a_situation(
    bars: Sequence[Bar] = (),
    *,
    others: Mapping[str, Sequence[Bar]] = {},
    position: Number = 0,
    entry_price: Number | None = None,
    bars_held: int = 0,
    open_orders: Sequence[Order] = (),
    round_trip: RoundTrip | None = None,
    recollection: Recollection | None = None,
    equity: Number = 10_000,
    costs: Costs = _COSTS,
    state: Any = None,
) -> Situation:
    """What a strategy sees at the close of the last of ``bars`` (without any, of one bar at 100).

    ``position`` is signed, in base coin, bought at ``entry_price`` (the last close) ``bars_held`` bars ago.
    ``others`` are the bars of the run's other symbols; those that close later are not seen. ``state`` is the
    strategy's own.

    >>> situation = a_situation([a_bar(index, close=100 + index) for index in range(5)], position=-2)
    >>> situation.recent.closes(2).tolist(), situation.position.quantity
    ([103.0, 104.0], Decimal('-2'))
    """
    bars = list(bars) or [a_bar()]
    bar = bars[-1]
    model = SimilarityModel(MemoryConfig(), interval=bar.interval, horizon_bars=24, remembers=False)
    for each in (*bars, *(other for feed in others.values() for other in feed)):
        model.observe(each)
    quantity, price = _decimal(position), _decimal(bar.close if entry_price is None else entry_price)
    opened_ms = bar.close_ms - bars_held * INTERVAL_MS[bar.interval]
    held = Position(
        symbol=bar.symbol,
        quantity=quantity,
        cost=EXACT.multiply(quantity, price),
        opened_ms=opened_ms if quantity else 0,
        updated_ms=opened_ms if quantity else 0,
    )
    rules = {symbol: _a_symbol(symbol) for symbol in (bar.symbol, *others)}
    broker = PaperBroker(BrokerConfig(), rules)
    broker.restore(open_orders)
    cash = _decimal(equity)
    track = AccountTrack(
        TrackState(units=cash, trips=() if round_trip is None else (round_trip,)), INTERVAL_MS[bar.interval]
    )
    book = CostBook(dict.fromkeys(rules, costs), INTERVAL_MS[bar.interval])
    return Situation(
        bar=bar,
        recent=model.recent(bar.symbol),
        recollection=recollection,
        position=held,
        bars_held=bars_held,
        account=Equity(time_ms=bar.close_ms, cash=cash, unrealized_pnl=ZERO, equity=cash),
        costs=costs,
        run=RunView(model, _ledger(cash, held), track, broker, book, rules),
        state=state,
    )


def _ledger(cash: Decimal, position: Position) -> Ledger:
    empty = Ledger(cash).snapshot()
    traded = {position.symbol: position.quantity}
    if not position.quantity:
        return Ledger(cash)
    return Ledger.from_state(replace(empty, positions=(position,), traded=traded, spent=position.cost))


def _a_symbol(symbol: str) -> Instrument:
    step = Decimal("0.001")
    return Instrument(symbol=symbol, tick_size=step, lot_size=step, min_quantity=step)


def _decimal(value: Number) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))
