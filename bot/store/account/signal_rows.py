"""Decisions as rows: the signal, what the memory said, and which checks it passed."""

import msgspec

from bot.market import Bar
from bot.model.similarity import Recollection
from bot.store.account.tables import SIGNALS
from bot.store.columns import Row
from bot.trading.asked import Asked, asked_of
from bot.trading.checks import Check, first_failed
from bot.trading.events import Signal, Step

_ASKED = (
    ("close_position", False),
    ("stop_distance", None),
    ("target_distance", None),
    ("trail_distance", None),
    ("time_stop_bars", None),
    ("size", None),
    ("limit_price", None),
    ("limit_distance", None),
    ("valid_bars", None),
    ("time_in_force", "gtc"),
    ("close_fraction", 1.0),
)

_encode = msgspec.json.Encoder(decimal_format="string").encode


class SignalRows:
    """Makes the rows of ``signals`` of one session."""

    def __init__(self, session_id: int) -> None:
        self._session_id = session_id
        # A strategy may bring the very same checks at every bar: nothing in them can change.
        self._checks: tuple[Check, ...] = ()
        self._checks_json = _checks_json(())

    def row(self, signal_id: int, bar: Bar, signal: Signal, step: Step) -> Row:
        """The row of a decision."""
        if signal.checks is not self._checks:
            self._checks, self._checks_json = signal.checks, _checks_json(signal.checks)
        recollection: Recollection | None = step.recollection
        asked = asked_of(signal)
        return SIGNALS.row(
            signal,
            id=signal_id,
            session_id=self._session_id,
            symbol=bar.symbol,
            interval=bar.interval,
            bar_start_ms=bar.start_ms,
            regime=None if recollection is None else recollection.regime,
            late=bar.late,
            decided_ms=step.time_ms,
            detail_json=_detail_json(signal, recollection),
            asked=asked,
            no_order=step.no_order,
            checks_json=self._checks_json,
            failed_check=_failed_check(signal, asked),
        )


def _detail_json(signal: Signal, recollection: Recollection | None) -> str:
    """The strategy's own detail, what else it asked for, and under ``recollection`` what the memory said."""
    detail = signal.detail
    if (
        signal.measures_risk
        or signal.close_position
        or signal.time_stop_bars is not None
        or signal.shapes_orders
    ):
        asked = ((name, getattr(signal, name), absent) for name, absent in _ASKED)
        detail = detail | {name: value for name, value, absent in asked if value != absent}
    if recollection is not None:
        said = {
            "moments": recollection.moments,
            "missing": recollection.missing,
            "regime_votes": dict(recollection.regime_votes),
            "forecast": recollection.forecast,
        }
        detail = detail | {"recollection": said}
    return _encode(detail).decode()


def _checks_json(checks: tuple[Check, ...]) -> str:
    """What the entry's checks came to; six digits are as many as a person reads."""
    return _encode([_short(check) for check in checks]).decode()


def _short(check: Check) -> Check:
    """With six digits, where it has both numbers."""
    if check.value is None or check.limit is None:
        return check
    return Check(
        check.name, check.passed, float(f"{check.value:.6g}"), float(f"{check.limit:.6g}"), check.relation
    )


def _failed_check(signal: Signal, asked: Asked | None) -> str | None:
    """The check that decided against an entry. Without checks of its own a hold's ``detail["gate"]`` names it."""
    failed = first_failed(signal.checks)
    if failed is not None:
        return failed.name
    if signal.checks or asked is not None:
        return None
    gate = signal.detail.get("gate")
    return gate if isinstance(gate, str) and gate else None
