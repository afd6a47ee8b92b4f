"""The tables of the history store, by the schema versions that led to them."""

from bot.store.account.older_schemas import BAR_COLUMNS
from bot.store.kinds import Kind

_FIRST = (
    f"""CREATE TABLE bars (
        venue TEXT NOT NULL,
        category TEXT NOT NULL,
        {BAR_COLUMNS}
        PRIMARY KEY (venue, category, symbol, interval, start_ms)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE funding_rates (
        venue TEXT NOT NULL,
        category TEXT NOT NULL,
        symbol TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        rate TEXT NOT NULL,
        PRIMARY KEY (venue, category, symbol, time_ms)
    ) STRICT, WITHOUT ROWID""",
    # Rules are read and replaced whole, so they are kept whole: JSON of an Instrument.
    """CREATE TABLE instruments (
        venue TEXT NOT NULL,
        category TEXT NOT NULL,
        symbol TEXT NOT NULL,
        rules_json TEXT NOT NULL,
        PRIMARY KEY (venue, category, symbol)
    ) STRICT, WITHOUT ROWID""",
    # What was brought over from elsewhere, so that it is brought over once.
    "CREATE TABLE copied (source TEXT PRIMARY KEY, time_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID",
)

HISTORY = Kind(
    holds="a history store (bars, funding rates and rules of no account)",
    application_id=0x50_41_50_48,
    migrations=(_FIRST,),
)
