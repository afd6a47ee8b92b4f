"""Puts a Trader together from a configuration and an account."""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from bot.config import Config, as_tree
from bot.errors import BrokenInvariant, ConfigError, InputError
from bot.files import MEGABYTE
from bot.market import ALWAYS_OPEN, INTERVAL_MS, Calendar, Instrument
from bot.model.features import KEY_BARS
from bot.model.memory.index import make_index
from bot.model.similarity import SimilarityModel
from bot.store.account.state import AccountState
from bot.store.checkpoints.folder import DEFAULT, Checkpoint, load_checkpoint
from bot.store.provenance import strategy_source
from bot.store.recording.reader import Recording
from bot.strategy import Costs, Strategy, StrategyConfig, declared_checks
from bot.strategy_options import declared_options
from bot.strategy_state import declared_state
from bot.trader import Trader
from bot.trading.account import AccountTrack
from bot.trading.broker import PaperBroker
from bot.trading.fills import PRESETS
from bot.trading.held import Held, LookBack
from bot.trading.ledger import Ledger
from bot.trading.margin import Margin
from bot.trading.opening import Opening
from bot.trading.risk import RiskReview
from bot.trading.sizing import Sizer

_BASIS_POINT = 1e-4


def strategy_class(name: str, strategies: Mapping[str, str]) -> Any:
    """What is found under a strategy's name. ``strategies`` maps short names to ``module:Class``.

    Raises ConfigError for a name that is neither known nor such a path, and for what is not there.
    """
    path = strategies.get(name, name)
    module_name, _, class_name = path.partition(":")
    if not class_name:
        known = ", ".join(sorted(strategies))
        raise ConfigError(f"strategy.name: {name!r} is none of {known}, nor a package.module:Class")
    try:
        kind = getattr(importlib.import_module(module_name), class_name, None)
    except ModuleNotFoundError as error:
        raise ConfigError(f"strategy.name: no module {error.name!r} for {path!r}") from error
    except Exception as error:  # Whatever a stranger's file does while it is read.
        raise ConfigError(f"strategy.name: {module_name} cannot be imported: {_told(error)}") from error
    if kind is None:
        raise ConfigError(f"strategy.name: {module_name} has no class {class_name!r}")
    return kind


def load_strategy(config: Config, strategies: Mapping[str, str]) -> Strategy:
    """The configured strategy. ``strategies`` maps short names to ``module:Class``.

    Raises ConfigError as :func:`strategy_class` does, for a class that is no strategy, and for options that it
    does not take.
    """
    name = config.strategy.name
    path, kind = strategies.get(name, name), strategy_class(name, strategies)
    return strategy_of(kind, config, path)


def strategy_of(kind: Callable[[StrategyConfig], Any], config: Config, path: str) -> Strategy:
    """A strategy's class under the configured options; ``path`` names it in the ConfigError where it is none."""
    if isinstance(kind, type):
        declared_state(kind)
        if (declared := declared_options(kind)) is not None:
            config.strategy.read_options(declared)
    try:
        strategy = kind(config.strategy)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"strategy.options: {path}: {_told(error)}") from error
    if not callable(getattr(strategy, "decide", None)) or not hasattr(strategy, "needs_memory"):
        raise ConfigError(f"strategy.name: {path} has no decide(situation) or no needs_memory")
    declared_checks(strategy)
    return strategy  # type: ignore[no-any-return]


def found_recording(named: str, database: Path) -> Path:
    """Where a stored recording is: its name is told as the session saw it, which may have run beside the database."""
    return Path(named) if Path(named).exists() else database.parent / named


def read_recording(path: Path | str, config: Config, strategies: Mapping[str, str]) -> Recording:
    """A recording within the limits of ``config``, which may run what that or ``strategies`` names, nothing else."""
    allowed = {*strategies.values(), strategies.get(config.strategy.name, config.strategy.name)}
    return Recording.read(path, max_bytes=config.run.max_recording_mb * MEGABYTE, allowed=allowed)


def recorded_strategy(recording: Recording, settings: Config) -> Strategy:
    """The strategy that a recording names, under these settings. InputError where nobody allowed it."""
    return load_strategy(settings, {settings.strategy.name: recording.strategy})


