"""One SQLite file: opened, identified, migrated, and written by one process at a time."""

import asyncio
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self, TextIO

import aiosqlite
import msgspec
from msgspec import Struct

from bot.errors import BotError, BrokenInvariant, InputError, StoreError
from bot.exact import EXACT
from bot.market import Category, plain, utc_text

Mode = Literal["demo", "testnet", "mainnet", "backtest", "replay"]

BUSY_MS = 5_000
"""How long a statement waits for another program's lock before it gives up."""

# Tells this bot's files from any other SQLite file.
_APPLICATION_ID = 0x50_41_50_42

_STREAMED_ROWS = 500

# A reader may hold the lock file for an instant while it looks whether anybody runs.
_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.1

_FIRST_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        started_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        mode TEXT NOT NULL,
        config_json TEXT NOT NULL,
        checkpoint_sha256 TEXT,
        recording TEXT,
        exit_reason TEXT
    ) STRICT""",
    """CREATE TABLE instruments (
        symbol TEXT PRIMARY KEY,
        category TEXT NOT NULL,
        tick_size TEXT NOT NULL,
        lot_size TEXT NOT NULL,
        min_quantity TEXT NOT NULL,
        min_notional TEXT NOT NULL,
        max_market_quantity TEXT,
        funding_interval_minutes INTEGER NOT NULL,
        max_leverage TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE bars (
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        start_ms INTEGER NOT NULL,
        open TEXT NOT NULL,
        high TEXT NOT NULL,
        low TEXT NOT NULL,
        close TEXT NOT NULL,
        volume TEXT NOT NULL,
        turnover TEXT,
        source TEXT NOT NULL,
        PRIMARY KEY (symbol, interval, start_ms)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE signals (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        bar_start_ms INTEGER NOT NULL,
        action TEXT NOT NULL,
        confidence REAL NOT NULL,
        expected_return REAL,
        return_std REAL,
        positive_ratio REAL,
        regime TEXT,
        horizon_bars INTEGER,
        reason TEXT NOT NULL,
        late INTEGER NOT NULL,
        decided_ms INTEGER NOT NULL,
        detail_json TEXT NOT NULL,
        UNIQUE (symbol, interval, bar_start_ms)
    ) STRICT""",
    """CREATE TABLE neighbors (
        signal_id INTEGER NOT NULL,
        rank INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        bar_start_ms INTEGER NOT NULL,
        similarity REAL NOT NULL,
        weight REAL NOT NULL,
        forward_return REAL NOT NULL,
        regime TEXT NOT NULL,
        PRIMARY KEY (signal_id, rank)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        signal_id INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        type TEXT NOT NULL,
        quantity TEXT NOT NULL,
        limit_price TEXT,
        stop_price TEXT,
        reduce_only INTEGER NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        due_ms INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX orders_by_signal ON orders (signal_id)",
    """CREATE TABLE fills (
        id INTEGER PRIMARY KEY,
        order_id INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        quantity TEXT NOT NULL,
        price TEXT NOT NULL,
        notional TEXT NOT NULL,
        fee TEXT NOT NULL,
        liquidity TEXT NOT NULL,
        realized_pnl TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        rule TEXT NOT NULL,
        reference_price TEXT NOT NULL,
        late INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX fills_by_order ON fills (order_id)",
    """CREATE TABLE funding (
        symbol TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        rate TEXT NOT NULL,
        mark_price TEXT NOT NULL,
        quantity TEXT NOT NULL,
        payment TEXT NOT NULL,
        PRIMARY KEY (symbol, time_ms)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE transfers (
        id INTEGER PRIMARY KEY,
        time_ms INTEGER NOT NULL,
        amount TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE positions (
        symbol TEXT PRIMARY KEY,
        quantity TEXT NOT NULL,
        entry_price TEXT NOT NULL,
        cost TEXT NOT NULL,
        opened_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE equity (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        cash TEXT NOT NULL,
        unrealized_pnl TEXT NOT NULL,
        equity TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        session_id INTEGER,
        time_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        symbol TEXT,
        detail TEXT NOT NULL
    ) STRICT""",
    # Returns are shown as the log returns they are: exp() is missing from many sqlite3 builds.
    """CREATE VIEW trade_log AS
    SELECT
        fills.id AS fill_id,
        fills.order_id AS order_id,
        signals.id AS signal_id,
        fills.time_ms AS time_ms,
        strftime('%Y-%m-%d %H:%M:%S', fills.time_ms / 1000, 'unixepoch') AS time_utc,
        fills.symbol AS symbol,
        fills.side AS side,
        fills.quantity AS quantity,
        fills.price AS price,
        fills.notional AS notional,
        fills.fee AS fee,
        fills.realized_pnl AS realized_pnl,
        fills.rule AS rule,
        fills.reference_price AS reference_price,
        fills.late AS late,
        signals.action AS action,
        signals.confidence AS confidence,
        signals.expected_return AS expected_return,
        signals.reason AS reason,
        (
            SELECT group_concat(moment, '; ') FROM (
                SELECT printf(
                    '%s %s %.2f %+.1f%%',
                    strftime('%Y-%m-%d %H:%M', bar_start_ms / 1000, 'unixepoch'),
                    symbol, similarity, forward_return * 100
                ) AS moment
                FROM neighbors WHERE signal_id = signals.id ORDER BY rank LIMIT 3
            )
        ) AS closest_moments
    FROM fills
    LEFT JOIN orders ON orders.id = fills.order_id
    LEFT JOIN signals ON signals.id = orders.signal_id
    ORDER BY fills.id""",
)

_SECOND_SCHEMA = (
    "ALTER TABLE instruments ADD COLUMN tiers TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE orders ADD COLUMN time_in_force TEXT NOT NULL DEFAULT 'gtc'",
    "ALTER TABLE orders ADD COLUMN distance TEXT",
    "ALTER TABLE orders ADD COLUMN anchor TEXT",
    "ALTER TABLE orders ADD COLUMN parent_id INTEGER",
    "ALTER TABLE orders ADD COLUMN filled_quantity TEXT NOT NULL DEFAULT '0'",
    "ALTER TABLE orders ADD COLUMN active_ms INTEGER",
    "ALTER TABLE orders ADD COLUMN triggered_ms INTEGER",
    # Until now every order was filled whole, by the quote or the open of its own time.
    "UPDATE orders SET filled_quantity = quantity WHERE status = 'filled'",
    "ALTER TABLE fills ADD COLUMN reference_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE fills ADD COLUMN slippage TEXT NOT NULL DEFAULT '0'",
    "ALTER TABLE fills ADD COLUMN preset TEXT NOT NULL DEFAULT ''",
    "UPDATE fills SET reference_ms = time_ms, slippage = exact_distance(price, reference_price)",
    """CREATE TABLE halts (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        rule TEXT NOT NULL,
        reason TEXT NOT NULL,
        resumed_ms INTEGER,
        note TEXT NOT NULL
    ) STRICT""",
    # AUTOINCREMENT: a number is never given twice, and the last one granted is all that is remembered.
    """CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        made_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        amount TEXT NOT NULL,
        note TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE risk_state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        state_json TEXT NOT NULL
    ) STRICT""",
)

_THIRD_SCHEMA = (
    # Kept when a backtest's books are emptied for its next run: each run is one more trial.
    """CREATE TABLE trials (
        id INTEGER PRIMARY KEY,
        made_ms INTEGER NOT NULL,
        command TEXT NOT NULL,
        symbols TEXT NOT NULL,
        interval TEXT NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        configuration TEXT NOT NULL,
        sharpe REAL
    ) STRICT""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST_SCHEMA, _SECOND_SCHEMA, _THIRD_SCHEMA)
"""Statements that lead from each schema version to the next; ``MIGRATIONS[0]`` starts from nothing."""

SCHEMA_VERSION = len(MIGRATIONS)


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


class Holder(Struct, frozen=True, kw_only=True):
    """The process that writes to a database; its pid is 0 where it could not say who it is."""

    pid: int
    since_ms: int

    def __str__(self) -> str:
        return f"process {self.pid} since {utc_text(self.since_ms)} UTC" if self.pid else "another process"


def holder(path: Path | str) -> Holder | None:
    """Who writes to this database right now, or None."""
    with _disk_failures(_lock_path(Path(path))):
        try:
            file = _lock_path(Path(path)).open()
        except FileNotFoundError:
            return None
        with file:
            return None if _flock(file, fcntl.LOCK_SH) else _read_holder(file)


async def discard(path: Path | str, mode: Mode) -> None:
    """Delete a database of this mode, if one stands there. InputError where it is another, or in use."""
    path = Path(path)
    if not _has_content(path):
        return
    lock = await _lock(path)
    try:
        stored = _stored_mode(path)
        if stored != mode:
            raise InputError(f"{path} holds {stored}, no {mode}, and will not be replaced; use another --db")
        with _disk_failures(path):
            for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
                name.unlink(missing_ok=True)
    finally:
        _release(path, lock)


class Database:
    """An open database: rows in, rows out, every failure as one line for a person.

    Made by :meth:`open` alone.
    """

    def __init__(self, path: Path, connection: aiosqlite.Connection, *, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._connection = connection
        # One connection holds one transaction: tasks that write take turns.
        self._turn = asyncio.Lock()
        self._identity: Identity | None = None
        # What fails while opening is a wrong file; later, the weather.
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
    ) -> AsyncIterator[Self]:
        """Open a database for the length of a ``with`` block, creating or migrating it where needed.

        Without ``identity`` the file must exist and may be anybody's. ``readonly`` takes no lock and
        blocks nobody. ``durable`` commits survive a power cut; without it only the process's death.

        Raises InputError where the file is missing, no database of this bot, of another identity or
        a newer schema, in use, or not accessible, and StoreError where the disk itself fails.
        """
        path = Path(path)
        _check_place(path, create=identity is not None and not readonly)
        if readonly:
            async with cls._connected(path, identity, readonly=True, durable=durable) as database:
                yield database
            return
        lock = await _lock(path)
        try:
            async with cls._connected(path, identity, readonly=False, durable=durable) as database:
                yield database
        finally:
            _release(path, lock)

    @classmethod
    @asynccontextmanager
    async def beside(cls, path: Path | str) -> AsyncIterator[Self]:
        """Open an existing database for a short transaction of a person's, beside whatever process writes to it.

        Takes no lock and migrates nothing. Raises as :meth:`open` does, and InputError for an older schema.
        """
        path = Path(path)
        _check_place(path, create=False)
        async with cls._connected(path, None, readonly=False, durable=True, migrate=False) as database:
            yield database

    @classmethod
    @asynccontextmanager
    async def _connected(
        cls, path: Path, identity: Identity | None, *, readonly: bool, durable: bool, migrate: bool = True
    ) -> AsyncIterator[Self]:
        new = not _has_content(path)
        with _translated(path, opening=True):
            connection = await aiosqlite.connect(
                _uri(path, readonly=readonly), uri=True, isolation_level=None, timeout=BUSY_MS / 1000
            )
        database = cls(path, connection, readonly=readonly)
        try:
            await database._prepare(identity, new=new, durable=durable, migrate=migrate and not readonly)
            database._opening = False
            yield database
        finally:
            # A transaction of another task ends, whole or not at all, before the file is closed.
            async with database._turn:
                with database._translated():
                    await connection.close()

    @property
    def identity(self) -> Identity:
        """Whose books these are, as stored at creation."""
        if self._identity is None:
            raise BrokenInvariant(f"{self.path} was not opened")
        return self._identity

    async def restart_account(self, starting_cash: Decimal) -> None:
        """Begin the account anew with so much cash, inside a transaction. For offline runs alone."""
        await self.write("UPDATE meta SET value = ? WHERE key = 'starting_cash'", [(plain(starting_cash),)])
        self._identity = msgspec.structs.replace(self.identity, starting_cash=starting_cash)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """What is written inside is there as a whole or not at all; what is read inside, one snapshot."""
        async with self._turn:
            try:
                with self._translated():
                    await self._connection.execute("BEGIN" if self.readonly else "BEGIN IMMEDIATE")
                yield
                with self._translated():
                    await self._connection.execute("COMMIT")
            except BaseException:
                # Cancelled statements still run to their end in the connection's thread, before this. It
                # does nothing where nothing began, SQLite has rolled back by itself, or a commit went through.
                with self._translated():
                    await self._connection.rollback()
                raise

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
            await self._connection.execute(f"ATTACH ? AS {name}", (_uri(path, readonly=True),))

    async def _prepare(self, identity: Identity | None, *, new: bool, durable: bool, migrate: bool) -> None:
        application = await self.value("PRAGMA application_id")
        version = await self.value("PRAGMA user_version")
        blank = not version and not await self.value("SELECT count(*) FROM sqlite_master")
        if application != _APPLICATION_ID and not blank:
            raise InputError(f"{self.path} is not a database of this bot; use another --db")
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{self.path} has schema version {version}, newer than this bot's {SCHEMA_VERSION}; "
                "update the bot or use another --db"
            )
        if blank and (identity is None or not migrate):
            raise InputError(f"{self.path} is empty; start the bot on it first, or use another --db")
        if not migrate and version < SCHEMA_VERSION:
            raise InputError(
                f"{self.path} has schema version {version}; start the bot on it once to migrate it"
            )
        if not blank:
            self._identity = await self._stored_identity(identity)
        if not migrate:
            return
        await self.fetch("PRAGMA journal_mode = WAL")
        # A new offline file can be made again; an older one must at least survive the process.
        synchronous = "FULL" if durable else "OFF" if new else "NORMAL"
        await self.fetch(f"PRAGMA synchronous = {synchronous}")
        await self._migrate(version, identity)

    async def _stored_identity(self, wanted: Identity | None) -> Identity:
        meta = dict(await self.fetch("SELECT key, value FROM meta"))
        stored = Identity(
            mode=meta["mode"], category=meta["category"], starting_cash=Decimal(meta["starting_cash"])
        )
        if wanted is not None and (stored.mode, stored.category) != (wanted.mode, wanted.category):
            raise InputError(f"{self.path} belongs to {stored}, not to {wanted}; use another --db")
        return stored

    async def _migrate(self, version: int, identity: Identity | None) -> None:
        # Writes even where nothing is left to migrate: SQLite opens a read-only file without a word.
        async with self.transaction():
            with self._translated():
                await self._run_migrations(version, identity)

    async def _run_migrations(self, version: int, identity: Identity | None) -> None:
        await self._connection.create_function("exact_distance", 2, _exact_distance, deterministic=True)
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                await self._connection.execute(statement)
        if self._identity is None and identity is not None:
            await self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            await self._connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                (
                    ("mode", identity.mode),
                    ("category", identity.category),
                    ("starting_cash", plain(identity.starting_cash)),
                ),
            )
            self._identity = identity
        await self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _translated(self) -> AbstractContextManager[None]:
        return _translated(self.path, opening=self._opening)


def _exact_distance(one: str, other: str) -> str:
    return plain(EXACT.subtract(Decimal(one), Decimal(other)).copy_abs())


def _stored_mode(path: Path) -> str:
    """Whose books a file keeps, of any schema version, in words."""
    with (
        _translated(path, opening=True),
        closing(sqlite3.connect(_uri(path, readonly=True), uri=True)) as file,
    ):
        if file.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            return "no database of this bot"
        mode: str = file.execute("SELECT value FROM meta WHERE key = 'mode'").fetchone()[0]
        return mode


def _uri(path: Path, *, readonly: bool) -> str:
    uri = path.absolute().as_uri()
    if not readonly:
        return f"{uri}?mode=rwc"
    # A reader of a WAL file must create a shared-memory file beside it. Where it may not, and no
    # log stands there, nobody can be writing, and the file may be read as it is.
    writable = os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if not writable and not Path(f"{path}-wal").exists():
        return f"{uri}?mode=ro&immutable=1"
    return f"{uri}?mode=ro"


def _has_content(path: Path) -> bool:
    with _disk_failures(path):
        return path.exists() and path.stat().st_size > 0


def _check_place(path: Path, *, create: bool) -> None:
    with _disk_failures(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder; give --db a file")
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise InputError(f"no database at {path}; start the bot first, or name one with --db")


def _lock_path(path: Path) -> Path:
    return Path(f"{path}.lock")


async def _lock(path: Path) -> TextIO:
    lock_path = _lock_path(path)
    held_by = Holder(pid=0, since_ms=0)
    with _disk_failures(lock_path):
        for _ in range(_LOCK_TRIES):
            file = lock_path.open("a+")
            # A file that its last holder has deleted meanwhile protects nothing.
            if _flock(file, fcntl.LOCK_EX) and _stands_at(file, lock_path):
                file.truncate(0)
                file.write(f"{os.getpid()} {time.time_ns() // 1_000_000}\n")
                file.flush()
                return file
            with file:
                held_by = _read_holder(file)
            await asyncio.sleep(_LOCK_PAUSE_S)
    raise InputError(f"{path} is in use by {held_by}; stop it or use another --db")


def _stands_at(file: TextIO, path: Path) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _flock(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(path: Path, file: TextIO) -> None:
    with _disk_failures(path), file:
        _lock_path(path).unlink(missing_ok=True)


def _read_holder(file: TextIO) -> Holder:
    file.seek(0)
    words = file.read().split()
    if len(words) == 2 and all(word.isdecimal() for word in words):
        return Holder(pid=int(words[0]), since_ms=int(words[1]))
    return Holder(pid=0, since_ms=0)


@contextmanager
def _disk_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else InputError
        raise kind(f"cannot use {path}: {error.strerror}; check the path and its permissions") from error


@contextmanager
def _translated(path: Path, *, opening: bool) -> Iterator[None]:
    """SQLite's failures in this bot's words. A ProgrammingError is a mistake of ours and stays one."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise BrokenInvariant(f"{path} refused a row: {error}") from error
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise _in_words(error, path, opening=opening) from error


def _in_words(error: sqlite3.DatabaseError, path: Path, *, opening: bool) -> BotError:
    at_open: type[BotError] = InputError if opening else StoreError
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"{path} is locked by another program; close whatever else has it open")
        case sqlite3.SQLITE_FULL:
            return StoreError(f"no room left to write {path}; everything up to the last commit is safe")
        case sqlite3.SQLITE_IOERR:
            return StoreError(f"the disk failed under {path}: {error}")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return at_open(f"{path} is not a database, or is damaged ({error}); use another --db")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return at_open(f"{path} cannot be opened for writing or reading: {error}; check its permissions")
        case _:
            return at_open(f"{path}: {error}")
