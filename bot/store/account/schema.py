"""The tables of a database, by the schema versions that led to them."""

from bot.store.account.older_schemas import FIRST_SCHEMA, SECOND_SCHEMA, THIRD_SCHEMA
from bot.store.kinds import Kind

_FOURTH_SCHEMA = (
    # What a backtest charged funding by, those that met no position included.
    """CREATE TABLE funding_rates (
        symbol TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        rate TEXT NOT NULL,
        PRIMARY KEY (symbol, time_ms)
    ) STRICT, WITHOUT ROWID""",
    # What a replay's account began with: the sessions before it are not there to be summed up.
    """CREATE TABLE opening (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        ledger_json TEXT NOT NULL,
        track_json TEXT NOT NULL
    ) STRICT""",
    "ALTER TABLE instruments ADD COLUMN source TEXT NOT NULL DEFAULT 'exchange'",
    "ALTER TABLE instruments ADD COLUMN known_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE instruments ADD COLUMN status TEXT NOT NULL DEFAULT 'Trading'",
    "ALTER TABLE instruments ADD COLUMN delivery_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE instruments ADD COLUMN base_coin TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE instruments ADD COLUMN quote_coin TEXT NOT NULL DEFAULT ''",
    # What earlier backtests assumed of a symbol that they knew nothing of was nobody's rule.
    """DELETE FROM instruments
    WHERE (tick_size, lot_size, min_quantity, min_notional, max_leverage, tiers)
        = ('0.0001', '0.001', '0.001', '5', '25', '[]') AND max_market_quantity IS NULL
        AND (SELECT value FROM meta WHERE key = 'mode') = 'backtest'""",
    "ALTER TABLE funding ADD COLUMN mark_source TEXT NOT NULL DEFAULT 'mark'",
    # Over bars alone the close was all there was; live it stood in where an event says so.
    """UPDATE funding SET mark_source = 'close'
    WHERE (SELECT value FROM meta WHERE key = 'mode') = 'backtest' OR EXISTS (
        SELECT 1 FROM events
        WHERE events.kind = 'mark_price' AND events.symbol = funding.symbol
            AND events.time_ms = funding.time_ms
    )""",
    """CREATE TABLE known_funding (
        symbol TEXT PRIMARY KEY,
        time_ms INTEGER NOT NULL,
        rate TEXT NOT NULL,
        every_ms INTEGER NOT NULL,
        longer_ms INTEGER NOT NULL
    ) STRICT""",
    # Decisions are named by their close; a moment of the past by the start and the close of its bar.
    "DROP VIEW trade_log",
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
                    '%s to %s %s %.2f %+.1f%%',
                    strftime('%Y-%m-%d %H:%M', start_ms / 1000, 'unixepoch'),
                    CASE WHEN end_ms % 86400000 > 0
                        THEN strftime('%H:%M', end_ms / 1000, 'unixepoch')
                        WHEN end_ms - start_ms > 86400000
                        THEN strftime('%Y-%m-%d', end_ms / 1000, 'unixepoch') ELSE '24:00' END,
                    symbol, similarity, round(forward_return * 100, 1) + 0.0
                ) AS moment
                FROM (
                    SELECT rank, neighbors.symbol AS symbol, similarity, forward_return,
                        neighbors.bar_start_ms AS start_ms,
                        neighbors.bar_start_ms + 60000 * CASE signals.interval
                            WHEN 'D' THEN 1440 WHEN 'W' THEN 10080 ELSE CAST(signals.interval AS INTEGER) END
                            AS end_ms
                    FROM neighbors WHERE signal_id = signals.id ORDER BY rank LIMIT 3
                )
            )
        ) AS closest_moments
    FROM fills
    LEFT JOIN orders ON orders.id = fills.order_id
    LEFT JOIN signals ON signals.id = orders.signal_id
    ORDER BY fills.id""",
    # What a decision asked for (long, short, close), which check stopped it, and why nothing was ordered.
    "ALTER TABLE signals ADD COLUMN asked TEXT",
    "ALTER TABLE signals ADD COLUMN failed_check TEXT",
    "ALTER TABLE signals ADD COLUMN no_order TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE signals ADD COLUMN checks_json TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE sessions ADD COLUMN checks_json TEXT NOT NULL DEFAULT '{}'",
    """UPDATE signals SET asked = CASE
        WHEN action <> 'hold' THEN action
        WHEN json_extract(detail_json, '$.close_position') THEN 'close' END""",
    """UPDATE signals SET failed_check = json_extract(detail_json, '$.gate')
    WHERE asked IS NULL AND late = 0 AND json_type(detail_json, '$.gate') = 'text'""",
    # Those of the shipped strategy, which had no other before they were declared.
    """UPDATE sessions SET checks_json = '{"memory":"recalled","similarity":"similar enough",'
        || '"evidence":"beyond chance","direction":"one direction","costs":"pays its costs",'
        || '"confidence":"confident enough"}'
    WHERE coalesce(json_extract(config_json, '$.strategy.name'), 'historical_similarity')
        = 'historical_similarity'""",
    """CREATE TABLE marks (
        symbol TEXT PRIMARY KEY,
        price TEXT NOT NULL,
        time_ms INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE watched (
        symbol TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE pauses (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        symbol TEXT,
        time_ms INTEGER NOT NULL,
        resumed_ms INTEGER,
        note TEXT NOT NULL
    ) STRICT""",
    # Which symbols are meant; when a request was carried out, what came of it, and what of it could not be done.
    "ALTER TABLE requests ADD COLUMN symbols TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE requests ADD COLUMN done_ms INTEGER",
    "ALTER TABLE requests ADD COLUMN outcome TEXT",
    "ALTER TABLE requests ADD COLUMN error TEXT",
    """UPDATE requests SET outcome = 'booked', error = '', done_ms = (
        SELECT time_ms FROM transfers WHERE transfers.id = requests.id
    ) WHERE kind = 'transfer' AND id IN (SELECT id FROM transfers)""",
    """UPDATE requests SET outcome = 'resumed', error = '', done_ms = coalesce((
        SELECT max(resumed_ms) FROM halts WHERE resumed_ms >= made_ms
    ), made_ms) WHERE kind = 'resume' AND id <= (
        SELECT json_extract(state_json, '$.last_resume_id') FROM risk_state
    )""",
    # Which session each is of, and the row of equity right after it: what happened in which order.
    *(
        f"ALTER TABLE {table} ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0"
        for table in ("fills", "funding", "transfers")
        for column in ("session_id", "equity_id")
    ),
    "ALTER TABLE halts ADD COLUMN resumed_equity_id INTEGER",
    "ALTER TABLE equity ADD COLUMN unit_value TEXT NOT NULL DEFAULT '1'",
    # What a session began with.
    "ALTER TABLE sessions ADD COLUMN start_equity TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE sessions ADD COLUMN start_unit_value TEXT NOT NULL DEFAULT '1'",
    """CREATE TABLE round_trips (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        closed_session_id INTEGER,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        signal_id INTEGER NOT NULL,
        opened_ms INTEGER NOT NULL,
        closed_ms INTEGER,
        quantity TEXT NOT NULL,
        entry_price TEXT NOT NULL,
        entry_notional TEXT NOT NULL,
        exit_quantity TEXT NOT NULL,
        exit_price TEXT,
        exit_notional TEXT NOT NULL,
        realized_pnl TEXT NOT NULL,
        fees TEXT NOT NULL,
        funding TEXT NOT NULL,
        net TEXT NOT NULL,
        bars INTEGER,
        adverse TEXT NOT NULL,
        favourable TEXT NOT NULL,
        exit_reason TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE account_state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        state_json TEXT NOT NULL
    ) STRICT""",
)

_FIFTH_SCHEMA = (
    # On the market's clock; NULL: until it is filled or replaced.
    "ALTER TABLE orders ADD COLUMN valid_until_ms INTEGER",
    # What a strategy keeps of each symbol from one decision to the next.
    """CREATE TABLE strategy_states (
        symbol TEXT PRIMARY KEY,
        strategy TEXT NOT NULL,
        updated_ms INTEGER NOT NULL,
        state_json TEXT NOT NULL
    ) STRICT""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    FIRST_SCHEMA,
    SECOND_SCHEMA,
    THIRD_SCHEMA,
    _FOURTH_SCHEMA,
    _FIFTH_SCHEMA,
)
"""Statements that lead from each schema version to the next; ``MIGRATIONS[0]`` starts from nothing."""

SCHEMA_VERSION = len(MIGRATIONS)


ACCOUNT = Kind(
    holds="a database of this bot", application_id=0x50_41_50_42, migrations=MIGRATIONS, account=True
)