def _told(error: Exception) -> str:
    return (
        str(error)
        if isinstance(error, TypeError | ValueError | ImportError)
        else f"{type(error).__name__}: {error}"
    )


def find_checkpoint(config: Config) -> Checkpoint | None:
    """The configured checkpoint; None where keys are plain windows. Raises ConfigError that names the key."""
    name = config.model.checkpoint
    if not name:
        return None
    try:
        return load_checkpoint(DEFAULT if name == "default" else Path(name))
    except InputError as error:
        raise ConfigError(f"model.checkpoint: {error}") from error


def checkpoint_sha256(config: Config, strategy: Strategy) -> str | None:
    """What names the weights that a session's recollections come from; None where no weights do."""
    checkpoint = find_checkpoint(config) if strategy.needs_memory else None
    return None if checkpoint is None else checkpoint.sha256


def configuration_name(config: Config, strategy: Strategy) -> str:
    """What names all that decisions and their cost depend on: settings, weights and the strategy's own source.

    Where files stand, how much is logged, how an exchange is reached and what searches the memory is no part of it.
    """
    decisive = replace(
        config,
        run=replace(
            config.run,
            database="",
            recordings="",
            history="",
            runs="",
            max_recording_mb=4_000,
            max_data_mb=4_000,
            lock_seconds=60.0,
        ),
        strategy=replace(config.strategy, on_error="stop"),
        exchange=type(config.exchange)(),
        memory=replace(config.memory, gpu=False),
        log=type(config.log)(),
    )
    parts = (decisive, checkpoint_sha256(config, strategy), strategy_source(strategy))
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def changed_settings(config: Config) -> dict[str, Any]:
    """The settings that differ from the defaults, by dotted key, as plain values; symbols and paths aside."""
    chosen, usual = as_tree(config), as_tree(Config())
    aside = {"run.symbols", "run.interval", "run.category", "run.database", "run.recordings", "run.history"}
    aside |= {"run.runs", "strategy.name", "strategy.on_error"}
    return {
        f"{section}.{key}": value
        for section, keys in chosen.items()
        if section not in ("exchange", "log")
        for key, value in keys.items()
        if value != usual[section][key] and f"{section}.{key}" not in aside
    }


def learned_until_ms(config: Config, strategy: Strategy) -> int | None:
    """Start of the newest bar whose outcome the weights have learned from; None where none entered them.

    What is decided on bars until then is no test: the weights know of what came.
    """
    checkpoint = find_checkpoint(config) if strategy.needs_memory else None
    odds = None if checkpoint is None else checkpoint.card.odds
    return None if odds is None else odds.learned_until_ms


def search_engine(config: Config) -> str:
    """What searches the memory on this machine: the name from :func:`~bot.model.memory.index.make_index`."""
    engine, _ = make_index(KEY_BARS, 1, gpu=config.memory.gpu)
    return engine


def build_model(
    config: Config, *, remembers: bool = True, calendar: Calendar = ALWAYS_OPEN
) -> SimilarityModel:
    """The configured model, without any bar observed yet. Raises ConfigError for an unusable checkpoint."""
    checkpoint = find_checkpoint(config) if remembers else None
    return SimilarityModel(
        config.memory,
        interval=config.run.interval,
        horizon_bars=config.strategy.horizon_bars,
        remembers=remembers,
        encoder=None if checkpoint is None else checkpoint.encoder,
        odds=None if checkpoint is None else checkpoint.odds,
        calendar=calendar,
    )


