"""``bot.backtest``: the bot over bars at hand, as the command ``backtest`` runs it."""

import heapq
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from bot.api.arguments import exact_settings, time_ms
from bot.api.bars import Bars, Source, read_bars
from bot.api.funding import Funding, rates_of
from bot.api.session import Session
from bot.api.waiting import wait_for
from bot.config import Config, load
from bot.errors import ConfigError, InputError
from bot.market import Bar, Category
from bot.market.symbols import currency_problem
from bot.sessions.assembly import load_strategy, strategy_of
from bot.sessions.backtest import Progress, run_plan, silent
from bot.sessions.backtest_plan import Options, as_backtested, plan_over
from bot.sessions.bar_source import BarSource
from bot.shipped import look_beside, shipped_strategies
from bot.sources.instruments import given_rules, read_given
from bot.strategy import Strategy, StrategyConfig
from bot.trading.fills import Preset

ManyBars = Source | Sequence[Source] | Mapping[str, Source]
"""Bars of one symbol, or of several: a list, or each by its symbol."""
StrategyClass = Callable[[StrategyConfig], Strategy]


def backtest(
    bars: ManyBars,
    strategy: str | StrategyClass = "historical_similarity",
    *,
    since: Any = None,
    until: Any = None,
    warmup: int | None = None,
    starting_cash: Any = None,
    fills: Preset | None = None,
    funding: Funding = None,
    instruments: Mapping[str, Mapping[str, Any]] | Sequence[str] = (),
    category: Category | None = None,
    settings: Mapping[str, Any] | None = None,
    config: str | PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Session:
    """Run a strategy over bars; the result is a :class:`Session`, as of a run that has ended.

    - ``bars``: what :func:`read_bars` takes, or several of it (a list, or a mapping by symbol).
    - ``strategy``: a shipped one's name, a class, or ``"module:Class"``. ``options`` are its own, with
      ``horizon_bars`` and ``confidence_threshold``, which every strategy has.
    - Bars with starts from ``since`` on and before ``until`` are decided on. ``warmup`` bars of each symbol are
      observed before the first: without it as many as a live session loads, at most half of what there is.
    - ``fills``: optimistic, realistic or pessimistic. ``starting_cash`` in quote currency.
    - ``funding``: settled rates (a CSV file, a DataFrame with a column ``rate``, or a mapping by symbol); None takes
      those stored beside the bars, False leaves funding out.
    - ``instruments``: trading rules by symbol, as ``{"BTCUSDT": {"tick_size": "0.1", "lot_size": "0.001"}}``.
    - ``settings``: any other key of the configuration, as ``{"risk.max_position_fraction": 0.2}``. ``config`` names a
      configuration file; None takes ``config.toml`` of the working folder, if there is one, as every command does.
    - ``progress`` is called with what is done, how much of it, and how much there is.

    Nothing is written that stays, until :meth:`Session.save`. Raises :class:`bot.errors.InputError` and
    :class:`bot.errors.ConfigError`, in one line that says how to mend it, and :class:`bot.errors.StrategyError` where
    the strategy itself fails.

    >>> run = bot.backtest("BTCUSDT_waves_1h.csv", "moving_average_cross", fast=3, slow=9, starting_cash=5_000)
    >>> run.summary.fills, len(run.trades)
    (27, 27)
    >>> print(f"{run.summary.total_return:+.1%}")
    +45.9%
    """
    many = listed(bars)
    overrides = {
        "broker.starting_cash": None if starting_cash is None else str(starting_cash),
        **_strategy_settings(strategy, options, config),
        **exact_settings(settings or {}),
    }
    chosen = as_backtested(settings_of(many, config, category, overrides), fills)
    if chosen.run.category != "equity" and (problem := currency_problem(chosen.run.symbols)) is not None:
        raise InputError(f"bars: {problem}")
    folder = tempfile.TemporaryDirectory(prefix="paper-trading-bot-", ignore_cleanup_errors=True)
    asked = Options(
        since_ms=time_ms(since, "since"),
        until_ms=time_ms(until, "until"),
        warmup=warmup,
        no_funding=funding is False,
        name="backtest",
        database=str(Path(folder.name) / "backtest.db"),
    )
    given = (
        given_rules(instruments, "instruments")
        if isinstance(instruments, Mapping)
        else read_given(instruments)
    )
    plan = plan_over(source_of(many), asked, chosen, rates=rates_of(funding, chosen), given=given)
    made = _made(strategy, chosen, config)
    result = wait_for(run_plan(plan, made, progress=progress or silent))
    if result.interrupted:
        raise KeyboardInterrupt
    return Session(plan.path, kept=folder, ended=result.summary, runs=chosen.runs_path)


def listed(bars: ManyBars) -> list[Bars]:
    """Bars of each symbol once, all of one interval, by symbol."""
    if isinstance(bars, Mapping):
        many = [read_bars(source, symbol) for symbol, source in bars.items()]
    elif isinstance(bars, list | tuple):
        many = [read_bars(source) for source in bars]
    else:
        many = [read_bars(bars)]
    if not many:
        raise InputError("bars: there are none to backtest over")
    symbols = [each.symbol for each in many]
    twice = next((symbol for symbol in symbols if symbols.count(symbol) > 1), None)
    if twice is not None:
        raise InputError(f"bars: {twice} was given twice")
    intervals = sorted({each.interval for each in many})
    if len(intervals) > 1:
        raise InputError(f"bars: of different intervals: {', '.join(intervals)}")
    return sorted(many, key=lambda each: each.symbol)


def _category(many: Sequence[Bars]) -> Category | None:
    """The category that all bars are of, where they say so."""
    named = {each.category for each in many}
    return named.pop() if len(named) == 1 else None


def settings_of(
    many: Sequence[Bars],
    config: str | PathLike[str] | None,
    category: Category | None,
    overrides: Mapping[str, Any],
) -> Config:
    """The configuration under ``overrides``, with the symbols and interval of the bars. Raises ConfigError."""
    symbols = tuple(each.symbol for each in many)
    return load(
        config,
        {"run.symbols": symbols, "run.interval": many[0].interval, "run.category": category, **overrides},
        named_category=_category(many),
    )


def source_of(many: Sequence[Bars]) -> BarSource:
    """The bars of all symbols in the order of their closes, with the rates and rules that they bring."""

    async def merged() -> AsyncIterator[Bar]:
        for bar in heapq.merge(*many, key=lambda bar: (bar.start_ms, bar.symbol)):
            yield bar

    return BarSource(
        text=", ".join(dict.fromkeys(each.text for each in many)),
        interval=many[0].interval,
        starts={each.symbol: each.starts for each in many},
        bars=merged,
        rates=tuple(rate for each in many for rate in each.rates),
        rules={each.symbol: each.rules for each in many if each.rules is not None},
        grids={each.symbol: each.grid for each in many if each.grid is not None},
    )


def _strategy_settings(
    strategy: str | StrategyClass, options: Mapping[str, Any], config: str | PathLike[str] | None
) -> dict[str, Any]:
    """The keys of ``[strategy]``: what every strategy has, and in ``options`` its own.

    What the configuration says of the same strategy stands where nothing else is said.
    """
    name = strategy if isinstance(strategy, str) else _path_of(strategy)
    common = {key: value for key, value in options.items() if key in _COMMON}
    own = {key: value for key, value in options.items() if key not in _COMMON}
    written = load(config, {}).strategy
    kept = written.options if written.name == name else {}
    return {
        "strategy.name": name,
        "strategy.options": {**kept, **own},
        **exact_settings({f"strategy.{key}": value for key, value in common.items()}),
    }


_COMMON = tuple(
    name for name in StrategyConfig.__struct_fields__ if name not in ("name", "options", "on_error")
)
"""Settings that every strategy has."""


def _path_of(strategy: StrategyClass) -> str:
    if not isinstance(strategy, type):
        raise ConfigError(f"strategy: a name or a class is wanted, not {type(strategy).__name__}")
    return f"{strategy.__module__}:{strategy.__qualname__}"


def _made(strategy: str | StrategyClass, settings: Config, config: str | PathLike[str] | None) -> Strategy:
    if not isinstance(strategy, str):
        return strategy_of(strategy, settings, settings.strategy.name)
    shipped = shipped_strategies()
    if ":" in strategy:
        look_beside(Path(config or "config.toml"))
    return load_strategy(settings, shipped)
