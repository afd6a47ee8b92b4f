"""What a recording begins with: all that a session needs to run again, also as older versions wrote it."""

from decimal import Decimal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.exact import EXACT, ONE, ZERO
from bot.market import Category, Instrument
from bot.store.database import Mode
from bot.trading.account import TrackState, began_with, unit_value_of
from bot.trading.events import Equity, RoundTrip
from bot.trading.opening import Opening
from bot.trading.round_trips import LosingRun


class Header(Struct, frozen=True, kw_only=True):
    """All that a session began with.

    ``strategy`` is its ``module:Class``; ``made_with`` names the versions and the machine that the
    digits of model figures depend on; ``equity`` is the account's, in quote currency.
    """

    session_id: int
    started_ms: int
    mode: Mode
    category: Category
    config_json: str
    checkpoint_sha256: str | None
    strategy: str
    made_with: dict[str, str]
    instruments: tuple[Instrument, ...]
    opening: Opening
    equity: Decimal

    @property
    def start(self) -> Equity:
        """The account as the session began."""
        cash, value = self.opening.ledger.cash, self.opening.track.value
        open_pnl = EXACT.subtract(self.equity, cash)
        return Equity(
            time_ms=self.started_ms, cash=cash, unrealized_pnl=open_pnl, equity=self.equity, unit_value=value
        )


def read_header(content: bytes) -> Header:
    """The header that a record holds. MsgspecError where it holds none."""
    header = msgspec.msgpack.decode(content, type=Header)
    if header.opening.account is not None:
        return header
    return replace(header, opening=_in_units(header.opening, header.equity, content))


class _Risk(Struct, frozen=True, kw_only=True):
    """What the risk review once kept in money: by symbol what the open trip had brought, and losses in a row."""

    day: int | None = None
    day_equity: Decimal = ZERO
    peak_equity: Decimal | None = None
    results: dict[str, Decimal] = {}
    losses: dict[str, int] = {}


class _Opening(Struct, frozen=True, kw_only=True):
    risk: _Risk = _Risk()


class _Header(Struct, frozen=True, kw_only=True):
    opening: _Opening


def _in_units(opening: Opening, equity: Decimal, header: bytes) -> Opening:
    """An opening from before the account was kept in units: it has as many as it is worth."""
    old = msgspec.msgpack.decode(header, type=_Header).opening.risk
    peak = ONE if old.peak_equity is None else max(ONE, unit_value_of(old.peak_equity, equity))
    trips = _trips(opening, old)
    state = TrackState(
        units=began_with(equity).units,
        peak=peak,
        guarded_peak=peak,
        day=old.day,
        day_value=ONE if old.day is None else unit_value_of(old.day_equity, equity),
        next_trip_id=len(trips) + 1,
        losing={symbol: LosingRun(losses=losses) for symbol, losses in old.losses.items()},
        trips=trips,
    )
    return replace(opening, account=state)


def _trips(opening: Opening, old: _Risk) -> tuple[RoundTrip, ...]:
    """What is held began trips whose fills are not known any more: their cost is what entered."""
    trips: list[RoundTrip] = []
    for position in opening.ledger.positions:
        if position.quantity:
            brought = old.results.get(position.symbol, ZERO)
            trips.append(
                RoundTrip(
                    id=len(trips) + 1,
                    symbol=position.symbol,
                    side="long" if position.quantity > 0 else "short",
                    opened_ms=position.opened_ms,
                    quantity=position.quantity.copy_abs(),
                    entry_notional=position.cost.copy_abs(),
                    fees=max(-brought, ZERO),
                    funding=max(brought, ZERO),
                )
            )
    return tuple(trips)
