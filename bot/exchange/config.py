"""Where the exchange is, and how long it may be silent."""

from typing import Annotated

from msgspec import Meta, Struct

HOSTS = {
    "testnet": ("https://api-testnet.bybit.com", "wss://stream-testnet.bybit.com"),
    "mainnet": ("https://api.bybit.com", "wss://stream.bybit.com"),
}
"""REST and public websocket host of each live mode."""


class ExchangeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[exchange]``. Empty URLs mean the mode's own; host part only, ``/v5/…`` is appended.

    The stream is rebuilt after ``silence_seconds`` without any update.
    """

    rest_url: str = ""
    ws_url: str = ""
    silence_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 90.0
