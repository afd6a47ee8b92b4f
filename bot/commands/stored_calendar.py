"""When the market of a database is open."""

from bot.config import from_json
from bot.market.calendars import ALWAYS_OPEN, Calendar
from bot.sources.sessions import calendar_for
from bot.store.database import Database


async def stored_calendar(database: Database) -> Calendar:
    """The calendar that the database's last session kept, as far as its own bars tell it."""
    last = await database.fetch(
        "SELECT id, config_json FROM sessions WHERE id = (SELECT max(id) FROM sessions)"
    )
    if database.identity.category != "equity" or not last:
        return ALWAYS_OPEN
    run = from_json(last[0][1], {}, f"the configuration of session {last[0][0]} in {database.path}").run
    starts = await database.fetch("SELECT start_ms FROM bars WHERE interval = ?", (run.interval,))
    return calendar_for(run.calendar_name, run.interval, run.timezone, (start for (start,) in starts))
