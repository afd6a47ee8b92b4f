"""Who listens to which topic of a pretend exchange: control frames, and what is published to whom."""

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from bot.demo.connection import Connection
from bot.demo.faults import Faults
from bot.demo.messages import book_snapshot, quote_message, ticker_snapshot
from bot.demo.symbol_state import SymbolState
from bot.market import Category

_SPOT_TOPICS = 10
"""The most topics that a request on spot may contain."""


class Subscriptions:
    """Topics and their listeners, of the symbols in ``states``; ``clock`` tells the exchange's time.

    ``listened`` is set while anyone listens to klines.
    """

    def __init__(
        self,
        states: Mapping[str, SymbolState],
        category: Category,
        interval: str,
        faults: Faults,
        *,
        clock: Callable[[], int],
    ) -> None:
        self.listened = asyncio.Event()
        self.alter: Callable[[str, bytes], bytes] | None = None
        """What becomes of a topic's message on its way; None leaves it as it is."""
        self._states = states
        self._category = category
        self._kinds = (f"kline.{interval}", "tickers", "orderbook.1", "orderbook.50")
        self._faults = faults
        self._clock = clock
        self._listeners: dict[str, set[Connection]] = {}
        self._silences: list[tuple[float, str]] = []
        self._refusals: dict[str, int] = {}

    def __contains__(self, topic: str) -> bool:
        """Whether anyone listens to a topic."""
        return topic in self._listeners

    def publish(self, topic: str, message: bytes) -> None:
        """Send a message to whoever listens to the topic."""
        listeners = self._listeners.get(topic)
        if not listeners or self._is_silent(topic):
            return
        text = (message if self.alter is None else self.alter(topic, message)).decode()
        for connection in list(listeners):
            connection.send(text)

    def silence(self, seconds: float, topic: str = "") -> None:
        """Publish nothing for ``seconds`` on topics that begin with ``topic``."""
        self._silences.append((asyncio.get_running_loop().time() + seconds, topic))

    def refuse(self, topic: str, times: int) -> None:
        """Refuse the next requests that contain this topic; -1 refuses them for ever."""
        self._refusals[topic] = times

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        for topic in list(connection.topics):
            self._unsubscribe(connection, topic)

    def remove_symbol(self, symbol: str) -> None:
        """End every subscription to a symbol."""
        for topic in [topic for topic in self._listeners if topic.endswith(f".{symbol}")]:
            for connection in list(self._listeners[topic]):
                self._unsubscribe(connection, topic)

    def answer(self, connection: Connection, text: str | bytes, category: str) -> None:
        """Do what one control frame asks for, and answer it."""
        try:
            frame = msgspec.json.decode(text)
        except msgspec.MsgspecError:
            frame = None
        if not isinstance(frame, dict):
            connection.send(_reply(connection, "", "", "Failed to decode incoming data", success=False))
            return
        op, request_id, topics = frame.get("op"), str(frame.get("req_id", "")), frame.get("args", [])
        if op == "ping":
            connection.send(_reply(connection, "ping", request_id, "pong"))
            return
        if op not in ("subscribe", "unsubscribe"):
            connection.send(_reply(connection, str(op or ""), request_id, "error:invalid op", success=False))
            return
        if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
            problem: str | None = "error:invalid args"
        else:
            problem = self._problem(connection, topics, category) if op == "subscribe" else None
        if problem is not None:
            connection.send(_reply(connection, op, request_id, problem, success=False))
            return
        agreed = "subscribe" if op == "subscribe" and category == "spot" else ""
        connection.send(_reply(connection, op, request_id, agreed))
        for topic in topics:
            if op == "subscribe":
                self._subscribe(connection, topic)
            else:
                self._unsubscribe(connection, topic)

    def _problem(self, connection: Connection, topics: list[str], category: str) -> str | None:
        """Why a subscription is refused as a whole: the first bad topic, in Bybit's words."""
        if category == "spot" and len(topics) > _SPOT_TOPICS:
            return f"args size >{_SPOT_TOPICS}"
        for topic in topics:
            kind, _, symbol = topic.rpartition(".")
            state = self._states.get(symbol)
            if category != self._category or kind not in self._kinds or state is None or not state.trades:
                return f"error:handler not found,topic:{topic}"
            if topic in connection.topics:
                return f"error:already subscribed,topic:{topic}"
            left = self._refusals.setdefault(topic, self._faults.refused_subscriptions)
            if left:
                self._refusals[topic] = left - 1 if left > 0 else left
                return f"error:handler not found,topic:{topic}"
        return None

    def _subscribe(self, connection: Connection, topic: str) -> None:
        """Add a listener, and send the snapshot that later deltas build on."""
        kind, _, symbol = topic.rpartition(".")
        connection.topics.add(topic)
        self._listeners.setdefault(topic, set()).add(connection)
        state, clock_ms = self._states[symbol], self._clock()
        # Deltas are shared and continue from what was pushed last; for a first listener, from now.
        is_first = len(self._listeners[topic]) == 1
        if kind.startswith("kline"):
            self.listened.set()
        elif state.bar is None:
            return
        elif kind == "tickers":
            if is_first:
                state.pushed_ticker = state.ticker(clock_ms)
            connection.send(ticker_snapshot(state, clock_ms).decode())
        elif kind == "orderbook.50":
            if is_first:
                state.pushed_levels = state.levels(state.open_bar(state.bar, clock_ms).close)
            connection.send(book_snapshot(state, clock_ms).decode())
        else:
            connection.send(quote_message(state, clock_ms).decode())

    def _unsubscribe(self, connection: Connection, topic: str) -> None:
        connection.topics.discard(topic)
        listeners = self._listeners.get(topic, set())
        listeners.discard(connection)
        if not listeners:
            self._listeners.pop(topic, None)
        if not any(topic.startswith("kline.") for topic in self._listeners):
            self.listened.clear()

    def _is_silent(self, topic: str) -> bool:
        if not self._silences:
            return False
        now = asyncio.get_running_loop().time()
        self._silences = [silence for silence in self._silences if silence[0] > now]
        return any(topic.startswith(prefix) for _, prefix in self._silences)


def _reply(connection: Connection, op: str, request_id: str, message: str, *, success: bool = True) -> str:
    """The answer to a control frame."""
    answer = {
        "success": success, "ret_msg": message, "conn_id": connection.id, "req_id": request_id, "op": op,
    }  # fmt: skip
    return msgspec.json.encode(answer).decode()
