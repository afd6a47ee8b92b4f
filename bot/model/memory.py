"""MemoryBank: what has happened after moments like this one."""

from msgspec import Struct


class Neighbor(Struct, frozen=True, kw_only=True, gc=False):
    """A recalled moment. ``forward_return`` is the log return that followed over the horizon.

    ``similarity`` is the cosine of the keys, in [-1, 1]; ``weight`` its share of the vote.
    """

    symbol: str
    bar_start_ms: int
    similarity: float
    weight: float
    forward_return: float
    regime: str
