"""The network: Bybit's public data over websocket and REST."""
