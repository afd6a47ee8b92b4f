"""Calibration: predicted confidence compared with the observed rate at which such directions were right."""

from math import sqrt

from msgspec import Struct

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
    """Claims with confidence in [low, high), and the 95 % Wilson interval of the fraction that was right."""

    low: float
    high: float
    claims: int
    mean_confidence: float
    share_right: float
    share_low: float
    share_high: float


class CalibrationReport(Struct, frozen=True, kw_only=True, gc=False):
    """How well confidence is calibrated. Of ``matured`` claims, ``claims`` that do not overlap are counted.

    - ``ece``: the mean distance between predicted and observed rates over the bins, weighted by their
      claims.
    - ``brier``: the mean squared distance of confidence from the outcome (0 or 1); ``brier_base``: the same
      had each claim had the rate that was right over all. Lower is better.

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
    """The 95 % interval of a rate of which ``right`` of ``claims`` (at least one) were observed."""
    share, z2 = right / claims, _Z * _Z
    centre = (share + z2 / (2 * claims)) / (1 + z2 / claims)
    reach = _Z / (1 + z2 / claims) * sqrt(share * (1 - share) / claims + z2 / (4 * claims * claims))
    return max(0.0, centre - reach), min(1.0, centre + reach)


class CalibrationCounter:
    """Counts claims, each symbol's in order of start, in constant memory.

    Two claims of one symbol whose spans overlap share their outcome in part and are no two pieces of
    evidence, so one that begins before its symbol's last counted one has matured is not counted.
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

    def result(self) -> CalibrationReport:
        """The figures so far."""
        n = sum(self._claims)
        bins = tuple(
            self._bin(place, claims, self._right[place], self._stated[place] / claims)
            for place, claims in enumerate(self._claims)
            if claims
        )
        if not n:
            return CalibrationReport(
                matured=self._matured, claims=0, mean_confidence=None, share_right=None, ece=None,
                brier=None, brier_base=None, bins=(),
            )  # fmt: skip
        share = sum(self._right) / n
        return CalibrationReport(
            matured=self._matured,
            claims=n,
            mean_confidence=sum(self._stated) / n,
            share_right=share,
            ece=sum(bin.claims * abs(bin.mean_confidence - bin.share_right) for bin in bins) / n,
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
