"""Signal: what a strategy wants at a close, in one value that checks itself."""

from decimal import Decimal
from typing import Any, Literal, Self

from msgspec import Struct

from bot.trading.checks import Check
from bot.trading.signal_fields import as_price, settle

Action = Literal["long", "short", "hold"]
TimeInForce = Literal["gtc", "ioc", "post_only"]

Price = Decimal | float | str
"""A limit: text and decimals as they are written, a float as Python prints it."""


class Signal(Struct, frozen=True, kw_only=True, gc=False):
    """What a strategy wants. :meth:`long`, :meth:`short`, :meth:`close` and :meth:`hold` make one.

    ``long`` and ``short`` ask for a position in that direction, ``hold`` leaves things as they are, or
    closes ``close_fraction`` of the position (whole lots of it) where ``close_position`` is set. Returns are
    log returns over ``horizon_bars``, gross, None where nothing is known. ``reason`` is a sentence for a
    person and names the gate that decided. ``detail`` is copied, and kept as JSON.

    ``size`` is the fraction of equity that an entry takes, None for what ``[risk]`` sizes it at. More than
    ``risk.max_position_fraction`` is cut to that, and the order says so.

    An entry is a market order, unless it has a limit: ``limit_price`` in quote currency, or
    ``limit_distance``, in volatilities of one bar below the close for a long, above it for a short (below 0:
    beyond the close). It goes to the tick on the passive side: down for a purchase, up for a sale. The order
    rests until it is filled, the next ``valid_bars`` bars have closed (None: any number), or a newer decision
    wants something else. One that wants the same side, limit price, time in force and kinds of exits leaves
    it where it is, as large as it was ordered, and its bars are counted anew; once part of it has filled, they
    are not. ``post_only`` cancels the order where it would trade at once, ``ioc`` what does not. A position on
    the other side is closed by the same order, at the same limit.

    Stop, target and trail are distances in volatilities too: from the entry's fill, and for the trail from
    the best price since. ``time_stop_bars`` limits the holding time.

    ``checks`` are the conditions of an entry that the strategy held its situation against, in its
    order: the first that failed is why it does not enter.

    It checks itself as it is made: NumPy's numbers become Python's, and what is no signal raises
    :class:`~bot.errors.SignalError`, which names the field.
    """

    action: Action
    reason: str
    confidence: float = 0.0
    expected_return: float | None = None
    return_std: float | None = None
    positive_ratio: float | None = None
    horizon_bars: int | None = None
    close_position: bool = False
    stop_distance: float | None = None
    target_distance: float | None = None
    trail_distance: float | None = None
    time_stop_bars: int | None = None
    detail: dict[str, Any] = {}
    checks: tuple[Check, ...] = ()
    size: float | None = None
    limit_price: Decimal | None = None
    limit_distance: float | None = None
    valid_bars: int | None = None
    time_in_force: TimeInForce = "gtc"
    close_fraction: float = 1.0

    @classmethod
    def long(
        cls,
        reason: str,
        *,
        size: float | None = None,
        limit: Price | None = None,
        limit_distance: float | None = None,
        valid_bars: int | None = None,
        post_only: bool = False,
        ioc: bool = False,
        stop: float | None = None,
        target: float | None = None,
        trail: float | None = None,
        time_stop_bars: int | None = None,
        confidence: float = 0.0,
        expected_return: float | None = None,
        return_std: float | None = None,
        positive_ratio: float | None = None,
        horizon_bars: int | None = None,
        detail: dict[str, Any] | None = None,
        checks: tuple[Check, ...] = (),
    ) -> Self:
        """Enter on the long side: at market, or with ``limit`` (a price) or ``limit_distance`` (volatilities).

        ``stop``, ``target`` and ``trail`` are distances in volatilities of one bar.

        >>> Signal.long("dip: far below the mean", limit="61000.50", valid_bars=3, stop=4.0).limit_price
        Decimal('61000.50')
        """
        return cls(
            action="long",
            reason=reason,
            confidence=confidence,
            expected_return=expected_return,
            return_std=return_std,
            positive_ratio=positive_ratio,
            horizon_bars=horizon_bars,
            stop_distance=stop,
            target_distance=target,
            trail_distance=trail,
            time_stop_bars=time_stop_bars,
            detail={} if detail is None else detail,
            checks=checks,
            size=size,
            limit_price=None if limit is None else as_price("limit", limit),
            limit_distance=limit_distance,
            valid_bars=valid_bars,
            time_in_force=_time_in_force(post_only=post_only, ioc=ioc),
        )

    @classmethod
    def short(
        cls,
        reason: str,
        *,
        size: float | None = None,
        limit: Price | None = None,
        limit_distance: float | None = None,
        valid_bars: int | None = None,
        post_only: bool = False,
        ioc: bool = False,
        stop: float | None = None,
        target: float | None = None,
        trail: float | None = None,
        time_stop_bars: int | None = None,
        confidence: float = 0.0,
        expected_return: float | None = None,
        return_std: float | None = None,
        positive_ratio: float | None = None,
        horizon_bars: int | None = None,
        detail: dict[str, Any] | None = None,
        checks: tuple[Check, ...] = (),
    ) -> Self:
        """Enter on the short side, as :meth:`long` does on the other; on spot it closes what is held."""
        return cls(
            action="short",
            reason=reason,
            confidence=confidence,
            expected_return=expected_return,
            return_std=return_std,
            positive_ratio=positive_ratio,
            horizon_bars=horizon_bars,
            stop_distance=stop,
            target_distance=target,
            trail_distance=trail,
            time_stop_bars=time_stop_bars,
            detail={} if detail is None else detail,
            checks=checks,
            size=size,
            limit_price=None if limit is None else as_price("limit", limit),
            limit_distance=limit_distance,
            valid_bars=valid_bars,
            time_in_force=_time_in_force(post_only=post_only, ioc=ioc),
        )

    @classmethod
    def close(
        cls,
        reason: str,
        *,
        fraction: float = 1.0,
        confidence: float = 0.0,
        detail: dict[str, Any] | None = None,
        checks: tuple[Check, ...] = (),
    ) -> Self:
        """Close ``fraction`` of the position at market, in whole lots; entries that wait are withdrawn."""
        return cls(
            action="hold",
            reason=reason,
            confidence=confidence,
            close_position=True,
            close_fraction=fraction,
            detail={} if detail is None else detail,
            checks=checks,
        )

    @classmethod
    def hold(
        cls,
        reason: str,
        *,
        confidence: float = 0.0,
        detail: dict[str, Any] | None = None,
        checks: tuple[Check, ...] = (),
    ) -> Self:
        """Leave things as they are: the position, its exits, and an entry that waits."""
        return cls(
            action="hold",
            reason=reason,
            confidence=confidence,
            detail={} if detail is None else detail,
            checks=checks,
        )

    @property
    def has_limit(self) -> bool:
        """Whether an entry may not be filled at any price."""
        return self.limit_price is not None or self.limit_distance is not None

    @property
    def measures_risk(self) -> bool:
        """Whether it asks for a price (stop, target, trail, limit) that is measured in volatility."""
        return not (
            self.stop_distance is self.target_distance is self.trail_distance is self.limit_distance is None
        )

    @property
    def shapes_orders(self) -> bool:
        """Whether it says more of its order than the side: a size, a limit, or how much to close."""
        return (
            self.size is not None
            or self.limit_price is not None
            or self.limit_distance is not None
            or self.close_fraction != 1.0
        )

    def __post_init__(self) -> None:
        settle(self)


def _time_in_force(*, post_only: bool, ioc: bool) -> Any:
    """What the two flags come to; the Signal refuses what they cannot be."""
    if post_only and ioc:
        return "post_only and ioc"
    return "post_only" if post_only else "ioc" if ioc else "gtc"
