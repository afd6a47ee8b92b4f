"""The tables of a database, by the schema versions that led to them."""

_FIRST_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        started_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        mode TEXT NOT NULL,
        config_json TEXT NOT NULL,
        checkpoint_sha256 TEXT,
        recording TEXT,
        exit_reason TEXT
    ) STRICT""",
    """CREATE TABLE instruments (
        symbol TEXT PRIMARY KEY,
        category TEXT NOT NULL,
        tick_size TEXT NOT NULL,
        lot_size TEXT NOT NULL,
        min_quantity TEXT NOT NULL,
        min_notional TEXT NOT NULL,
        max_market_quantity TEXT,
        funding_interval_minutes INTEGER NOT NULL,
        max_leverage TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE bars (
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        start_ms INTEGER NOT NULL,
        open TEXT NOT NULL,
        high TEXT NOT NULL,
        low TEXT NOT NULL,
        close TEXT NOT NULL,
        volume TEXT NOT NULL,
        turnover TEXT,
        source TEXT NOT NULL,
        PRIMARY KEY (symbol, interval, start_ms)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE signals (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        bar_start_ms INTEGER NOT NULL,
        action TEXT NOT NULL,
        confidence REAL NOT NULL,
        expected_return REAL,
        return_std REAL,
        positive_ratio REAL,
        regime TEXT,
        horizon_bars INTEGER,
        reason TEXT NOT NULL,
        late INTEGER NOT NULL,
        decided_ms INTEGER NOT NULL,
        detail_json TEXT NOT NULL,
        UNIQUE (symbol, interval, bar_start_ms)
    ) STRICT""",
    """CREATE TABLE neighbors (
        signal_id INTEGER NOT NULL,
        rank INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        bar_start_ms INTEGER NOT NULL,
        similarity REAL NOT NULL,
        weight REAL NOT NULL,
        forward_return REAL NOT NULL,
        regime TEXT NOT NULL,
        PRIMARY KEY (signal_id, rank)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        signal_id INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        type TEXT NOT NULL,
        quantity TEXT NOT NULL,
        limit_price TEXT,
        stop_price TEXT,
        reduce_only INTEGER NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        due_ms INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX orders_by_signal ON orders (signal_id)",
    """CREATE TABLE fills (
        id INTEGER PRIMARY KEY,
        order_id INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        quantity TEXT NOT NULL,
        price TEXT NOT NULL,
        notional TEXT NOT NULL,
        fee TEXT NOT NULL,
        liquidity TEXT NOT NULL,
        realized_pnl TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        rule TEXT NOT NULL,
        reference_price TEXT NOT NULL,
        late INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX fills_by_order ON fills (order_id)",
    """CREATE TABLE funding (
        symbol TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        rate TEXT NOT NULL,
        mark_price TEXT NOT NULL,
        quantity TEXT NOT NULL,
        payment TEXT NOT NULL,
        PRIMARY KEY (symbol, time_ms)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE transfers (
        id INTEGER PRIMARY KEY,
        time_ms INTEGER NOT NULL,
        amount TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE positions (
        symbol TEXT PRIMARY KEY,
        quantity TEXT NOT NULL,
        entry_price TEXT NOT NULL,
        cost TEXT NOT NULL,
        opened_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE equity (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        cash TEXT NOT NULL,
        unrealized_pnl TEXT NOT NULL,
        equity TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        session_id INTEGER,
        time_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        symbol TEXT,
        detail TEXT NOT NULL
    ) STRICT""",
    # Returns are shown as the log returns they are: exp() is missing from many sqlite3 builds.
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
                    '%s %s %.2f %+.1f%%',
                    strftime('%Y-%m-%d %H:%M', bar_start_ms / 1000, 'unixepoch'),
                    symbol, similarity, forward_return * 100
                ) AS moment
                FROM neighbors WHERE signal_id = signals.id ORDER BY rank LIMIT 3
            )
        ) AS closest_moments
    FROM fills
    LEFT JOIN orders ON orders.id = fills.order_id
    LEFT JOIN signals ON signals.id = orders.signal_id
    ORDER BY fills.id""",
)

_SECOND_SCHEMA = (
    "ALTER TABLE instruments ADD COLUMN tiers TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE orders ADD COLUMN time_in_force TEXT NOT NULL DEFAULT 'gtc'",
    "ALTER TABLE orders ADD COLUMN distance TEXT",
    "ALTER TABLE orders ADD COLUMN anchor TEXT",
    "ALTER TABLE orders ADD COLUMN parent_id INTEGER",
    "ALTER TABLE orders ADD COLUMN filled_quantity TEXT NOT NULL DEFAULT '0'",
    "ALTER TABLE orders ADD COLUMN active_ms INTEGER",
    "ALTER TABLE orders ADD COLUMN triggered_ms INTEGER",
    # Until now every order was filled whole, by the quote or the open of its own time.
    "UPDATE orders SET filled_quantity = quantity WHERE status = 'filled'",
    "ALTER TABLE fills ADD COLUMN reference_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE fills ADD COLUMN slippage TEXT NOT NULL DEFAULT '0'",
    "ALTER TABLE fills ADD COLUMN preset TEXT NOT NULL DEFAULT ''",
    "UPDATE fills SET reference_ms = time_ms, slippage = exact_distance(price, reference_price)",
    """CREATE TABLE halts (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        rule TEXT NOT NULL,
        reason TEXT NOT NULL,
        resumed_ms INTEGER,
        note TEXT NOT NULL
    ) STRICT""",
    # AUTOINCREMENT: a number is never given twice, and the last one granted is all that is remembered.
    """CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        made_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        amount TEXT NOT NULL,
        note TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE risk_state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        state_json TEXT NOT NULL
    ) STRICT""",
)

_THIRD_SCHEMA = (
    # Kept when a backtest's books are emptied for its next run: each run is one more trial.
    """CREATE TABLE trials (
        id INTEGER PRIMARY KEY,
        made_ms INTEGER NOT NULL,
        command TEXT NOT NULL,
        symbols TEXT NOT NULL,
        interval TEXT NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        configuration TEXT NOT NULL,
        sharpe REAL
    ) STRICT""",
)

_FOURTH_SCHEMA = (
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
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST_SCHEMA, _SECOND_SCHEMA, _THIRD_SCHEMA, _FOURTH_SCHEMA)
"""Statements that lead from each schema version to the next; ``MIGRATIONS[0]`` starts from nothing."""

SCHEMA_VERSION = len(MIGRATIONS)
