"""A strategy's own state, between one decision and the next: declared as a Struct, kept as the JSON of it."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from bot.errors import ConfigError, SignalError
from bot.trading.events import StrategyState

_encode = msgspec.json.Encoder(decimal_format="string", order="deterministic").encode
_LONGEST = 100_000
"""Characters of a symbol's state: it is written whole whenever it changes."""


def declared_state(strategy: type) -> type[Struct] | None:
    """The class's ``State``; None where it declares none. ConfigError for what can hold no state."""
    declared = getattr(strategy, "State", None)
    if declared is None:
        return None
    name = f"strategy.name: {strategy.__name__}.State"
    if not (isinstance(declared, type) and issubclass(declared, Struct)):
        raise ConfigError(f"{name} is no msgspec Struct")
    if declared.__struct_config__.frozen:
        raise ConfigError(f"{name} is frozen, so decide could never change it: leave out frozen=True")
    try:
        begun = declared()
    except Exception as error:
        raise ConfigError(
            f"{name} cannot be made without arguments: give each field a default ({error})"
        ) from error
    try:
        _same_again(begun)
    except SignalError as error:
        raise ConfigError(f"{name} cannot be stored: {error}") from error
    return declared


class StrategyStates:
    """Sole owner of a strategy's state of each symbol, as text: nobody else can have changed it.

    ``stored`` is what earlier sessions left; of it only what this strategy's class left is taken up. Raises
    ConfigError where that is no state of the class any more.
    """

    def __init__(self, strategy: type, stored: Iterable[StrategyState] = ()) -> None:
        self._declared = declared_state(strategy)
        self._strategy = f"{strategy.__module__}:{strategy.__qualname__}"
        self._texts: dict[str, str] = {}
        self._changed: dict[str, StrategyState] = {}
        if self._declared is None:
            return
        for one in stored:
            if one.strategy == self._strategy:
                try:
                    msgspec.json.decode(one.state, type=self._declared)
                except msgspec.MsgspecError as error:
                    raise ConfigError(
                        f"strategy.name: what {self._strategy} keeps of {one.symbol} is no State of it any more: "
                        f"{error}; give new fields defaults, rename the class to begin anew, or start with another "
                        "run.database"
                    ) from error
                self._texts[one.symbol] = one.state

    @property
    def declared(self) -> bool:
        """Whether the strategy keeps any state."""
        return self._declared is not None

    def of(self, symbol: str) -> Any:
        """The symbol's state, made anew of its text; None where the strategy declares none."""
        if self._declared is None:
            return None
        text = self._texts.get(symbol)
        return self._declared() if text is None else msgspec.json.decode(text, type=self._declared)

    def keep(self, symbol: str, state: Any, time_ms: int) -> None:
        """What ``decide`` has left of the state. Raises SignalError for what could not be read again as it is."""
        text = _same_again(state)
        if text != self._texts.get(symbol):
            self._texts[symbol] = text
            self._changed[symbol] = StrategyState(
                symbol=symbol, strategy=self._strategy, updated_ms=time_ms, state=text
            )

    def news(self) -> tuple[StrategyState, ...]:
        """The states that have changed since this was last asked."""
        if not self._changed:
            return ()
        changed = tuple(self._changed.values())
        self._changed.clear()
        return changed


def _same_again(state: Any) -> str:
    """The state's text. Raises SignalError where what is read of it is not the state."""
    name = f"{type(state).__name__}"
    try:
        text = _encode(state).decode()
        again = msgspec.json.decode(text, type=type(state))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise SignalError(f"{name} cannot be stored: {error}") from error
    if _encode(again).decode() != text:
        raise SignalError(f"{name} is another once it is stored and read again: annotate its fields by type")
    if len(text) > _LONGEST:
        raise SignalError(f"{name} has {len(text):,} characters, at most {_LONGEST:,} are kept of a symbol")
    return text
