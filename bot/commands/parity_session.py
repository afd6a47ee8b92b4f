"""``parity``: whether a recorded session and a backtest over its bars decide and fill alike, and if not, why."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bot.commands.parity import Options
from bot.config import Config, from_json
from bot.errors import InputError
from bot.market import Bar, Book, Notice, Quote, plain, utc_text
from bot.sessions import loop
from bot.sessions.assembly import build_trader, found_recording, read_recording, recorded_strategy
from bot.store.believed import believed, readable
from bot.store.database import Database
from bot.store.recording.reader import Recording, is_recording
from bot.terminal.tables import print_table, print_text, print_title
from bot.trader import Trader
from bot.trading.events import RESTING, Fill, Order, Position, Signal, Step
from bot.trading.opening import Opening

ALIKE, UNEXPLAINED = 0, 1

_SHOWN = 5


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that the session and the backtest have not in common. ``cause`` None: nobody knows why.

    ``kind`` is ``decision``, ``order`` or ``fill``; ``time_ms`` the close that it was decided at.
    """

    kind: str
    symbol: str
    time_ms: int
    in_session: str
    in_backtest: str
    cause: str | None


class Parity(Struct, frozen=True, kw_only=True):
    """What was compared, and the differences in the order of their decisions."""

    recording: str
    fill_model: str
    decisions: int
    orders: int
    fills: int
    findings: tuple[Finding, ...]

    @property
    def unexplained(self) -> int:
        return sum(finding.cause is None for finding in self.findings)


async def run(options: Options, config: Config, strategies: Mapping[str, str]) -> int:
    """Compare, tell the differences with their causes, and fail where one has none."""
    recording = await _recording(Path(options.session), config, strategies)
    with believed(recording.path):
        found = compare(recording)
    if options.json:
        print(msgspec.json.encode(found).decode())
    else:
        _print(found)
    return UNEXPLAINED if found.unexplained else ALIKE


async def _recording(path: Path, config: Config, strategies: Mapping[str, str]) -> Recording:
    """The recording itself, or that of the database's last recorded session."""
    if is_recording(path):
        return read_recording(path, config, strategies)
    with readable(path):
        async with Database.open(path, readonly=True) as database:
            named: str | None = await database.value(
                "SELECT recording FROM sessions WHERE recording IS NOT NULL ORDER BY id DESC LIMIT 1"
            )
    if named is None:
        raise InputError(f"{path} has no recorded session; record one (run.recordings), or name a recording")
    return read_recording(found_recording(named, path), config, strategies)


def compare(recording: Recording) -> Parity:
    """Run a recording as the session saw it and once more without its quotes, side by side."""
    header = recording.header
    config = from_json(header.config_json, {}, f"the configuration recorded in {recording.path}")

    def build(*, quotes: bool) -> Trader:
        return build_trader(
            config, recorded_strategy(recording, config), recording.instruments, header.opening, quotes=quotes
        )

    session, backtest = _Side(build(quotes=True), header.opening), _Side(build(quotes=False), header.opening)
    findings: list[Finding] = []
    decisions = 0

    def observe(bars: list[Bar]) -> None:
        session.trader.observe_all(bars)
        backtest.trader.observe_all(bars)

    for entry in recording.lived(observe):
        if isinstance(entry, Notice):
            continue
        # What was priced by quotes before leads to other fills by a bar that came late.
        apart = isinstance(entry, Bar) and entry.late and session.standing() != backtest.standing()
        step = session.take(loop.advance(session.trader, entry), apart=apart)
        if isinstance(entry, Quote | Book):
            continue
        other = backtest.take(loop.advance(backtest.trader, entry), apart=apart)
        if step.bar is not None:
            decisions += 1
            findings += _decided(step, other, _situation_differs(session, backtest, step, other))
    findings += _filled(session, backtest, by_quotes=config.broker.fill_model != "bar")
    return Parity(
        recording=str(recording.path),
        fill_model=config.broker.fill_model,
        decisions=decisions,
        orders=len(session.orders),
        fills=len(session.fills),
        findings=tuple(sorted(findings, key=lambda finding: finding.time_ms)),
    )


