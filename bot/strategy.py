"""What a strategy is asked, and what it may answer."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, TypeVar, runtime_checkable

from msgspec import Meta, Struct

from bot.costs import Costs
from bot.errors import ConfigError
from bot.market import Bar
from bot.model.recent import RecentBars
from bot.model.similarity import Recollection
from bot.model.timeframes import TimeframeBars
from bot.run_view import OtherSymbol, RunView
from bot.strategy_options import read_options
from bot.trading.checks import Check
from bot.trading.events import Equity, Order, Position, RoundTrip, Signal

__all__ = [
    "Check",
    "Costs",
    "OtherSymbol",
    "RecentBars",
    "Signal",
    "Situation",
    "Strategy",
    "StrategyConfig",
    "TimeframeBars",
    "declared_checks",
]

OnError = Literal["hold", "stop"]

T = TypeVar("T")


class StrategyConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[strategy]`` of the configuration. ``options`` is for a strategy's own settings, as they were given.

    ``on_error`` says what a live session does where it raises: hold on that bar, or stop. A backtest stops.
    """

    name: str = "historical_similarity"
    horizon_bars: Annotated[int, Meta(ge=1, le=10_000)] = 24
    confidence_threshold: Annotated[float, Meta(ge=0.5, le=0.999999)] = 0.6
    options: dict[str, str | int | float | bool] = {}
    on_error: OnError = "hold"

    def read_options(self, declared: type[T]) -> T:
        """``options`` as an instance of what a strategy declares, a msgspec Struct or a dataclass.

        Its defaults stand for what was not given. Raises ConfigError that names the key where one is unknown,
        of the wrong type or out of the range that :class:`msgspec.Meta` gives it.
        """
        return read_options(declared, self.options)


class Situation(Struct, frozen=True, kw_only=True, eq=False):
    """Everything a strategy may know at the close of ``bar``; none of it can be written to.

    ``recent`` holds the closed bars up to and including this one as float64 arrays.
    ``recollection`` is None for a strategy that does not ask for memory. ``position`` is this
    symbol's, ``bars_held`` how long it has been on its side (0 when flat), ``account`` the whole
    account, valued at the last prices. ``costs`` are those of trading this symbol. ``run`` answers what is
    asked below: nothing of it is made before it is asked for, and it holds until the next bar.
    ``state`` is the strategy's own of this symbol, an instance of the ``State`` that it declares (None where it
    declares none), and the one thing here that ``decide`` may change.
    """

    bar: Bar
    recent: RecentBars
    recollection: Recollection | None
    position: Position
    bars_held: int
    account: Equity
    costs: Costs
    run: RunView | None = None
    state: Any = None

    @property
    def open_orders(self) -> tuple[Order, ...]:
        """This symbol's orders that may still fill, by number: entries, and exits of a bracket (``pending`` ones
        wait for their entry)."""
        return () if self.run is None else self.run.open_orders(self.bar.symbol)

    @property
    def round_trip(self) -> RoundTrip | None:
        """The trip that the position is of, as it stands at this close; None when flat."""
        return None if self.run is None else self.run.round_trip(self.bar.symbol)

    def timeframe(self, interval: str) -> TimeframeBars:
        """The completed bars of a higher interval (``"240"``, ``"D"``), made of ``recent``; never an open one.

        Aligned to UTC as Bybit aligns them. A gap, or too few bars at hand, leaves a bar out. Raises ValueError
        for an interval that is none, or no multiple of the run's.
        """
        return self.recent.timeframe(interval)

    def other(self, symbol: str) -> OtherSymbol:
        """Another symbol of the run: its bars that had closed by now, its position and costs.

        Bars enter the core one by one: by their close, those of one close in the order of their symbols' names.
        So at one close a symbol whose name comes later still shows its previous bar, and ``recent.close_ms`` lies
        before ``bar.close_ms``; so does a symbol whose bar is missing. Where a bar entered out of order, live, its
        recording keeps that order, and a replay answers the same. A bar that closes after ``bar`` is never shown.

        Raises LookupError for a symbol that the run does not have.
        """
        if self.run is None:
            raise LookupError(f"{symbol} is not known: this Situation was made of one symbol alone")
        return self.run.other(symbol, self.bar.close_ms)


@runtime_checkable
class Strategy(Protocol):
    """One question, one answer. A strategy holds settings only: same Situation, same Signal.

    A class is built with its :class:`StrategyConfig`. ``needs_memory`` False spares the encoder
    and the memory for strategies that ask neither.

    A class may declare its settings as ``Options``, a msgspec Struct or a dataclass, and read them with
    ``config.read_options(self.Options)``. Configuration, environment, ``--option`` and Python fill it; a wrong
    one ends the start with a line that names the key.

    A class may declare what it keeps from bar to bar as ``State``, a msgspec Struct whose fields have defaults.
    ``situation.state`` is then one of the symbol's own, which ``decide`` changes in place. It is stored with the
    decision, so that a restart and a replay go on from it; where ``decide`` raises, it stays as it was. State
    is kept nowhere else: what an instance remembers by itself, a restart forgets.

    A class may declare ``checks``: the names of its entry's conditions in the order in which it asks them,
    each with what to call those that passed (``{"trend": "with the trend"}``). Its Signals then bring
    what each came to (:class:`Check`, as ``Signal.checks``), and reports count where decisions stopped.
    """

    needs_memory: bool

    def decide(self, situation: Situation) -> Signal: ...


def declared_checks(strategy: Strategy) -> dict[str, str]:
    """The strategy's own checks, name to label, in order; empty where it names none. Raises ConfigError."""
    checks = getattr(strategy, "checks", {})
    if not isinstance(checks, Mapping) or not all(
        isinstance(text, str) and text for pair in checks.items() for text in pair
    ):
        name = type(strategy).__name__
        raise ConfigError(f"strategy.name: {name}.checks is {checks!r}, not names with labels")
    return dict(checks)
