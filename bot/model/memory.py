"""MemoryBank: what has happened after moments like this one."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from bot.errors import BrokenInvariant
from bot.model.features import Key
from bot.model.outcomes import Episode

# Returns are summed up as integers of this fraction, so that adding and evicting never leave a residue.
_FRACTION = 2.0**62


class MemoryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[memory]`` of the configuration: how much is remembered and how it is recalled.

    ``size`` counts moments of all symbols together; ``neighbors`` is how many distinct episodes vote;
    ``warmup_bars`` how much history a live start observes. Episodes less than ``exclusion_bars`` apart
    count as one (None: half the key's window or the horizon, whichever is longer). A moment's weight
    halves with every ``half_life_bars`` of age (0: never). ``temperature`` is the difference in
    similarity that makes a weight e times another. ``over_fetch`` times ``neighbors`` rows are looked
    at first. ``prior_strength`` is the number of episodes that the memory's own base rate counts for.
    """

    size: Annotated[int, Meta(ge=1)] = 100_000
    neighbors: Annotated[int, Meta(ge=1)] = 32
    warmup_bars: Annotated[int, Meta(ge=0)] = 10_000
    exclusion_bars: Annotated[int, Meta(ge=1)] | None = None
    half_life_bars: Annotated[float, Meta(ge=0)] = 0.0
    temperature: Annotated[float, Meta(gt=0)] = 0.08
    over_fetch: Annotated[int, Meta(ge=1)] = 8
    prior_strength: Annotated[float, Meta(ge=0)] = 8.0


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


class BaseRate(Struct, frozen=True, kw_only=True, gc=False):
    """What followed any moment at all: mean log return and share of rises, ties counted half.

    Both stand for nothing where ``moments`` is 0.
    """

    moments: int
    mean_return: float
    positive_ratio: float


