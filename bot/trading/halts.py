"""What stops entries until a person says otherwise: the halt in force, pauses, symbols that are only closed."""

from collections.abc import Mapping

from msgspec.structs import replace

from bot.market import Instrument, minute_text
from bot.trading.events import Halt, Order, Pause, Resume
from bot.trading.limits import RiskContext, Rule


class Halts:
    """Sole owner of the halt in force, of the pauses, and of the symbols that are only closed.

    A halt sells everything, a pause only lets nothing be entered: into one symbol or into any.
    """

    def __init__(self, halt: Halt | None, next_halt_id: int, pauses: tuple[Pause, ...]) -> None:
        self.halt = halt
        """The halt in force, or None."""
        self.next_halt_id = next_halt_id
        self.closing_only: dict[str, str] = {}
        """Why a symbol is only closed, by symbol."""
        self._pauses = {pause.symbol: pause for pause in pauses}

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """The pauses in force, in the order in which they were asked for."""
        return tuple(sorted(self._pauses.values(), key=lambda pause: pause.id))

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The risk review's rules for entries that stand here."""
        return {"halted": self._halted, "paused": self._paused, "closing_only": self._closing_only}

    def begin(self, rule: str, reason: str, time_ms: int) -> Halt:
        """A halt begins."""
        self.halt = Halt(id=self.next_halt_id, rule=rule, reason=reason, time_ms=time_ms)
        self.next_halt_id += 1
        return self.halt

    def pause(self, pause: Pause) -> Pause:
        """Let nothing be entered; the pause in force, which is an older one where there was one already."""
        return self._pauses.setdefault(pause.symbol, pause)

    def resume(self, resume: Resume) -> tuple[Halt | None, tuple[Pause, ...]]:
        """What a person's leave to go on has ended: the halt and all pauses, or one symbol's pause alone."""
        ended: Halt | None = None
        if resume.symbol is None:
            ended, self.halt = self.halt, None
            over, self._pauses = self.pauses, {}
        else:
            over = tuple(pause for pause in self.pauses if pause.symbol == resume.symbol)
            self._pauses.pop(resume.symbol, None)
        if ended is not None:
            ended = replace(ended, resumed_ms=resume.time_ms, note=resume.note)
        return ended, tuple(replace(pause, resumed_ms=resume.time_ms) for pause in over)

    def _halted(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        halt = self.halt
        if halt is None:
            return None
        # Said of each entry until a person resumes: why it came is said once, where it began.
        return f"halted since {minute_text(halt.time_ms)} UTC by {halt.rule}; run_bot.py resume goes on"

    def _paused(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        pause = self._pauses.get(None) or self._pauses.get(order.symbol)
        if pause is None:
            return None
        what, scope = (f"{pause.symbol} is", f" {pause.symbol}") if pause.symbol else ("entries are", "")
        note = f" ({pause.note})" if pause.note else ""
        return f"{what} paused since {minute_text(pause.time_ms)} UTC{note}; run_bot.py resume{scope} goes on"

    def _closing_only(self, order: Order, context: RiskContext, instrument: Instrument) -> str | None:
        why = self.closing_only.get(order.symbol)
        return None if why is None else f"{order.symbol} is only closed: {why}"
