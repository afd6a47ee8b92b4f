"""What a backtest pays for holding: the rates of files or of the store, and what a person must know of them."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from bot.market import Category, FundingRate, minute_text
from bot.market.funding import LONGEST_MS, unknown_funding

_GAPS_TOLD = 3


class FundingGap(Struct, frozen=True, kw_only=True):
    """So many settlements in a row of a symbol that were not charged, for want of a rate: between two times."""

    symbol: str
    settlements: int
    from_ms: int
    to_ms: int


class FundingNote(Struct, frozen=True, kw_only=True):
    """Whether funding was charged, and what was not.

    ``left_out`` says that a person wanted none. ``unknown`` are the symbols of which no rate is known over the
    bars that were decided on, ``gaps`` what is missing of the others.
    """

    left_out: bool = False
    unknown: tuple[str, ...] = ()
    gaps: tuple[FundingGap, ...] = ()

    def lines(self) -> list[tuple[str, str]]:
        """Label and text of each line of a report."""
        lines = []
        if self.left_out:
            lines.append(
                ("NO FUNDING", "--no-funding: what positions pay or receive for being held is left out")
            )
        if self.unknown:
            lines.append(
                (
                    "NO FUNDING",
                    f"no funding rates known for {', '.join(self.unknown)} over these bars: "
                    "nothing is charged for holding; fetch brings them beside stored bars, "
                    "--funding FILE beside a file's",
                )
            )
        if self.gaps:
            count = sum(gap.settlements for gap in self.gaps)
            named = "; ".join(
                f"{gap.symbol} {gap.settlements} between {minute_text(gap.from_ms)} and {minute_text(gap.to_ms)} UTC"
                for gap in self.gaps[:_GAPS_TOLD]
            )
            more = len(self.gaps) - _GAPS_TOLD
            lines.append(
                (
                    "FUNDING GAPS",
                    f"{count} settlements have no known rate and were not charged: {named}"
                    + (f"; and {more} more gaps (--json lists them all)" if more > 0 else ""),
                )
            )
        return lines


def chosen_rates(
    given: Iterable[FundingRate], stored: Iterable[FundingRate], symbols: Sequence[str]
) -> tuple[FundingRate, ...]:
    """The rates to charge of each symbol: of its file where one was named, else the stored ones."""
    given = tuple(given)
    named = {rate.symbol for rate in given}
    return (*given, *(rate for rate in stored if rate.symbol in symbols and rate.symbol not in named))


def funding_note(
    category: Category, rates: Iterable[FundingRate], spans: Mapping[str, tuple[int, int]], *, left_out: bool
) -> FundingNote | None:
    """What to know of the funding of a run; None where there is none to pay.

    ``spans`` holds each symbol's first and last close that were decided on: what is settled after the first
    and up to the last may have been owed.
    """
    if category != "linear":
        return None
    if left_out:
        return FundingNote(left_out=True)
    times: dict[str, list[int]] = {symbol: [] for symbol in spans}
    for rate in rates:
        if rate.symbol in times:
            times[rate.symbol].append(rate.time_ms)
    unknown, gaps = [], []
    for symbol, (first_ms, last_ms) in sorted(spans.items()):
        if not any(first_ms < time_ms <= last_ms for time_ms in times[symbol]):
            # A run between two settlements owes none.
            if not times[symbol] or last_ms - first_ms >= LONGEST_MS:
                unknown.append(symbol)
            continue
        gaps += [
            FundingGap(symbol=symbol, settlements=gap.settlements, from_ms=gap.from_ms, to_ms=gap.to_ms)
            for gap in unknown_funding(symbol, times[symbol], first_ms, last_ms)
        ]
    return FundingNote(unknown=tuple(unknown), gaps=tuple(gaps))
