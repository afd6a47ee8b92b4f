"""Stated confidence against what came true: how often a direction was right that was called so likely."""

from decimal import Decimal
from math import sqrt

from msgspec import Struct

from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar
from bot.trading.events import Signal

_BINS = 10
_Z = 1.959963984540054
"""Two-sided 95% of the normal distribution."""


class Claim(Struct, frozen=True, kw_only=True, gc=False):
    """A direction that was called right with probability ``confidence``, and whether it was.

    It spans the time from the close it was made at to the end of its horizon.
    """

    symbol: str
    start_ms: int
    end_ms: int
    confidence: float
    right: bool


class Bin(Struct, frozen=True, kw_only=True, gc=False):
    """Claims with confidence in [low, high), and the 95% Wilson interval of their share right."""

    low: float
    high: float
    claims: int
    mean_confidence: float
    share_right: float
    share_low: float
    share_high: float


class Reliability(Struct, frozen=True, kw_only=True, gc=False):
    """How far confidence can be believed. Of ``matured`` claims, ``claims`` that do not overlap are counted.

    - ``ece``: the mean distance between stated confidence and share right over the bins, weighted by
      their claims.
    - ``brier``: the mean squared distance of confidence from what came (0 or 1); ``brier_base``: the
      same had each claim stated the share that was right over all. Lower is better.

    All None without claims. ``bins`` are those with any claim, ascending.
    """

    matured: int
    claims: int
    mean_confidence: float | None
    share_right: float | None
    ece: float | None
    brier: float | None
    brier_base: float | None
    bins: tuple[Bin, ...]


def wilson(right: int, claims: int) -> tuple[float, float]:
    """The 95% interval of a share of which ``right`` of ``claims`` (at least one) were seen."""
    share, z2 = right / claims, _Z * _Z
    centre = (share + z2 / (2 * claims)) / (1 + z2 / claims)
    reach = _Z / (1 + z2 / claims) * sqrt(share * (1 - share) / claims + z2 / (4 * claims * claims))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def likelier(rises: bool, confidence: float) -> tuple[bool, float]:
    """A leaning as the direction that it holds for likelier: 45 % for a rise are 55 % for a fall.

    Moments can lean to one side against their base rate, and the other still be the likelier one.
    """
    return (rises, confidence) if confidence >= 0.5 else (not rises, 1.0 - confidence)


class ReliabilityCount:
    """Counts claims, each symbol's in order of start, in constant memory.

    Two claims of one symbol whose spans overlap share their outcome in part and are no two pieces of
    evidence, so one that begins before the last counted one of its symbol is over is not counted.
    """

    def __init__(self) -> None:
        self._over: dict[str, int] = {}
        self._claims = [0] * _BINS
        self._right = [0] * _BINS
        self._stated = [0.0] * _BINS
        self._squares = 0.0
        self._matured = 0

    def add(self, claim: Claim) -> None:
        """Take one claim into account."""
        self._matured += 1
        if claim.start_ms < self._over.get(claim.symbol, claim.start_ms):
            return
        self._over[claim.symbol] = claim.end_ms
        place = min(int(claim.confidence * _BINS), _BINS - 1)
        self._claims[place] += 1
        self._right[place] += claim.right
        self._stated[place] += claim.confidence
        self._squares += (claim.confidence - claim.right) ** 2

    def result(self) -> Reliability:
        """The figures so far."""
        n = sum(self._claims)
        bins = tuple(
            self._bin(place, claims, self._right[place], self._stated[place] / claims)
            for place, claims in enumerate(self._claims)
            if claims
        )
        if not n:
            return Reliability(
                matured=self._matured, claims=0, mean_confidence=None, share_right=None, ece=None,
                brier=None, brier_base=None, bins=(),
            )  # fmt: skip
        share = sum(self._right) / n
        return Reliability(
            matured=self._matured,
            claims=n,
            mean_confidence=sum(self._stated) / n,
            share_right=share,
            ece=sum(each.claims * abs(each.mean_confidence - each.share_right) for each in bins) / n,
            brier=self._squares / n,
            brier_base=share * (1 - share),
            bins=bins,
        )

    def _bin(self, place: int, claims: int, right: int, mean_confidence: float) -> Bin:
        low, high = wilson(right, claims)
        return Bin(
            low=place / _BINS,
            high=(place + 1) / _BINS,
            claims=claims,
            mean_confidence=mean_confidence,
            share_right=right / claims,
            share_low=low,
            share_high=high,
        )


