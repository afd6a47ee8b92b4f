"""The door of the model: observe a bar, return what it recalls."""

from msgspec import Struct

from bot.model.forecast import Forecast
from bot.model.memory import Neighbor


class Recollection(Struct, frozen=True, kw_only=True, gc=False):
    """What the memory holds on the moment that a bar closed.

    ``neighbors`` are nearest first; ``forecast`` is None without neighbors, and ``missing`` then
    says why in words. ``regime`` is the moment's own, None while too few bars are known;
    ``regime_votes`` the neighbors' regimes, weighted, summing to 1.
    """

    regime: str | None
    neighbors: tuple[Neighbor, ...] = ()
    regime_votes: dict[str, float] = {}
    forecast: Forecast | None = None
    missing: str = ""
    moments: int = 0
