"""``[risk]``: the size of entries, and the limits on entries and on the account."""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from bot.exact import require_within


class RiskConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[risk]`` of the configuration. Fractions are of equity; 0 turns a limit off.

    Size of an entry, by ``sizing``: ``fixed``, ``position_fraction``; ``volatility``, as much as moves the
    account by ``volatility_target`` a year (one standard deviation); ``kelly``, ``kelly_fraction`` of the
    expected return over its variance. None takes more than ``max_position_fraction``.

    Limits on entries:

    - ``max_position_fraction``, ``max_total_fraction``: value of one symbol's position, and of all together.
    - ``max_leverage``: the leverage that a symbol may be held with.
    - ``max_quote_age_bars``: the age of the last quote at the decision, in bars.
    - ``require_contiguous_bars``: bars, the decision's own the last, that each directly follow the one before.
    - ``max_orders_per_hour``: orders placed.
    - ``cooldown_losses``, ``cooldown_bars``: after N losing round trips in a row, bars without an entry into
      that symbol.
    - ``brier_guard_forecasts``: no entry while the Brier score of confidence is worse than the base rate's by
      more than one standard error over the last N matured forecasts that do not overlap.

    Limits on the account, by its unit value, which no transfer moves. Where a close lies ``max_daily_loss``
    below the value at which the UTC day began, or ``max_drawdown`` below its highest, everything is sold and
    nothing entered until a person resumes.
    """

    sizing: Literal["fixed", "volatility", "kelly"] = "fixed"
    position_fraction: Decimal = Decimal("0.2")
    volatility_target: Annotated[float, Meta(ge=0.001, le=10)] = 0.2
    kelly_fraction: Annotated[float, Meta(ge=0.001, le=1)] = 0.25
    max_position_fraction: Decimal = Decimal("0.5")
    max_total_fraction: Decimal = Decimal("1.0")
    max_leverage: Decimal = Decimal("0")
    max_quote_age_bars: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    require_contiguous_bars: Annotated[int, Meta(ge=0, le=100_000)] = 1
    max_orders_per_hour: Annotated[int, Meta(ge=0, le=100_000)] = 0
    cooldown_losses: Annotated[int, Meta(ge=0, le=1000)] = 0
    cooldown_bars: Annotated[int, Meta(ge=1, le=100_000)] = 24
    brier_guard_forecasts: Annotated[int, Meta(ge=0, le=10_000)] = 100
    max_daily_loss: Decimal = Decimal("0.1")
    max_drawdown: Decimal = Decimal("0.3")

    def __post_init__(self) -> None:
        require_within("position_fraction", self.position_fraction, "0.0001", "100")
        require_within("max_position_fraction", self.max_position_fraction, "0.0001", "100")
        require_within("max_total_fraction", self.max_total_fraction, "0.0001", "100")
        require_within("max_leverage", self.max_leverage, "0", "200")
        require_within("max_daily_loss", self.max_daily_loss, "0", "1")
        require_within("max_drawdown", self.max_drawdown, "0", "1")
        if self.sizing == "fixed" and self.position_fraction > self.max_position_fraction:
            raise ValueError(
                f"position_fraction {self.position_fraction} is above max_position_fraction "
                f"{self.max_position_fraction}: no entry would ever pass"
            )
