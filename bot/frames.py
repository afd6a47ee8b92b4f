"""Tables as pandas frames: every column's meaning and dtype is said here, once.

A column of times loses its ending ``_ms`` and becomes UTC timestamps. Prices, quantities and money are stored as exact
decimals: a frame has them as float64 or, ``exact``, as :class:`~decimal.Decimal`. pandas is imported when a frame is
made, not before.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from bot.errors import InputError
from bot.market import INTERVAL_MS, Bar, interval_from_name
from bot.market.bounds import LAST_MS
from bot.market.symbols import symbol_problem
from bot.model.similarity import Recollection
from bot.sources.bar_rows import NAMES
from bot.sources.csv_files import MOST_PROBLEMS, require_sound

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Kind = Literal["time", "decimal", "number", "integer", "flag", "text"]

DTYPES: Mapping[Kind, str] = {
    "time": "datetime64[ms, UTC]",
    "decimal": "float64",
    "number": "float64",
    "integer": "Int64",
    "flag": "bool",
    "text": "object",
}
"""The dtype of each kind of column; ``exact`` decimals are ``object``. What is unknown is NaT, NaN, <NA> or None."""

INDEXES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("sessions", "signals", "orders", "fills", "transfers", "events", "halts"), ("id",)),
    **dict.fromkeys(("requests", "round_trips", "trials"), ("id",)),
    **dict.fromkeys(("instruments", "positions"), ("symbol",)),
    **dict.fromkeys(("equity", "funding", "funding_rates"), ("time",)),
    "bars": ("start",),
    "neighbors": ("signal_id", "rank"),
    "trade_log": ("fill_id",),
}
"""What the rows of each table's frame are indexed by."""


class Column(Struct, frozen=True):
    """What a column holds. Amounts are in quote currency, quantities in the base coin, fractions 0.01 for 1 %."""

    kind: Kind
    text: str


def _columns(kind: Kind, /, **texts: str) -> dict[str, Column]:
    return {name: Column(kind, text) for name, text in texts.items()}