class _Rows(Protocol):
    """Keys by slot, and the slots most similar to a query."""

    def write(self, slot: int, key: Key) -> None:
        """Put the key into a slot: the next free one, or once all are taken any."""
        ...

    def search(self, query: Key, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The ``count`` highest inner products, descending, and their slots."""
        ...


class FaissRows:
    """Rows of an exact inner-product index, overwritten in place once it is full."""

    def __init__(self, dimension: int, size: int) -> None:
        # Loaded here: commands that have no memory need not wait for it.
        import faiss

        # One thread: the same query gives the same bits on every run.
        faiss.omp_set_num_threads(1)
        self._faiss = faiss
        self._index = faiss.IndexFlatIP(dimension)
        self._dimension = dimension
        self._size = size
        # The index's own memory. Taken only when it is full: growing may move it.
        self._codes: NDArray[np.float32] | None = None

    def write(self, slot: int, key: Key) -> None:
        if self._codes is not None:
            self._codes[slot] = key
            return
        self._index.add(key.reshape(1, -1))
        if self._index.ntotal == self._size:
            flat = self._faiss.rev_swig_ptr(self._index.get_xb(), self._size * self._dimension)
            self._codes = flat.reshape(self._size, self._dimension)

    def search(self, query: Key, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        similarities, slots = self._index.search(query.reshape(1, -1), count)
        return similarities[0], slots[0]


class NumpyRows:
    """The same without faiss, several times slower: what remains should an index refuse to be overwritten."""

    def __init__(self, dimension: int, size: int) -> None:
        self._keys = np.zeros((size, dimension), dtype=np.float32)
        self._count = 0

    def write(self, slot: int, key: Key) -> None:
        self._keys[slot] = key
        self._count = max(self._count, slot + 1)

    def search(self, query: Key, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        # Unlike a matrix product, einsum gives a row the same bits in whatever slot it stands.
        similarities: NDArray[np.float32] = np.einsum("ij,j->i", self._keys[: self._count], query)
        slots = np.argsort(-similarities, kind="stable")[:count]
        return similarities[slots], slots.astype(np.int64)


def overwrites_in_place(rows: _Rows, dimension: int, size: int) -> bool:
    """Whether ``rows``, fresh and of this shape, find what was last written into each slot.

    Fills and overwrites them on the way, so they are of no further use.
    """
    keys = np.random.default_rng(1).standard_normal((2 * size, dimension)).astype(np.float32)
    for i, key in enumerate(keys):
        rows.write(i % size, key)
    expected = keys[size:] @ keys[0]
    similarities, slots = rows.search(keys[0], size)
    return sorted(slots.tolist()) == list(range(size)) and bool(
        np.allclose(similarities, expected[slots], rtol=1e-4, atol=1e-4)
    )


class MemoryBank:
    """The last ``config.size`` episodes and an exact search among them.

    Recalling changes nothing; remembering returns nothing. Slots form a ring: the oldest episode
    gives way to the newest, one row is overwritten, nothing is rebuilt. ``engine`` names what
    searches, ``faiss`` or ``numpy``.
    """

    def __init__(
        self, config: MemoryConfig, *, dimension: int, interval_ms: int, exclusion_bars: int
    ) -> None:
        self._config = config
        self._dimension = dimension
        self._interval_ms = interval_ms
        self._exclusion_ms = exclusion_bars * interval_ms
        sound = overwrites_in_place(FaissRows(dimension, 8), dimension, 8)
        self.engine = "faiss" if sound else "numpy"
        self._rows: _Rows = FaissRows(dimension, config.size) if sound else NumpyRows(dimension, config.size)

        size = config.size
        self._start_ms = np.zeros(size, dtype=np.int64)
        self._matured_ms = np.zeros(size, dtype=np.int64)
        self._forward_return = np.zeros(size, dtype=np.float64)
        self._symbol = np.zeros(size, dtype=np.int32)
        self._regime = np.zeros(size, dtype=np.int32)
        self._names: list[str] = []
        self._name_ids: dict[str, int] = {}

        self._written = 0
        self._known: set[tuple[str, int]] = set()
        self._latest_ms = 0
        self._return_sum = 0
        self._rises_twice = 0

    def __len__(self) -> int:
        return min(self._written, self._config.size)

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Keep episodes whose outcome is known; one already kept (by symbol and start) stays as it is.

        Raises :class:`BrokenInvariant`, with nothing remembered, on a key that is not a finite
        float32 vector of unit length, or an outcome that is not finite.
        """
        for episode in episodes:
            _check(episode, self._dimension)
        for episode in episodes:
            identity = (episode.symbol, episode.start_ms)
            if identity not in self._known:
                self._write(episode)

    def recall(self, key: Key, now_ms: int, k: int | None = None) -> tuple[Neighbor, ...]:
        """The ``k`` (default: ``neighbors`` of the settings) most similar episodes, nearest first.

        Only those whose outcome was over at ``now_ms``, none whose moment lies within the exclusion
        zone before it, and no two within one exclusion zone of each other, whatever their symbols:
        of such a group the nearest stands. Fewer than ``k`` where no more exist. Equally similar ones
        come in order of time, then symbol. Weights sum to 1.
        """
        wanted = self._config.neighbors if k is None else k
        if not len(self):
            return ()
        fetch = min(len(self), self._config.over_fetch * wanted)
        while True:
            similarities, slots = self._rows.search(key, fetch)
            if fetch < len(self):
                # Rows as similar as the last one may have been cut off: all of them wait for more.
                whole = similarities > similarities[-1]
                similarities, slots = similarities[whole], slots[whole]
            chosen = self._distinct(similarities, slots, now_ms, wanted)
            if len(chosen) == wanted or fetch == len(self):
                return self._neighbors(chosen, now_ms)
            fetch = min(len(self), 4 * fetch)

    def base_rate(self, now_ms: int) -> BaseRate:
        """What followed all episodes whose outcome was over at ``now_ms``."""
        moments, return_sum, rises_twice = len(self), self._return_sum, self._rises_twice
        if now_ms < self._latest_ms:
            for value in self._forward_return[: len(self)][self._matured_ms[: len(self)] > now_ms].tolist():
                moments -= 1
                return_sum -= int(value * _FRACTION)
                rises_twice -= _rises_twice(value)
        if not moments:
            return BaseRate(moments=0, mean_return=0.0, positive_ratio=0.5)
        return BaseRate(
            moments=moments,
            mean_return=return_sum / moments / _FRACTION,
            positive_ratio=rises_twice / (2 * moments),
        )

    def _write(self, episode: Episode) -> None:
        """Overwrite the oldest slot, or the next free one: the key and every field beside it."""
        slot = self._written % self._config.size
        if self._written >= self._config.size:
            evicted = float(self._forward_return[slot])
            self._return_sum -= int(evicted * _FRACTION)
            self._rises_twice -= _rises_twice(evicted)
            self._known.remove((self._names[self._symbol[slot]], int(self._start_ms[slot])))
        self._rows.write(slot, episode.key)
        self._start_ms[slot] = episode.start_ms
        self._matured_ms[slot] = episode.matured_ms
        self._forward_return[slot] = episode.forward_return
        self._symbol[slot] = self._id(episode.symbol)
        self._regime[slot] = self._id(episode.regime)
        self._known.add((episode.symbol, episode.start_ms))
        self._return_sum += int(episode.forward_return * _FRACTION)
        self._rises_twice += _rises_twice(episode.forward_return)
        self._latest_ms = max(self._latest_ms, episode.matured_ms)
        self._written += 1

    def _id(self, name: str) -> int:
        known = self._name_ids.setdefault(name, len(self._names))
        if known == len(self._names):
            self._names.append(name)
        return known

    def _distinct(
        self, similarities: NDArray[np.float32], slots: NDArray[np.int64], now_ms: int, wanted: int
    ) -> list[tuple[float, int]]:
        """Similarity and slot of the first ``wanted`` that may be recalled and lie apart in time."""
        zone = self._exclusion_ms
        starts = self._start_ms[slots]
        allowed = (self._matured_ms[slots] <= now_ms) & (starts + (self._interval_ms + zone) <= now_ms)
        similarities, starts, slots = similarities[allowed], starts[allowed], slots[allowed]
        if bool((similarities[1:] == similarities[:-1]).any()):
            names = [self._names[symbol] for symbol in self._symbol[slots].tolist()]
            order = np.lexsort((names, starts, -similarities))
            similarities, starts, slots = similarities[order], starts[order], slots[order]
        chosen: list[tuple[float, int]] = []
        # Time in stretches of one zone: a stretch holds one choice at most, and what lies too near to
        # a moment is in its own stretch or in one beside it.
        taken: dict[int, int] = {}
        for similarity, start_ms, slot in zip(
            similarities.tolist(), starts.tolist(), slots.tolist(), strict=True
        ):
            stretch = start_ms // zone
            if (
                stretch in taken
                or start_ms - taken.get(stretch - 1, start_ms - zone) < zone
                or taken.get(stretch + 1, start_ms + zone) - start_ms < zone
            ):
                continue
            taken[stretch] = start_ms
            chosen.append((similarity, slot))
            if len(chosen) == wanted:
                break
        return chosen

    def _neighbors(self, chosen: list[tuple[float, int]], now_ms: int) -> tuple[Neighbor, ...]:
        if not chosen:
            return ()
        best = chosen[0][0]
        votes = []
        for similarity, slot in chosen:
            vote = math.exp((similarity - best) / self._config.temperature)
            if self._config.half_life_bars:
                age_bars = (now_ms - self._interval_ms - int(self._start_ms[slot])) / self._interval_ms
                vote *= 2.0 ** (-age_bars / self._config.half_life_bars)
            votes.append(vote)
        total = sum(votes)
        return tuple(
            Neighbor(
                symbol=self._names[self._symbol[slot]],
                bar_start_ms=int(self._start_ms[slot]),
                similarity=similarity,
                weight=vote / total,
                forward_return=float(self._forward_return[slot]),
                regime=self._names[self._regime[slot]],
            )
            for (similarity, slot), vote in zip(chosen, votes, strict=True)
        )


def _rises_twice(forward_return: float) -> int:
    return 2 if forward_return > 0.0 else 1 if forward_return == 0.0 else 0


def _check(episode: Episode, dimension: int) -> None:
    key: Any = episode.key
    if key.dtype != np.float32 or key.shape != (dimension,):
        raise BrokenInvariant(f"a key is {key.dtype} {key.shape}, not float32 ({dimension},)")
    # Written so that a NaN fails it.
    if not abs(float(np.dot(key, key)) - 1.0) < 1e-3:
        raise BrokenInvariant(f"the key of {episode.symbol} at {episode.start_ms} is not of unit length")
    if not math.isfinite(episode.forward_return):
        raise BrokenInvariant(f"the outcome of {episode.symbol} at {episode.start_ms} is not finite")
