"""Values for tests that name only what matters to them."""

from decimal import Decimal
from typing import Any

from bot.exact import EXACT
from bot.market import INTERVAL_MS, Bar, Instrument, Quote, RiskTier
from bot.model.calibration import CalibrationFit
from bot.model.forecast import Forecast
from bot.model.memory.moments import Neighbor
from bot.model.outlook import Outlook
from bot.model.similarity import Recollection
from bot.trading.events import Equity, Fill, Order, Position, Signal, Step

START_MS = 1_700_006_400_000
"""2023-11-15 00:00 UTC: on the grid of every interval up to a day."""


def _decimal(value: str | int | Decimal) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(value)


def a_bar(
    index: int = 0,
    *,
    close: str | int | Decimal = "100",
    open: str | int | Decimal | None = None,
    high: str | int | Decimal | None = None,
    low: str | int | Decimal | None = None,
    volume: str | int | Decimal = "100000",
    symbol: str = "BTCUSDT",
    interval: str = "15",
    **fields: Any,
) -> Bar:
    """The ``index``-th bar after ``START_MS``; prices that are not named leave it flat or just wide enough."""
    first, last = _decimal(close if open is None else open), _decimal(close)
    fields.setdefault("start_ms", START_MS + index * INTERVAL_MS[interval])
    return Bar(
        symbol=symbol,
        interval=interval,
        open=first,
        high=max(first, last) if high is None else _decimal(high),
        low=min(first, last) if low is None else _decimal(low),
        close=last,
        volume=_decimal(volume),
        **fields,
    )


def a_quote(
    *,
    bid: str | int | Decimal = "99.9",
    ask: str | int | Decimal = "100.1",
    time_ms: int = START_MS,
    symbol: str = "BTCUSDT",
    size: str | int | Decimal = "100000",
    mark: str | int | Decimal | None = None,
) -> Quote:
    return Quote(
        symbol=symbol,
        time_ms=time_ms,
        bid=_decimal(bid),
        bid_size=_decimal(size),
        ask=_decimal(ask),
        ask_size=_decimal(size),
        mark=None if mark is None else _decimal(mark),
    )


def an_instrument(symbol: str = "BTCUSDT", **fields: Any) -> Instrument:
    """Bybit's rules for a linear BTCUSDT, but for what is named; figures may be given as text."""
    rules: dict[str, Any] = {"tick_size": "0.1", "lot_size": "0.001", "min_quantity": "0.001", **fields}
    for name in ("tick_size", "lot_size", "min_quantity", "min_notional", "max_market_quantity"):
        if rules.get(name) is not None:
            rules[name] = _decimal(rules[name])
    return Instrument(symbol=symbol, **rules)


def a_tier(limit: str, rate: str, max_leverage: str, deduction: str = "0") -> RiskTier:
    """A tier of positions worth up to ``limit``; ``rate`` is what they maintain."""
    return RiskTier(
        limit=Decimal(limit),
        maintenance_rate=Decimal(rate),
        initial_rate=1 / Decimal(max_leverage),
        max_leverage=Decimal(max_leverage),
        deduction=Decimal(deduction),
    )


def an_order(
    *,
    side: str = "buy",
    quantity: str | int | Decimal = "1",
    created_ms: int = START_MS,
    symbol: str = "BTCUSDT",
    **fields: Any,
) -> Order:
    """An order as the sizer drafts it: number 0, due at once."""
    fields = {"id": 0, "signal_id": 1, "updated_ms": created_ms, "due_ms": created_ms, **fields}
    return Order(symbol=symbol, side=side, quantity=_decimal(quantity), created_ms=created_ms, **fields)


