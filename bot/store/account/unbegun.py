"""What a start that failed leaves behind: nothing."""

from pathlib import Path

from bot.store.database import Database, Mode, discard


async def discard_unbegun(path: Path, mode: Mode) -> None:
    """Delete the database at ``path`` in which no session began and nobody asked for anything."""
    if not _holds_anything(path):
        return
    async with Database.open(path, readonly=True) as database:
        rows = "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM requests)"
        begun = bool(await database.value(rows))
    if not begun:
        await discard(path, mode)


def _holds_anything(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