COLUMNS: Mapping[str, Column] = {
    **_columns(
        "time",
        time="when it happened or was settled",
        started="when the session began",
        ended="when it ended; NaT while it runs",
        known="when the rules were told",
        delivery="when the contract is delivered; 1970 for one that is not",
        start="when the bar begins",
        bar_start="when the bar begins that was decided on; of a neighbor, the moment's own",
        decided="when the bar closed that was decided on",
        created="when it was decided or asked for",
        updated="when it last changed",
        due="the earliest time of a fill: the decision and the latency",
        active="from when on the exchange has it",
        triggered="when its stop was reached",
        valid_until="from when on a limit entry fills no more; NaT for one that waits on",
        reference="when the price was seen that a fill was made from",
        opened="when the position was entered; 1970 for a flat one",
        closed="when it was left; NaT while it is open",
        resumed="when a person resumed; NaT while it lasts",
        made="when a person asked",
        done="when it was carried out",
        first="start of the first bar judged",
        last="start of the last bar judged",
    ),
    **_columns(
        "decimal",
        start_equity="the account's worth as the session began",
        start_unit_value="what a unit of the account was worth then",
        tick_size="step of prices",
        lot_size="step of quantities",
        min_quantity="least quantity of an order",
        min_notional="least worth of an order",
        max_market_quantity="most of a market order; NaN without such a rule",
        max_leverage="highest leverage, as a multiple",
        open="first price of the bar",
        high="highest price of the bar",
        low="lowest price of the bar",
        close="last price of the bar",
        volume="traded quantity",
        turnover="traded worth; NaN where the source has none",
        quantity="quantity; of a position signed, and of a round trip the largest that was held",
        filled_quantity="what of the order is filled",
        limit_price="price of a limit order",
        stop_price="price that triggers the order",
        distance="how far a trailing stop stays behind the best price",
        anchor="the best price that a trailing stop has seen",
        price="price of the fill",
        notional="quantity times price",
        fee="fee of the fill; positive is paid",
        realized_pnl="profit or loss of what was closed, before fees",
        reference_price="the market's price that the fill was made from",
        slippage="how much worse the fill is, a unit of the base coin",
        rate="funding rate, a fraction of the position's worth",
        mark_price="price that valued the position",
        payment="funding; positive is received",
        amount="deposit, or negative withdrawal",
        entry_price="mean price of the entry",
        cost="what the open position cost, signed",
        cash="balance at cost",
        unrealized_pnl="profit or loss of open positions at the last price",
        equity="cash and unrealized PnL",
        unit_value="net asset value a unit, 1 at the account's start",
        entry_notional="worth of all entries",
        exit_quantity="what of it was closed",
        exit_price="mean price of the exits; NaN before any",
        exit_notional="worth of all exits",
        fees="fees of its fills",
        funding="funding received while it was held",
        net="realized PnL less fees, with funding",
        adverse="largest fall of the position below its entry, as a fraction of the entry's price",
        favourable="largest profit that was open meanwhile",
    ),
    **_columns(
        "number",
        confidence="calibrated probability of the direction called",
        expected_return="log return expected over the horizon, before costs",
        return_std="its standard deviation",
        positive_ratio="probability of a rise",
        similarity="how alike the moment is, at most 1",
        weight="its weight in the forecast",
        forward_return="log return that followed the moment",
        sharpe="annualized Sharpe ratio",
        base_ratio="part of all moments known that rose",
        effective="effective sample size of the neighbors (Kish)",
        chance="p-value: how often moments without an edge lean as far",
        value="figure that a check looked at",
        limit="what it was compared with",
    ),
    **_columns(
        "integer",
        id="number, ascending",
        session_id="the session",
        closed_session_id="the session in which it was left",
        signal_id="the decision that led to it",
        order_id="the order",
        fill_id="the fill",
        parent_id="the entry that an exit protects",
        equity_id="the row of equity right after it",
        resumed_equity_id="the last row of equity before it was resumed",
        rank="1 is the nearest",
        funding_interval_minutes="minutes between settlements; 0 where no funding is paid",
        horizon_bars="bars that the forecast reaches",
        bars="bars that it lasted",
        moments="matured moments that the memory held, of all symbols",
        neighbors="moments that were recalled",
        count="how many came so far",
        stopped="how many did not",
    ),
    **_columns(
        "flag",
        late="a newer bar had closed, or it became known late: it could open nothing",
        reduce_only="it may only close",
        passed="the condition held",
    ),
    **_columns(
        "text",
        mode="demo, testnet, mainnet, backtest or replay",
        config_json="its settings",
        checkpoint_sha256="what names the model's weights",
        recording="its recording",
        exit_reason="how it ended; of a round trip, what closed it",
        checks_json="the strategy's checks: of a session their labels, of a decision their figures",
        symbol="symbol",
        category="linear, spot or equity",
        tiers="risk limits, as JSON",
        source="where it is from",
        status="how it stands",
        base_coin="coin that is traded",
        quote_coin="coin that it is priced in",
        interval="bar interval in Bybit's notation",
        action="long, short or hold",
        regime="direction and volatility, as up/calm or sideways/turbulent",
        reason="why, in words",
        detail_json="what the strategy and the memory knew",
        asked="long, short or close; None of a hold",
        failed_check="the first check that failed",
        no_order="why no order followed",
        side="buy or sell; of a round trip, long or short",
        type="market, limit, stop, ..",
        time_in_force="gtc, ioc or post_only",
        liquidity="maker or taker",
        rule="how the price of a fill came about; of a halt, the limit",
        preset="fill preset",
        mark_source="where the mark price is from",
        kind="what kind",
        detail="what happened, in words",
        note="what a person noted",
        symbols="symbols",
        outcome="what came of it",
        error="what of it could not be done",
        command="the command that judged",
        configuration="what names settings, weights and strategy",
        time_utc="time of the fill as text",
        closest_moments="the three moments most alike",
        missing="why nothing could be recalled",
        step="how far: decisions, the strategy's checks, signals, orders, accepted, filled, round_trips",
        label="what a person calls it",
        mostly="what stopped most of the others, with the first case",
        check="the strategy's name of a condition",
        relation="how the value had to stand to the limit",
    ),
}
"""Every column of every frame, by its name there; a name means the same in all tables."""