def a_fill(
    id: int = 1,
    *,
    side: str = "buy",
    quantity: str | int | Decimal = "1",
    price: str | int | Decimal = "100",
    fee: str | int | Decimal | None = None,
    fee_rate: str | int | Decimal = "0",
    time_ms: int | None = None,
    symbol: str = "BTCUSDT",
    **fields: Any,
) -> Fill:
    """The ``id``-th fill, one a second; without ``fee`` it costs ``fee_rate`` of its notional."""
    size, at = _decimal(quantity), _decimal(price)
    notional = EXACT.multiply(size, at)
    fields = {"order_id": id, "liquidity": "taker", "rule": "quote", "reference_price": at, **fields}
    return Fill(
        id=id,
        symbol=symbol,
        side=side,
        quantity=size,
        price=at,
        notional=notional,
        fee=EXACT.multiply(notional, _decimal(fee_rate)) if fee is None else _decimal(fee),
        time_ms=START_MS + id * 1000 if time_ms is None else time_ms,
        **fields,
    )


def a_signal(action: str = "long", *, reason: str = "because the test says so", **fields: Any) -> Signal:
    return Signal(action=action, reason=reason, **fields)


def a_neighbor(**fields: Any) -> Neighbor:
    known: dict[str, Any] = {"symbol": "BTCUSDT", "bar_start_ms": START_MS, "similarity": 0.83, "weight": 1.0}
    return Neighbor(**(known | {"forward_return": 0.012, "volatility": 0.01, "regime": "up calm"} | fields))


def an_outlook(**fields: Any) -> Outlook:
    """Half head, nearly half memory, of moments that weigh as 900."""
    known: dict[str, Any] = {
        "quantiles": (-0.03, -0.01, 0.001, 0.01, 0.04),
        "std": 0.02,
        "head": (-0.02, -0.01, 0.002, 0.01, 0.03),
        "head_ratio": 0.54,
        "recalled": (-0.04, -0.01, 0.0, 0.01, 0.05),
        "gate": 0.41,
        "null": 0.02,
        "effective_sample_size": 900.0,
    }
    return Outlook(**(known | fields))


def a_recollection(*neighbors: Neighbor, **fields: Any) -> Recollection:
    """What a memory of a thousand moments says of these neighbors, or why it has none."""
    forecast = Forecast(
        expected_return=0.004,
        return_std=0.011,
        rise_probability=0.62,
        raw_probability=0.66,
        mean_return=0.005,
        base_return=0.001,
        base_ratio=0.51,
        moments=1_000,
        effective_sample_size=7.2,
        p_value=0.31,
        best_similarity=0.83,
        calibration=CalibrationFit(vote_slope=0.4, n_votes=412, similarity_rank=0.83, head_slope=0.3),
    )
    known: dict[str, Any] = {
        "regime": "up calm",
        "neighbors": neighbors,
        "regime_votes": {"up calm": 0.75, "down turbulent": 0.25} if neighbors else {},
        "forecast": forecast if neighbors else None,
        "missing": "" if neighbors else "no moment is old enough yet",
        "moments": 1_000,
    }
    return Recollection(**(known | fields))


def an_equity(cash: str = "10000", unrealized: str = "0", time_ms: int = START_MS) -> Equity:
    return Equity(
        time_ms=time_ms,
        cash=Decimal(cash),
        unrealized_pnl=Decimal(unrealized),
        equity=EXACT.add(Decimal(cash), Decimal(unrealized)),
    )


def a_position(quantity: str = "0.5", cost: str = "50.25", **fields: Any) -> Position:
    known: dict[str, Any] = {"symbol": "BTCUSDT", "opened_ms": START_MS, "updated_ms": START_MS}
    return Position(quantity=Decimal(quantity), cost=Decimal(cost), **(known | fields))


def a_step(index: int = 0, **fields: Any) -> Step:
    """The Step of the ``index``-th bar, decided on with a hold unless a signal is named."""
    bar = fields.pop("bar", None) or a_bar(index)
    known: dict[str, Any] = {
        "time_ms": bar.close_ms,
        "bar": bar,
        "signal_id": index + 1,
        "signal": a_signal("hold", reason="no gate was passed"),
        "equity": (an_equity(time_ms=bar.close_ms),),
    }
    return Step(**(known | fields))
