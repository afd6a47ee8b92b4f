"""What became of a request, printed: the same for every command that makes one."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from bot.commands.chosen_database import chosen_database
from bot.commands.options import CommonOptions
from bot.config import Config
from bot.sessions.by_hand import Asked
from bot.store.believed import readable
from bot.terminal.hands import asked_text

OK, REFUSED = 0, 1


async def answered(
    options: CommonOptions, config: Config, ask: Callable[[Path], Awaitable[Asked | list[Asked]]]
) -> int:
    """Ask the bot of the database that the options mean, and print what became of it."""
    path = await chosen_database(options, config)
    with readable(path):
        asked = await ask(path)
    each = asked if isinstance(asked, list) else [asked]
    print(msgspec.json.encode(asked).decode() if options.json else "\n".join(map(asked_text, each)))
    return REFUSED if any(one.error for one in each) else OK
