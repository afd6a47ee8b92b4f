"""The door of the model: observe a bar, return what it recalls."""

from collections.abc import Sequence
from dataclasses import replace

from msgspec import Struct

from bot.market import INTERVAL_MS, Bar
from bot.model.calibration import Calibration
from bot.model.features import RECEPTIVE_BARS, WINDOW_BARS, Encoder, FeatureWindow, PlainEncoder
from bot.model.forecast import Forecast, forecast_from
from bot.model.memory import MemoryBank, MemoryConfig, Neighbor
from bot.model.outcomes import Episode, Moment, PendingOutcomes
from bot.model.regime import regime_of
from bot.model.shape import shape_of, views_of

LEAST_VOTE_BARS = 16
"""Bars between two votes of a symbol that are held to account, at least; the horizon where it is longer."""


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[model]`` of the configuration.

    ``checkpoint`` is the folder of a trained encoder, ``default`` the one that comes with the bot; without
    one ("") keys are plain windows of returns.
    """

    checkpoint: str = "default"


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
        self._interval_ms = INTERVAL_MS[interval]
        self._pending = PendingOutcomes(horizon_bars)
        # Far enough apart that no two votes of a symbol overlap, and that warming up stays cheap.
        self._vote_every = max(horizon_bars, LEAST_VOTE_BARS)
        self._calibration: Calibration | None = None
        self.memory: MemoryBank | None = None
        if remembers:
            exclusion_bars = config.exclusion_bars or max(self._encoder.window_bars // 2, horizon_bars)
            self.memory = MemoryBank(
                config,
                dimension=self._encoder.dimension,
                interval_ms=self._interval_ms,
                exclusion_bars=exclusion_bars,
                key_share=self._key_share(),
            )
            if config.calibration_bars:
                self._calibration = Calibration(config.calibration_bars * self._interval_ms)

    def window(self, symbol: str) -> FeatureWindow:
        """The symbol's last closed bars; empty before its first."""
        window = self._windows.get(symbol)
        if window is None:
            window = self._windows[symbol] = FeatureWindow(max(WINDOW_BARS, self._encoder.receptive_bars))
        return window

    def observe(self, bar: Bar, *, recall: bool = True, remember: bool = True) -> Recollection | None:
        """Take in a closed bar: recall what is like it, then remember what it settled.

        None without a memory, and where ``recall`` is False: history whose answers nobody reads is
        observed several times faster so, with the same memory and the same belief in it afterwards.
        With ``remember`` False nothing is learned of it, to see what a memory that stands still is worth.
        """
        window = self.window(bar.symbol)
        window.push(bar)
        if self.memory is None:
            return None
        moment = self._moment(self.memory, window)
        # By the calendar, not by counting: whoever starts anywhere holds the same votes to account.
        votes = self._calibration is not None and bar.start_ms // self._interval_ms % self._vote_every == 0
        recollection = None
        if recall or (votes and moment is not None):
            recollection = self._recall(self.memory, window, moment, bar.close_ms, believe=recall)
            if votes and moment is not None and recollection.forecast is not None:
                moment = replace(moment, vote=recollection.forecast.cast)
        settled = self._pending.settle(bar)
        if remember:
            self.memory.remember(settled)
            self._learn(settled)
        if moment is not None:
            self._pending.wait(bar, moment)
        return recollection if recall else None

    def _key_share(self) -> float:
        """What the key counts for: half where it is trained, nothing where it is one more raw shape."""
        if self._config.key_share is not None:
            return self._config.key_share
        return 0.0 if isinstance(self._encoder, PlainEncoder) else 0.5

    def _moment(self, memory: MemoryBank, window: FeatureWindow) -> Moment | None:
        """What will be remembered of the newest bar; None where it cannot be compared with others."""
        key, regime, volatility = self._encoder.key(window), regime_of(window), window.volatility()
        shape = shape_of(window) if memory.compares_shapes else None
        if key is None or regime is None or volatility is None or (memory.compares_shapes and shape is None):
            return None
        return Moment(key=key, regime=regime, volatility=volatility, shape=shape)

    def _learn(self, episodes: Sequence[Episode]) -> None:
        """Hold the votes of these episodes against their outcomes."""
        for episode in episodes:
            if self._calibration is not None and episode.moment.vote is not None:
                self._calibration.learn(
                    episode.symbol, episode.matured_ms, episode.moment.vote, episode.forward_return
                )

    def _recall(
        self, memory: MemoryBank, window: FeatureWindow, moment: Moment | None, now_ms: int, *, believe: bool
    ) -> Recollection:
        """What the memory holds on a moment; ``believe`` False where its vote alone will be looked at."""
        base = memory.base_rate(now_ms)
        if moment is None:
            missing = self._missing(window)
            return Recollection(regime=regime_of(window), missing=missing, moments=base.moments)
        views = views_of(window) if memory.compares_shapes else None
        neighbors = memory.recall(moment.key, now_ms, views=views, regime=moment.regime)
        if not neighbors:
            missing = f"none of the {base.moments} known moments is far enough back"
            if not base.moments:
                missing = "no moment has had its outcome yet"
            return Recollection(regime=moment.regime, missing=missing, moments=base.moments)
        votes: dict[str, float] = {}
        for neighbor in neighbors:
            votes[neighbor.regime] = votes.get(neighbor.regime, 0.0) + neighbor.weight
        belief = None
        if believe and self._calibration is not None:
            belief = self._calibration.belief(now_ms, base.moments)
        forecast = forecast_from(neighbors, base, self._config.prior_strength, moment.volatility, belief)
        return Recollection(
            regime=moment.regime,
            neighbors=neighbors,
            regime_votes=votes,
            forecast=forecast,
            moments=base.moments,
        )

    def _missing(self, window: FeatureWindow) -> str:
        """Why the newest bar cannot be compared with others, in words."""
        needed = max(self._encoder.receptive_bars, RECEPTIVE_BARS)
        if len(window) < needed:
            return f"{len(window)} of {needed} unbroken bars known"
        return f"the price has not moved in the last {self._encoder.window_bars} bars"
