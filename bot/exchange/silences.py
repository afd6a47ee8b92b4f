"""Which topics have gone silent because everything that comes of them is refused. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class _Topic:
    since: float
    """Local time of the last message that was believed, or of the first that was not."""
    refused: int = 0


class Silences:
    """A topic is silent after so many ``seconds`` with messages of which none was believed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._topics: dict[str, _Topic] = {}

    def begin(self) -> None:
        """Another connection begins, and all topics with it."""
        self._topics.clear()

    def believed(self, topic: str, now: float) -> None:
        """A message of a topic was believed."""
        known = self._topics.get(topic)
        if known is None:
            self._topics[topic] = _Topic(now)
        else:
            known.since, known.refused = now, 0

    def refused(self, topic: str, now: float) -> None:
        """A message of a topic was refused. Topics are those that were asked for, and no others."""
        self._topics.setdefault(topic, _Topic(now)).refused += 1

    def due(self, now: float) -> Iterator[tuple[str, str]]:
        """Topics that have gone silent, and what to tell of it; each is told again after as long."""
        for topic, known in self._topics.items():
            if known.refused and now - known.since >= self._seconds:
                text = f"{known.refused} messages in {now - known.since:.0f} s, all of them refused; subscribed anew"
                known.since, known.refused = now, 0
                yield topic, text
