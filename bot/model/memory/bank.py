"""MemoryBank: what has happened after moments like this one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bot.errors import BrokenInvariant
from bot.model.features import Key
from bot.model.memory.index import Similarities, Slots, make_index
from bot.model.memory.moments import BaseRate, MemoryConfig, Neighbor
from bot.model.memory.sorted_outcomes import SortedMoments, SortedOutcomes, keeps_state
from bot.model.outcomes import Episode
from bot.model.shape import SHAPE_BARS, Views
from bot.model.weights import weights_of

# Returns are summed up as integers of this fraction, so that adding and evicting never leave a residue.
_FRACTION = 2.0**62


class MemoryBank:
    """The last ``config.size`` episodes and an exact search among them.

    Recalling changes no answer; remembering returns nothing. Slots form a ring: the oldest episode
    gives way to the newest, one row is overwritten, nothing is rebuilt. Keys are ``key_share`` of a
    similarity, shapes the rest. States are of ``state_dimension``, 0 where odds are not asked for.
    ``engine`` names what searches, ``faiss``, ``gpu`` or ``numpy``.
    """

    def __init__(
        self,
        config: MemoryConfig,
        *,
        dimension: int,
        interval_ms: int,
        exclusion_bars: int,
        key_share: float = 1.0,
        state_dimension: int = 0,
    ) -> None:
        from bot.model.kernels import search

        self._kernels = search
        self._config = config
        self._key_share = key_share
        self._dimension = dimension
        self._interval_ms = interval_ms
        self._exclusion_ms = exclusion_bars * interval_ms
        size = config.size
        self.engine, self._index = make_index(dimension, size, gpu=config.gpu)
        self._shapes = np.zeros((size if key_share < 1.0 else 0, SHAPE_BARS), dtype=np.float32)
        self._start_ms = np.zeros(size, dtype=np.int64)
        self._matured_ms = np.zeros(size, dtype=np.int64)
        self._forward_return = np.zeros(size, dtype=np.float64)
        self._volatility = np.zeros(size, dtype=np.float64)
        self._symbol = np.zeros(size, dtype=np.int32)
        self._regime = np.zeros(size, dtype=np.int32)
        self._has_state = np.zeros(size, dtype=np.bool_)
        self._scale = np.ones(size, dtype=np.float64)
        self._names: list[str] = []
        self._name_ids: dict[str, int] = {}
        self._state_dimension = state_dimension
        self._odds = SortedOutcomes(state_dimension, size if state_dimension else 0)

        self._written = 0
        self._known: set[tuple[str, int]] = set()
        self._latest_ms = 0
        self._move_sum = 0
        self._size_sum = 0
        self._rises_twice = 0

    def __len__(self) -> int:
        return min(self._written, self._config.size)

    @property
    def compares_shapes(self) -> bool:
        """Whether episodes need a shape, and questions their views."""
        return self._key_share < 1.0

    def keeps_state(self, start_ms: int) -> bool:
        """Whether the bar that started then is among those that are asked for odds."""
        config = self._config
        bar = start_ms // self._interval_ms
        return bool(self._state_dimension) and keeps_state(bar, config.size, config.odds_moments)

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Keep episodes whose outcome is known; one already kept (by symbol and start) stays as it is.

        Raises :class:`BrokenInvariant`, with nothing remembered, on a key or shape that is not a finite
        float32 vector of unit length, a state that is not a finite float32 vector, or an outcome,
        volatility or scale that is not finite.
        """
        self._check(episodes)
        coming: list[Episode] = []
        for episode in episodes:
            if (episode.symbol, episode.start_ms) in self._known:
                continue
            self._make_room(self._written + len(coming))
            self._known.add((episode.symbol, episode.start_ms))
            coming.append(episode)
            if (self._written + len(coming)) % self._config.size == 0:
                # The end of the ring: what follows goes to its front.
                self._write(coming)
                coming = []
        if coming:
            self._write(coming)

    def recall(
        self,
        key: Key,
        now_ms: int,
        k: int | None = None,
        *,
        views: Views | None = None,
        regime: str | None = None,
    ) -> tuple[Neighbor, ...]:
        """The ``k`` (default: ``neighbors`` of the settings) most similar episodes, nearest first.

        Of the ``over_fetch`` times ``k`` most similar by key, those most similar all in all, where
        ``views`` show the moment at several speeds; ``regime`` is the moment's own. Only episodes whose
        outcome was over at ``now_ms``, none whose moment lies within the exclusion zone before it, and no
        two within one exclusion zone of each other, whatever their symbols: of such a group the nearest
        stands. Where fewer than ``k`` remain, four times as many are looked at, until no more exist.
        Equally similar ones come in order of their keys' similarity, of time, then symbol. Weights sum
        to 1.
        """
        if self.compares_shapes and views is None:
            raise BrokenInvariant("a memory that compares shapes was asked without one")
        wanted = self._config.neighbors if k is None else k
        count = self._config.over_fetch * wanted
        while len(self):
            similarities, slots = self._shortlist(key, now_ms, count)
            exhausted = len(slots) < count
            if views is not None and self.compares_shapes:
                similarities, slots = self._by_shape(similarities, slots, views)
            similarities, slots = self._distinct(similarities, slots, wanted)
            if len(slots) == wanted or exhausted:
                return self._neighbors(similarities, slots, now_ms, regime)
            count *= 4
        return ()

    def odds(self, now_ms: int) -> SortedMoments:
        """The moments that are asked for odds, in ascending order of outcome.

        The same rules as for :meth:`recall` say which may be known at ``now_ms``, but none is left out for
        being near another. An outcome is the log return over the horizon by the volatility expected of it
        and by the scale of its moment.
        """
        return self._odds.known(now_ms)

    def base_rate(self, now_ms: int) -> BaseRate:
        """What followed all episodes whose outcome was over at ``now_ms``."""
        moments, move_sum, size_sum = len(self), self._move_sum, self._size_sum
        rises_twice = self._rises_twice
        if now_ms < self._latest_ms:
            for slot in np.flatnonzero(self._matured_ms[: len(self)] > now_ms).tolist():
                move = self._move(slot)
                moments -= 1
                move_sum -= move
                size_sum -= abs(move)
                rises_twice -= _rises_twice(move)
        if not moments:
            return BaseRate(moments=0, mean_move=0.0, mean_size=0.0, positive_ratio=0.5)
        return BaseRate(
            moments=moments,
            mean_move=move_sum / moments / _FRACTION,
            mean_size=size_sum / moments / _FRACTION,
            positive_ratio=rises_twice / (2 * moments),
        )

    def _make_room(self, number: int) -> None:
        """Let the oldest episode go, if that many have been written that it must give way to the next."""
        if number >= self._config.size:
            slot = number % self._config.size
            self._count(self._move(slot), -1)
            symbol, start_ms = self._names[self._symbol[slot]], int(self._start_ms[slot])
            self._known.remove((symbol, start_ms))
            if self._has_state[slot]:
                self._odds.remove(symbol, start_ms, self._scaled_outcome(slot))

    def _write(self, episodes: Sequence[Episode]) -> None:
        """Overwrite the oldest slots, or the next free ones: the keys and every field beside them."""
        first = self._written % self._config.size
        slots = slice(first, first + len(episodes))
        moments = [episode.moment for episode in episodes]
        self._index.write(first, np.array([moment.key for moment in moments]))
        if self.compares_shapes:
            self._shapes[slots] = [moment.shape for moment in moments]
        self._start_ms[slots] = [episode.start_ms for episode in episodes]
        self._matured_ms[slots] = [episode.matured_ms for episode in episodes]
        self._forward_return[slots] = [episode.forward_return for episode in episodes]
        self._volatility[slots] = [moment.volatility for moment in moments]
        self._symbol[slots] = [self._id(episode.symbol) for episode in episodes]
        self._regime[slots] = [self._id(moment.regime) for moment in moments]
        for slot, episode in enumerate(episodes, start=first):
            self._count(self._move(slot), 1)
            self._keep_state(slot, episode)
        self._latest_ms = max(self._latest_ms, *(episode.matured_ms for episode in episodes))
        self._written += len(episodes)

    def _keep_state(self, slot: int, episode: Episode) -> None:
        """Put the episode among those that are asked for odds, where it is one of them."""
        standing = episode.moment.standing if self.keeps_state(episode.start_ms) else None
        self._has_state[slot] = standing is not None
        if standing is not None:
            self._scale[slot] = standing.scale
            # Known when its horizon is over, asked once it lies outside of the exclusion zone.
            away_ms = episode.start_ms + self._interval_ms + self._exclusion_ms
            recallable_ms = max(episode.matured_ms, away_ms)
            outcome = self._scaled_outcome(slot)
            self._odds.add(episode.symbol, episode.start_ms, outcome, standing.state, recallable_ms)

    def _count(self, move: int, times: int) -> None:
        self._move_sum += times * move
        self._size_sum += times * abs(move)
        self._rises_twice += times * _rises_twice(move)

    def _move(self, slot: int) -> int:
        return int(float(self._forward_return[slot]) / float(self._volatility[slot]) * _FRACTION)

    def _scaled_outcome(self, slot: int) -> float:
        horizon_bars = int(self._matured_ms[slot] - self._start_ms[slot]) / self._interval_ms - 1.0
        unit = float(self._volatility[slot]) * math.sqrt(horizon_bars) * float(self._scale[slot])
        return float(self._forward_return[slot]) / unit

    def _id(self, name: str) -> int:
        known = self._name_ids.setdefault(name, len(self._names))
        if known == len(self._names):
            self._names.append(name)
        return known

    def _shortlist(self, key: Key, now_ms: int, count: int) -> tuple[Similarities, Slots]:
        """The ``count`` moments most similar by key that may be recalled, the most similar first."""
        latest_ms = now_ms - self._interval_ms - self._exclusion_ms
        fetch = min(len(self), count + count // 4)
        while True:
            similarities, slots = self._index.search(key, fetch)
            if fetch < len(self):
                # Rows as similar as the last one may have been cut off: all of them wait for more.
                whole = similarities > similarities[-1]
                similarities, slots = similarities[whole], slots[whole]
            starts = self._start_ms[slots]
            allowed = (self._matured_ms[slots] <= now_ms) & (starts <= latest_ms)
            similarities, starts, slots = similarities[allowed], starts[allowed], slots[allowed]
            if len(slots) >= count or fetch == len(self):
                break
            fetch = min(len(self), 4 * fetch)
        if bool((similarities[1:] == similarities[:-1]).any()):
            names = [self._names[symbol] for symbol in self._symbol[slots].tolist()]
            order = np.lexsort((names, starts, -similarities))
            similarities, slots = similarities[order], slots[order]
        return similarities[:count], slots[:count]

    def _by_shape(self, similarities: Similarities, slots: Slots, views: Views) -> tuple[Similarities, Slots]:
        """The same moments by similarity of key and shape together."""
        # Gathered first: so all of them are on their way from memory at once.
        alike = self._kernels.max_cosine(self._shapes[slots], views)
        share = np.float32(self._key_share)
        together = share * similarities + (np.float32(1.0) - share) * alike
        order = np.argsort(-together, kind="stable")
        return together[order], slots[order]

    def _distinct(self, similarities: Similarities, slots: Slots, wanted: int) -> tuple[Similarities, Slots]:
        """The first ``wanted`` that lie apart in time."""
        chosen = self._kernels.suppress_overlaps(self._start_ms[slots], self._exclusion_ms, wanted)
        return similarities[chosen], slots[chosen]

    def _neighbors(
        self, similarities: Similarities, slots: Slots, now_ms: int, regime: str | None
    ) -> tuple[Neighbor, ...]:
        config, alike = self._config, similarities.tolist()
        starts, regimes = self._start_ms[slots].tolist(), self._regime[slots].tolist()
        asked = regime is not None and config.other_regime_weight != 1.0
        weights = weights_of(
            alike,
            [now_ms - self._interval_ms - start_ms for start_ms in starts],
            [self._names[other] == regime for other in regimes] if asked else None,
            temperature=config.temperature,
            half_life_ms=config.half_life_bars * self._interval_ms,
            other_regime_weight=config.other_regime_weight,
        )
        columns = zip(
            self._symbol[slots].tolist(),
            starts,
            alike,
            weights,
            self._forward_return[slots].tolist(),
            self._volatility[slots].tolist(),
            regimes,
            strict=True,
        )
        return tuple(
            Neighbor(
                symbol=self._names[symbol],
                bar_start_ms=start_ms,
                similarity=similarity,
                weight=weight,
                forward_return=forward_return,
                volatility=volatility,
                regime=self._names[other],
            )
            for symbol, start_ms, similarity, weight, forward_return, volatility, other in columns
        )

    def _check(self, episodes: Sequence[Episode]) -> None:
        if not episodes:
            return
        vectors: dict[str, tuple[list[Any], int]] = {
            "key": ([episode.moment.key for episode in episodes], self._dimension)
        }
        if self.compares_shapes:
            vectors["shape"] = ([episode.moment.shape for episode in episodes], SHAPE_BARS)
        for name, (found, length) in vectors.items():
            for vector in found:
                if vector is None or vector.dtype != np.float32 or vector.shape != (length,):
                    what = "missing" if vector is None else f"{vector.dtype} {vector.shape}"
                    raise BrokenInvariant(f"a {name} is {what}, not float32 ({length},)")
            rows = np.array(found)
            # Written so that a NaN fails it.
            whole = np.abs(np.einsum("ij,ij->i", rows, rows) - 1.0) < 1e-3
            if not whole.all():
                first = episodes[int(np.argmin(whole))]
                raise BrokenInvariant(
                    f"the {name} of {first.symbol} at {first.start_ms} is not of unit length"
                )
        for episode in episodes:
            if not (math.isfinite(episode.forward_return) and 0.0 < episode.moment.volatility < math.inf):
                raise BrokenInvariant(f"the outcome of {episode.symbol} at {episode.start_ms} is not finite")
            if (standing := episode.moment.standing) is None:
                continue
            state = standing.state
            if not (
                state.dtype == np.float32
                and state.shape == (self._state_dimension,)
                and np.isfinite(state).all()
            ):
                raise BrokenInvariant(
                    f"the state of {episode.symbol} at {episode.start_ms} is not {self._state_dimension} "
                    "finite float32 figures"
                )
            if not 0.0 < standing.scale < math.inf:
                raise BrokenInvariant(
                    f"the scale of {episode.symbol} at {episode.start_ms} is not a positive figure"
                )


def _rises_twice(move: int) -> int:
    return 2 if move > 0 else 1 if move == 0 else 0
