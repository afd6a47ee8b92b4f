"""One SQLite file: opened, identified, migrated, and written by one process at a time."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

import aiosqlite
import msgspec
from msgspec import Struct

from bot.errors import BrokenInvariant, DatabaseLocked, InputError, shortened
from bot.market import Category, plain
from bot.market.bounds import field_problem
from bot.store.account.schema import ACCOUNT
from bot.store.believed import readable
from bot.store.connecting import connect, uri
from bot.store.kinds import Kind, exact_distance
from bot.store.layout import LAYOUT, layout_problem
from bot.store.lock import disk_failures, lock, release
from bot.store.patience import Patience
from bot.store.sqlite_failures import translated

Mode = Literal["demo", "testnet", "mainnet", "backtest", "replay"]

_STREAMED_ROWS = 500
_LOCK_PAUSE_SECONDS = 0.05


class Identity(Struct, frozen=True, kw_only=True):
    """Whose books a database keeps; fixed when it is created.

    ``starting_cash`` (quote currency) is what the account began with. The stored one stands: another
    figure in the configuration changes nothing, since money enters later only as a transfer.
    """

    mode: Mode
    category: Category
    starting_cash: Decimal

    def __str__(self) -> str:
        return f"{self.mode} {self.category}"


async def discard(path: Path | str, mode: Mode) -> None:
    """Delete a database of this mode, or one without content. InputError where it is another, or in use."""
    path = Path(path)
    if not _has_content(path):
        return
    file = await lock(path)
    try:
        stored = _stored_mode(path)
        if stored not in (mode, None):
            raise InputError(f"{path} holds {stored}, no {mode}, and will not be replaced; use another --db")
        with disk_failures(path):
            _delete(path)
    finally:
        release(path, file)


class Database:
    """An open database: rows in, rows out, every failure as one line for a person.

    Made by :meth:`open` alone.
    """

    def __init__(
        self, path: Path, connection: aiosqlite.Connection, kind: Kind, *, readonly: bool, patience: Patience
    ) -> None:
        self.path = path
        self.readonly = readonly
        self._kind = kind
        self._connection = connection
        self._patience = patience
        # One connection holds one transaction: tasks that write take turns.
        self._turn = asyncio.Lock()
        self._identity: Identity | None = None
        # What fails while opening or only reading is a wrong file; later, the weather.
        self._opening = True

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path | str,
        identity: Identity | None = None,
        *,
        readonly: bool = False,
        durable: bool = True,
        kind: Kind = ACCOUNT,
        patience: Patience | None = None,
    ) -> AsyncIterator[Self]:
        """Open a database for the length of a ``with`` block, creating or migrating it where needed.

        Without ``identity`` an account's file must exist and may be anybody's; files of other kinds
        belong to nobody, and are created unless ``readonly``, which takes no lock and blocks nobody. ``durable``
        commits survive a power cut; without it only the process's death. ``patience`` says how long another
        program's lock is waited for.

        Raises InputError where the file is missing, no database of this bot, of another identity or
        a newer schema, in use, or not accessible, and StoreError where the disk itself fails.
        """
        path = Path(path)
        _check_place(path, create=(identity is not None or not kind.account) and not readonly)
        if readonly:
            async with cls._connected(path, identity, kind, readonly=True, durable=durable) as database:
                yield database
            return
        if kind.shared:
            async with cls._connected(path, identity, kind, readonly=False, durable=durable) as database:
                yield database
            return
        file = await lock(path)
        try:
            async with cls._connected(
                path, identity, kind, readonly=False, durable=durable, patience=patience
            ) as database:
                yield database
        finally:
            release(path, file)

    @classmethod
    @asynccontextmanager
    async def beside(cls, path: Path | str) -> AsyncIterator[Self]:
        """Open an existing database for a short transaction of a person's, beside whatever process writes to it.

        Takes no lock and migrates nothing. Raises as :meth:`open` does, and InputError for an older schema.
        """
        path = Path(path)
        _check_place(path, create=False)
        async with cls._connected(
            path, None, ACCOUNT, readonly=False, durable=True, migrate=False
        ) as database:
            yield database

    @classmethod
    @asynccontextmanager
    async def _connected(
        cls,
        path: Path,
        identity: Identity | None,
        kind: Kind,
        *,
        readonly: bool,
        durable: bool,
        migrate: bool = True,
        patience: Patience | None = None,
    ) -> AsyncIterator[Self]:
        new = not _has_content(path)
        makes = new and migrate and not (readonly or kind.shared or (kind.account and identity is None))
        try:
            with translated(path, opening=True):
                connection = await connect(path, readonly=readonly)
        except asyncio.CancelledError:
            if makes:
                with disk_failures(path):
                    _delete(path)
            raise
        database = cls(path, connection, kind, readonly=readonly, patience=patience or Patience())
        try:
            await database._prepare(identity, new=new, durable=durable, migrate=migrate and not readonly)
            database._opening = False
            yield database
        finally:
            # A transaction of another task ends, whole or not at all, before the file is closed.
            async with database._turn:
                with database._translated():
                    await connection.close()
            # A file is made whole or not at all; a shared one may be in another process's hands by now.
            if database._opening and makes:
                with disk_failures(path):
                    _delete(path)

    @property
    def identity(self) -> Identity:
        """Whose books these are, as stored at creation."""
        if self._identity is None:
            raise BrokenInvariant(f"{self.path} was not opened")
        return self._identity

    @asynccontextmanager
    async def transaction(self, *, reads: bool = False, patient: bool = True) -> AsyncIterator[None]:
        """What is written inside is there as a whole or not at all; ``reads`` is one snapshot, and bars no writer.

        One that returns is committed, one that raises is not: a cancellation that meets the commit itself waits
        for it, and is raised by what the task awaits next.
        DatabaseLocked where another program keeps it locked: for as long as is waited or, not ``patient``, at all.
        """
        async with self._turn:
            try:
                await self._begin("BEGIN" if self.readonly or reads else "BEGIN IMMEDIATE", patient)
                yield
                with self._translated():
                    await _to_its_end(self._connection.execute("COMMIT"))
            except BaseException:
                # Cancelled statements still run to their end in the connection's thread, before this. It
                # does nothing where nothing began or SQLite has rolled back by itself.
                with self._translated():
                    await self._connection.rollback()
                raise

    @property
    def waits_for_lock(self) -> bool:
        """Whether another program keeps it locked, for all that is known here."""
        return self._patience.waiting

    async def _begin(self, statement: str, patient: bool) -> None:
        while True:
            try:
                with self._translated():
                    await self._connection.execute(statement)
                self._patience.had()
                return
            except DatabaseLocked:
                if not self._patience.goes_on() or not patient:
                    raise
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)

    async def write(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for each row, inside a transaction; the number of rows changed."""
        with self._translated():
            return (await self._connection.executemany(sql, rows)).rowcount

    async def fetch(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """All rows of a query, as tuples."""
        with self._translated():
            return [tuple(row) for row in await self._connection.execute_fetchall(sql, parameters)]

    async def stream(self, sql: str, parameters: Sequence[Any] = ()) -> AsyncIterator[tuple[Any, ...]]:
        """The rows of a query as of one moment, a few hundred in memory at a time."""
        with self._translated():
            cursor = await self._connection.execute(sql, parameters)
        # No clean-up here: one who stops reading may have closed the database before this is told.
        while True:
            with self._translated():
                rows = await cursor.fetchmany(_STREAMED_ROWS)
            if not rows:
                return
            for row in rows:
                yield tuple(row)

    async def columns(self, table: str) -> tuple[str, ...]:
        """The names of a table's or view's columns, in order."""
        rows = await self.fetch("SELECT name FROM pragma_table_info(?) ORDER BY cid", (table,))
        return tuple(name for (name,) in rows)

    async def value(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The first column of a query's first row; None without rows."""
        rows = await self.fetch(sql, parameters)
        return rows[0][0] if rows else None

    async def attach(self, path: Path, name: str) -> None:
        """Make the tables of another database readable here as ``name.table``."""
        with self._translated():
            await self._connection.execute(f"ATTACH ? AS {name}", (uri(path, readonly=True),))

    async def _prepare(self, identity: Identity | None, *, new: bool, durable: bool, migrate: bool) -> None:
        application = await self.value("PRAGMA application_id")
        version = await self.value("PRAGMA user_version")
        tables = await self.value("SELECT count(*) FROM sqlite_master")
        blank = (application, version, tables) == (0, 0, 0)
        kind = self._kind
        if blank and (not migrate or (identity is None and kind.account)):
            raise InputError(f"{self.path} is empty; start the bot on it first, or use another --db")
        if not blank and (application != kind.application_id or version < 1):
            raise InputError(f"{self.path} is not {kind.holds}; use another --db")
        if version > kind.version:
            raise InputError(
                f"{self.path} has schema version {version}, newer than this bot's {kind.version}; "
                "update the bot or use another --db"
            )
        if not migrate and version < kind.version:
            raise InputError(
                f"{self.path} has schema version {version}; start the bot on it once to migrate it"
            )
        if not blank:
            problem = layout_problem(kind, version, await self.fetch(LAYOUT))
            if problem is not None:
                raise InputError(
                    f"{self.path} is not as schema version {version} has it: {problem}; use another --db"
                )
            if kind.account:
                self._identity = await self._stored_identity(identity)
        if not migrate:
            return
        await self.fetch("PRAGMA journal_mode = WAL")
        # A new offline file can be made again; an older one must at least survive the process.
        synchronous = "FULL" if durable else "OFF" if new else "NORMAL"
        await self.fetch(f"PRAGMA synchronous = {synchronous}")
        await self._migrate(identity)

    async def _stored_identity(self, wanted: Identity | None) -> Identity:
        try:
            stored = msgspec.convert(dict(await self.fetch("SELECT key, value FROM meta")), Identity)
        except msgspec.ValidationError as error:
            raise InputError(
                f"{self.path} does not say whose books it keeps ({shortened(error)}); use another --db"
            ) from error
        if (problem := field_problem("starting_cash", stored.starting_cash)) is not None:
            raise InputError(f"{self.path}: {problem}; use another --db")
        if wanted is not None and (stored.mode, stored.category) != (wanted.mode, wanted.category):
            raise InputError(f"{self.path} belongs to {stored}, not to {wanted}; use another --db")
        return stored

    async def _migrate(self, identity: Identity | None) -> None:
        # Writes even where nothing is left to migrate: SQLite opens a read-only file without a word.
        async with self.transaction():
            # Another process may have done it since the file was looked at.
            version = await self.value("PRAGMA user_version")
            with self._translated():
                await self._run_migrations(version, identity)

    async def _run_migrations(self, version: int, identity: Identity | None) -> None:
        await self._connection.create_function("exact_distance", 2, exact_distance, deterministic=True)
        for migration in self._kind.migrations[version:]:
            for statement in migration:
                await self._connection.execute(statement)
        if self._kind.account and 0 < version < 4:
            # It reads its rows as values, by what stands on this module.
            from bot.store.account.backfill import backfill

            with readable(self.path):
                await backfill(self)
        await self._connection.execute(f"PRAGMA application_id = {self._kind.application_id}")
        if self._identity is None and identity is not None:
            await self._connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                (
                    ("mode", identity.mode),
                    ("category", identity.category),
                    ("starting_cash", plain(identity.starting_cash)),
                ),
            )
            self._identity = identity
        await self._connection.execute(f"PRAGMA user_version = {self._kind.version}")

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.path, opening=self._opening, reading=self.readonly)


