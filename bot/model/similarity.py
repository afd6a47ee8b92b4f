"""The model's interface: observe a bar, get what it recalls."""

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
from bot.model.outcomes import MaturedMoment, Moment, PendingOutcomes
from bot.model.outlook import Outlook, outlook_of
from bot.model.recent import RecentBars
from bot.model.regime import last_regimes
from bot.model.shape import last_shapes, views_of

BLOCK_BARS = 256
"""Bars of a history that are observed together, at most."""

MIN_VOTE_BARS = 16
"""Bars between two scored votes of a symbol, at least; the horizon where it is longer."""


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[model]`` of the configuration.

    ``checkpoint`` is the folder of a trained encoder and odds, ``default`` the one that comes with the bot;
    without one ("") keys are plain windows of returns, and there are no odds.
    """

    checkpoint: str = "default"


class Recollection(Struct, frozen=True, kw_only=True, gc=False):
    """What the memory recalls at the close of a bar.

    ``neighbors`` are nearest first; ``forecast`` is None without neighbors, and ``missing`` is then the reason as
    text. ``regime`` is the bar's own, None while too few bars are known; ``regime_votes`` are the weights of the
    neighbors by regime, summing to 1. ``moments`` counts the matured moments of all symbols.
    """

    regime: str | None
    neighbors: tuple[Neighbor, ...] = ()
    regime_votes: Mapping[str, float] = MappingProxyType({})
    forecast: Forecast | None = None
    missing: str = ""
    moments: int = 0


class SimilarityModel:
    """The windows of all symbols and, where ``remembers`` is set, one memory that they share.

    Bars are counted on the market's clock: memory, running horizons and votes get bars with that clock's start
    times. What is returned has the bars' own times.
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
        # Far enough apart that no two votes of a symbol overlap, and that a warm-up stays cheap.
        self._vote_every = max(horizon_bars, MIN_VOTE_BARS)
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
            # Room for the bars that the oldest bar of a block depends on.
            needed = self._encoder.receptive_bars + BLOCK_BARS
            window = self._windows[symbol] = FeatureWindow(max(WINDOW_BARS, needed), self._calendar)
        return window

    def recent(self, symbol: str) -> RecentBars:
        """The same bars for a strategy, read-only."""
        recent = self._recent.get(symbol)
        if recent is None:
            recent = self._recent[symbol] = RecentBars(self.window(symbol))
        return recent

    def observe(self, bar: Bar, *, recall: bool = True, remember: bool = True) -> Recollection | None:
        """Observe a closed bar: recall moments similar to it, then remember those whose horizon it ended.

        None without a memory, and where ``recall`` is False. With ``remember`` False nothing is learned, to
        evaluate a memory that stays as it is.
        """
        if self.memory is None:
            self.window(bar.symbol).push(bar)
            return None
        return self._observe_block(self.memory, [bar], recall=recall, remember=remember)

    def observe_all(
        self, bars: Sequence[Bar], first_query_ms: int | None = None, *, remember: bool = True
    ) -> None:
        """Observe past bars, ordered by close, without returning recollections.

        The state afterwards equals that of :meth:`observe` called on each bar, bit for bit, but faster.
        ``first_query_ms``: no recollection will be needed for a bar that closes earlier; calibration votes that
        would have expired by then are skipped. Later results do not change.
        """
        if self.memory is None:
            for bar in bars:
                self.window(bar.symbol).push(bar)
            return
        since_ms = self._oldest_vote_ms(first_query_ms)
        block: list[Bar] = []
        for bar in bars:
            block.append(bar)
            start_ms = self._calendar.clock_ms(bar.start_ms)
            if len(block) == BLOCK_BARS or (start_ms >= since_ms and self._is_calibration_bar(start_ms)):
                self._observe_block(self.memory, block, since_ms=since_ms, recall=False, remember=remember)
                block = []
        if block:
            self._observe_block(self.memory, block, since_ms=since_ms, recall=False, remember=remember)

    def _observe_block(
        self, memory: MemoryBank, bars: Sequence[Bar], *, recall: bool, remember: bool, since_ms: int = 0
    ) -> Recollection | None:
        """Observe bars of which only the last may recall or vote."""
        moments = self._moments(memory, bars)
        if not self._calendar.never_closes:
            bars = [self._on_clock(bar) for bar in bars]
        self._learn_block(memory, bars[:-1], moments[:-1], remember=remember)
        return self._observe_last(
            memory, bars[-1], moments[-1], recall=recall, remember=remember, since_ms=since_ms
        )

    def _learn_block(
        self, memory: MemoryBank, bars: Sequence[Bar], moments: Sequence[Moment | None], *, remember: bool
    ) -> None:
        """Remember what matured at these bars, and leave their own moments pending."""
        matured: list[MaturedMoment] = []
        for bar, moment in zip(bars, moments, strict=True):
            matured += self._pending.mature(bar)
            self._add(bar, moment)
        if remember:
            self._learn(memory, matured)

    def _observe_last(
        self,
        memory: MemoryBank,
        bar: Bar,
        moment: Moment | None,
        *,
        recall: bool,
        remember: bool,
        since_ms: int,
    ) -> Recollection | None:
        """Recall, or vote where the bar is a calibration bar; then remember what matured at the bar."""
        votes = moment is not None and bar.start_ms >= since_ms and self._is_calibration_bar(bar.start_ms)
        recollection = None
        if recall or votes:
            recollection = self._recall(memory, moment, bar, for_vote=not recall)
            if votes and moment is not None and recollection.forecast is not None:
                moment = replace(moment, vote=recollection.forecast.to_vote())
        matured = self._pending.mature(bar)
        if remember:
            self._learn(memory, matured)
        self._add(bar, moment)
        return recollection if recall else None

    def _on_clock(self, bar: Bar) -> Bar:
        """The bar with its start time on the market's clock."""
        return msgspec.structs.replace(bar, start_ms=self._calendar.clock_ms(bar.start_ms))

    def _is_calibration_bar(self, start_ms: int) -> bool:
        """Whether the vote at the bar that started then, by the market's clock, is scored for the calibration."""
        # By the clock, not by counting: a session that starts anywhere scores the same votes.
        return self._calibration is not None and start_ms // self._interval_ms % self._vote_every == 0

    def _oldest_vote_ms(self, first_query_ms: int | None) -> int:
        """The start, by the market's clock, of the oldest bar whose vote may still count at ``first_query_ms``."""
        if first_query_ms is None:
            return 0
        first_query_ms = self._calendar.clock_ms(first_query_ms)
        return first_query_ms - (self._config.calibration_bars + self._horizon_bars + 1) * self._interval_ms

    def _key_share(self) -> float:
        """The key's weight in a similarity: half where it is trained, 0 where it is one more raw shape."""
        if self._config.key_share is not None:
            return self._config.key_share
        return 0.0 if isinstance(self._encoder, PlainEncoder) else 0.5

    def _moments(self, memory: MemoryBank, bars: Sequence[Bar]) -> list[Moment | None]:
        """Push the bars into their windows: the moment of each, None where it cannot be compared with others."""
        moments: list[Moment | None] = [None] * len(bars)
        places: dict[str, list[int]] = {}
        for place, bar in enumerate(bars):
            places.setdefault(bar.symbol, []).append(place)
        for symbol, of_symbol in places.items():
            window, pushed = self.window(symbol), 0
            extracted: list[Moment | None] = []
            for place in of_symbol:
                if not window.continues_with(bars[place]):
                    # The window is about to be emptied.
                    extracted += self._extract_moments(memory, window, pushed)
                    pushed = 0
                window.push(bars[place])
                pushed += 1
            extracted += self._extract_moments(memory, window, pushed)
            for place, moment in zip(of_symbol, extracted, strict=True):
                moments[place] = moment
        return moments

    def _extract_moments(self, memory: MemoryBank, window: FeatureWindow, n: int) -> list[Moment | None]:
        """The moments of the window's newest ``n`` bars, oldest first; None where one has nothing to compare."""
        moments: list[Moment | None] = [None] * n
        if not n:
            return moments
        encoder = self._encoder
        keys, regimes = encoder.last_keys(window, n), last_regimes(window, n)
        volatilities = window.volatilities(n).tolist()
        shapes = last_shapes(window, n) if memory.compares_shapes else None
        known = min(len(keys), len(regimes), len(volatilities), n if shapes is None else len(shapes))
        if not known:
            return moments
        # Where the price did not move there is no direction, hence no similarity.
        moving = keys[-known:].any(axis=1)
        if shapes is not None:
            moving &= shapes[-known:].any(axis=1)
        for back in (known - np.flatnonzero(moving)).tolist():
            moments[-back] = Moment(
                key=keys[-back],
                regime=regimes[-back],
                volatility=volatilities[-back],
                shape=None if shapes is None else shapes[-back],
                standing=self._standing(memory, window, back),
            )
        return moments

    def _standing(self, memory: MemoryBank, window: FeatureWindow, back: int) -> Standing | None:
        """State and scale of the bar that closed ``back`` - 1 bars ago, where the quantile forecast uses it."""
        if self._odds is None or not memory.keeps_state(window.next_start_ms - back * window.interval_ms):
            return None
        row = state_row(window, back - 1)
        return None if row is None else self._odds.standing(row, self._horizon_bars)

    def _add(self, bar: Bar, moment: Moment | None) -> None:
        if moment is not None:
            self._pending.add(bar, moment)

    def _learn(self, memory: MemoryBank, matured: Sequence[MaturedMoment]) -> None:
        """Remember these moments, and score their votes."""
        memory.remember(matured)
        for each in matured:
            if self._calibration is not None and each.moment.vote is not None:
                self._calibration.learn(each.symbol, each.matured_ms, each.moment.vote, each.forward_return)

    def _outlook(
        self, memory: MemoryBank, odds: Odds, moment: Moment, bar: Bar, *, for_vote: bool
    ) -> Outlook | None:
        """The quantile forecast at the newest bar; without memory where only a vote is needed."""
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
        calibration = outlook = None
        if self._calibration is not None and not for_vote:
            # A vote is kept uncalibrated: the calibration is fitted to it later.
            calibration = self._calibration.fit_at(now_ms, base.moments, neighbors[0].similarity)
        if self._odds is not None:
            outlook = self._outlook(memory, self._odds, moment, bar, for_vote=for_vote)
        forecast = forecast_from(
            neighbors, base, self._config.prior_strength, moment.volatility, calibration, outlook
        )
        if not self._calendar.never_closes:
            neighbors = tuple(
                msgspec.structs.replace(neighbor, bar_start_ms=self._calendar.start_ms(neighbor.bar_start_ms))
                for neighbor in neighbors
            )
        return Recollection(
            regime=moment.regime,
            neighbors=neighbors,
            regime_votes=MappingProxyType(votes),
            forecast=forecast,
            moments=base.moments,
        )

    def _missing(self, window: FeatureWindow) -> str:
        """Why the newest bar cannot be compared with others, as text."""
        needed = max(self._encoder.receptive_bars, RECEPTIVE_BARS)
        if len(window) < needed:
            return f"{len(window)} of {needed} unbroken bars known"
        return f"the price has not moved in the last {self._encoder.window_bars} bars"
