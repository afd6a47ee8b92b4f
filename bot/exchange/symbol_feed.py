"""What a repair policy knows of one symbol's bars. Pure."""

from dataclasses import dataclass

from bot.exchange.sequence import BarSequence


@dataclass(slots=True)
class SymbolFeed:
    """What is known of one symbol's bars, and of what is asked for them; all times are local."""

    sequence: BarSequence
    progress: float
    """Local time of the last new bar."""
    ask_at: float
    """Local time before which nothing is asked again."""
    known: float | None = None
    """Local time when anything last showed what closed last: an answer, or a message of a connection that was
    opened since the beginning or the last awakening; None where nothing has since then."""
    answered: float | None = None
    """Local time when REST last did so."""
    wants_newest: bool = True
    """Whether to ask what closed last as soon as may be: till then it is not known, or it is in doubt."""
    running_ms: int = 0
    pushed: float | None = None
    """Start of the bar that the stream shows as open, and the local time when it did."""
    hole: int | None = None
    hole_since: float = 0.0
    """Start of the first bar that is missing, and since when."""
    asking: int | None = None
    """The number of what is being asked."""
    failures: int = 0
    looks: int = 0
    """Answers in a row that did not show what was asked for."""
    absent: int = 0
    absent_last_ms: int = 0
    """Answers that showed a later bar and none of the hole, and the start of the last bar that all of them lacked."""
    contradicted: int = 0
    """Answers in a row that showed nothing of what the stream says has closed since."""
    repairs: int = 0
    """Answers that brought bars since the stream last did."""
