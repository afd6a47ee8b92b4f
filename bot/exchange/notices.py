"""What a session tells of the exchange: each thing as it happens, what is refused counted, and all of it short."""

from collections.abc import Callable

from msgspec.structs import replace

from bot.exchange.config import ExchangeConfig
from bot.exchange.refusals import Refusals, shortened
from bot.market import Notice
from bot.trading.events import Input

_COUNTED = {
    "refused", "doubted", "revision", "rest_failed", "behind", "no_connection", "subscription_refused",
}  # fmt: skip
"""Kinds that an exchange can cause as often as it likes."""

_LOOK_SECONDS = 1.0


class Notices:
    """Hands on what is told; ``clock`` gives the local time in seconds and ``clock_ms`` the exchange's."""

    def __init__(
        self,
        config: ExchangeConfig,
        hand_in: Callable[[Input], None],
        clock: Callable[[], float],
        clock_ms: Callable[[], int],
    ) -> None:
        self._hand_in = hand_in
        self._clock = clock
        self._clock_ms = clock_ms
        self._max_characters = config.max_detail_characters
        self._refusals = Refusals()
        self._looked = 0.0

    def tell(self, kind: str, detail: str, symbol: str | None = None) -> None:
        """Tell of something that has just happened."""
        self.emit(Notice(kind=kind, time_ms=self._clock_ms(), symbol=symbol, detail=detail))

    def emit(self, event: Input) -> None:
        """Hand on an event; a notice among them is counted or shortened."""
        if isinstance(event, Notice):
            detail: str | None = shortened(event.detail, self._max_characters)
            if event.kind in _COUNTED:
                detail = self._refusals.note(event.kind, event.symbol, event.detail, self._clock())
            if detail is None:
                return
            event = replace(event, detail=detail)
        self._hand_in(event)

    def tell_counted(self, now: float) -> None:
        """Tell what was counted, once a minute; asked as often as anybody likes."""
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        for kind, symbol, text in self._refusals.due(now):
            self._hand_in(Notice(kind=kind, time_ms=self._clock_ms(), symbol=symbol, detail=text))
