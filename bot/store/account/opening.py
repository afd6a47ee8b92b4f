"""What a replay's account began with: the sessions before it are not there to be summed up."""

from bot.store.account.tables import OPENING, BooksAtStart
from bot.store.database import Database
from bot.store.rows import read


async def save_opening(database: Database, books: BooksAtStart) -> None:
    """Write down what a replay's books begin with."""
    async with database.transaction():
        await database.write(OPENING.insert, [OPENING.row(books, 1)])


async def read_opening(database: Database) -> BooksAtStart | None:
    """What the books began with; None where that was cash alone."""
    stored = await read(database, OPENING, "")
    return stored[0] if stored else None