class _Side:
    """One of the two runs: its trader, and what has come of it."""

    def __init__(self, trader: Trader, opening: Opening) -> None:
        self.trader = trader
        self.orders = {order.id: order for order in opening.open_orders}
        self.positions: dict[str, Position] = {
            position.symbol: position for position in opening.ledger.positions
        }
        self.fills: list[Fill] = []
        self.apart: set[tuple[Any, ...]] = set()
        """Orders that a late bar filled while the other run held or waited for something else."""

    def take(self, step: Step, *, apart: bool = False) -> Step:
        self.orders.update((order.id, order) for order in step.orders)
        self.positions.update((position.symbol, position) for position in step.positions)
        self.fills += step.fills
        if apart:
            self.apart |= {_key(self.orders[fill.order_id]) for fill in step.fills}
        return step

    def standing(self) -> tuple[Any, ...]:
        """What is held, and what rests at which level."""
        resting = sorted(
            (_key(order), order.quantity - order.filled_quantity, str(order.stop_price), str(order.anchor))
            for order in self.orders.values()
            if order.status in RESTING
        )
        return self.held(), resting

    def waiting(self, time_ms: int) -> list[tuple[Any, ...]]:
        """What orders would still do at a close, before its decision: the withdrawn ones and without the new.

        By what they are for: their numbers may differ for no reason of their own.
        """
        return sorted(
            (_key(order), order.quantity - order.filled_quantity)
            for order in self.orders.values()
            if order.created_ms < time_ms
            and (order.status in RESTING or (order.status == "cancelled" and order.updated_ms == time_ms))
        )

    def held(self) -> dict[str, tuple[Any, ...]]:
        return {
            symbol: (position.quantity, position.cost, position.opened_ms)
            for symbol, position in self.positions.items()
            if position.quantity
        }


def _situation_differs(session: _Side, backtest: _Side, step: Step, other: Step) -> str | None:
    """What the two runs went into a bar's decision with that was not the same, in words."""
    if session.held() != backtest.held():
        return "another position was held, after fills at other prices or times"
    if session.waiting(step.time_ms) != backtest.waiting(step.time_ms):
        return "other orders were still waiting to be filled"
    if step.equity[-1] != other.equity[-1]:
        return "the account was worth another sum: by marks, or by fills at other prices"
    return None


def _decided(step: Step, other: Step, cause: str | None) -> list[Finding]:
    """How one bar's decision and the orders that it led to differ."""
    assert step.bar is not None and step.signal is not None and other.signal is not None  # noqa: PT018
    findings = []

    def add(kind: str, one: str, two: str, why: str | None) -> None:
        assert step.bar is not None
        findings.append(
            Finding(
                kind=kind,
                symbol=step.bar.symbol,
                time_ms=step.time_ms,
                in_session=one,
                in_backtest=two,
                cause=why,
            )
        )

    if _claims(step.signal) != _claims(other.signal):
        add("decision", _signal_text(step.signal), _signal_text(other.signal), cause)
    ordered, reordered = (
        sorted(map(_order_text, (order for order in one.orders if order.created_ms == one.time_ms)))
        for one in (step, other)
    )
    if ordered != reordered:
        if any(rejection.rule == "stale_quote" for rejection in step.rejections):
            cause = "no quote had come in time, which bars alone do not tell"
        add("order", "; ".join(ordered) or "none", "; ".join(reordered) or "none", cause)
    return findings


