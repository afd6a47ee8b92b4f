"""Decision: why one was made and what came of it, for the interpreter and a notebook."""

from typing import TYPE_CHECKING, Any

from bot.api.shown import html_table, percent, text_table
from bot.frames.tables import frame_of
from bot.market import plain, utc_text
from bot.performance.decisions import KINDS
from bot.store.account.decisions import Explanation
from bot.trading.checks import first_failed

if TYPE_CHECKING:
    from pandas import DataFrame


class Decision:
    """One decision: shown, it says why; ``found`` has all that is stored of it.

    ``checks`` and ``neighbors`` are frames.
    """

    def __init__(self, found: Explanation) -> None:
        self.found = found
        signal = found.signal
        self.id = signal.id
        self.symbol = signal.symbol
        self.action = signal.action
        self.confidence = signal.confidence
        self.reason = signal.reason

    @property
    def outcome(self) -> str:
        """What came of what it asked for, in words."""
        found = self.found.outcome
        if found is None:
            return "it asked for nothing"
        kind = KINDS[found.kind]
        return kind if found.words == kind else f"{kind}: {found.words}"

    @property
    def checks(self) -> "DataFrame":
        """The conditions of an entry in their order: ``passed``, ``value``, ``limit``; the first that fails decides."""
        checks = self.found.signal.checks
        columns: dict[str, list[Any]] = {
            "check": [check.name for check in checks],
            "label": [self.found.check_labels.get(check.name, "") for check in checks],
            "passed": [check.passed for check in checks],
            "value": [check.value for check in checks],
            "relation": [check.relation for check in checks],
            "limit": [check.limit for check in checks],
        }
        return frame_of(columns, index=("check",))

    @property
    def neighbors(self) -> "DataFrame":
        """The moments that it recalled, by rank."""
        names = ("rank", "symbol", "bar_start_ms", "similarity", "weight", "forward_return", "regime")
        columns = {name: [getattr(moment, name) for moment in self.found.neighbors] for name in names}
        return frame_of({name.removesuffix("_ms"): cells for name, cells in columns.items()}, index=("rank",))

    def rows(self) -> list[tuple[str, str]]:
        """Names and words for a person."""
        signal, found = self.found.signal, self.found
        close = "" if found.close is None else f", close {plain(found.close)}"
        rows = [
            (f"decision {signal.id}", f"{signal.action.upper()} {signal.symbol} {signal.interval}"),
            ("closed at", f"{utc_text(signal.decided_ms)} UTC{close}"),
            ("because", signal.reason),
            ("outcome", self.outcome),
        ]
        if signal.expected_return is not None:
            rows.append(
                ("expected", f"{percent(signal.expected_return)}, confidence {signal.confidence:.2f}")
            )
        failed = first_failed(signal.checks)
        if failed is not None:
            rows.append(("first check that failed", found.check_labels.get(failed.name, failed.name)))
        if found.halt is not None:
            rows.append(("halted", f"{found.halt.rule}: {found.halt.reason}"))
        if signal.late:
            rows.append(("late", "a newer bar had closed when this one arrived, so it could open nothing"))
        if found.neighbors:
            best = found.neighbors[0]
            rows.append(
                (
                    "neighbors",
                    f"{len(found.neighbors)}, the nearest {best.symbol} {utc_text(best.bar_start_ms)} "
                    f"(similarity {best.similarity:.2f}, then {percent(best.forward_return)})",
                )
            )
        for order in found.orders:
            words = f"{order.type} {order.side} {plain(order.quantity)}, {order.status}"
            rows.append((f"order {order.id}", f"{words}: {order.reason}" if order.reason else words))
        for fill in found.fills:
            rows.append((f"fill {fill.id}", f"{fill.side} {plain(fill.quantity)} at {plain(fill.price)}"))
        return rows

    def __repr__(self) -> str:
        return text_table(self.rows(), indent=0)

    def _repr_html_(self) -> str:
        return html_table(self.rows())
