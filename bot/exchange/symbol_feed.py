"""What a stream knows of one symbol's feed, and when it is to be asked for over REST."""

from bot.exchange import wire
from bot.exchange.sequence import BarSequence


class SymbolFeed:
    """What is known of one symbol's feed."""

    def __init__(self, symbol: str, interval: str, last_start_ms: int | None, now: float) -> None:
        self.sequence = BarSequence(symbol, interval, last_start_ms)
        self.ticker = wire.TickerState(symbol)
        self.book = wire.BookState(symbol)
        self.running_ms = 0
        self.pushed = 0.0
        """Start of the bar that the stream says is open, and local time of that push."""
        self.progress = now
        """Local time of the last new bar."""
        self.suspect = True
        """Whether to ask over REST at once: at the start, and after a confirmation that was refused."""
        self.caught_up = False
        """Whether all that closed before this session has been handed on."""
        self.hole: int | None = None
        """Start of the first bar that is missing."""
        self.hole_since = now
        self.repair_at = 0.0
        """Local time before which REST is not asked again for the same thing."""
        self.repairing = False
        self.failures = 0
        self.looks = 0
        """Answers in a row that did not show what was asked for."""
        self.repairs_in_a_row = 0
        self.quoted_ms = 0
        self.book_ms = 0

    def is_caught_up(self) -> bool:
        """Whether what closed while nobody watched has entered, and settled what was resting."""
        if not self.caught_up:
            self.caught_up = not (self.suspect or self.repairing) and self.sequence.all_released
        return self.caught_up

    def repair_due(self, now: float, seconds_per_bar: float) -> float | None:
        """When this symbol should be asked for over REST: a hole after a grace, silence when overdue."""
        if self.repairing:
            return None
        hole = self.sequence.missing()
        first = None if hole is None else hole[0]
        if first != self.hole:
            self.hole, self.hole_since, self.looks = first, now, 0
            if not self.failures:
                self.repair_at = 0.0
        if self.suspect:
            return self.repair_at
        if first is None:
            slack = min(5.0, max(0.5, 0.5 * seconds_per_bar))
            return max(self.repair_at, self.progress + seconds_per_bar + slack)
        # A confirmation may come shortly after the next bar's first push.
        return max(self.repair_at, self.hole_since + min(1.0, 0.2 * seconds_per_bar))
