"""Keys by slot, and exact searches among them: flat, certified, on a GPU, and without faiss."""

import math
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bot.model.features import Key, Keys

Similarities = NDArray[np.float32]
Slots = NDArray[np.int64]

CERTIFIED_FROM = 10_000
"""Rows from which on a search in two stages is faster than one over all keys."""

# More than float32 can be off by in either stage, of unit keys: what is left out is left out for certain.
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
    """The same answers, bit for bit, from a quarter of the bytes.

    Beside each key stand its coordinates rounded to eight bits. What rounding can do to an inner product is
    bounded by the lengths of what it left out (Cauchy and Schwarz), so that only rows whose rounded product
    comes within twice the bound of the last one wanted can be among the highest: all of them are scored in
    full. Where they are many, since keys are all alike, all keys are.
    """

    def __init__(self, dimension: int, size: int, certified_from: int = CERTIFIED_FROM) -> None:
        from bot.model.kernels import search

        self._kernels = search
        self._rows = FaissRows(dimension, size)
        self._from = certified_from
        self._count = 0
        lines = -(-dimension // search.LINE)
        self._codes = np.zeros((size, lines, search.LINE), dtype=np.int8)
        self._scales = np.zeros(size, dtype=np.float32)
        # Room for what a search looks at again: where that is more than an eighth, it is no help.
        self._places = np.zeros(size // 8 + 2 * search.BATCH, dtype=np.int64)
        self._scores = np.zeros(len(self._places), dtype=np.float32)
        # Of all keys that were ever written: the longest one, and the most that rounding took from one.
        self._length = 0.0
        self._error = 0.0

    def write(self, slot: int, keys: Keys) -> None:
        self._rows.write(slot, keys)
        slots = slice(slot, slot + len(keys))
        error = self._kernels.encode_rows(keys, self._codes[slots], self._scales[slots])
        self._error = max(self._error, error)
        self._length = max(self._length, _longest(keys))
        self._count = max(self._count, slot + len(keys))

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        if self._count < self._from or not query.any():
            return self._rows.search(query, count)
        slots = self._near(query, count)
        if slots is None:
            return self._rows.search(query, count)
        return _best(slots, self._rows.similarities(query, slots), count)

    def _near(self, query: Key, count: int) -> Slots | None:
        """All slots that may be among the ``count`` most similar, and few others; None where they are many."""
        wide = query.astype(np.float64)
        # As fine as the sum of the products has room for.
        room = (2**31 - 1) // (self._kernels.MAX_CODE * self._codes[0].size)
        step = float(np.abs(wide).max()) / min(room, 2**15 - 1)
        whole = np.zeros(self._codes[0].shape, dtype=np.int16)
        whole.reshape(-1)[: len(wide)] = np.rint(wide / step)
        rest = wide - step * whole.reshape(-1)[: len(wide)]
        length, left_out = math.sqrt(wide @ wide), math.sqrt(rest @ rest)
        rounded = self._length + self._error
        off = length * self._error + left_out * rounded + _EPSILON * length * self._length
        found = self._kernels.top_candidates(
            self._codes[: self._count],
            self._scales[: self._count],
            whole,
            count,
            2.0 * off / step,
            (length + left_out) * rounded / step,
            self._places,
            self._scores,
        )
        return None if found < 0 else self._places[:found]


class GpuRows:
    """The same answers, bit for bit, with a first look at all keys on a GPU.

    How far two float32 sums of the same products can be apart is bounded, in whatever order they are taken: only
    rows that the GPU scores within twice the bound of the last one wanted can be among the highest, and these are
    scored again where all others are. ``device`` is torch's.
    """

    def __init__(self, dimension: int, size: int, device: str = "cuda") -> None:
        # Loaded here: without a GPU nobody waits for it.
        import torch

        self._torch = torch
        self._rows = FaissRows(dimension, size)
        self._keys = torch.zeros((size, dimension), dtype=torch.float32, device=device)
        # Of unit vectors, for two sums: each is off by at most dimension roundings of 2**-24 (Higham, 2002, section
        # 3.1), and a little of second order.
        self._apart = 2.0 * (dimension + 1) * 2.0**-24
        self._count = 0
        self._length = 0.0

    def write(self, slot: int, keys: Keys) -> None:
        self._rows.write(slot, keys)
        # A copy: of an array that may not be written to, torch warns.
        self._keys[slot : slot + len(keys)] = self._torch.from_numpy(keys.copy())
        self._length = max(self._length, _longest(keys))
        self._count = max(self._count, slot + len(keys))

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        torch = self._torch
        scores = torch.mv(self._keys[: self._count], torch.from_numpy(query.copy()).to(self._keys.device))
        last = torch.topk(scores, count, sorted=False).values.min()
        off = 2.0 * self._apart * _longest(query[None]) * self._length
        slots: Slots = torch.nonzero(scores >= last - off).ravel().cpu().numpy()
        return _best(slots, self._rows.similarities(query, slots), count)


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
        return _best(np.arange(self._count), similarities, count)


def sound_rows(dimension: int, size: int, *, gpu: bool = False) -> tuple[str, Rows]:
    """Rows that pass :func:`overwrites_in_place` here, and what searches them: ``gpu``, ``faiss`` or ``numpy``.

    A GPU searches only where it is asked to, and where there is one. All give the same answers.
    """
    few = 8
    if gpu and _has_gpu() and overwrites_in_place(GpuRows(dimension, few), dimension, few):
        return "gpu", GpuRows(dimension, size)
    if overwrites_in_place(CertifiedRows(dimension, few, certified_from=1), dimension, few):
        return "faiss", CertifiedRows(dimension, size)
    return "numpy", NumpyRows(dimension, size)


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


def _best(slots: Slots, similarities: Similarities, count: int) -> tuple[Similarities, Slots]:
    """The highest first."""
    best = np.argsort(-similarities, kind="stable")[:count]
    return similarities[best], slots[best]


def _longest(keys: Keys) -> float:
    return math.sqrt(np.einsum("ij,ij->i", keys, keys).max())


def _has_gpu() -> bool:
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
