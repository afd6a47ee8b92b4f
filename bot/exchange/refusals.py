"""What was refused, counted: told at once the first time, then once a minute for each kind and symbol. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

_MINUTE_SECONDS = 60.0
_EXAMPLE_CHARACTERS = 200

Key = tuple[str, str | None]


def shortened(text: str, characters: int) -> str:
    """The text, or its beginning, so that it has at most so many characters."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


@dataclass(slots=True)
class _Count:
    told_at: float
    number: int = 0
    example: str = ""


class Refusals:
    """Counts what is refused by kind and symbol; ``now`` is local time in seconds.

    A thousand broken messages a second are one line now and one a minute, with their number and the first of
    them. What has been quiet for a minute is told at once when it comes again.
    """

    def __init__(self) -> None:
        self._counts: dict[Key, _Count] = {}

    def note(self, kind: str, symbol: str | None, what: str, now: float) -> str | None:
        """Count one more; what to tell of it now, None where it is told with others later."""
        count = self._counts.get((kind, symbol))
        if count is None:
            self._counts[kind, symbol] = _Count(now)
            return shortened(what, _EXAMPLE_CHARACTERS)
        if not count.number:
            count.example = shortened(what, _EXAMPLE_CHARACTERS)
        count.number += 1
        return None

    def due(self, now: float) -> Iterator[tuple[str, str | None, str]]:
        """Kind, symbol and text of what is to be told by now."""
        for (kind, symbol), count in list(self._counts.items()):
            if now - count.told_at < _MINUTE_SECONDS:
                continue
            if not count.number:
                del self._counts[kind, symbol]
                continue
            yield (
                kind,
                symbol,
                f"{count.number} more in {now - count.told_at:.0f} s, the first: {count.example}",
            )
            self._counts[kind, symbol] = _Count(now)
