"""What ``doctor`` looks at: strategy, model, databases with their books, and what is outside the bot."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import get_args

from bot.commands.checks import Check, checked, connections, disk
from bot.commands.chosen_database import chosen_database
from bot.commands.doctor import Options
from bot.commands.stored_calendar import stored_calendar
from bot.config import Config, Mode
from bot.errors import BrokenInvariant, ConfigError
from bot.exchange.config import HOSTS
from bot.market import INTERVAL_MS, utc_text
from bot.model.features import KEY_BARS, RECEPTIVE_BARS
from bot.sessions.assembly import find_checkpoint, load_strategy, restore_ledger, search_engine
from bot.store.account.audit import audit
from bot.store.account.state import AccountState, read_account
from bot.store.believed import readable
from bot.store.database import Database
from bot.store.lock import holder
from bot.strategy import Strategy
from bot.strategy_state import StrategyStates


async def examine(options: Options, config: Config, strategies: Mapping[str, str]) -> list[Check]:
    """Every check, in the order in which a start meets what it looks at."""
    named = options.run is not None or "{mode}" not in config.run.database
    mode: Mode | None = None if options.run is not None else options.mode or "mainnet"
    checks = [Check("configuration", True, "read and within bounds")]
    checks += [
        await checked("strategy", lambda: _strategy(config, strategies)),
        await checked("model", lambda: _model(config)),
    ]
    if named:
        paths = [await chosen_database(options, config)]
    else:
        modes: tuple[Mode, ...] = (options.mode,) if options.mode else get_args(Mode)
        paths = [path for each in modes if (path := config.database_path(each)).exists()]
    for path in paths:
        looked = partial(_database, path, config, strategies)
        checks.append(await checked(f"database {path}", looked))
    checks.append(await checked("disk", lambda: disk(config, mode or "backtest")))
    if mode in HOSTS:
        checks += await connections(config, mode)
    return checks


async def _strategy(config: Config, strategies: Mapping[str, str]) -> str:
    strategy: Strategy = load_strategy(config, strategies)
    memory = "asks the memory" if strategy.needs_memory else "without memory"
    return f"{config.strategy.name} ({type(strategy).__name__}), {memory}"


async def _model(config: Config) -> str:
    checkpoint = find_checkpoint(config)
    key = (
        f"plain windows of {KEY_BARS} returns, no trained weights"
        if checkpoint is None
        else checkpoint.card.summary()
    )
    odds = "" if checkpoint is None or checkpoint.odds is not None else "; no odds: train again to have them"
    receptive = RECEPTIVE_BARS if checkpoint is None else checkpoint.encoder.receptive_bars
    memory = f"memory of {config.memory.size} moments, searched by {search_engine(config)}"
    return f"{key}{odds}; first key after {receptive} bars, {memory}"


async def _database(path: Path, config: Config, strategies: Mapping[str, str]) -> str:
    running = holder(path)
    with readable(path):
        async with Database.open(path, readonly=True) as database, database.transaction(reads=True):
            account = await read_account(database)
            ledger = restore_ledger(account)
            if differences := await audit(database, await stored_calendar(database)):
                raise BrokenInvariant("; ".join(("its books are not whole", *differences)))
        kept = _kept(account, config, strategies)
        who = f"in use by {running}" if running is not None else "not in use"
        newest = max(
            (one.last_start_ms + INTERVAL_MS[one.interval] for one in account.progress), default=None
        )
        bars = f", last close {utc_text(newest)} UTC" if newest is not None else ", no bars"
        return f"{database.identity}, {who}, books balance at cash {ledger.cash}{bars}{kept}"


def _kept(account: AccountState, config: Config, strategies: Mapping[str, str]) -> str:
    """Of which symbols the configured strategy keeps state. ConfigError where it cannot read its own."""
    try:
        kind = type(load_strategy(config, strategies))
    except ConfigError:
        return ""  # reported by a check of its own
    StrategyStates(kind, account.strategy_states)
    symbols = [kept.symbol for kept in account.strategy_states]
    return f", keeps state of {', '.join(symbols)}" if symbols else ""
