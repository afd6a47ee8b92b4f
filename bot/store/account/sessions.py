"""What sessions ran with: symbols, interval, strategy, weights, and the settings that reports need; reads only."""

from msgspec import Struct

from bot.store.database import Database
from bot.store.rows import json_of
from bot.trading.fills import BrokerConfig


class SessionRun(Struct, frozen=True, kw_only=True):
    """What one session ran with. ``checkpoint`` is the hash of its weights, None where none were used."""

    id: int
    symbols: tuple[str, ...]
    interval: str
    strategy: str
    checkpoint: str | None


class _Run(Struct, frozen=True):
    symbols: tuple[str, ...] = ()
    interval: str = ""


class _Strategy(Struct, frozen=True):
    name: str = ""


class _Settings(Struct, frozen=True):
    run: _Run = _Run()
    strategy: _Strategy = _Strategy()


async def read_session_runs(database: Database) -> tuple[SessionRun, ...]:
    """All sessions, by id. Inside the caller's transaction."""
    found = []
    for id, config_json, checkpoint in await database.fetch(
        "SELECT id, config_json, checkpoint_sha256 FROM sessions ORDER BY id"
    ):
        settings = json_of(database, config_json, _Settings, "sessions.config_json")
        found.append(
            SessionRun(
                id=id,
                symbols=settings.run.symbols,
                interval=settings.run.interval,
                strategy=settings.strategy.name,
                checkpoint=checkpoint,
            )
        )
    return tuple(found)


class RunSettings(Struct, frozen=True, kw_only=True):
    """``[run]`` of a session's configuration, as far as reports need it."""

    symbols: tuple[str, ...]
    interval: str


class SessionSettings(Struct, frozen=True, kw_only=True):
    """What a session ran with, as far as reports need it."""

    run: RunSettings
    broker: BrokerConfig


async def read_settings(database: Database, session_id: int) -> SessionSettings:
    """What a session ran with."""
    text = await database.value("SELECT config_json FROM sessions WHERE id = ?", (session_id,))
    return json_of(database, text, SessionSettings, "sessions.config_json")
