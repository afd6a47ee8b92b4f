"""An auditor: reads a database file with sqlite3 and exact arithmetic alone, and asserts what always holds.

It knows the tables and the documented rules, nothing of the code that filled them.
"""

import json
import re
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.track_books import Fund, Trips, sessions_follow, snapshot_is, trips_are

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
EXACT = Context(prec=200, traps=[Inexact])
PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
EXACT_COLUMNS = {
    "bars": ("open", "high", "low", "close", "volume", "turnover"),
    "orders": ("quantity", "limit_price", "stop_price"),
    "fills": ("quantity", "price", "notional", "fee", "realized_pnl", "reference_price"),
    "funding": ("rate", "mark_price", "quantity", "payment"),
    "transfers": ("amount",),
    "positions": ("quantity", "entry_price", "cost"),
    "equity": ("cash", "unrealized_pnl", "equity"),
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Audit:
    """What was found, once everything is known to hold. Starts by symbol, ascending."""

    decided: dict[str, list[int]]
    late: int
    orders: Counter[str]
    fills: int
    late_fills: int
    funding: int
    neighbors: int


def interval_ms(interval: str) -> int:
    return {"D": DAY_MS, "W": 7 * DAY_MS}.get(interval) or int(interval) * MINUTE_MS


def rows(path: Path | str, query: str) -> list[Row]:
    """All rows of a query, read without disturbing whoever writes."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]
    finally:
        connection.close()


def audit(path: Path | str, starting_cash: str = "10000") -> Audit:
    """Assert every identity that a database keeps; what it holds in figures."""
    assert rows(path, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    _decimals_are_plain(path)
    sessions = {row["id"]: row for row in rows(path, "SELECT * FROM sessions")}
    signals = rows(path, "SELECT * FROM signals ORDER BY id")
    _every_bar_is_decided_once(path, signals, sessions)
    _neighbors_belong_and_are_past(path, signals, sessions)
    orders = rows(path, "SELECT * FROM orders ORDER BY id")
    fills = rows(path, "SELECT * FROM fills ORDER BY id")
    _orders_and_fills_belong_together(path, signals, orders, fills, sessions)
    _books_add_up(path, Decimal(starting_cash), signals, fills)
    _funding_is_on_what_was_held(path, fills)
    decided = defaultdict(list)
    for signal in signals:
        decided[signal["symbol"]].append(signal["bar_start_ms"])
    return Audit(
        decided=dict(decided),
        late=sum(signal["late"] for signal in signals),
        orders=Counter(order["status"] for order in orders),
        fills=len(fills),
        late_fills=sum(fill["late"] for fill in fills),
        funding=len(rows(path, "SELECT 1 FROM funding")),
        neighbors=len(rows(path, "SELECT 1 FROM neighbors")),
    )


def unpaid(path: Path | str, every_ms: int, until_ms: int) -> list[tuple[str, int]]:
    """Funding times up to ``until_ms`` at which a position was held and nothing was paid or received."""
    fills = rows(path, "SELECT * FROM fills ORDER BY id")
    paid = {(row["symbol"], row["time_ms"]) for row in rows(path, "SELECT symbol, time_ms FROM funding")}
    if not fills:
        return []
    first_ms = min(fill["time_ms"] for fill in fills)
    times = range(first_ms - first_ms % every_ms + every_ms, until_ms + 1, every_ms)
    symbols = sorted({fill["symbol"] for fill in fills})
    return [
        (symbol, time_ms)
        for symbol in symbols
        for time_ms in times
        if _held_before(fills, symbol, time_ms) and (symbol, time_ms) not in paid
    ]


def _decimals_are_plain(path: Path | str) -> None:
    for table, columns in EXACT_COLUMNS.items():
        for row in rows(path, f"SELECT {', '.join(columns)} FROM {table}"):
            for column, text in row.items():
                if text is None:
                    assert column in ("turnover", "limit_price", "stop_price"), (table, column)
                    continue
                assert isinstance(text, str), (table, row)
                assert PLAIN.fullmatch(text), (table, column, text)
                assert not (text.startswith("-") and not Decimal(text)), (table, column, text)


def _every_bar_is_decided_once(path: Path | str, signals: list[Row], sessions: dict[int, Row]) -> None:
    assert [signal["id"] for signal in signals] == list(range(1, len(signals) + 1))
    assert all(one["session_id"] <= two["session_id"] for one, two in pairwise(signals))
    # Holes that the exchange itself has, as the bot noted them, are no loss.
    gaps = any(row["kind"] == "gap" for row in rows(path, "SELECT kind FROM events"))
    offline = any(session["mode"] in ("backtest", "replay") for session in sessions.values())
    by_feed = defaultdict(list)
    for signal in signals:
        step = interval_ms(signal["interval"])
        assert signal["session_id"] in sessions
        assert signal["action"] in ("long", "short", "hold")
        assert 0.0 <= signal["confidence"] <= 1.0
        assert signal["decided_ms"] == signal["bar_start_ms"] + step
        assert signal["reason"]
        if signal["late"]:
            assert signal["action"] == "hold"
        json.loads(signal["detail_json"])
        by_feed[signal["symbol"], signal["interval"]].append(signal["bar_start_ms"])
    for (symbol, interval), starts in by_feed.items():
        assert all(one < two for one, two in pairwise(starts)), f"{symbol}: decided out of order"
        step = interval_ms(interval)
        away = [
            (one, two)
            for one, two in pairwise(starts)
            if two - one != step and _was_away(path, signals, sessions, symbol, one, two)
        ]
        if not (gaps or offline):
            holes = [one for one, two in pairwise(starts) if two - one != step and (one, two) not in away]
            assert not holes, f"{symbol}: bars are missing after {holes}"
        stored = rows(
            path,
            f"SELECT start_ms FROM bars WHERE symbol = '{symbol}' AND interval = '{interval}' "
            f"AND start_ms >= {starts[0]} ORDER BY start_ms",
        )
        # What closed while it was away is its history: it begins anew at its newest bar.
        to_decide = [
            row["start_ms"] for row in stored if not any(one < row["start_ms"] < two for one, two in away)
        ]
        assert to_decide == starts, f"{symbol}: bars and signals differ"


def _was_away(
    path: Path | str, signals: list[Row], sessions: dict[int, Row], symbol: str, one: int, two: int
) -> bool:
    """Whether a symbol left the run after the bar ``one`` and rejoined it with the bar ``two``."""
    of = {row["bar_start_ms"]: row for row in signals if row["symbol"] == symbol}
    before, after = of[one], of[two]
    told = rows(
        path,
        "SELECT detail FROM events WHERE kind = 'watch' "
        f"AND symbol = '{symbol}' AND session_id BETWEEN {before['session_id']} AND {after['session_id']} "
        f"AND time_ms BETWEEN {before['decided_ms']} AND {after['decided_ms']} ORDER BY id",
    )
    left = any(row["detail"].startswith(("is only closed", "is let go")) for row in told)
    # Whole sessions, of a configuration that does not name it, have gone by without it.
    left = left or any(
        before["session_id"] < id < after["session_id"]
        and symbol not in json.loads(session["config_json"])["run"]["symbols"]
        for id, session in sessions.items()
    )
    return left and not after["late"]


def _neighbors_belong_and_are_past(path: Path | str, signals: list[Row], sessions: dict[int, Row]) -> None:
    horizons = {
        id: json.loads(session["config_json"])["strategy"]["horizon_bars"] for id, session in sessions.items()
    }
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows(path, "SELECT * FROM neighbors ORDER BY signal_id, rank"):
        found[row["signal_id"]].append(row)
    assert set(found) <= {signal["id"] for signal in signals}
    for signal in signals:
        neighbors = found.get(signal["id"], [])
        assert [neighbor["rank"] for neighbor in neighbors] == list(range(1, len(neighbors) + 1))
        assert all(one["similarity"] >= two["similarity"] for one, two in pairwise(neighbors))
        assert not neighbors or abs(sum(neighbor["weight"] for neighbor in neighbors) - 1.0) < 1e-9
        recalled = json.loads(signal["detail_json"]).get("recollection")
        if recalled is not None:
            assert (recalled["forecast"] is not None) == bool(neighbors)
            assert (signal["expected_return"] is not None) == bool(neighbors)
        step = interval_ms(signal["interval"])
        for neighbor in neighbors:
            matured_ms = neighbor["bar_start_ms"] + (1 + horizons[signal["session_id"]]) * step
            assert matured_ms <= signal["decided_ms"], f"signal {signal['id']} recalls the future"


def _orders_and_fills_belong_together(
    path: Path | str, signals: list[Row], orders: list[Row], fills: list[Row], sessions: dict[int, Row]
) -> None:
    by_signal = {signal["id"]: signal for signal in signals}
    filled: dict[int, list[Row]] = defaultdict(list)
    rates: dict[str, set[Decimal]] = {"taker": set(), "maker": set()}
    for session in sessions.values():
        broker = json.loads(session["config_json"])["broker"]
        for liquidity, known in rates.items():
            known.add(Decimal(broker[f"{liquidity}_fee"]))
    opens = {
        (row["symbol"], row["start_ms"]): Decimal(row["open"])
        for row in rows(path, "SELECT symbol, start_ms, open FROM bars")
    }
    assert [order["id"] for order in orders] == list(range(1, len(orders) + 1))
    assert [fill["id"] for fill in fills] == list(range(1, len(fills) + 1))
    for fill in fills:
        filled[fill["order_id"]].append(fill)
    assert set(filled) <= {order["id"] for order in orders}
    assert all(one["signal_id"] <= two["signal_id"] for one, two in pairwise(filter(_decided, orders)))
    for order in orders:
        if _decided(order):
            signal = by_signal[order["signal_id"]]
            assert order["session_id"] == signal["session_id"]
            # A halt sells everything, whatever symbol's bar it was found at.
            assert order["symbol"] == signal["symbol"] or order["reason"].startswith("halted")
            assert order["created_ms"] == signal["decided_ms"]
            assert not signal["late"], f"order {order['id']} came of a late bar"
        else:
            by_hand = order["reason"].startswith("closed by hand") or order["status"] == "cancelled"
            exchange = {"liquidation", "settlement"}
            assert by_hand or {fill["rule"] for fill in filled[order["id"]]} <= exchange
        assert order["side"] in ("buy", "sell")
        assert Decimal(order["quantity"]) > 0
        total = sum((Decimal(fill["quantity"]) for fill in filled[order["id"]]), Decimal(0))
        assert total == Decimal(order["filled_quantity"]), order
        assert (total == Decimal(order["quantity"])) == (order["status"] == "filled"), order
        for fill in filled[order["id"]]:
            price, reference = Decimal(fill["price"]), Decimal(fill["reference_price"])
            notional = EXACT.multiply(Decimal(fill["quantity"]), price)
            assert (fill["symbol"], fill["side"]) == (order["symbol"], order["side"])
            assert price >= reference if fill["side"] == "buy" else price <= reference
            assert Decimal(fill["notional"]) == notional
            allowed = {EXACT.multiply(notional, rate) for rate in rates[fill["liquidity"]]}
            assert Decimal(fill["fee"]) in (allowed if fill["rule"] != "settlement" else {Decimal(0)})
            if fill["rule"] == "quote":
                assert fill["time_ms"] >= order["due_ms"], f"fill {fill['id']} came before it was due"
            if fill["rule"] == "next_open":
                assert fill["time_ms"] >= order["created_ms"]
                assert opens[fill["symbol"], fill["time_ms"]] == reference


def _decided(order: Row) -> bool:
    """Whether a signal led to it, and not the exchange that liquidates."""
    return order["signal_id"] != 0


class _Holding:
    """One symbol's position by the documented rule: exact cost, parts released at 1e-12."""

    def __init__(self) -> None:
        self.quantity = Fraction(0)
        self.cost = Fraction(0)

    def take(self, fill: Row) -> Fraction:
        """Book a fill; what it realized."""
        sign = 1 if fill["side"] == "buy" else -1
        change, price = sign * Fraction(fill["quantity"]), Fraction(fill["price"])
        held = self.quantity
        self.quantity += change
        if held * change >= 0:
            self.cost += change * price
            return Fraction(0)
        if abs(change) < abs(held):
            # Python rounds a half to the even neighbour, as the documented rule does.
            released = Fraction(round(self.cost * abs(change) / abs(held) * 10**12), 10**12)
            self.cost -= released
            return -change * price - released
        realized = held * price - self.cost
        self.cost = self.quantity * price
        return realized


def _books_add_up(path: Path | str, starting_cash: Decimal, signals: list[Row], fills: list[Row]) -> None:
    """Fold fills, funding, transfers and closed bars, and hold every stored figure against the result."""
    holdings: dict[str, _Holding] = defaultdict(_Holding)
    cash = Fraction(starting_cash)
    sessions = {row["id"]: row for row in rows(path, "SELECT * FROM sessions")}
    bars = {
        (row["symbol"], row["interval"], row["start_ms"]): row for row in rows(path, "SELECT * FROM bars")
    }
    marks: dict[str, Fraction] = {}
    offline = any(session["mode"] == "backtest" for session in sessions.values())
    orders = rows(path, "SELECT id, signal_id FROM orders")
    fund, trips = Fund(cash), Trips({order["id"]: order["signal_id"] for order in orders})
    causes = {}
    for table in ("fills", "funding", "transfers"):
        for row in rows(path, f"SELECT * FROM {table}"):
            assert row["equity_id"] not in causes, row
            causes[row["equity_id"]] = table, row
    assert [fill["id"] for table, fill in _in_order(causes) if table == "fills"] == [
        fill["id"] for fill in fills
    ]
    closed = iter(signals)
    equity = rows(path, "SELECT * FROM equity ORDER BY id")
    for row in equity:
        table, cause = causes.pop(row["id"], ("signals", None))
        value, moved = None, Fraction(0)
        match table:
            case "fills":
                holding = holdings[cause["symbol"]]
                assert Fraction(cause["realized_pnl"]) == holding.take(cause), cause
                trips.fill(cause, (holding.quantity, holding.cost))
                moved = Fraction(cause["realized_pnl"]) - Fraction(cause["fee"])
            case "funding":
                moved = Fraction(cause["payment"])
                trips.pay(cause)
            case "transfers":
                moved = Fraction(cause["amount"])
                value = fund.moved(moved, Fraction(row["equity"]))
            case _:
                cause = next(closed)
                bar = bars[cause["symbol"], cause["interval"], cause["bar_start_ms"]]
                marks[cause["symbol"]] = Fraction(bar["close"])
                trips.close(bar)
        assert row["time_ms"] == cause.get("time_ms", cause.get("decided_ms")), (row, cause)
        assert row["session_id"] == cause["session_id"], (row, cause)
        cash += moved
        assert Fraction(row["cash"]) == cash, (row, cause)
        assert Fraction(row["equity"]) == cash + Fraction(row["unrealized_pnl"]), row
        value = fund.worth(Fraction(row["equity"])) if value is None else value
        assert Fraction(row["unit_value"]) == value, (row, float(value))
        if not any(holding.quantity for holding in holdings.values()):
            assert Fraction(row["unrealized_pnl"]) == 0, row
        if offline:
            worth = sum(
                holding.quantity * marks[symbol] - holding.cost for symbol, holding in holdings.items()
            )
            assert Fraction(row["unrealized_pnl"]) == worth, row
    left = (causes, list(closed))
    assert not any(left), f"without a row in equity: {left}"
    calendars = {json.loads(session["config_json"])["run"].get("category") for session in sessions.values()}
    intervals = {
        id: interval_ms(json.loads(session["config_json"])["run"]["interval"])
        for id, session in sessions.items()
    }
    stored = rows(path, "SELECT * FROM round_trips ORDER BY id")
    trips_are(stored, trips, None if "equity" in calendars else intervals)
    sessions_follow(sessions, equity, Fraction(starting_cash))
    if equity:
        (state,) = rows(path, "SELECT state_json FROM account_state")
        snapshot_is(state["state_json"], fund, trips)
    positions = {row["symbol"]: row for row in rows(path, "SELECT * FROM positions")}
    assert set(positions) == set(holdings)
    for symbol, holding in holdings.items():
        assert Fraction(positions[symbol]["quantity"]) == holding.quantity
        assert Fraction(positions[symbol]["cost"]) == holding.cost
        entry = holding.cost / holding.quantity if holding.quantity else Fraction(0)
        assert abs(Fraction(positions[symbol]["entry_price"]) - entry) <= Fraction(1, 10**12)


def _in_order(causes: dict[int, tuple[str, Row]]) -> list[tuple[str, Row]]:
    return [causes[id] for id in sorted(causes)]


def _held_before(fills: list[Row], symbol: str, time_ms: int) -> Fraction:
    return sum(
        (
            Fraction(fill["quantity"]) * (1 if fill["side"] == "buy" else -1)
            for fill in fills
            if fill["symbol"] == symbol and fill["time_ms"] < time_ms
        ),
        Fraction(0),
    )


def _funding_is_on_what_was_held(path: Path | str, fills: list[Row]) -> None:
    told = {
        (row["symbol"], row["time_ms"])
        for row in rows(path, "SELECT symbol, time_ms FROM events WHERE kind = 'mark_price'")
    }
    offline = any(row["mode"] == "backtest" for row in rows(path, "SELECT mode FROM sessions"))
    for row in rows(path, "SELECT * FROM funding"):
        assert row["time_ms"] % MINUTE_MS == 0, row
        assert row["mark_source"] in (("close",) if offline else ("mark", "index", "close")), row
        assert offline or row["mark_source"] == "mark" or (row["symbol"], row["time_ms"]) in told, row
        quantity = Fraction(row["quantity"])
        assert quantity == _held_before(fills, row["symbol"], row["time_ms"]), row
        assert quantity, f"funding without a position: {row}"
        assert Fraction(row["payment"]) == -quantity * Fraction(row["mark_price"]) * Fraction(row["rate"])