_UNKNOWN = Column("text", "as it is stored")


def column_name(stored: str) -> str:
    """What a stored column is called in a frame: times lose their unit."""
    return stored.removesuffix("_ms")


def table_frame(
    table: str, names: Sequence[str], rows: Sequence[Sequence[Any]], *, exact: bool = False
) -> "DataFrame":
    """Rows of a table, with the names of their columns as stored, as its frame."""
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    named = {column_name(name): values for name, values in zip(names, cells, strict=True)}
    return frame_of(named, index=INDEXES[table], exact=exact)


def frame_of(
    columns: Mapping[str, Iterable[Any]], *, index: Sequence[str] = (), exact: bool = False
) -> "DataFrame":
    """A frame of columns as they are stored: times as milliseconds, decimals as their text or as Decimals."""
    import pandas

    frame = pandas.DataFrame(
        {
            name: _series(COLUMNS.get(name, _UNKNOWN).kind, list(cells), exact=exact)
            for name, cells in columns.items()
        }
    )
    return frame.set_index(list(index)) if index else frame


def bars_frame(bars: Iterable[Bar], *, exact: bool = False) -> "DataFrame":
    """Bars as a frame: index ``start``, columns ``open, high, low, close, volume, turnover``."""
    listed = list(bars)
    figures = ("open", "high", "low", "close", "volume", "turnover")
    columns: dict[str, list[Any]] = {"start": [bar.start_ms for bar in listed]}
    columns |= {name: [getattr(bar, name) for bar in listed] for name in figures}
    return frame_of(columns, index=("start",), exact=exact)


def recalled_frame(recalled: Sequence[tuple[Bar, Recollection]]) -> "DataFrame":
    """What the memory said at the close of each bar; the columns are those of :func:`bot.recall`."""
    forecasts = [said.forecast for _, said in recalled]
    figures = ("positive_ratio", "expected_return", "return_std", "base_ratio", "effective", "chance")
    columns: dict[str, list[Any]] = {
        "start": [bar.start_ms for bar, _ in recalled],
        "symbol": [bar.symbol for bar, _ in recalled],
        "regime": [said.regime for _, said in recalled],
        "moments": [said.moments for _, said in recalled],
        "neighbors": [len(said.neighbors) for _, said in recalled],
        "similarity": [None if forecast is None else forecast.best_similarity for forecast in forecasts],
    }
    columns |= {
        name: [None if each is None else getattr(each, name) for each in forecasts] for name in figures
    }
    columns["missing"] = [said.missing or None for _, said in recalled]
    return frame_of(columns, index=("start",))


def bars_of_frame(frame: "DataFrame", symbol: str | None, interval: str | None) -> list[Bar]:
    """The bars of a frame, ascending, each figure with the fewest digits that give its float again.

    Times are the starts of bars: the index where that has times, else a column ``start_ms``, ``date``, ``timestamp``
    and the like; without a time zone they are UTC. Columns are ``open, high, low, close, volume`` and, where there is
    one, ``turnover``, in any case. ``symbol`` and ``interval`` are the frame's ``attrs`` or, of the interval, the least
    distance of two bars, where None. Raises InputError that names what is wrong, and of bad rows the first.
    """
    symbol = symbol or frame.attrs.get("symbol")
    if symbol is None:
        raise InputError("a DataFrame does not tell its symbol; give symbol='BTCUSDT'")
    if (problem := symbol_problem(symbol)) is not None:
        raise InputError(f"symbol: {problem}")
    named = {str(name).lower().replace(" ", "_"): frame[name] for name in frame.columns}
    starts = times_of(frame)
    interval = _interval(interval or frame.attrs.get("interval"), starts)
    figures = {column: _figures(named, column) for column in NAMES if column != "start_ms"}
    bars: list[Bar] = []
    problems: list[str] = []
    for row, (start_ms, *values) in enumerate(zip(starts, *figures.values(), strict=True)):
        known = dict(zip(figures, values, strict=True))
        bar = Bar(symbol=symbol, interval=interval, start_ms=start_ms, source="import", **known)
        problem = "a figure is no number" if None in values[:-1] else bar.contradiction()
        if problem is None and not 0 <= start_ms <= LAST_MS:
            problem = "its time is none"
        if problem is None and bars and start_ms <= bars[-1].start_ms:
            problem = "its start does not come after the row before it"
        if problem is None:
            bars.append(bar)
            continue
        problems.append(f"row {row}: {problem}")
        if len(problems) >= MOST_PROBLEMS:
            break
    require_sound("the DataFrame", problems, len(bars), "bars")
    return bars


