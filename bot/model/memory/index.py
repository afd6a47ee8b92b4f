"""Exact searches for the keys most similar to a query: flat, prefiltered, on a GPU, and without faiss."""

import math
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bot.model.features import Key, Keys

Similarities = NDArray[np.float32]
Slots = NDArray[np.int64]

PREFILTER_FROM = 10_000
"""Keys from which on a search in two stages is faster than one over all of them."""

# More than the rounding error of float32 in either stage, for unit keys: no key is left out by rounding.
_EPSILON = 1e-5


class VectorIndex(Protocol):
    """Keys (dimension,) by slot, and the slots whose keys are most similar to a query."""

    def write(self, slot: int, keys: Keys) -> None:
        """Write keys (n, dimension) to ``slot`` and those after it: the next free ones, any once all are taken."""
        ...

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        """The ``count`` highest inner products, descending, and their slots; at most as many as there are keys."""
        ...


class FaissIndex:
    """faiss's exact inner-product index (IndexFlatIP), overwritten in place once it is full."""

    def __init__(self, dimension: int, size: int) -> None:
        # Imported here: commands without a memory do not wait for it.
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
        """All keys in the order of their slots: a view that is valid until the next write."""
        count = self._index.ntotal
        flat = self._faiss.rev_swig_ptr(self._index.get_xb(), count * self._dimension)
        view: Keys = flat.reshape(count, self._dimension)
        return view

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        similarities, slots = self._index.search(query.reshape(1, -1), count)
        return similarities[0], slots[0]

    def similarities(self, query: Key, slots: Slots) -> Similarities:
        """Inner products with the keys in these slots (n,): (n,), bit for bit as :meth:`search` gives them."""
        found = np.empty(len(slots), dtype=np.float32)
        pointer = self._faiss.swig_ptr
        self._faiss.fvec_inner_products_by_idx(
            pointer(found), pointer(query), self._index.get_xb(), pointer(slots), self._dimension, 1, len(slots)
        )  # fmt: skip
        return found


