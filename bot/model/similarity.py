"""The door of the model: observe a bar, return what it recalls."""

from msgspec import Struct

from bot.market import INTERVAL_MS, Bar
from bot.model.features import WINDOW_BARS, Encoder, FeatureWindow, Key, PlainEncoder
from bot.model.forecast import Forecast, forecast_from
from bot.model.memory import MemoryBank, MemoryConfig, Neighbor
from bot.model.outcomes import PendingOutcomes
from bot.model.regime import regime_of


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[model]`` of the configuration. Without a checkpoint, keys are plain windows of returns."""

    checkpoint: str = ""


class Recollection(Struct, frozen=True, kw_only=True, gc=False):
    """What the memory holds on the moment that a bar closed.

    ``neighbors`` are nearest first; ``forecast`` is None without neighbors, and ``missing`` then
    says why in words. ``regime`` is the moment's own, None while too few bars are known;
    ``regime_votes`` the neighbors' regimes, weighted, summing to 1. ``moments`` counts the episodes
    known at the time, of all symbols.
    """

    regime: str | None
    neighbors: tuple[Neighbor, ...] = ()
    regime_votes: dict[str, float] = {}
    forecast: Forecast | None = None
    missing: str = ""
    moments: int = 0


class SimilarityModel:
    """The windows of all symbols and, where ``remembers`` is set, one memory that they share."""

    def __init__(
        self,
        config: MemoryConfig,
        *,
        interval: str,
        horizon_bars: int,
        remembers: bool = True,
        encoder: Encoder | None = None,
    ) -> None:
        self._encoder = encoder or PlainEncoder()
        self._windows: dict[str, FeatureWindow] = {}
        self._config = config
        self._pending = PendingOutcomes(horizon_bars)
        self.memory: MemoryBank | None = None
        if remembers:
            exclusion_bars = config.exclusion_bars or max(self._encoder.window_bars // 2, horizon_bars)
            self.memory = MemoryBank(
                config,
                dimension=self._encoder.dimension,
                interval_ms=INTERVAL_MS[interval],
                exclusion_bars=exclusion_bars,
            )

    def window(self, symbol: str) -> FeatureWindow:
        """The symbol's last closed bars; empty before its first."""
        window = self._windows.get(symbol)
        if window is None:
            window = self._windows[symbol] = FeatureWindow(max(WINDOW_BARS, self._encoder.receptive_bars))
        return window

    def observe(self, bar: Bar, *, recall: bool = True) -> Recollection | None:
        """Take in a closed bar: recall what is like it, then remember what it settled.

        None without a memory, and where ``recall`` is False: history whose answers nobody reads is
        observed several times faster so, with the same memory afterwards.
        """
        window = self.window(bar.symbol)
        window.push(bar)
        if self.memory is None:
            return None
        key = self._encoder.key(window)
        regime = regime_of(window)
        recollection = self._recall(self.memory, window, key, regime, bar.close_ms) if recall else None
        self.memory.remember(self._pending.settle(bar))
        if key is not None and regime is not None:
            self._pending.wait(bar, key, regime)
        return recollection

    def _recall(
        self, memory: MemoryBank, window: FeatureWindow, key: Key | None, regime: str | None, now_ms: int
    ) -> Recollection:
        base = memory.base_rate(now_ms)
        neighbors = memory.recall(key, now_ms) if key is not None else ()
        if not neighbors:
            return Recollection(
                regime=regime, missing=self._missing(window, key, base.moments), moments=base.moments
            )
        votes: dict[str, float] = {}
        for neighbor in neighbors:
            votes[neighbor.regime] = votes.get(neighbor.regime, 0.0) + neighbor.weight
        return Recollection(
            regime=regime,
            neighbors=neighbors,
            regime_votes=votes,
            forecast=forecast_from(neighbors, base, self._config.prior_strength),
            moments=base.moments,
        )

    def _missing(self, window: FeatureWindow, key: Key | None, moments: int) -> str:
        """Why nothing can be recalled, in words."""
        needed = self._encoder.receptive_bars
        if len(window) < needed:
            return f"{len(window)} of {needed} unbroken bars known"
        if key is None:
            return f"the price has not moved in the last {self._encoder.window_bars} bars"
        if moments == 0:
            return "no moment has had its outcome yet"
        return f"none of the {moments} known moments is far enough back"