def times_of(frame: "DataFrame") -> list[int]:
    """UTC milliseconds of the frame's rows: of its index, else of a column named like one of times.

    Whole numbers are milliseconds. Raises InputError where there are none.
    """
    import pandas

    times: Any
    if isinstance(frame.index, pandas.DatetimeIndex):
        times = frame.index.to_series()
    else:
        named = {str(name).lower().replace(" ", "_"): frame[name] for name in frame.columns}
        column = next((name for name in (*NAMES["start_ms"], "time_ms") if name in named), None)
        if column is None:
            raise InputError(
                "the DataFrame has no times: give it a DatetimeIndex, or a column such as start_ms, date or timestamp"
            )
        times = named[column]
    try:
        if pandas.api.types.is_numeric_dtype(times):
            return [int(time) for time in times.tolist()]
        moments = pandas.to_datetime(times, utc=True, format="ISO8601").astype("datetime64[ms, UTC]")
        return [int(time) for time in moments.astype("int64").tolist()]
    except (ValueError, TypeError) as error:
        raise InputError(f"the DataFrame's times cannot be read: {error}") from error


def _interval(told: str | None, starts: Sequence[int]) -> str:
    if told is not None:
        if (known := interval_from_name(told)) is None:
            raise InputError(f"unknown interval {told}; one of {', '.join(INTERVAL_MS)}")
        return known
    closest = min((after - before for before, after in pairwise(starts) if after > before), default=0)
    known = next((name for name, ms in INTERVAL_MS.items() if ms == closest), None)
    if known is None:
        raise InputError(
            "the DataFrame's times do not tell the interval of its bars; give interval='60', say"
        )
    return known


def _figures(named: Mapping[str, "Series[Any]"], column: str) -> list[Decimal | None]:
    """A column's exact figures; None for what is no number."""
    name = next((name for name in NAMES[column] if name in named), None)
    if name is not None:
        return [_decimal(cell) for cell in named[name].tolist()]
    if column != "turnover":
        found = ", ".join(named) or "none"
        raise InputError(
            f"the DataFrame has no column {column}; needed are open, high, low, close and volume, found: {found}"
        )
    return [None] * len(next(iter(named.values())))


def _decimal(cell: Any) -> Decimal | None:
    try:
        found = cell if isinstance(cell, Decimal) else Decimal(str(cell))
    except InvalidOperation:
        return None
    return None if found.is_nan() else found


def _series(kind: Kind, cells: list[Any], *, exact: bool) -> Any:
    import pandas

    if kind == "time":
        times = pandas.to_datetime(pandas.Series(cells, dtype="Int64"), unit="ms", utc=True)
        return times.astype(DTYPES[kind])
    if kind == "decimal":
        if exact:
            decimals = [None if cell is None or cell == "" else Decimal(cell) for cell in cells]
            return pandas.Series(decimals, dtype="object")
        floats = [float("nan") if cell is None or cell == "" else float(cell) for cell in cells]
        return pandas.Series(floats, dtype="float64")
    if kind == "flag":
        return pandas.Series([bool(cell) for cell in cells], dtype="bool")
    return pandas.Series(cells, dtype=DTYPES[kind])
