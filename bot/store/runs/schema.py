"""The tables of the index of runs, by the schema versions that led to them."""

from bot.store.kinds import Kind

_FIRST = (
    """CREATE TABLE runs (
        name TEXT PRIMARY KEY,
        status TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        seconds REAL NOT NULL,
        strategy TEXT NOT NULL,
        settings_json TEXT NOT NULL,
        symbols TEXT NOT NULL,
        interval TEXT NOT NULL,
        category TEXT NOT NULL,
        data TEXT NOT NULL,
        bars_sha256 TEXT NOT NULL,
        first_ms INTEGER,
        last_ms INTEGER,
        observed INTEGER NOT NULL,
        decided INTEGER NOT NULL,
        fills INTEGER NOT NULL,
        trades INTEGER NOT NULL,
        total_return REAL,
        max_drawdown REAL,
        sharpe REAL,
        sharpe_error REAL,
        halted TEXT
    ) STRICT, WITHOUT ROWID""",
    # A run may be deleted; that it was tried stays.
    """CREATE TABLE trials (
        id INTEGER PRIMARY KEY,
        created_ms INTEGER NOT NULL,
        command TEXT NOT NULL,
        symbols TEXT NOT NULL,
        interval TEXT NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        configuration TEXT NOT NULL,
        sharpe REAL,
        bars_sha256 TEXT
    ) STRICT""",
)

INDEX = Kind(holds="an index of runs", application_id=0x50_41_50_49, migrations=(_FIRST,), shared=True)
