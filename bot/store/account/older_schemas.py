"""The tables of the schema versions before this one, as they were."""

BAR_COLUMNS = """symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        start_ms INTEGER NOT NULL,
        open TEXT NOT NULL,
        high TEXT NOT NULL,
        low TEXT NOT NULL,
        close TEXT NOT NULL,
        volume TEXT NOT NULL,
        turnover TEXT,
        source TEXT NOT NULL,"""

FIRST_SCHEMA = (
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
    f"""CREATE TABLE bars (
        {BAR_COLUMNS}
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

SECOND_SCHEMA = (
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

THIRD_SCHEMA = (
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
