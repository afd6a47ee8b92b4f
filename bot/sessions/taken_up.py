"""What a live session goes on from: the account of its database, examined before anything is done with it."""

from bot.config import Config
from bot.errors import ConfigError
from bot.market import plain
from bot.sessions.assembly import opening_of
from bot.store.account.state import AccountState, load_account
from bot.store.believed import readable
from bot.store.database import Database
from bot.trading.opening import Opening


async def take_up(database: Database, config: Config) -> tuple[AccountState, Opening]:
    """The account as stored, and what a Trader goes on from.

    Raises InputError for rows that nobody has written, ConfigError for another starting cash, BrokenInvariant
    where the books contradict themselves.
    """
    with readable(database.path):
        account = await load_account(database)
        if account.starting_cash != config.broker.starting_cash:
            raise ConfigError(
                f"broker.starting_cash is {plain(config.broker.starting_cash)}, but this account began with "
                f"{plain(account.starting_cash)}; keep that figure, or begin another account with --db"
            )
        return account, opening_of(account)
