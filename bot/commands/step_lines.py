"""What a running session says of each Step."""

import structlog

from bot.market import plain, utc_text
from bot.trading.events import Step

_GOOD_NEWS = {"connected", "backfill", "resume", "watch"}

_log = structlog.get_logger()


def tell(step: Step) -> None:
    """One readable line a bar, and one for each fill, rejection, funding payment and notice."""
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
    for rejection in step.rejections:
        _log.warning("rejected", symbol=rejection.order.symbol, rule=rejection.rule, reason=rejection.reason)
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
