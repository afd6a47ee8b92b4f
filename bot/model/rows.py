"""Keys by slot, and exact searches among them: flat, certified, and without faiss."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bot.model.features import Key, Keys

Similarities = NDArray[np.float32]
Slots = NDArray[np.int64]

PREFIX = 15
"""Principal directions that stand for a key in front of the whole one."""

CERTIFIED_FROM = 50_000
"""Rows from which on a search in two stages is faster than one over all keys."""

_LOW_RANK = 0.9
_SAMPLE = 8_192
# More than float32 can be off by in either stage: what is left out is left out for certain.
_EPSILON = 1e-5


class Rows(Protocol):
    """Keys by slot, and the slots most similar to a query."""

    def write(self, slot: int, keys: Keys) -> None:
        """Put keys, (n, dimension), into slots from this one on: the next free ones, or once all are taken any."""
        ...

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        """The ``count`` highest inner products, descending, and their slots; never more than there are rows."""
        ...


class FaissRows:
    """Rows of an exact inner-product index, overwritten in place once it is full."""

    def __init__(self, dimension: int, size: int) -> None:
        # Loaded here: commands that have no memory need not wait for it.
        import faiss

        # One thread: the same query gives the same bits on every run.
        faiss.omp_set_num_threads(1)
        self._faiss: Any = faiss
        self._index = faiss.IndexFlatIP(dimension)
        self._dimension = dimension
        self._size = size
        # The index's own memory. Taken only when it is full: growing may move it.
        self._codes: Keys | None = None

    def write(self, slot: int, keys: Keys) -> None:
        if self._codes is not None:
            self._codes[slot : slot + len(keys)] = keys
            return
        self._index.add(keys)
        if self._index.ntotal == self._size:
            self._codes = self.keys()

    def keys(self) -> Keys:
        """All rows in the order of their slots: a view that holds until the next write."""
        count = self._index.ntotal
        flat = self._faiss.rev_swig_ptr(self._index.get_xb(), count * self._dimension)
        view: Keys = flat.reshape(count, self._dimension)
        return view

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        similarities, slots = self._index.search(query.reshape(1, -1), count)
        return similarities[0], slots[0]

    def similarities(self, query: Key, slots: Slots) -> Similarities:
        """The inner products of these rows alone, bit for bit as :meth:`search` gives them."""
        found = np.empty(len(slots), dtype=np.float32)
        pointer = self._faiss.swig_ptr
        self._faiss.fvec_inner_products_by_idx(
            pointer(found), pointer(query), self._index.get_xb(), pointer(slots), self._dimension, 1, len(slots)
        )  # fmt: skip
        return found


class CertifiedRows:
    """The same answers, bit for bit, from a sixth of the bytes where keys are low-rank.

    Once there are many rows, keys are turned into their principal directions. A key's first
    coordinates there, and the length of the rest, give an inner product that is never below the true
    one (Cauchy and Schwarz). Only rows with the highest such bounds are scored in full, and they are the
    answer if the last of them that is wanted scores above the last bound: every other row then scores
    lower for certain. Else more are scored. Any rotation is right, and one that is out of date only
    costs time; it is renewed at each turn of the ring. Keys that fill all directions alike are searched
    flat.
    """

    def __init__(self, dimension: int, size: int, certified_from: int = CERTIFIED_FROM) -> None:
        self._rows = FaissRows(dimension, size)
        self._dimension = dimension
        self._size = size
        self._from = certified_from
        self._written = 0
        self._bounds: FaissRows | None = None
        self._rotation: NDArray[np.float64] = np.zeros((dimension, 0))
        self._scored = 0  # how many bounds the last search needed; a matter of speed alone

    @property
    def certified(self) -> bool:
        """Whether bounds stand in front of the keys."""
        return self._bounds is not None

    def write(self, slot: int, keys: Keys) -> None:
        left = self._from - self._written
        if 0 < left < len(keys):
            # The keys are turned as soon as there are so many, not a few later.
            self.write(slot, keys[:left])
            self.write(slot + left, keys[left:])
            return
        self._rows.write(slot, keys)
        if self._bounds is not None:
            self._bounds.write(slot, self._bounding(keys))
        self._written += len(keys)
        turned = self._written % self._size == 0
        if self._size > self._from and (self._written == self._from or turned):
            self._fit()

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        total = min(self._written, self._size)
        if self._bounds is None:
            return self._rows.search(query, count)
        bounding = self._bounding(query.reshape(1, -1))[0]
        scored = max(4 * count, self._scored)
        while scored <= total // 8:
            bounds, slots = self._bounds.search(bounding, scored)
            similarities = self._rows.similarities(query, slots)
            best = np.argpartition(similarities, scored - count)[scored - count :]
            best = best[np.argsort(-similarities[best], kind="stable")]
            least = float(similarities[best[-1]])
            if least > float(bounds[-1]) + _EPSILON:
                needed = int(np.count_nonzero(bounds >= least - _EPSILON))
                self._scored = needed + needed // 2
                return similarities[best], slots[best]
            scored *= 4
        return self._rows.search(query, count)

    def _fit(self) -> None:
        """Turn the keys anew, and put their bounds in front of them if that leaves much out."""
        keys = self._rows.keys()
        sample = keys[:: -(-len(keys) // _SAMPLE)].astype(np.float64)
        energy, directions = np.linalg.eigh(sample.T @ sample)
        self._bounds = None
        if self._dimension <= PREFIX or energy[-PREFIX:].sum() < _LOW_RANK * energy.sum():
            return
        self._rotation = directions[:, -PREFIX:]
        bounds = FaissRows(PREFIX + 1, self._size)
        bounds.write(0, self._bounding(keys))
        self._bounds = bounds

    def _bounding(self, keys: Keys) -> Keys:
        """(n, prefix + 1): the first coordinates of unit keys, and the length of the rest."""
        wide = keys.astype(np.float64)
        prefix = wide @ self._rotation
        rest = np.einsum("ij,ij->i", wide, wide) - np.einsum("ij,ij->i", prefix, prefix)
        length = np.sqrt(np.maximum(rest, 0.0))
        return np.concatenate((prefix, length[:, None]), axis=1).astype(np.float32)


class NumpyRows:
    """The same without faiss, several times slower: what remains should an index refuse to be overwritten."""

    def __init__(self, dimension: int, size: int) -> None:
        self._keys = np.zeros((size, dimension), dtype=np.float32)
        self._count = 0

    def write(self, slot: int, keys: Keys) -> None:
        self._keys[slot : slot + len(keys)] = keys
        self._count = max(self._count, slot + len(keys))

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        # Unlike a matrix product, einsum gives a row the same bits in whatever slot it stands.
        similarities: Similarities = np.einsum("ij,j->i", self._keys[: self._count], query)
        slots = np.argsort(-similarities, kind="stable")[:count]
        return similarities[slots], slots.astype(np.int64)


def overwrites_in_place(rows: Rows, dimension: int, size: int) -> bool:
    """Whether ``rows``, fresh and of this shape, find what was last written into each slot.

    Fills and overwrites them on the way, so they are of no further use.
    """
    keys = np.random.default_rng(1).standard_normal((2 * size, dimension)).astype(np.float32)
    for i in range(2 * size):
        rows.write(i % size, keys[i : i + 1])
    expected = keys[size:] @ keys[0]
    similarities, slots = rows.search(keys[0], size)
    return sorted(slots.tolist()) == list(range(size)) and bool(
        np.allclose(similarities, expected[slots], rtol=1e-4, atol=1e-4)
    )
