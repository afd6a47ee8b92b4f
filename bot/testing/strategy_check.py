"""What every strategy must keep to, tried on a generated market; an error says what to mend."""

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from bot.config import Config
from bot.errors import ConfigError, SignalError
from bot.market import Bar, utc_text
from bot.sessions.assembly import strategy_class
from bot.shipped import shipped_strategies
from bot.strategy import Situation, Strategy
from bot.synthetic import PRESETS, SyntheticMarket
from bot.testing.sessions import config_of, in_core_order, in_memory, made_strategy
from bot.trading.events import Signal

# A memory of plain keys says something after some hundred bars, and is soon made.
_QUICK = {"model.checkpoint": "", "memory.neighbors": 8, "risk.max_daily_loss": 0, "risk.max_drawdown": 0}
_GENERATED_BARS = 600
_FEW_BARS = 5


class StrategyDefect(AssertionError):
    """What a strategy does not keep to, and how to mend it."""


class StrategyReport(Struct, frozen=True, kw_only=True):
    """What was tried: decisions by action, and the median time of one."""

    decisions: int
    actions: dict[str, int]
    seconds_a_decision: float


def check_strategy(
    strategy: type[Strategy] | str,
    *,
    bars: Sequence[Bar] = (),
    enters_at_once: bool = False,
    max_seconds: float = 0.01,
    another_process: bool = True,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> StrategyReport:
    """Raise :class:`StrategyDefect` where a strategy breaks a rule; return what was tried where it keeps them all.

    - The same Situation gives the same Signal: asked twice, asked of an instance that was just made (as after a
      restart), and in another process (for a class that can be imported). What it remembers, it declares as ``State``.
    - It writes to nothing that it is given but its ``state``.
    - What it decides on a bar does not change with the bars after it.
    - It holds on the first bar, and raises nothing where few bars are known. ``enters_at_once`` allows an entry there.
    - ``detail`` can be written as JSON; a Signal that checks itself says so.
    - A decision takes less than ``max_seconds`` in the median.

    ``bars`` are yours, of any symbols, or those of a generated market with an edge, of BTCUSDT and ETHUSDT.
    ``config`` maps further keys of the configuration to values; ``options`` are the strategy's own. Raises
    ConfigError for a class that is none, and for options that it does not take.

    >>> check_strategy("moving_average_cross", fast=3, slow=9).decisions
    1200
    """
    kind = strategy_class(strategy, shipped_strategies()) if isinstance(strategy, str) else strategy
    if not isinstance(kind, type):
        raise ConfigError(f"strategy.name: {strategy!r} is no class")
    fed = in_core_order(bars or _market())
    settings = config_of(fed, kind, {**_QUICK, **(config or {})}, options)
    trial = _Trial(kind, settings, enters_at_once)
    signals = trial.decisions(fed)
    _same_in_spite_of_the_future(trial, fed, signals)
    if another_process and _importable(kind):
        _same_in_another_process(kind, fed, {**_QUICK, **(config or {})}, options, signals)
    seconds = median(trial.seconds)
    if seconds > max_seconds:
        raise StrategyDefect(
            f"{kind.__name__}.decide takes {seconds:.4f} s in the median, more than max_seconds = {max_seconds}: "
            "compute once a bar what you can, and only as far back as you look"
        )
    actions: dict[str, int] = {}
    for signal in signals:
        actions[signal.action] = actions.get(signal.action, 0) + 1
    return StrategyReport(decisions=len(signals), actions=actions, seconds_a_decision=seconds)


class _Trial:
    """Runs of one class over bars, each decision asked more than once."""

    def __init__(self, kind: type, settings: Config, enters_at_once: bool) -> None:
        self._kind = kind
        self._settings = settings
        self._enters_at_once = enters_at_once
        self.seconds: list[float] = []

    def decisions(self, bars: Sequence[Bar]) -> list[Signal]:
        """The Signal on each bar, once it is known to be the only one that the bar allows."""
        asked = _asked_again(self)
        trader = in_memory(bars, made_strategy(asked, self._settings), self._settings)
        signals = []
        seen: dict[str, int] = {}
        for bar in bars:
            self.known = seen[bar.symbol] = seen.get(bar.symbol, 0) + 1
            try:
                signal = trader.advance(bar).signal
            except Exception as error:
                # The guard says where a strategy fails; what is wrong with it is said here.
                cause = error.__cause__
                raise (cause if isinstance(cause, StrategyDefect) else error) from None
            assert signal is not None
            signals.append(signal)
        return signals

    def ask(self, decide: Any, situation: Situation) -> Signal:
        """One decision, tried from all sides."""
        name, when = self._kind.__name__, _when(situation.bar)
        before, given = _contents(situation), _copy(situation.state)
        begun = time.perf_counter()
        signal = self._answer(decide, situation)
        self.seconds.append(time.perf_counter() - begun)
        if changed := _first_difference(before, _contents(situation)):
            raise StrategyDefect(
                f"{name}.decide has changed situation.{changed} on {when}: copy what you want to change"
            )
        if self.known == 1 and signal.action != "hold" and not self._enters_at_once:
            raise StrategyDefect(
                f"{name}.decide goes {signal.action} on the first bar of {situation.bar.symbol}, of which nothing else "
                "is known: hold where too few bars are known (check_strategy(..., enters_at_once=True) allows it)"
            )
        fresh = made_strategy(self._kind, self._settings)
        for again, how in ((decide, "asked again"), (fresh.decide, "made anew, as a restart does")):
            other = replace(situation, state=_copy(given))
            told = self._answer(again, other)
            if difference := _first_difference(asdict(signal), asdict(told)):
                raise StrategyDefect(
                    f"{name} answers otherwise when it is {how} on {when} ({difference} differs): decide may depend on "
                    "its situation alone, not on chance, a clock or what it remembers by itself; what it must "
                    "remember belongs into a State"
                )
            if _encoded(other.state) != _encoded(situation.state):
                raise StrategyDefect(
                    f"{name} leaves another State when it is {how} on {when}: State may depend on the situation alone"
                )
        return signal

    def _answer(self, decide: Any, situation: Situation) -> Signal:
        name, when = self._kind.__name__, _when(situation.bar)
        try:
            signal = decide(situation)
        except SignalError as error:
            raise StrategyDefect(f"{name}.decide on {when}: {error}") from error
        except Exception as error:
            what = f"{name}.decide raises {type(error).__name__} on {when}: {error}"
            if "immutable" in str(error) or "read-only" in str(error):
                raise StrategyDefect(
                    f"{what}: what it is given cannot be written to; copy it, or keep it in a State"
                ) from error
            if self.known <= _FEW_BARS:
                raise StrategyDefect(
                    f"{what}, with {self.known} bars known: arrays hold fewer values where fewer are known; hold there"
                ) from error
            raise StrategyDefect(f"{what}: mend it, since a live session would hold on that bar") from error
        if not isinstance(signal, Signal):
            raise StrategyDefect(
                f"{name}.decide returns {type(signal).__name__} on {when}: return a Signal, also to hold"
            )
        try:
            msgspec.json.encode(signal.detail)
        except (TypeError, ValueError) as error:
            raise StrategyDefect(f"{name}.decide: detail cannot be written as JSON: {error}") from error
        return signal


def _asked_again(trial: _Trial) -> type:
    """The class, with every decision tried; by the name of the original, whose state it goes by."""
    kind = trial._kind

    def decide(self: Any, situation: Situation) -> Signal:
        return trial.ask(lambda other: kind.decide(self, other), situation)  # type: ignore[attr-defined]

    names = {"decide": decide, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), names)


