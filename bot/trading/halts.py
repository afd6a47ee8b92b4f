"""The account's loss limits, and what stops entries until a person resumes: a halt, pauses, symbols only closed."""

from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

from bot.exact import EXACT, ZERO
from bot.market import Bar, Instrument, minute_text
from bot.market.times import DAY_MS, date_text
from bot.trading.account import AccountTrack, drawdown
from bot.trading.events import Equity, Halt, Order, Pause, Resume
from bot.trading.limits import RiskContext, Rule


class Halts:
    """Sole owner of the halt in force, of the pauses, and of the symbols that are only closed.

    A halt sells everything, a pause only lets nothing be entered: into one symbol or into any. A halt begins
    where the account's unit value is a limit's fraction below the day's first, or below its highest (0: no limit).
    """

    def __init__(
        self,
        halt: Halt | None,
        next_halt_id: int,
        pauses: tuple[Pause, ...],
        *,
        max_daily_loss: Decimal,
        max_drawdown: Decimal,
    ) -> None:
        self.halt = halt
        """The halt in force, or None."""
        self.next_halt_id = next_halt_id
        self.closing_only: dict[str, str] = {}
        """Why a symbol is only closed, by symbol."""
        self._pauses = {pause.symbol: pause for pause in pauses}
        self._max_daily_loss, self._max_drawdown = max_daily_loss, max_drawdown
        # What must be left of a unit's value; without a limit, anything.
        self._daily_rest, self._drawdown_rest = (
            EXACT.subtract(1, limit) if limit else ZERO for limit in (max_daily_loss, max_drawdown)
        )
        # What the limits were last measured by, and the unit value at which the nearer one is reached.
        self._day_value: Decimal | None = None
        self._peak: Decimal | None = None
        self._floor = ZERO

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """The pauses in force, in the order in which they were asked for."""
        return tuple(sorted(self._pauses.values(), key=lambda pause: pause.id))

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The risk review's rules for entries that this state decides."""
        return {"halted": self._halted, "paused": self._paused, "closing_only": self._closing_only}

    def check_account_limits(self, bar: Bar, account: Equity, track: AccountTrack) -> Halt | None:
        """Compare the account's unit value at a bar's close with its limits: the halt that begins now, or None."""
        if track.day_value is not self._day_value or track.guarded_peak is not self._peak:
            self._day_value, self._peak = track.day_value, track.guarded_peak
            self._floor = max(
                EXACT.multiply(self._day_value, self._daily_rest),
                EXACT.multiply(self._peak, self._drawdown_rest),
            )
        if account.unit_value > self._floor:
            return None
        # A bar that is no longer the newest tells of a time at which nobody could act.
        if self.halt is not None or bar.late:
            return None
        breached = self._breached_limit(account, track)
        if breached is None:
            return None
        rule, reason = breached
        self.halt = Halt(id=self.next_halt_id, rule=rule, reason=reason, time_ms=account.time_ms)
        self.next_halt_id += 1
        return self.halt

    def _breached_limit(self, account: Equity, track: AccountTrack) -> tuple[str, str] | None:
        """The first limit that the account is beyond, and by how much, as text."""
        loss = _loss_text(account, track.day_value, self._max_daily_loss)
        if loss is not None:
            assert track.day is not None
            return "max_daily_loss", f"{loss} when {date_text(track.day * DAY_MS)} began"
        loss = _loss_text(account, track.guarded_peak, self._max_drawdown)
        return None if loss is None else ("max_drawdown", f"{loss} at its highest")

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


def _loss_text(account: Equity, before: Decimal, limit: Decimal) -> str | None:
    """How far a unit has fallen below ``before``, as text, where that is ``limit`` of it or more."""
    value = account.unit_value
    if not limit or value > EXACT.multiply(before, EXACT.subtract(1, limit)):
        return None
    # In money of now: what the units that there are would be worth at the value before.
    was = f"the {account.equity * before / value:.2f}" if value else "its worth"
    return (
        f"equity {account.equity:.2f} is {drawdown(value, before):.2%} (the limit is {limit:.2%}) below {was}"
    )