class PrefilteredIndex:
    """The answers of :class:`FaissIndex`, bit for bit, while reading a quarter of the bytes.

    Keys are also stored rounded to eight bits. By Cauchy and Schwarz, rounding changes an inner product by at most
    the product of the lengths of key and rounding error; so only keys whose rounded score is within twice that
    bound of the ``count``-th highest can be among the best, and only these are scored exactly. Where they are more
    than an eighth of all keys, since all keys are similar, all are scored.
    """

    def __init__(self, dimension: int, size: int, prefilter_from: int = PREFILTER_FROM) -> None:
        from bot.model.kernels import search

        self._kernels = search
        self._exact = FaissIndex(dimension, size)
        self._from = prefilter_from
        self._count = 0
        lines = -(-dimension // search.LINE)
        self._codes = np.zeros((size, lines, search.LINE), dtype=np.int8)
        self._scales = np.zeros(size, dtype=np.float32)
        # Room for the candidates: where they are more than an eighth of all keys, the first stage saves no time.
        self._places = np.zeros(size // 8 + 2 * search.BATCH, dtype=np.int64)
        self._scores = np.zeros(len(self._places), dtype=np.float32)
        # Of all keys ever written: the length of the longest, and of the largest rounding error.
        self._length = 0.0
        self._error = 0.0

    def write(self, slot: int, keys: Keys) -> None:
        self._exact.write(slot, keys)
        slots = slice(slot, slot + len(keys))
        error = self._kernels.encode_rows(keys, self._codes[slots], self._scales[slots])
        self._error = max(self._error, error)
        self._length = max(self._length, _longest(keys))
        self._count = max(self._count, slot + len(keys))

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        if self._count < self._from or not query.any():
            return self._exact.search(query, count)
        slots = self._candidates(query, count)
        if slots is None:
            return self._exact.search(query, count)
        return _best(slots, self._exact.similarities(query, slots), count)

    def _candidates(self, query: Key, count: int) -> Slots | None:
        """All slots that may be among the ``count`` most similar, and a few others; None where there is no room."""
        wide = query.astype(np.float64)
        # As fine as a 32-bit sum of the products allows.
        room = (2**31 - 1) // (self._kernels.MAX_CODE * self._codes[0].size)
        step = float(np.abs(wide).max()) / min(room, 2**15 - 1)
        whole = np.zeros(self._codes[0].shape, dtype=np.int16)
        whole.reshape(-1)[: len(wide)] = np.rint(wide / step)
        rest = wide - step * whole.reshape(-1)[: len(wide)]
        length, rest_length = math.sqrt(wide @ wide), math.sqrt(rest @ rest)
        rounded = self._length + self._error
        bound = length * self._error + rest_length * rounded + _EPSILON * length * self._length
        found = self._kernels.top_candidates(
            self._codes[: self._count],
            self._scales[: self._count],
            whole,
            count,
            2.0 * bound / step,
            (length + rest_length) * rounded / step,
            self._places,
            self._scores,
        )
        return None if found < 0 else self._places[:found]


class GpuIndex:
    """The answers of :class:`FaissIndex`, bit for bit, with a first stage on a GPU.

    Two float32 sums of the same products, taken in any order, differ by at most a known bound; so only keys that
    the GPU scores within twice that bound of the ``count``-th highest can be among the best, and these are scored
    again by faiss. ``device`` is torch's.
    """

    def __init__(self, dimension: int, size: int, device: str = "cuda") -> None:
        # Imported here: without a GPU it is not needed.
        import torch

        self._torch = torch
        self._exact = FaissIndex(dimension, size)
        self._keys = torch.zeros((size, dimension), dtype=torch.float32, device=device)
        # For unit vectors and two sums: each has an error of at most dimension roundings of 2**-24 (Higham, 2002,
        # section 3.1), and a little of second order.
        self._max_difference = 2.0 * (dimension + 1) * 2.0**-24
        self._count = 0
        self._length = 0.0

    def write(self, slot: int, keys: Keys) -> None:
        self._exact.write(slot, keys)
        # A copy: torch warns about read-only arrays.
        self._keys[slot : slot + len(keys)] = self._torch.from_numpy(keys.copy())
        self._length = max(self._length, _longest(keys))
        self._count = max(self._count, slot + len(keys))

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        torch = self._torch
        scores = torch.mv(self._keys[: self._count], torch.from_numpy(query.copy()).to(self._keys.device))
        last = torch.topk(scores, count, sorted=False).values.min()
        bound = 2.0 * self._max_difference * _longest(query[None]) * self._length
        slots: Slots = torch.nonzero(scores >= last - bound).ravel().cpu().numpy()
        return _best(slots, self._exact.similarities(query, slots), count)


class NumpyIndex:
    """The same in NumPy, several times slower: used where faiss fails :func:`overwrites_in_place`."""

    def __init__(self, dimension: int, size: int) -> None:
        self._keys = np.zeros((size, dimension), dtype=np.float32)
        self._count = 0

    def write(self, slot: int, keys: Keys) -> None:
        self._keys[slot : slot + len(keys)] = keys
        self._count = max(self._count, slot + len(keys))

    def search(self, query: Key, count: int) -> tuple[Similarities, Slots]:
        # Unlike a matrix product, einsum gives a key the same bits in every slot.
        similarities: Similarities = np.einsum("ij,j->i", self._keys[: self._count], query)
        return _best(np.arange(self._count), similarities, count)


def make_index(dimension: int, size: int, *, gpu: bool = False) -> tuple[str, VectorIndex]:
    """An index for ``size`` keys that passes :func:`overwrites_in_place`; its name is ``gpu``, ``faiss`` or ``numpy``.

    A GPU is used only with ``gpu`` and where there is one. All give the same answers.
    """
    few = 8
    if gpu and _has_gpu() and overwrites_in_place(GpuIndex(dimension, few), dimension, few):
        return "gpu", GpuIndex(dimension, size)
    if overwrites_in_place(PrefilteredIndex(dimension, few, prefilter_from=1), dimension, few):
        return "faiss", PrefilteredIndex(dimension, size)
    return "numpy", NumpyIndex(dimension, size)


def overwrites_in_place(index: VectorIndex, dimension: int, size: int) -> bool:
    """Whether a new ``index`` of this shape finds the key last written to each slot.

    Fills and overwrites it to find out, so that it is of no further use.
    """
    keys = np.random.default_rng(1).standard_normal((2 * size, dimension)).astype(np.float32)
    for i in range(2 * size):
        index.write(i % size, keys[i : i + 1])
    expected = keys[size:] @ keys[0]
    similarities, slots = index.search(keys[0], size)
    return sorted(slots.tolist()) == list(range(size)) and bool(
        np.allclose(similarities, expected[slots], rtol=1e-4, atol=1e-4)
    )


def _best(slots: Slots, similarities: Similarities, count: int) -> tuple[Similarities, Slots]:
    """The ``count`` highest similarities, descending, and their slots."""
    best = np.argsort(-similarities, kind="stable")[:count]
    return similarities[best], slots[best]


def _longest(keys: Keys) -> float:
    """The largest length of a key."""
    return math.sqrt(np.einsum("ij,ij->i", keys, keys).max())


def _has_gpu() -> bool:
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
