"""The auditor's other half: unit values, round trips and sessions, anew from the rows, in fractions.

As the bot documents them, and knowing nothing of its code: an account is kept as a fund is, and a trip is a
position from leaving zero, or turning over, to flat.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

Row = dict[str, Any]

COST_STEP = 10**12


def rounded(value: Fraction, digits: int) -> Fraction:
    """To so many significant digits, half to even."""
    if not value:
        return value
    place, size = 0, abs(value)
    while size >= 10:
        size, place = size / 10, place + 1
    while size < 1:
        size, place = size * 10, place - 1
    scale = Fraction(10) ** (digits - 1 - place)
    return Fraction(round(value * scale)) / scale


class Fund:
    """Units and what one is worth: a transfer buys or redeems units at the value just before it."""

    def __init__(self, cash: Fraction) -> None:
        self.units, self.value, self.peak = max(cash, Fraction(0)), Fraction(1), Fraction(1)

    def worth(self, equity: Fraction) -> Fraction:
        if equity > 0 and self.units:
            self.value = rounded(equity / self.units, 18)
        elif equity > 0:
            self._issue(equity)
        elif self.units:
            self.units, self.value = Fraction(0), Fraction(0)
        self.peak = max(self.peak, self.value)
        return self.value

    def moved(self, amount: Fraction, equity: Fraction) -> Fraction:
        value = self.worth(equity - amount)
        if equity <= 0:
            self.units = Fraction(0)
        elif self.units:
            self.units = rounded(rounded(self.units * equity, 40) / (equity - amount), 40)
        else:
            self._issue(equity)
            value = self.value
        return value

    def _issue(self, equity: Fraction) -> None:
        if not self.value:
            # After a ruin it begins anew.
            self.value = self.peak = Fraction(1)
        self.units = rounded(equity / self.value, 40)


@dataclass
class Trip:
    symbol: str
    side: str
    signal_id: int
    session_id: int
    opened_ms: int
    quantity: Fraction = Fraction(0)
    entry_notional: Fraction = Fraction(0)
    exit_quantity: Fraction = Fraction(0)
    exit_notional: Fraction = Fraction(0)
    realized_pnl: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)
    funding: Fraction = Fraction(0)
    adverse: Fraction = Fraction(0)
    favourable: Fraction = Fraction(0)
    closed_ms: int | None = None
    closed_session_id: int | None = None

    @property
    def net(self) -> Fraction:
        return self.realized_pnl - self.fees + self.funding


@dataclass
class Trips:
    """All trips in the order in which they began; ``held`` is by symbol the quantity and the cost now."""

    signals: dict[int, int]
    all: list[Trip] = field(default_factory=list)
    open: dict[str, Trip] = field(default_factory=dict)
    held: dict[str, tuple[Fraction, Fraction]] = field(default_factory=lambda: defaultdict(_nothing))

    def fill(self, row: Row, holding: tuple[Fraction, Fraction]) -> None:
        """A fill that leaves a symbol's quantity and cost as in ``holding``."""
        symbol, price = row["symbol"], Fraction(row["price"])
        size, fee = Fraction(row["quantity"]), Fraction(row["fee"])
        change = size if row["side"] == "buy" else -size
        held, _ = self.held[symbol]
        left = min(size, abs(held)) if held * change < 0 else Fraction(0)
        entered = size - left
        if left:
            trip = self.open[symbol]
            self._reach(symbol, price)
            # The fee of a fill that turns a position over is split by quantity.
            part = Fraction(round(fee * left / size * COST_STEP), COST_STEP) if entered else fee
            fee -= part
            trip.exit_quantity += left
            trip.exit_notional += left * price
            trip.realized_pnl += Fraction(row["realized_pnl"])
            trip.fees += part
            if not holding[0] or entered:
                trip.closed_ms, trip.closed_session_id = row["time_ms"], row["session_id"]
                del self.open[symbol]
        self.held[symbol] = holding
        if entered:
            if symbol not in self.open:
                trip = Trip(
                    symbol=symbol,
                    side="long" if change > 0 else "short",
                    signal_id=self.signals.get(row["order_id"], 0),
                    session_id=row["session_id"],
                    opened_ms=row["time_ms"],
                )
                self.all.append(trip)
                self.open[symbol] = trip
            trip = self.open[symbol]
            trip.quantity += entered
            trip.entry_notional += entered * price
            trip.fees += fee
            self._reach(symbol, price)

    def close(self, bar: Row) -> None:
        """A bar has closed: one that lies wholly within a trip counts with its high and low."""
        trip = self.open.get(bar["symbol"])
        if trip is not None:
            within = bar["start_ms"] >= trip.opened_ms
            for name in ("low", "high") if within else ("close",):
                self._reach(bar["symbol"], Fraction(bar[name]))

    def pay(self, row: Row) -> None:
        """Funding belongs to the trip that was held just before its time, however late it came."""
        time_ms = row["time_ms"]
        for trip in reversed(self.all):
            ended = trip.closed_ms
            if trip.symbol == row["symbol"] and trip.opened_ms < time_ms <= (
                time_ms if ended is None else ended
            ):
                trip.funding += Fraction(row["payment"])
                return
        raise AssertionError(f"no trip held what was charged: {row}")

    def _reach(self, symbol: str, price: Fraction) -> None:
        trip, (quantity, cost) = self.open[symbol], self.held[symbol]
        if cost:
            move = rounded((price * quantity - cost) / abs(cost), 18)
            trip.favourable, trip.adverse = max(trip.favourable, move), max(trip.adverse, -move)


def _nothing() -> tuple[Fraction, Fraction]:
    return Fraction(0), Fraction(0)


def trips_are(stored: list[Row], trips: Trips, intervals: dict[int, int] | None) -> None:
    """The stored round trips are these, figure by figure; ``intervals`` by session where bars never pause."""
    assert [row["id"] for row in stored] == list(range(1, len(trips.all) + 1))
    for row, trip in zip(stored, trips.all, strict=True):
        for name, value in {**vars(trip), "net": trip.net}.items():
            kept = Fraction(row[name]) if isinstance(value, Fraction) else row[name]
            assert kept == value, (name, row, trip)
        near = Fraction(1, COST_STEP)
        assert abs(Fraction(row["entry_price"]) - trip.entry_notional / trip.quantity) <= near
        if trip.exit_quantity:
            assert abs(Fraction(row["exit_price"]) - trip.exit_notional / trip.exit_quantity) <= near
        assert (row["bars"] is None) == (trip.closed_ms is None) == (row["exit_reason"] == ""), row
        if intervals is not None and trip.closed_ms is not None:
            interval = intervals[trip.closed_session_id or 0]
            assert row["bars"] == -((trip.opened_ms - trip.closed_ms) // interval), row


def sessions_follow(sessions: dict[int, Row], equity: list[Row], cash: Fraction) -> None:
    """Each session begins with what the rows before it have left."""
    assert all(one["session_id"] <= two["session_id"] for one, two in pairwise(equity))
    for id, session in sessions.items():
        before = [row for row in equity if row["session_id"] < id]
        left = (before[-1]["equity"], before[-1]["unit_value"]) if before else (cash, 1)
        begun = session["start_equity"], session["start_unit_value"]
        assert tuple(map(Fraction, begun)) == tuple(map(Fraction, left)), session


def snapshot_is(text: str | None, fund: Fund, trips: Trips) -> None:
    """What a restart would go on from."""
    assert text is not None
    state = json.loads(text)
    assert Fraction(state["units"]) == fund.units
    assert Fraction(state["peak"]) == fund.peak
    assert state["next_trip_id"] == len(trips.all) + 1
