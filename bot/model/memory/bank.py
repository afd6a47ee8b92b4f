"""MemoryBank: matured moments, and which of them are most similar to a new one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bot.errors import BrokenInvariant
from bot.model.features import Key
from bot.model.memory.index import Similarities, Slots, make_index
from bot.model.memory.moments import BaseRate, MemoryConfig, Neighbor
from bot.model.memory.sorted_outcomes import SortedMoments, SortedOutcomes, keeps_state
from bot.model.outcomes import MaturedMoment
from bot.model.shape import SHAPE_BARS, Views
from bot.model.weights import weights_of

# Returns are summed as integers of this fraction, so that adding and evicting leave no rounding error.
_FRACTION = 2.0**62


class MemoryBank:
    """The last ``config.size`` matured moments of all symbols, and an exact search among them.

    :meth:`recall` changes no later answer, :meth:`remember` returns nothing. Slots form a ring: the newest moment
    overwrites the oldest, nothing is rebuilt. Similarity is ``key_share`` · (cosine of the keys) + (1 - ``key_share``)
    · (highest cosine of the shape with one of the query's views). States have ``state_dimension`` figures, 0 where
    no network forecasts quantiles. ``engine`` is the index's name: ``faiss``, ``gpu`` or ``numpy``.
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
        """Whether moments need a shape, and queries their views."""
        return self._key_share < 1.0

    def keeps_state(self, start_ms: int) -> bool:
        """Whether the state of the bar that started then is kept, for quantile forecasts."""
        config = self._config
        bar = start_ms // self._interval_ms
        return bool(self._state_dimension) and keeps_state(bar, config.size, config.odds_moments)

    def remember(self, batch: Sequence[MaturedMoment]) -> None:
        """Keep matured moments; one already kept (same symbol and start) stays as it is.

        Raises :class:`BrokenInvariant`, with nothing remembered, on a key or shape that is not a finite
        float32 vector of unit length, a state that is not a finite float32 vector, or an outcome,
        volatility or scale that is not finite.
        """
        self._check(batch)
        coming: list[MaturedMoment] = []
        for matured in batch:
            if (matured.symbol, matured.start_ms) in self._known:
                continue
            self._make_room(self._written + len(coming))
            self._known.add((matured.symbol, matured.start_ms))
            coming.append(matured)
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
        """The ``k`` (default: ``config.neighbors``) moments most similar to a key (dimension,), nearest first.

        The ``over_fetch`` · ``k`` most similar by key are ranked again by key and shape together, where ``views``
        (9, 40) show the query at several speeds; ``regime`` is the query's own. Recalled are only moments that had
        matured at ``now_ms`` and are older than the exclusion zone, and no two less than one exclusion zone apart,
        of whatever symbols: of those the nearest is kept. Where fewer than ``k`` remain, four times as many are
        fetched, until there are no more. Ties are in order of the keys' similarity, then time, then symbol. Weights
        sum to 1; see :func:`~bot.model.weights.weights_of`.
        """
        if self.compares_shapes and views is None:
            raise BrokenInvariant("a memory that compares shapes was queried without views")
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
        """The moments that quantile forecasts are read from, in ascending order of outcome.

        Those that :meth:`recall` may return at ``now_ms``, also where they are near each other. An outcome is the log
        return over the horizon h, divided by the volatility of one bar times √h and by the scale of its moment.
        """
        return self._odds.known(now_ms)

    def base_rate(self, now_ms: int) -> BaseRate:
        """Mean outcomes of all moments that had matured at ``now_ms``."""
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
            return BaseRate(moments=0, mean_move=0.0, mean_absolute_move=0.0, rise_rate=0.5)
        return BaseRate(
            moments=moments,
            mean_move=move_sum / moments / _FRACTION,
            mean_absolute_move=size_sum / moments / _FRACTION,
            rise_rate=rises_twice / (2 * moments),
        )

    def _make_room(self, number: int) -> None:
        """Evict the moment whose slot the ``number``-th one written will take, where the ring is full."""
        if number >= self._config.size:
            slot = number % self._config.size
            self._count(self._move(slot), -1)
            symbol, start_ms = self._names[self._symbol[slot]], int(self._start_ms[slot])
            self._known.remove((symbol, start_ms))
            if self._has_state[slot]:
                self._odds.remove(symbol, start_ms, self._scaled_outcome(slot))

    def _write(self, batch: Sequence[MaturedMoment]) -> None:
        """Overwrite the oldest slots, or write the next free ones: keys and all columns."""
        first = self._written % self._config.size
        slots = slice(first, first + len(batch))
        moments = [matured.moment for matured in batch]
        self._index.write(first, np.array([moment.key for moment in moments]))
        if self.compares_shapes:
            self._shapes[slots] = [moment.shape for moment in moments]
        self._start_ms[slots] = [matured.start_ms for matured in batch]
        self._matured_ms[slots] = [matured.matured_ms for matured in batch]
        self._forward_return[slots] = [matured.forward_return for matured in batch]
        self._volatility[slots] = [moment.volatility for moment in moments]
        self._symbol[slots] = [self._id(matured.symbol) for matured in batch]
        self._regime[slots] = [self._id(moment.regime) for moment in moments]
        for slot, matured in enumerate(batch, start=first):
            self._count(self._move(slot), 1)
            self._keep_state(slot, matured)
        self._latest_ms = max(self._latest_ms, *(matured.matured_ms for matured in batch))
        self._written += len(batch)

    def _keep_state(self, slot: int, matured: MaturedMoment) -> None:
        """Add the moment to those that quantile forecasts are read from, where its state is kept."""
        standing = matured.moment.standing if self.keeps_state(matured.start_ms) else None
        self._has_state[slot] = standing is not None
        if standing is not None:
            self._scale[slot] = standing.scale
            # Known once it has matured, recalled once it is older than the exclusion zone.
            away_ms = matured.start_ms + self._interval_ms + self._exclusion_ms
            recallable_ms = max(matured.matured_ms, away_ms)
            outcome = self._scaled_outcome(slot)
            self._odds.add(matured.symbol, matured.start_ms, outcome, standing.state, recallable_ms)

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
                # Others as similar as the last one may have been cut off: all of them are left for a larger fetch.
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
        # Gathered first: so they are all read from memory in parallel.
        shape_similarities = self._kernels.max_cosine(self._shapes[slots], views)
        share = np.float32(self._key_share)
        together = share * similarities + (np.float32(1.0) - share) * shape_similarities
        order = np.argsort(-together, kind="stable")
        return together[order], slots[order]

    def _distinct(self, similarities: Similarities, slots: Slots, wanted: int) -> tuple[Similarities, Slots]:
        """The first ``wanted`` that are an exclusion zone apart from each other."""
        chosen = self._kernels.suppress_overlaps(self._start_ms[slots], self._exclusion_ms, wanted)
        return similarities[chosen], slots[chosen]

    def _neighbors(
        self, similarities: Similarities, slots: Slots, now_ms: int, regime: str | None
    ) -> tuple[Neighbor, ...]:
        config = self._config
        starts, regimes = self._start_ms[slots].tolist(), self._regime[slots].tolist()
        compares_regimes = regime is not None and config.other_regime_weight != 1.0
        weights = weights_of(
            similarities.tolist(),
            [now_ms - self._interval_ms - start_ms for start_ms in starts],
            [self._names[other] == regime for other in regimes] if compares_regimes else None,
            temperature=config.temperature,
            half_life_ms=config.half_life_bars * self._interval_ms,
            other_regime_weight=config.other_regime_weight,
        )
        columns = zip(
            self._symbol[slots].tolist(),
            starts,
            similarities.tolist(),
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

    def _check(self, batch: Sequence[MaturedMoment]) -> None:
        if not batch:
            return
        vectors: dict[str, tuple[list[Any], int]] = {
            "key": ([matured.moment.key for matured in batch], self._dimension)
        }
        if self.compares_shapes:
            vectors["shape"] = ([matured.moment.shape for matured in batch], SHAPE_BARS)
        for name, (found, length) in vectors.items():
            for vector in found:
                if vector is None or vector.dtype != np.float32 or vector.shape != (length,):
                    what = "missing" if vector is None else f"{vector.dtype} {vector.shape}"
                    raise BrokenInvariant(f"a {name} is {what}, not float32 ({length},)")
            rows = np.array(found)
            # Written so that a NaN fails it.
            whole = np.abs(np.einsum("ij,ij->i", rows, rows) - 1.0) < 1e-3
            if not whole.all():
                first = batch[int(np.argmin(whole))]
                raise BrokenInvariant(
                    f"the {name} of {first.symbol} at {first.start_ms} is not of unit length"
                )
        for matured in batch:
            if not (math.isfinite(matured.forward_return) and 0.0 < matured.moment.volatility < math.inf):
                raise BrokenInvariant(f"the outcome of {matured.symbol} at {matured.start_ms} is not finite")
            if (standing := matured.moment.standing) is None:
                continue
            state = standing.state
            if not (
                state.dtype == np.float32
                and state.shape == (self._state_dimension,)
                and np.isfinite(state).all()
            ):
                raise BrokenInvariant(
                    f"the state of {matured.symbol} at {matured.start_ms} is not {self._state_dimension} "
                    "finite float32 figures"
                )
            if not 0.0 < standing.scale < math.inf:
                raise BrokenInvariant(
                    f"the scale of {matured.symbol} at {matured.start_ms} is not a positive figure"
                )


def _rises_twice(move: int) -> int:
    return 2 if move > 0 else 1 if move == 0 else 0
