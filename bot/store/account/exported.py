"""The names of what a database holds for people to read."""

TABLES = (
    *("sessions", "instruments", "bars", "signals", "neighbors", "orders", "fills"),
    *("funding", "transfers", "positions", "equity", "events", "halts", "requests", "round_trips"),
    *("funding_rates", "trials", "trade_log"),
)
"""Every table of the schema but its bookkeeping, and the view ``trade_log``."""
