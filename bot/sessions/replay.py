"""A replay as a value: a recorded session once more, with no network, and whether a database tells the same."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bot.config import Config, from_json
from bot.errors import InputError
from bot.market import Bar
from bot.sessions import loop
from bot.sessions.assembly import build_trader, checkpoint_sha256, read_recording, recorded_strategy
from bot.sessions.backtest import Progress, silent
from bot.sessions.session import SessionCounter, Summary, with_decisions
from bot.store.account.comparison import Difference, StoredSession
from bot.store.account.opening import save_opening
from bot.store.account.steps import StepWriter, begin_session, end_session, save_instruments
from bot.store.account.tables import BooksAtStart
from bot.store.believed import believed, readable
from bot.store.database import Database, Identity, discard
from bot.store.provenance import made_with
from bot.store.recording.entries import Observed
from bot.store.recording.reader import Recording
from bot.strategy import Strategy, declared_checks
from bot.trader import Trader
from bot.trading.account import began_with
from bot.trading.events import Step
from bot.trading.risk import NOTHING_YET

_BATCH_BARS = 500


class Options(Struct, frozen=True, kw_only=True):
    """The recording's file, the database that the replay writes, and the one that its session is compared with."""

    recording: str
    database: Path
    verify: str | None = None


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether a database's session equals its replay; ``rows`` counts the replayed ones, by table.

    ``cause`` says what the first difference likely comes from, in words.
    """

    database: str
    equal: bool
    rows: dict[str, int]
    difference: Difference | None
    cause: str | None


class Result(Struct, frozen=True, kw_only=True):
    """A replay's figures, and how it compares with a database where that was asked for."""

    summary: Summary
    verdict: Verdict | None = None


async def replay(
    options: Options, config: Config, strategies: Mapping[str, str], *, progress: Progress = silent
) -> Result:
    """Run a recorded session into a new database, no further than the database to compare with has come.

    ``strategies`` maps short names to ``module:Class``: with what ``config`` names, all that a recording may run.
    Raises InputError for an unusable recording, and then nothing is left behind.
    """
    if options.verify is None:
        recording = read_recording(options.recording, config, strategies)
        return Result(summary=await _replay(recording, options.database, None, progress))
    with readable(options.verify):
        return await _verified(options, options.verify, config, strategies, progress)


async def _verified(
    options: Options, verify: str, config: Config, strategies: Mapping[str, str], progress: Progress
) -> Result:
    async with Database.open(verify, readonly=True) as database, _snapshot(database):
        # A running session's recording is ahead of its database, so it is read after it.
        recording = read_recording(options.recording, config, strategies)
        original = await StoredSession.find(database, recording.header)
        summary = await _replay(recording, options.database, original, progress)
        await database.attach(options.database, "replayed")
        difference, rows = await original.compare()
        verdict = Verdict(
            database=verify,
            equal=difference is None,
            rows=rows,
            difference=difference,
            cause=None if difference is None else _cause(recording, original),
        )
    return Result(summary=summary, verdict=verdict)


@asynccontextmanager
async def _snapshot(database: Database) -> AsyncIterator[None]:
    async with database.transaction():
        await database.value("SELECT max(id) FROM sessions")
        yield


async def _replay(
    recording: Recording, path: Path, original: StoredSession | None, progress: Progress
) -> Summary:
    """Run a recording into a new database at ``path``, no further than ``original`` has come."""
    # Half a replay is none: what the file turns out not to hold leaves nothing behind.
    partial = path.with_name(f"{path.name}.part")
    for place in (path, partial):
        await discard(place, "replay")
    try:
        with believed(recording.path):
            summary = await _replay_into(partial, path, recording, original, progress)
    except BaseException:
        await discard(partial, "replay")
        raise
    partial.replace(path)
    return await with_decisions(summary)


async def _replay_into(
    partial: Path, path: Path, recording: Recording, original: StoredSession | None, progress: Progress
) -> Summary:
    began = time.monotonic()
    header = recording.header
    config, strategy = _as_recorded(recording)
    if checkpoint_sha256(config, strategy) != header.checkpoint_sha256:
        raise InputError(
            f"{recording.path}: model.checkpoint {config.model.checkpoint!r} does not hold the weights that it "
            f"was recorded with (SHA-256 {header.checkpoint_sha256}); put those back"
        )
    trader = build_trader(config, strategy, recording.instruments, header.opening, quotes=True)
    # What the account did before this session is not told here, so its books open with what it left.
    identity = Identity(mode="replay", category=header.category, starting_cash=header.opening.ledger.cash)
    ledger, track = header.opening.ledger, header.opening.track
    counter = SessionCounter(ledger.positions, float(header.equity), float(track.value))
    reason = "end of recording"
    if recording.cut_bytes:
        reason += ", which was cut off"
    async with Database.open(partial, identity, durable=False) as database:
        await save_instruments(database, header.instruments)
        await save_opening(database, BooksAtStart(ledger=ledger, track=track))
        await begin_session(
            database,
            "replay",
            header.config_json,
            time.time_ns() // 1_000_000,
            checkpoint_sha256=header.checkpoint_sha256,
            recording=str(recording.path),
            session_id=header.session_id,
            checks=declared_checks(strategy),
            start=header.start,
        )
        steps = StepWriter(database, header.session_id, batch_bars=_BATCH_BARS)
        opened = Step(
            time_ms=header.started_ms,
            orders=header.opening.open_orders,
            positions=ledger.positions,
            risk=None if header.opening.risk == NOTHING_YET else header.opening.risk,
            round_trips=tuple(trip for trip in track.trips if trip.closed_ms is None),
            account=None if track == began_with(ledger.cash) else replace(track, trips=()),
        )
        await steps.append(opened)
        async for step in _steps(recording, trader, steps, progress):
            if original is not None and not await original.reaches(step):
                break
            await steps.append(step)
            counter.count(step)
        await steps.flush()
        await end_session(database, header.session_id, time.time_ns() // 1_000_000, reason)
    return counter.summary("replay", str(path), header.session_id, reason, time.monotonic() - began)


async def _steps(
    recording: Recording, trader: Trader, steps: StepWriter, progress: Progress
) -> AsyncIterator[Step]:
    """What the recording's entries cause; its warm-up is observed, and stored for who looks back at it."""
    observed: list[Bar] = []
    for number, entry in enumerate(recording, start=1):
        batch_ends = number % _BATCH_BARS == 0 or number == recording.entries
        if isinstance(entry, Observed):
            observed.append(entry.bar)
        if observed and (batch_ends or not isinstance(entry, Observed)):
            trader.observe_all(observed)
            await steps.insert_history(observed)
            observed.clear()
        if not isinstance(entry, Observed):
            yield loop.advance(trader, entry)
        if batch_ends:
            progress("replay", number, recording.entries)


def _as_recorded(recording: Recording) -> tuple[Config, Strategy]:
    header = recording.header
    config = from_json(header.config_json, {}, f"the configuration recorded in {recording.path}")
    return config, recorded_strategy(recording, config)


def _cause(recording: Recording, original: StoredSession) -> str:
    header = recording.header
    _, strategy = _as_recorded(recording)
    now = made_with(strategy)
    changed = [
        f"{name} {was}, here {now.get(name)}"
        for name, was in header.made_with.items()
        if now.get(name) != was
    ]
    if changed:
        return f"recorded with {'; '.join(changed)}"
    if original.config_json != header.config_json:
        return "the database's session ran under another configuration"
    return "versions and configuration are the same, so the database's rows were probably changed afterwards"
