"""A connection to an SQLite file, for reading alone or for writing too."""

import asyncio
import os
from pathlib import Path

import aiosqlite

from bot.store.patience import BUSY_SECONDS


async def connect(path: Path, *, readonly: bool) -> aiosqlite.Connection:
    """A connection; one that nobody waits for any more is closed before anything else happens."""

    async def ask() -> aiosqlite.Connection:
        return await aiosqlite.connect(
            uri(path, readonly=readonly), uri=True, isolation_level=None, timeout=BUSY_SECONDS
        )

    # Its thread makes the file, whether or not whoever asked for it is cancelled meanwhile.
    connecting = asyncio.create_task(ask())
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await (await connecting).close()
        raise


def uri(path: Path, *, readonly: bool) -> str:
    """What SQLite knows the file by."""
    uri = path.absolute().as_uri()
    if not readonly:
        return f"{uri}?mode=rwc"
    # A reader of a WAL file must create a shared-memory file beside it. Where it may not, and no
    # log stands there, nobody can be writing, and the file may be read as it is.
    writable = os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if not writable and not Path(f"{path}-wal").exists():
        return f"{uri}?mode=ro&immutable=1"
    return f"{uri}?mode=ro"
