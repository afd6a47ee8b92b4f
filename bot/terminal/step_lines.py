"""What a running session says of its Steps."""

import structlog

from bot.market import plain, utc_text
from bot.trading.events import Step

_GOOD_NEWS = {"connected", "backfill", "resume", "watch"}

_log = structlog.get_logger()


class StepLines:
    """The log of one session. What is refused again and again for the same reason is said once, and then counted."""

    def __init__(self) -> None:
        self._refused: dict[str, tuple[str, int]] = {}

    def tell(self, step: Step) -> None:
        """One line for each fill, funding payment and notice, for what is refused anew, and for the bar."""
        for fill in step.fills:
            _log.info(
                "filled",
                symbol=fill.symbol,
                side=fill.side,
                quantity=plain(fill.quantity),
                price=plain(fill.price),
                rule=fill.rule,
                fee=plain(fill.fee),
                realized_pnl=plain(fill.realized_pnl),
                order=fill.order_id,
            )
        for payment in step.funding:
            _log.info(
                "funding",
                symbol=payment.symbol,
                payment=plain(payment.payment),
                rate=plain(payment.rate),
                settled=utc_text(payment.time_ms),
                price=payment.mark_source,
            )
        self._tell_rejections(step)
        for answer in step.answers:
            if answer.error:
                _log.warning(
                    "request_refused", request=answer.id, done=answer.outcome or None, error=answer.error
                )
        for moved in step.transfers:
            _log.info("transfer", amount=plain(moved.amount), reason=moved.reason)
        for notice in step.notices:
            level = "info" if notice.kind in _GOOD_NEWS else "warning"
            getattr(_log, level)(notice.kind, symbol=notice.symbol, detail=notice.detail)
        bar, decision = step.bar, step.signal
        if bar is not None and decision is not None:
            _log.info(
                "bar_decided",
                symbol=bar.symbol,
                close_ms=bar.close_ms,
                close=plain(bar.close),
                action=decision.action,
                confidence=round(decision.confidence, 4),
                expected_return=decision.expected_return,
                equity=plain(round(step.equity[-1].equity, 2)),
                reason=decision.reason,
                late=bar.late,
                signal=step.signal_id,
            )

    def finish(self) -> None:
        """Say what was still being refused when the session ended."""
        for symbol in list(self._refused):
            self._tell_refused_since(symbol)

    def _tell_rejections(self, step: Step) -> None:
        for order in step.orders:
            if order.status not in ("rejected", "cancelled") and order.parent_id is None:
                self._tell_refused_since(order.symbol)
        for rejection in step.rejections:
            symbol, rule = rejection.order.symbol, rejection.rule
            before, times = self._refused.get(symbol, ("", 0))
            if before == rule:
                self._refused[symbol] = rule, times + 1
                continue
            self._tell_refused_since(symbol)
            self._refused[symbol] = rule, 1
            _log.warning("rejected", symbol=symbol, rule=rule, reason=rejection.reason)

    def _tell_refused_since(self, symbol: str) -> None:
        rule, times = self._refused.pop(symbol, ("", 0))
        if times > 1:
            _log.warning("rejected_repeatedly", symbol=symbol, rule=rule, times=times)
