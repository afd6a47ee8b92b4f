"""A pretend Bybit on loopback; it imports nothing of the client that talks to it."""
