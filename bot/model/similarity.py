"""The door of the model: observe a bar, return what it recalls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import msgspec.structs
import numpy as np
from msgspec import Struct

from bot.market import ALWAYS_OPEN, INTERVAL_MS, Bar, Calendar
from bot.model.calibration import Calibration
from bot.model.features import (
    RECEPTIVE_BARS,
    WINDOW_BARS,
    Encoder,
    FeatureWindow,
    PlainEncoder,
    state_row,
)
from bot.model.forecast import Forecast, forecast_from
from bot.model.memory.bank import MemoryBank
from bot.model.memory.moments import MemoryConfig, Neighbor
from bot.model.odds import Odds, Standing
from bot.model.outcomes import Episode, Moment, PendingOutcomes
from bot.model.outlook import Outlook, outlook_of
from bot.model.recent import RecentBars
from bot.model.regime import last_regimes
from bot.model.shape import last_shapes, views_of

BLOCK_BARS = 256
"""Bars of a history that are taken in together, at most."""

LEAST_VOTE_BARS = 16
"""Bars between two votes of a symbol that are held to account, at least; the horizon where it is longer."""


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[model]`` of the configuration.

    ``checkpoint`` is the folder of a trained encoder and odds, ``default`` the one that comes with the bot;
    without one ("") keys are plain windows of returns, and there are no odds.
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
    regime_votes: Mapping[str, float] = MappingProxyType({})
    forecast: Forecast | None = None
    missing: str = ""
    moments: int = 0


class SimilarityModel:
    """The windows of all symbols and, where ``remembers`` is set, one memory that they share.

    All that counts bars does so on the market's clock: memory, open horizons and votes are told of bars as
    if they began when that clock says so. Who asks is told of the bars' own times.
    """

    def __init__(
        self,
        config: MemoryConfig,
        *,
        interval: str,
        horizon_bars: int,
        remembers: bool = True,
        encoder: Encoder | None = None,
        odds: Odds | None = None,
        calendar: Calendar = ALWAYS_OPEN,
    ) -> None:
        self._calendar = calendar
        self._odds = odds
        self._encoder = encoder or PlainEncoder()
        self._windows: dict[str, FeatureWindow] = {}
        self._recent: dict[str, RecentBars] = {}
        self._config = config
        self._interval_ms = INTERVAL_MS[interval]
        self._horizon_bars = horizon_bars
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
                state_dimension=0 if odds is None else odds.dimension,
            )
            if config.calibration_bars:
                self._calibration = Calibration(config.calibration_bars * self._interval_ms)

    def window(self, symbol: str) -> FeatureWindow:
        """The symbol's last closed bars; empty before its first."""
        window = self._windows.get(symbol)
        if window is None:
            # Room for what the oldest bar of a block looks back at.
            least = self._encoder.receptive_bars + BLOCK_BARS
            window = self._windows[symbol] = FeatureWindow(max(WINDOW_BARS, least), self._calendar)
        return window

    def recent(self, symbol: str) -> RecentBars:
        """The same for a strategy, which may only look at them."""
        recent = self._recent.get(symbol)
        if recent is None:
            recent = self._recent[symbol] = RecentBars(self.window(symbol))
        return recent

    def observe(self, bar: Bar, *, recall: bool = True, remember: bool = True) -> Recollection | None:
        """Take in a closed bar: recall what is like it, then remember what it settled.

        None without a memory, and where ``recall`` is False. With ``remember`` False nothing is learned
        of it, to see what a memory that stands still is worth.
        """
        if self.memory is None:
            self.window(bar.symbol).push(bar)
            return None
        return self._take_in(self.memory, [bar], recall=recall, remember=remember)

    def observe_all(
        self, bars: Sequence[Bar], asked_from_ms: int | None = None, *, remember: bool = True
    ) -> None:
        """Take in history whose answers nobody reads, in order of closes.

        What is known afterwards is what :meth:`observe` of one bar after another leaves, bit for bit, and
        many times sooner. Whoever names the time as of which the model will be asked next spares it the
        votes that will be out of date by then: what it says of any bar that closes then or later is the
        same.
        """
        if self.memory is None:
            for bar in bars:
                self.window(bar.symbol).push(bar)
            return
        since_ms = self._oldest_vote_ms(asked_from_ms)
        block: list[Bar] = []
        for bar in bars:
            block.append(bar)
            start_ms = self._calendar.clock_ms(bar.start_ms)
            if len(block) == BLOCK_BARS or (start_ms >= since_ms and self._votes(start_ms)):
                self._take_in(self.memory, block, since_ms=since_ms, recall=False, remember=remember)
                block = []
        if block:
            self._take_in(self.memory, block, since_ms=since_ms, recall=False, remember=remember)

    def _take_in(
        self, memory: MemoryBank, bars: Sequence[Bar], *, recall: bool, remember: bool, since_ms: int = 0
    ) -> Recollection | None:
        """Observe bars of which the last may recall or vote, and no other."""
        moments = self._moments(memory, bars)
        if not self._calendar.never_closes:
            bars = [self._on_clock(bar) for bar in bars]
        settled: list[Episode] = []
        for bar, moment in zip(bars[:-1], moments, strict=False):
            settled += self._pending.settle(bar)
            self._wait(bar, moment)
        if remember:
            self._learn(memory, settled)
        bar, moment = bars[-1], moments[-1]
        votes = moment is not None and bar.start_ms >= since_ms and self._votes(bar.start_ms)
        recollection = None
        if recall or votes:
            recollection = self._recall(memory, moment, bar, for_vote=not recall)
            if votes and moment is not None and recollection.forecast is not None:
                moment = replace(moment, vote=recollection.forecast.cast)
        settled = self._pending.settle(bar)
        if remember:
            self._learn(memory, settled)
        self._wait(bar, moment)
        return recollection if recall else None

    def _on_clock(self, bar: Bar) -> Bar:
        """The bar as if it began when the market's clock says so."""
        return msgspec.structs.replace(bar, start_ms=self._calendar.clock_ms(bar.start_ms))

    def _votes(self, start_ms: int) -> bool:
        """Whether what is recalled at the bar that started then, by the market's clock, is held to account."""
        # By the clock, not by counting: whoever starts anywhere holds the same votes to account.
        return self._calibration is not None and start_ms // self._interval_ms % self._vote_every == 0

    def _oldest_vote_ms(self, asked_from_ms: int | None) -> int:
        """The start, by the market's clock, of the oldest bar whose vote may still count as of then."""
        if asked_from_ms is None:
            return 0
        asked_from_ms = self._calendar.clock_ms(asked_from_ms)
        return asked_from_ms - (self._config.calibration_bars + self._horizon_bars + 1) * self._interval_ms

    def _key_share(self) -> float:
        """What the key counts for: half where it is trained, nothing where it is one more raw shape."""
        if self._config.key_share is not None:
            return self._config.key_share
        return 0.0 if isinstance(self._encoder, PlainEncoder) else 0.5

    def _moments(self, memory: MemoryBank, bars: Sequence[Bar]) -> list[Moment | None]:
        """Push the bars into their windows: what will be remembered of each, None where it has no like."""
        moments: list[Moment | None] = [None] * len(bars)
        places: dict[str, list[int]] = {}
        for place, bar in enumerate(bars):
            places.setdefault(bar.symbol, []).append(place)
        for symbol, of_symbol in places.items():
            window = self.window(symbol)
            unbroken: list[int] = []
            for place in of_symbol:
                if not window.continues_with(bars[place]):
                    # The window starts anew: what it holds is looked at before.
                    self._look(memory, window, moments, unbroken)
                    unbroken = []
                window.push(bars[place])
                unbroken.append(place)
            self._look(memory, window, moments, unbroken)
        return moments

    def _look(
        self,
        memory: MemoryBank,
        window: FeatureWindow,
        moments: list[Moment | None],
        places: Sequence[int],
    ) -> None:
        """Put the moments of the window's newest bars, as many as there are ``places``, in those places."""
        if not places:
            return
        n, encoder = len(places), self._encoder
        keys, regimes = encoder.last_keys(window, n), last_regimes(window, n)
        volatilities = window.volatilities(n).tolist()
        shapes = last_shapes(window, n) if memory.compares_shapes else None
        known = min(len(keys), len(regimes), len(volatilities), n if shapes is None else len(shapes))
        if not known:
            return
        # What stood still points nowhere.
        moving = keys[-known:].any(axis=1)
        if shapes is not None:
            moving &= shapes[-known:].any(axis=1)
        for back in (known - np.flatnonzero(moving)).tolist():
            moments[places[-back]] = Moment(
                key=keys[-back],
                regime=regimes[-back],
                volatility=volatilities[-back],
                shape=None if shapes is None else shapes[-back],
                standing=self._standing(memory, window, back),
            )

    def _standing(self, memory: MemoryBank, window: FeatureWindow, back: int) -> Standing | None:
        """State and scale of the bar that closed ``back`` - 1 bars ago, where it will be asked for odds."""
        if self._odds is None or not memory.keeps_state(window.next_start_ms - back * window.interval_ms):
            return None
        row = state_row(window, back - 1)
        return None if row is None else self._odds.standing(row, self._horizon_bars)

    def _wait(self, bar: Bar, moment: Moment | None) -> None:
        if moment is not None:
            self._pending.wait(bar, moment)

    def _learn(self, memory: MemoryBank, episodes: Sequence[Episode]) -> None:
        """Remember these episodes, and hold their votes against their outcomes."""
        memory.remember(episodes)
        for episode in episodes:
            if self._calibration is not None and episode.moment.vote is not None:
                self._calibration.learn(
                    episode.symbol, episode.matured_ms, episode.moment.vote, episode.forward_return
                )

    def _outlook(
        self, memory: MemoryBank, odds: Odds, moment: Moment, bar: Bar, *, for_vote: bool
    ) -> Outlook | None:
        """What head and memory say of the newest bar; the head alone where only its vote is asked for."""
        row = state_row(self.window(bar.symbol))
        if row is None:
            return None
        recalled = None
        if not for_vote:
            known, query = memory.odds(bar.close_ms), odds.standing(row, self._horizon_bars)
            recalled = odds.recalled(known.states, known.outcomes, query, self._horizon_bars)
        return outlook_of(odds, row, recalled, self._horizon_bars, moment.volatility)

    def _recall(self, memory: MemoryBank, moment: Moment | None, bar: Bar, *, for_vote: bool) -> Recollection:
        window, now_ms = self.window(bar.symbol), bar.close_ms
        base = memory.base_rate(now_ms)
        if moment is None:
            missing = self._missing(window)
            regimes = last_regimes(window, 1)
            return Recollection(regime=regimes[0] if regimes else None, missing=missing, moments=base.moments)
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
        belief = outlook = None
        if self._calibration is not None and not for_vote:
            # A vote is cast before anyone asks how far it is believed.
            belief = self._calibration.belief(now_ms, base.moments, neighbors[0].similarity)
        if self._odds is not None:
            outlook = self._outlook(memory, self._odds, moment, bar, for_vote=for_vote)
        forecast = forecast_from(
            neighbors, base, self._config.prior_strength, moment.volatility, belief, outlook
        )
        if not self._calendar.never_closes:
            neighbors = tuple(
                msgspec.structs.replace(one, bar_start_ms=self._calendar.start_ms(one.bar_start_ms))
                for one in neighbors
            )
        return Recollection(
            regime=moment.regime,
            neighbors=neighbors,
            regime_votes=MappingProxyType(votes),
            forecast=forecast,
            moments=base.moments,
        )

    def _missing(self, window: FeatureWindow) -> str:
        """Why the newest bar cannot be compared with others, in words."""
        needed = max(self._encoder.receptive_bars, RECEPTIVE_BARS)
        if len(window) < needed:
            return f"{len(window)} of {needed} unbroken bars known"
        return f"the price has not moved in the last {self._encoder.window_bars} bars"
