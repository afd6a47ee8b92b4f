"""What an account is held against: buy and hold, and the ratios that judge both."""

from msgspec import Struct

from bot.trading.performance import EquityCurve, Estimate, sharpe, sortino


class Risk(Struct, frozen=True, kw_only=True):
    """Annualised ratios of simple returns, ``periods`` of them, each ``period_ms`` long."""

    periods: int
    period_ms: int
    sharpe: Estimate | None
    sortino: Estimate | None


class BuyAndHold(Struct, frozen=True, kw_only=True):
    """A fraction of the same start in all symbols equally, bought at their first close with the same fee and kept.

    ``exposure`` is that fraction; the rest stays cash.
    """

    exposure: float
    end_equity: float
    total_return: float | None
    max_drawdown: float
    risk: Risk


def risk_of(curve: EquityCurve, period_ms: int) -> Risk:
    """The ratios of a curve that was taken with periods of this length."""
    returns = curve.returns()
    return Risk(
        periods=len(returns),
        period_ms=period_ms,
        sharpe=sharpe(returns, period_ms),
        sortino=sortino(returns, period_ms),
    )


def held_at(exposure: float, curve: EquityCurve, period_ms: int) -> BuyAndHold:
    """What buying and holding with this share of the start came to, by its curve."""
    return BuyAndHold(
        exposure=exposure,
        end_equity=curve.end_equity,
        total_return=curve.total_return,
        max_drawdown=curve.max_drawdown,
        risk=risk_of(curve, period_ms),
    )
