"""What Steps say of watched symbols, pauses and requests, as rows."""

from bot.store.account.tables import PAUSES, REQUESTS, WATCHED
from bot.store.columns import Row
from bot.trading.events import Step

_ANSWER = f"UPDATE {REQUESTS.name} SET done_ms = ?, outcome = ?, error = ? WHERE id = ?"


class HandRows:
    """Gathers rows of Steps; ``tables`` are statements, each with its rows."""

    def __init__(self, session_id: int) -> None:
        self._session_id = session_id
        self._watched: list[Row] = []
        self._pauses: list[Row] = []
        self._answers: list[Row] = []
        self.tables = (
            (WATCHED.replace, self._watched),
            (PAUSES.upsert, self._pauses),
            (_ANSWER, self._answers),
        )

    def gather(self, step: Step) -> None:
        """Take down what the Step says."""
        self._watched.extend(map(WATCHED.row, step.watched))
        self._pauses.extend(PAUSES.row(pause, self._session_id) for pause in step.pauses)
        for answer in step.answers:
            self._answers.append((answer.time_ms, answer.outcome, answer.error, answer.id))
