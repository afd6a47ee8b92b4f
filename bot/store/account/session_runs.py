"""What each session ran with: its symbols, interval, strategy and weights; reads only."""

from msgspec import Struct

from bot.store.database import Database
from bot.store.rows import json_of


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
