"""The topics of a connection: asked for one by one, asked for again until they are answered."""

from collections.abc import Callable

from bot.exchange import wire
from bot.exchange.socket import Socket

_ACK_SECONDS = 10.0


class Subscriptions:
    """Sole owner of what is asked of the connection that stands now; ``kinds`` are wanted of each symbol.

    ``clock`` tells the local time in seconds.
    """

    def __init__(self, kinds: tuple[str, ...], symbols: list[str], clock: Callable[[], float]) -> None:
        self._kinds = kinds
        self._symbols = symbols
        self._clock = clock
        self._socket: Socket | None = None
        self._unanswered: dict[str, float] = {}
        self._refusals = 0

    def begin(self, socket: Socket) -> None:
        """A new connection carries nothing yet."""
        self._socket, self._unanswered, self._refusals = socket, {}, 0
        for symbol in self._symbols:
            self._ask(symbol)

    def add(self, symbol: str) -> None:
        """Ask for a symbol's topics from now on."""
        self._symbols.append(symbol)
        self._ask(symbol)

    def remove(self, symbol: str) -> None:
        """Ask for a symbol's topics no longer."""
        self._symbols.remove(symbol)
        for topic in self._topics(symbol):
            self._unanswered.pop(topic, None)
            if self._socket is not None:
                self._socket.send(wire.unsubscribe(topic))

    def renew(self, symbol: str) -> None:
        """Ask for a symbol's topics anew, which begins each with what stands now."""
        for topic in self._topics(symbol) if self._socket is not None else ():
            self._socket.send(wire.unsubscribe(topic))  # type: ignore[union-attr]
        self._ask(symbol)

    def ask_again(self, now: float) -> None:
        """Repeat what was not answered for long."""
        for topic, asked in list(self._unanswered.items()):
            if now - asked > _ACK_SECONDS and self._socket is not None:
                self._unanswered[topic] = now
                self._socket.send(wire.subscribe(topic))

    def answer(self, message: wire.Frame) -> str | None:
        """Take an answer; the topic that it refuses, if any. That is asked for again after a growing pause."""
        topic = message.req_id
        if message.success or "already subscribed" in message.ret_msg:
            self._unanswered.pop(topic, None)
            return None
        if topic not in self._unanswered:
            return None
        self._refusals += 1
        self._unanswered[topic] = self._clock() + min(60.0, 2.0**self._refusals) - _ACK_SECONDS
        return topic

    def _ask(self, symbol: str) -> None:
        for topic in self._topics(symbol) if self._socket is not None else ():
            self._unanswered[topic] = self._clock()
            self._socket.send(wire.subscribe(topic))  # type: ignore[union-attr]

    def _topics(self, symbol: str) -> list[str]:
        return [f"{kind}.{symbol}" for kind in self._kinds]