def build_trader(
    config: Config,
    strategy: Strategy,
    instruments: Mapping[str, Instrument],
    opening: Opening,
    *,
    quotes: bool,
    calendar: Calendar = ALWAYS_OPEN,
) -> Trader:
    """A Trader that goes on from ``opening``.

    ``quotes`` says whether any come; they price nothing where the fill model is ``bar``.
    ``instruments`` must hold every configured symbol. Raises BrokenInvariant where the books contradict
    themselves, ConfigError where the checkpoint cannot be used.
    """
    rules = dict(instruments)
    margin = Margin(config.broker, rules)
    broker = PaperBroker(
        config.broker,
        rules,
        margin,
        next_order_id=opening.next_order_id,
        next_fill_id=opening.next_fill_id,
        calendar=calendar,
    )
    broker.restore(opening.open_orders)
    return Trader(
        model=build_model(config, remembers=strategy.needs_memory, calendar=calendar),
        strategy=strategy,
        sizer=Sizer(config.risk, rules, calendar),
        risk=RiskReview(
            config.risk,
            rules,
            opening.risk,
            leverage=config.broker.leverage_of,
            margin_rules=margin.rules,
            calendar=calendar,
        ),
        broker=broker,
        margin=margin,
        ledger=Ledger.from_state(opening.ledger),
        track=AccountTrack(opening.track, INTERVAL_MS[config.run.interval], calendar),
        instruments=rules,
        costs_of=lambda each: _costs(config, each),
        interval=config.run.interval,
        quotes=quotes and config.broker.fill_model != "bar",
        next_signal_id=opening.next_signal_id,
        funding=opening.funding,
        strategy_states=opening.strategy_states,
        on_error=config.strategy.on_error,
        calendar=calendar,
    )


def opening_of(account: AccountState) -> Opening:
    """What a Trader goes on from where ``account`` stands. BrokenInvariant where that contradicts itself."""
    return Opening(
        ledger=restore_ledger(account).snapshot(),
        open_orders=account.open_orders,
        next_signal_id=account.next_signal_id,
        next_order_id=account.next_order_id,
        next_fill_id=account.next_fill_id,
        risk=account.risk,
        funding=account.known_funding,
        account=account.track,
        strategy_states=account.strategy_states,
    )


def look_backs(
    opening: Opening,
    instruments: Mapping[str, Instrument],
    last_starts: Mapping[str, int | None],
    interval: str,
) -> dict[str, LookBack]:
    """Where to take up the funding of each symbol in ``last_starts``, which holds its last bar's start.

    That is after the last settlement that was charged, however long ago, and in any case behind that bar
    where an order may yet have filled; of a symbol that never traded, only the newest rate is wanted.
    """
    ordered = {order.symbol for order in opening.open_orders}
    found = {}
    for symbol, start in last_starts.items():
        closed_ms = 0 if start is None else start + INTERVAL_MS[interval]
        settled = opening.ledger.settled.get(symbol)
        held = None if settled is None else Held(settled)
        since_ms = closed_ms if held is not None or symbol in ordered else None
        every_ms = instruments[symbol].funding_interval_minutes * 60_000
        if held is not None and every_ms:
            uncharged_ms = held.uncharged_since(every_ms, closed_ms)
            since_ms = closed_ms if uncharged_ms is None else min(uncharged_ms, closed_ms)
        found[symbol] = LookBack(closed_ms, since_ms, held)
    return found


def restore_ledger(account: AccountState) -> Ledger:
    """The ledger as a fold over what is stored, held against the stored positions and cash."""
    ledger = Ledger.restore(
        account.starting_cash,
        account.fills,
        account.funding,
        account.transfers,
        account.marks,
        None if account.opening is None else account.opening.ledger,
    )
    for stored in account.positions:
        folded = ledger.position(stored.symbol)
        if (folded.quantity, folded.cost) != (stored.quantity, stored.cost):
            raise BrokenInvariant(
                f"position of {stored.symbol} is stored as {stored.quantity} at cost {stored.cost}, "
                f"but its fills give {folded.quantity} at cost {folded.cost}"
            )
    if account.equity is not None and account.equity.cash != ledger.cash:
        raise BrokenInvariant(
            f"the last equity row says cash {account.equity.cash}, but fills, fees, funding and transfers "
            f"give {ledger.cash}"
        )
    return ledger


def _costs(config: Config, instrument: Instrument) -> Costs:
    """What fills cost under the preset in force; the impact of an order's size is not known beforehand."""
    every_ms = instrument.funding_interval_minutes * 60_000
    assumed = PRESETS[config.broker.fill_preset]
    return Costs(
        taker_fee=float(config.broker.taker_fee),
        half_spread=float(config.broker.half_spread_bps * assumed.spread) * _BASIS_POINT,
        slippage=float(config.broker.slippage_bps * assumed.slippage) * _BASIS_POINT,
        funding_bars=every_ms / INTERVAL_MS[config.run.interval],
    )
