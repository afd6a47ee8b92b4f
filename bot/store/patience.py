"""How long a database is waited for that another program keeps locked, and who is told."""

import time
from collections.abc import Callable

BUSY_SECONDS = 2.0
"""How long SQLite itself waits for another program's lock before it says so."""

_SECONDS = 5.0


def _nobody(told: str) -> None:
    """Who waits for a moment only is not told."""


class Patience:
    """What is left of the time that one open database is waited for; ``tell`` is told as it begins and as it ends."""

    def __init__(self, seconds: float = _SECONDS, tell: Callable[[str], None] = _nobody) -> None:
        self._seconds = seconds
        self._tell = tell
        self._since: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether the lock was met, and has not been had since."""
        return self._since is not None

    def goes_on(self) -> bool:
        """The lock was met after so long as SQLite waits: whether to try again. False once all time is over."""
        now = time.monotonic()
        if self._since is None:
            self._since = now - BUSY_SECONDS
            self._tell(
                f"another program keeps it locked; what is to be written waits for {self._seconds:g} s at most"
            )
        return now - self._since < self._seconds

    def had(self) -> None:
        """The lock was had."""
        if self._since is not None:
            waited, self._since = time.monotonic() - self._since, None
            self._tell(f"no longer locked, after {waited:.1f} s")