class OpenClaim(Struct, frozen=True, kw_only=True, gc=False):
    """A claim that is not over yet, made at a close of ``price``; ``base`` is what the base rate stated.

    ``end_ms`` is the market's clock's.
    """

    end_ms: int
    price: Decimal
    rises: bool
    stated: float
    base: float


class TrackRecordState(Struct, frozen=True, kw_only=True):
    """What a :class:`TrackRecord` goes on from: open claims by symbol, counts, and its rolling window.

    ``squares`` holds for each judged claim, oldest first, the squared error of what was stated and
    of the base rate.
    """

    open: dict[str, OpenClaim] = {}
    judged: int = 0
    right: int = 0
    squares: tuple[tuple[float, float], ...] = ()


class TrackRecord:
    """Judges stated confidence as its outcomes come in, against the base rate known when it was stated.

    The base rate is the share of all earlier claims that were right, begun with one right and one
    wrong. As in :class:`ReliabilityCount`, one symbol's claims that overlap count once, and a claim
    whose horizon ends in a hole does not count. The last ``size`` claims are held against each
    other (0: none is taken at all).
    """

    def __init__(self, size: int, state: TrackRecordState, calendar: Calendar = ALWAYS_OPEN) -> None:
        self._size = size
        self._calendar = calendar
        self.open = dict(state.open)
        """Claims by symbol whose outcome is still to come."""
        self._judged = state.judged
        self._right = state.right
        self._squares = list(state.squares[-size:]) if size else []

    def snapshot(self) -> TrackRecordState:
        """Everything that the record goes on from, as a value."""
        return TrackRecordState(
            open=dict(self.open), judged=self._judged, right=self._right, squares=tuple(self._squares)
        )

    def claim(self, signal: Signal, bar: Bar, base_ratio: float | None) -> bool:
        """Take what a signal states at a bar's close; whether it counts.

        A long calls a rise and a short a fall; a hold leans to the side on which its moments ended
        more often than ``base_ratio``, the share of rises that the memory knows, and calls the likelier one.
        """
        if not self._size or not signal.confidence or signal.horizon_bars is None or bar.symbol in self.open:
            return False
        if signal.action == "hold":
            if signal.positive_ratio is None:
                return False
            leans_up = signal.positive_ratio > (0.5 if base_ratio is None else base_ratio)
            rises, stated = likelier(leans_up, signal.confidence)
        else:
            rises, stated = signal.action == "long", signal.confidence
        self.open[bar.symbol] = OpenClaim(
            end_ms=self._calendar.clock_ms(bar.close_ms) + signal.horizon_bars * INTERVAL_MS[bar.interval],
            price=bar.close,
            rises=rises,
            stated=stated,
            base=(self._right + 1) / (self._judged + 2),
        )
        return True

    def mature(self, bar: Bar) -> bool:
        """Judge the symbol's open claim where this close ends its horizon; whether anything changed."""
        claim = self.open.get(bar.symbol)
        if claim is None or (now_ms := self._calendar.clock_ms(bar.close_ms)) < claim.end_ms:
            return False
        del self.open[bar.symbol]
        if now_ms == claim.end_ms:
            right = bar.close > claim.price if claim.rises else bar.close < claim.price
            self._judged += 1
            self._right += right
            self._squares.append(((claim.stated - right) ** 2, (claim.base - right) ** 2))
            del self._squares[: -self._size]
        return True

    def worse_than_base(self) -> str | None:
        """Why stated confidence cannot be believed, with the figures; None where it can, or too few are known.

        It must do worse by more than one standard error of the difference: equal skill is no fault.
        """
        count = len(self._squares)
        if not self._size or count < self._size:
            return None
        excess = [stated - base for stated, base in self._squares]
        mean = sum(excess) / count
        spread = sqrt(sum((each - mean) ** 2 for each in excess)) / count
        if mean <= spread:
            return None
        stated, base = (sum(pair[place] for pair in self._squares) / count for place in (0, 1))
        return (
            f"over the last {count} claims confidence had a Brier score of {stated:.4f}, the base rate "
            f"{base:.4f}: worse by {mean:.4f}, more than its standard error {spread:.4f}"
        )
