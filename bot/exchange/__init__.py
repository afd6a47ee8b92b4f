"""The network: Bybit's public data over websocket and REST, and a pretend Bybit on loopback."""