def _same_in_spite_of_the_future(trial: _Trial, bars: Sequence[Bar], signals: Sequence[Signal]) -> None:
    cut = len(bars) * 2 // 3
    changed = trial.decisions([*bars[:cut], *_garbage(bars[cut:])])
    for bar, before, after in zip(bars[:cut], signals, changed, strict=False):
        if difference := _first_difference(asdict(before), asdict(after)):
            raise StrategyDefect(
                f"{trial._kind.__name__} decides otherwise on {_when(bar)} once later bars are others ({difference} "
                "differs): it knows of bars after the one that it decides on"
            )


def _same_in_another_process(
    kind: type, bars: Sequence[Bar], config: Mapping[str, Any], options: Mapping[str, Any], signals: Any
) -> None:
    asked = (f"{kind.__module__}:{kind.__qualname__}", list(bars), dict(config), dict(options))
    code = "import sys; from bot.testing.strategy_check import answer; answer(sys.stdin.buffer, sys.stdout)"
    # What depends on the order of a set's texts shows where they are hashed otherwise.
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        input=msgspec.msgpack.encode(asked),
        capture_output=True,
        env=environment,
        check=False,
    )
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise StrategyDefect(f"{kind.__name__} cannot be run in another process: {' '.join(said)}")
    if ended.stdout.decode().split()[-1] != _digest(signals):
        raise StrategyDefect(
            f"{kind.__name__} decides otherwise in another process: it depends on the order of a set, on hash() "
            "or id(), on the environment, or on what its module holds"
        )


