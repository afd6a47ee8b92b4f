"""What Steps say of watched symbols, pauses and requests, as rows."""

from typing import Any

from bot.trading.events import Step

_WATCHED = "INSERT OR REPLACE INTO watched VALUES (?, ?, ?, ?)"
_PAUSE = """
INSERT INTO pauses VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET resumed_ms = excluded.resumed_ms
"""
_ANSWER = "UPDATE requests SET done_ms = ?, outcome = ?, error = ? WHERE id = ?"


class HandRows:
    """Gathers rows of Steps; ``tables`` are statements, each with its rows."""

    def __init__(self, session_id: int) -> None:
        self._session_id = session_id
        self._watched: list[tuple[Any, ...]] = []
        self._pauses: list[tuple[Any, ...]] = []
        self._answers: list[tuple[Any, ...]] = []
        self.tables = (
            (_WATCHED, self._watched),
            (_PAUSE, self._pauses),
            (_ANSWER, self._answers),
        )

    def gather(self, step: Step) -> None:
        """Take down what the Step says."""
        for one in step.watched:
            self._watched.append((one.symbol, one.state, one.since_ms, one.reason))
        for pause in step.pauses:
            told = (pause.symbol, pause.time_ms, pause.resumed_ms, pause.note)
            self._pauses.append((pause.id, self._session_id, *told))
        for answer in step.answers:
            self._answers.append((answer.time_ms, answer.outcome, answer.error, answer.id))
