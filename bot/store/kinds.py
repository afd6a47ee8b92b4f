"""Kind: the SQLite files of this bot, and what their migrations may ask for."""

from decimal import Decimal

from msgspec import Struct

from bot.exact import EXACT, plain


def exact_distance(one: str, other: str) -> str:
    """How far two decimals lie apart: what a migration may ask for under this name."""
    return plain(EXACT.subtract(Decimal(one), Decimal(other)).copy_abs())


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of SQLite file of this bot, known by its application id and brought up to date by migrations."""

    holds: str
    application_id: int
    migrations: tuple[tuple[str, ...], ...]
    account: bool = False
    """Whether it keeps an account's books, which belong to somebody."""
    shared: bool = False
    """Whether several processes write to it, each for the length of a transaction."""

    @property
    def version(self) -> int:
        """The newest schema."""
        return len(self.migrations)