def answer(source: Any, out: Any) -> None:
    """What the other process does: the same decisions, of which it tells the digest."""
    path, bars, config, options = msgspec.msgpack.decode(
        source.read(), type=tuple[str, list[Bar], dict[str, Any], dict[str, Any]]
    )
    kind = strategy_class(path, shipped_strategies())
    settings = config_of(bars, kind, config, options)
    trader = in_memory(bars, made_strategy(kind, settings), settings)
    out.write(_digest([trader.advance(bar).signal for bar in bars]))


def _digest(signals: Sequence[Signal | None]) -> str:
    # Addresses of objects would differ; floats are told to the last bit.
    return hashlib.sha256(msgspec.json.encode(list(signals), order="sorted")).hexdigest()


def _importable(kind: type) -> bool:
    return kind.__module__ != "__main__" and "<locals>" not in kind.__qualname__


def _market() -> list[Bar]:
    market = SyntheticMarket(PRESETS["demo"], 5, "60")
    return [bar for symbol in ("BTCUSDT", "ETHUSDT") for bar in market.bars(symbol, 2_000, _GENERATED_BARS)]


def _garbage(bars: Sequence[Bar]) -> Iterator[Bar]:
    """Other prices and volumes, off by anything up to a factor of ten."""
    draws = random.Random(3)
    for bar in bars:
        prices = sorted(
            (bar.close * Decimal(str(round(10 ** draws.uniform(-1, 1), 3)))).quantize(bar.close) or bar.close
            for _ in range(4)
        )
        low, first, last, high = prices
        yield replace(
            bar, open=first, high=high, low=low, close=last, volume=Decimal(draws.randrange(1, 10**6))
        )


def _contents(situation: Situation) -> dict[str, Any]:
    """All that a strategy could change by force, as text: the values themselves would change with it."""
    recent = situation.recent
    return {
        **{
            name: repr(getattr(situation, name))
            for name in ("bar", "position", "bars_held", "account", "costs")
        },
        "recollection": repr(situation.recollection),
        "recent": [
            column(64).tobytes() for column in (recent.opens, recent.highs, recent.lows, recent.closes)
        ],
    }


def _first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    return next((name for name, value in one.items() if repr(value) != repr(other[name])), None)


def _copy(state: Any) -> Any:
    return None if state is None else msgspec.json.decode(_encoded(state), type=type(state))


def _encoded(state: Any) -> bytes:
    return msgspec.json.encode(state, order="deterministic")


def _when(bar: Bar) -> str:
    return f"the {bar.symbol} bar of {utc_text(bar.start_ms)} UTC"
