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

    ``proxy`` is the environment's where it is empty, none where it is ``none``; never with its user and password.
    The stream is rebuilt after ``silence_seconds`` without any update. A price further than ``max_jump`` times
    from the last believed one waits for another that agrees; a time may be ``max_ahead_seconds`` off. The other
    keys bound what is read: frames and answers in bytes, rows of a page, levels of a book, characters of a detail,
    and what waits to be taken.
    """

    rest_url: str = ""
    ws_url: str = ""
    proxy: str = ""
    silence_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 90.0
    max_jump: Annotated[float, Meta(ge=1.1, le=1_000_000)] = 5.0
    max_ahead_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 30.0
    max_frame_kb: Annotated[int, Meta(ge=16, le=1_000_000)] = 1_000
    max_answer_mb: Annotated[int, Meta(ge=1, le=1_000)] = 8
    max_page_rows: Annotated[int, Meta(ge=1_000, le=1_000_000)] = 1_000
    max_book_levels: Annotated[int, Meta(ge=50, le=10_000)] = 500
    max_detail_characters: Annotated[int, Meta(ge=200, le=100_000)] = 300
    max_waiting_frames: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 20_000
    max_waiting_events: Annotated[int, Meta(ge=100, le=10_000_000)] = 5_000
