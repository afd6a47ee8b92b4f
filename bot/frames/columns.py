"""Every column of every frame: its meaning and its dtype, said once.

A column of times loses its ending ``_ms`` and becomes UTC timestamps. Prices, quantities and money are stored as exact
decimals: a frame has them as float64 or, ``exact``, as :class:`~decimal.Decimal`.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

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
    **dict.fromkeys(("instruments", "positions", "strategy_states"), ("symbol",)),
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
        effective_sample_size="that of the neighbors (Kish)",
        p_value="how often moments without an edge lean as far",
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
        strategy="the strategy",
        state_json="what it keeps for the next decision",
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

UNKNOWN = Column("text", "as it is stored")


def column_name(stored: str) -> str:
    """What a stored column is called in a frame: times lose their unit."""
    return stored.removesuffix("_ms")