def _filled(session: _Side, backtest: _Side, *, by_quotes: bool) -> list[Finding]:
    """How what became of each order differs; ``by_quotes`` where the session's were not priced by bars."""
    one, two = _fills_by_order(session), _fills_by_order(backtest)
    last_ms = max((order.updated_ms for order in session.orders.values()), default=0)
    findings = []
    for key in sorted(one.keys() | two.keys()):
        fills, others = one.get(key), two.get(key)
        if fills is not None and others is not None and _money(fills) == _money(others):
            continue
        symbol, created_ms = key[:2]
        if fills is None or others is None:
            cause: str | None = "its order was placed in one of the two only"
        elif _sizes(session, key) != _sizes(backtest, key):
            cause = "its order was of another size"
        elif by_quotes and (priced := sorted({fill.rule for fill in fills if not fill.late})):
            cause = f"priced by {', '.join(priced)} in the session, by bars here"
        elif by_quotes and not fills:
            cause = "not reached by the session's quotes, but by a bar here"
        elif key in session.apart | backtest.apart:
            cause = "another position was held or waited for, after fills at other prices or times"
        elif created_ms >= last_ms and (not fills or not others):
            cause = "the recording ends before the bar that would have filled it"
        else:
            cause = None
        findings.append(
            Finding(
                kind="fill",
                symbol=symbol,
                time_ms=created_ms,
                in_session=_fills_text(fills),
                in_backtest=_fills_text(others),
                cause=cause,
            )
        )
    return findings


def _fills_by_order(side: _Side) -> dict[tuple[Any, ...], list[Fill]]:
    by_id = defaultdict(list)
    for fill in side.fills:
        by_id[fill.order_id].append(fill)
    found: dict[tuple[Any, ...], list[Fill]] = {}
    for order in side.orders.values():
        if order.status != "rejected" or order.filled_quantity:
            found.setdefault(_key(order), []).extend(by_id[order.id])
    return found


def _sizes(side: _Side, key: tuple[Any, ...]) -> list[Any]:
    return sorted(order.quantity for order in side.orders.values() if _key(order) == key)


def _key(order: Order) -> tuple[Any, ...]:
    """By what an order is the same in both runs: where it was decided, and what it is for."""
    return (order.symbol, order.created_ms, order.type, order.side, order.parent_id is not None)


def _money(fills: list[Fill]) -> list[tuple[Any, ...]]:
    return [(fill.time_ms, fill.quantity, fill.price, fill.fee, fill.rule) for fill in fills]


def _claims(signal: Signal) -> Signal:
    """A signal without what only explains it."""
    return msgspec.structs.replace(signal, detail={}, reason="not compared")


def _signal_text(signal: Signal) -> str:
    closes = ", closes" if signal.close_position else ""
    return f"{signal.action} {signal.confidence:.4f}{closes} ({signal.reason})"


def _order_text(order: Order) -> str:
    status = f" ({order.reason})" if order.status == "rejected" else ""
    levels = "".join(
        f" {name} {plain(value)}"
        for name, value in (("limit", order.limit_price), ("stop", order.stop_price), ("by", order.distance))
        if value is not None
    )
    return f"{order.type} {order.side} {plain(order.quantity)}{levels}{status}"


def _fills_text(fills: list[Fill] | None) -> str:
    if fills is None:
        return "no such order"
    return (
        ", ".join(
            f"{fill.side} {plain(fill.quantity)} at {plain(fill.price)} {fill.rule} {utc_text(fill.time_ms)}"
            for fill in fills
        )
        or "not filled"
    )


def _print(found: Parity) -> None:
    print_text(
        f"{found.recording}, fill model {found.fill_model}: {found.decisions} decisions, {found.orders} orders "
        f"and {found.fills} fills of the session held against a backtest over its bars"
    )
    if not found.findings:
        print_text("no difference")
        return
    causes = Counter((finding.kind, finding.cause or "UNEXPLAINED") for finding in found.findings)
    print_title("differences")
    print_table(
        ("", "number", "cause"),
        [(kind, str(number), cause) for (kind, cause), number in sorted(causes.items())],
    )
    # What nobody can explain comes first, and in full.
    listed = sorted(found.findings, key=lambda finding: (finding.cause is not None, finding.time_ms))
    print_title(f"the first {min(len(listed), _SHOWN)}" if len(listed) > 1 else "it is")
    for finding in listed[: max(_SHOWN, found.unexplained)]:
        print_text(
            f"{utc_text(finding.time_ms)} {finding.symbol} {finding.kind}: {finding.in_session} in the session, "
            f"{finding.in_backtest} in the backtest; {finding.cause or 'UNEXPLAINED'}"
        )
