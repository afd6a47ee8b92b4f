"""Asks a strategy, and answers for it where it fails: whoever wrote it, it cannot take the bot along."""

import re
import sys
from collections.abc import Iterable
from types import TracebackType

from bot.errors import SignalError, StrategyError
from bot.market import Notice, utc_text
from bot.model.similarity import Recollection
from bot.strategy import OnError, Situation, Strategy
from bot.strategy_state import StrategyStates
from bot.trading.events import Signal, StrategyState

ERRORS_IN_A_ROW = 10
"""After so many a symbol is entered no more."""

_TOLD = 200
# Where an object stands in memory is another place in a replay.
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")


class StrategyGuard:
    """One session's strategy, and how often it has failed in it.

    With ``on_error`` ``hold`` a bar on which it raises, or answers with what is no Signal, is held, with the
    reason and an event. After :data:`ERRORS_IN_A_ROW` of one symbol that symbol is entered no more, whatever
    the strategy says, until another session; closing it, and exits that rest, go on. With ``stop`` the first
    one raises :class:`StrategyError`. A strategy's state is as it was before the bar on which it failed.
    """

    def __init__(self, strategy: Strategy, on_error: OnError, states: Iterable[StrategyState] = ()) -> None:
        self.strategy = strategy
        self.states = StrategyStates(type(strategy), states)
        self._on_error = on_error
        self._errors = 0
        self._in_a_row: dict[str, int] = {}
        self._stopped: set[str] = set()

    def decide(self, situation: Situation) -> tuple[Signal, tuple[Notice, ...]]:
        """The strategy's answer, or a hold in its place, and what a person should hear of that."""
        symbol = situation.bar.symbol
        try:
            signal = self.strategy.decide(situation)
            if not isinstance(signal, Signal):
                raise SignalError(f"{_cut(signal)} is not a Signal")
            if situation.state is not None:
                self.states.keep(symbol, situation.state, situation.bar.close_ms)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # Also sys.exit(): what ends a session is not a strategy's to say.
            if self._on_error == "stop":
                raise self._stop(error, situation) from error
            return self._held(error, situation)
        if self._errors:
            self._in_a_row[symbol] = 0
        if symbol in self._stopped and signal.action != "hold":
            return self._without_entry(signal, situation), ()
        return signal, ()

    def _stop(self, error: BaseException, situation: Situation) -> StrategyError:
        bar, (path, line) = situation.bar, self._place(error)
        return StrategyError(
            f"{type(self.strategy).__name__}.decide: {_said(error)} ({path}, line {line}; on the {bar.symbol} bar "
            f"of {utc_text(bar.start_ms)} UTC); --traceback tells the whole way there"
        )

    def _held(self, error: BaseException, situation: Situation) -> tuple[Signal, tuple[Notice, ...]]:
        bar, symbol = situation.bar, situation.bar.symbol
        path, line = self._place(error)
        self._errors += 1
        in_a_row = self._in_a_row[symbol] = self._in_a_row.get(symbol, 0) + 1
        # The file's name alone: a replay may find it in another folder.
        name = path.replace("\\", "/").rpartition("/")[2]
        why = f"{_said(error)} ({name}, line {line})"
        told = f"{why}; held; error {self._errors} of this session, {in_a_row} of {symbol} in a row"
        notices = [Notice(kind="strategy_error", time_ms=bar.close_ms, symbol=symbol, detail=told)]
        if in_a_row >= ERRORS_IN_A_ROW and symbol not in self._stopped:
            self._stopped.add(symbol)
            told = f"the strategy failed {in_a_row} times in a row: no entries until the bot is started again"
            notices.append(Notice(kind="entries_stopped", time_ms=bar.close_ms, symbol=symbol, detail=told))
        detail = {"gate": "error", "errors": self._errors, "in_a_row": in_a_row}
        return hold(f"error: {why}", detail, situation.recollection), tuple(notices)

    def _without_entry(self, signal: Signal, situation: Situation) -> Signal:
        """What is left of a wish to enter: to close what is held the other way."""
        held = situation.position.quantity
        against = held < 0 if signal.action == "long" else held > 0
        reason = (
            f"entries stopped: the strategy failed {ERRORS_IN_A_ROW} times in a row; it said: {signal.reason}"
        )
        return Signal(
            action="hold",
            reason=reason,
            confidence=signal.confidence,
            expected_return=signal.expected_return,
            return_std=signal.return_std,
            positive_ratio=signal.positive_ratio,
            horizon_bars=signal.horizon_bars,
            close_position=against,
            detail={**signal.detail, "gate": "entries_stopped"},
        )

    def _place(self, error: BaseException) -> tuple[str, int]:
        """File and line of the strategy's own that the error came through last; else where it arose."""
        own = getattr(sys.modules.get(type(self.strategy).__module__), "__file__", None)
        found = _last_line(error.__traceback__, own)
        if found is None:
            code = getattr(getattr(type(self.strategy), "decide", None), "__code__", None)
            # What it returned is wrong: no line of it is to blame more than another.
            if isinstance(error, SignalError) and code is not None:
                return code.co_filename, code.co_firstlineno
            found = _last_line(error.__traceback__, None)
        return found if found is not None else (own or "unknown", 0)


def hold(reason: str, detail: dict[str, object], recollection: Recollection | None) -> Signal:
    """A hold that nobody's strategy decided; it tells what was recalled all the same."""
    forecast = None if recollection is None else recollection.forecast
    if forecast is None:
        return Signal(action="hold", reason=reason, detail=detail)
    return Signal(
        action="hold",
        reason=reason,
        expected_return=forecast.expected_return,
        return_std=forecast.return_std,
        positive_ratio=forecast.rise_probability,
        detail=detail,
    )


def _last_line(traceback: TracebackType | None, path: str | None) -> tuple[str, int] | None:
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if path is None or file == path:
            found = file, traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def _said(error: BaseException) -> str:
    """An error in one line, the same in every process."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "it cannot say what"
    if not isinstance(error, SignalError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return _one_line(text)


def _cut(value: object) -> str:
    try:
        return _one_line(repr(value))
    except Exception:
        return f"a {type(value).__name__}"


def _one_line(text: str) -> str:
    text = _ADDRESS.sub("0x…", " ".join(text.split())).encode("utf-8", "replace").decode()
    return text if len(text) <= _TOLD else text[: _TOLD - 1] + "…"
