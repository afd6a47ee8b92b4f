"""What lending shares costs a short: a rate a year, charged for each day begun, weekends included."""

from collections.abc import Iterable, Iterator
from decimal import ROUND_CEILING, Context, Decimal

from bot.market.bars import Bar
from bot.market.funding import Funding, FundingRate, among
from bot.market.times import DAY_MS

_DAYS_A_YEAR = Decimal(365)
_RATE_DIGIT = Decimal("1E-12")
_DIVISION = Context(prec=40, rounding=ROUND_CEILING)


class Borrow:
    """The daily charges as events that the core takes: one a symbol for each midnight (UTC) between its bars.

    Each is a :class:`Funding` that shorts alone pay, on their value at the last close, ``yearly_rate`` / 365
    of it (rounded up to 1e-12). It enters before the bar behind the midnight: what is filled at its open
    has not been lent yet.
    """

    def __init__(self, yearly_rate: Decimal) -> None:
        self._rate = _DIVISION.divide(yearly_rate, _DAYS_A_YEAR).quantize(_RATE_DIGIT, context=_DIVISION)
        self._last: dict[str, Bar] = {}

    def before(self, bar: Bar) -> list[Funding]:
        """What enters ahead of ``bar``, its symbol's next."""
        last = self._last.get(bar.symbol)
        self._last[bar.symbol] = bar
        if last is None or not self._rate:
            return []
        days = range(last.start_ms // DAY_MS + 1, bar.start_ms // DAY_MS + 1)
        return [
            Funding(
                symbol=bar.symbol,
                time_ms=day * DAY_MS,
                rate=-self._rate,
                mark_price=last.close,
                mark_source="close",
                shorts_only=True,
            )
            for day in days
        ]


def among_with(
    borrow: Borrow | None, bars: Iterable[Bar], rates: Iterable[FundingRate]
) -> Iterator[Bar | Funding]:
    """Bars by start and symbol, between them settled rates, and the charges where shares are lent."""
    for event in among(bars, rates):
        if borrow is not None and isinstance(event, Bar):
            yield from borrow.before(event)
        yield event