async def _to_its_end(work: Awaitable[object]) -> None:
    """Await work that a cancellation no longer stops; the task is cancelled after it."""
    task = asyncio.current_task()
    assert task is not None
    started = asyncio.ensure_future(work)
    cancelled = False
    while not started.done():
        try:
            await asyncio.wait((started,))
        except asyncio.CancelledError:
            task.uncancel()
            cancelled = True
    started.result()
    if cancelled:
        task.cancel()


def _stored_mode(path: Path) -> str | None:
    """Whose books a file keeps, of any schema version, in words; None where it keeps nothing yet."""
    with (
        translated(path, opening=True),
        closing(sqlite3.connect(uri(path, readonly=True), uri=True)) as file,
    ):
        application = file.execute("PRAGMA application_id").fetchone()[0]
        if not application and not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return None
        if application != ACCOUNT.application_id:
            return "no database of this bot"
        mode = file.execute("SELECT value FROM meta WHERE key = 'mode'").fetchone()
        return "nobody's account" if mode is None else str(mode[0])


def _delete(path: Path) -> None:
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)


def _has_content(path: Path) -> bool:
    with disk_failures(path):
        return path.exists() and path.stat().st_size > 0


def _check_place(path: Path, *, create: bool) -> None:
    with disk_failures(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder; give --db a file")
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise InputError(f"no database at {path}; start the bot first, or name one with --db")
