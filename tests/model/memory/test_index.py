from functools import partial

import numpy as np
import pytest
import torch

from bot.model.memory.index import (
    FaissIndex,
    GpuIndex,
    NumpyIndex,
    PrefilteredIndex,
    make_index,
    overwrites_in_place,
)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def low_rank(rng, count, dimension, *, turn=None):
    """Keys most of whose length lies in a few directions, each close to the one before it."""
    scale = 0.55 ** np.arange(dimension)
    drift = np.cumsum(rng.standard_normal((count, dimension)), axis=0) * 0.3
    keys = (np.sin(drift) + 0.1 * rng.standard_normal((count, dimension))) * scale
    return unit(keys if turn is None else keys @ turn)


def test_a_ring_overwritten_in_place_equals_a_fresh_index_bit_for_bit():
    rng = np.random.default_rng(3)
    size, dimension = 64, 48
    keys = unit(rng.standard_normal((5 * size + 17, dimension)))
    ring = FaissIndex(dimension, size)
    for i, key in enumerate(keys):
        ring.write(i % size, key[None])
    fresh = FaissIndex(dimension, size)
    order = np.arange(len(keys) - size, len(keys))
    for slot, i in enumerate(order[np.argsort(order % size)]):
        fresh.write(slot, keys[i : i + 1])
    for query in keys[:20]:
        ring_answer, fresh_answer = ring.search(query, size), fresh.search(query, size)
        assert np.array_equal(ring_answer[0], fresh_answer[0])
        assert np.array_equal(ring_answer[1], fresh_answer[1])


@pytest.mark.parametrize("kind", [FaissIndex, NumpyIndex])
def test_a_row_has_the_same_similarity_in_whatever_slot_it_stands(kind):
    rng = np.random.default_rng(4)
    key, query = rng.standard_normal((2, 48)).astype(np.float32)
    for size in (1, 2, 5, 33, 100):
        filled = kind(48, size)
        for slot in range(size):
            filled.write(slot, key[None])
        similarities, _ = filled.search(query, size)
        assert len(set(similarities.tolist())) == 1
        single = kind(48, 1)
        single.write(0, key[None])
        assert single.search(query, 1)[0][0] == similarities[0]


@pytest.mark.parametrize("dimension", [16, 48, 64, 100])
def test_a_prefiltered_search_equals_the_flat_one_bit_for_bit_through_turns_of_the_ring(dimension):
    rng = np.random.default_rng(5)
    size, since = 6_000, 4_000
    index, flat = PrefilteredIndex(dimension, size, prefilter_from=since), FaissIndex(dimension, size)
    turn, _ = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    white = unit(rng.standard_normal((4_500, dimension)))
    keys = np.concatenate(
        (low_rank(rng, 5_000, dimension), low_rank(rng, 4_500, dimension, turn=turn), white)
    )
    asked = 0
    for i, key in enumerate(keys):
        index.write(i % size, key[None])
        flat.write(i % size, key[None])
        if i % 70 == 69:
            query = key if i % 140 == 69 else unit(rng.standard_normal((1, dimension)))[0]
            for count in (1, 32, 200):
                count = min(count, i + 1)
                similarities, slots = index.search(query, count)
                true_similarities, true_slots = flat.search(query, count)
                assert np.array_equal(similarities, true_similarities)
                assert set(slots.tolist()) == set(true_slots.tolist())
                asked += 1
    assert asked > 500


DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
    ),
]


@pytest.mark.parametrize("dimension", [3, 64, 2_000])
@pytest.mark.parametrize("device", DEVICES)
def test_a_search_on_a_gpu_equals_the_flat_one_bit_for_bit_through_turns_of_the_ring(device, dimension):
    rng = np.random.default_rng(10)
    size = 1_500
    index, flat = GpuIndex(dimension, size, device), FaissIndex(dimension, size)
    white = unit(rng.standard_normal((1_500, dimension)))
    alike = unit(1.0 + 1e-6 * rng.standard_normal((1_000, dimension)))
    longer = 30.0 * low_rank(rng, 800, dimension)
    keys = np.concatenate((low_rank(rng, 1_700, dimension), white, alike, longer)).astype(np.float32)
    keys[900:920] = keys[900]
    for i, key in enumerate(keys):
        index.write(i % size, key[None])
        flat.write(i % size, key[None])
        if i % 50 == 49:
            for query in (key, unit(rng.standard_normal((1, dimension)))[0], np.zeros(dimension, np.float32)):
                for count in (1, 32, min(640, i + 1)):
                    similarities, slots = index.search(query, count)
                    expected, true_slots = flat.search(query, count)
                    assert np.array_equal(similarities, expected)
                    # Which of those as similar as the last one are cut off is not said.
                    whole = expected > expected[-1]
                    assert set(slots[whole].tolist()) == set(true_slots[whole].tolist())
                    assert len(set(slots.tolist())) == count


def test_a_gpu_searches_only_where_there_is_one_and_it_is_asked_for(monkeypatch):
    assert make_index(16, 100)[0] == "faiss"
    assert make_index(16, 100, gpu=True)[0] == ("gpu" if torch.cuda.is_available() else "faiss")
    monkeypatch.setattr("bot.model.memory.index.find_spec", lambda _: None)
    assert make_index(16, 100, gpu=True)[0] == "faiss"


@pytest.mark.parametrize("kind", [FaissIndex, NumpyIndex, PrefilteredIndex, partial(GpuIndex, device="cpu")])
def test_rows_written_together_are_found_like_rows_written_one_by_one(kind):
    rng = np.random.default_rng(9)
    size, dimension = 3_000, 32
    more = {"prefilter_from": 2_000} if kind is PrefilteredIndex else {}
    single, together = (kind(dimension, size, **more) for _ in range(2))
    keys = low_rank(rng, 8_000, dimension)
    end = 0
    while end < len(keys):
        slot = end % size
        piece = keys[end : end + min(int(rng.integers(1, 700)), size - slot)]
        together.write(slot, piece)
        for i, key in enumerate(piece):
            single.write(slot + i, key[None])
        end += len(piece)
        query = keys[int(rng.integers(len(keys)))]
        (similarities, slots), (expected, true_slots) = (
            each.search(query, min(32, end)) for each in (together, single)
        )
        assert np.array_equal(similarities, expected)
        assert set(slots.tolist()) == set(true_slots.tolist())


def test_copies_of_one_key_are_all_found_by_a_prefiltered_search():
    rng = np.random.default_rng(6)
    keys = low_rank(rng, 6_000, 32)
    keys[500:540] = keys[500]
    index = PrefilteredIndex(32, 6_000, prefilter_from=2_000)
    for slot, key in enumerate(keys):
        index.write(slot, key[None])
    assert index._candidates(keys[500], 40) is not None
    similarities, slots = index.search(keys[500], 40)
    assert set(slots.tolist()) == set(range(500, 540))
    assert len(set(similarities.tolist())) == 1


@pytest.mark.parametrize("decay", [0.55, 1.0])
def test_the_candidates_of_a_prefiltered_search_are_few_keys_and_every_one_that_may_be_among_the_best(
    decay,
):
    rng = np.random.default_rng(7)
    keys = unit(rng.standard_normal((40_000, 64)) * decay ** np.arange(64))
    index = PrefilteredIndex(64, 40_000)
    index.write(0, keys)
    for query in keys[:50]:
        near = index._candidates(query, 200)
        assert len(near) < 2_000
        true = keys.astype(float) @ query.astype(float)
        # Rounded to eight bits alone, these would be others: the bound is what brings them in.
        assert set(np.flatnonzero(true >= np.sort(true)[-200]).tolist()) <= set(near.tolist())


def test_keys_that_are_all_alike_are_searched_flat():
    rng = np.random.default_rng(8)
    keys = unit(1.0 + 1e-4 * rng.standard_normal((20_000, 64)))
    index, flat = PrefilteredIndex(64, 20_000), FaissIndex(64, 20_000)
    index.write(0, keys)
    flat.write(0, keys)
    assert index._candidates(keys[0], 32) is None
    assert all(map(np.array_equal, index.search(keys[0], 32), flat.search(keys[0], 32)))


@pytest.mark.parametrize("dimension", [3, 64, 2_000])
def test_keys_of_any_length_and_a_query_of_nothing_are_searched_alike(dimension):
    rng = np.random.default_rng(9)
    keys = (rng.standard_normal((6_000, dimension)) * 10.0 ** rng.integers(-3, 3, (6_000, 1))).astype("f4")
    keys[17] = 0.0
    index, flat = PrefilteredIndex(dimension, 6_000, prefilter_from=10), FaissIndex(dimension, 6_000)
    index.write(0, keys)
    flat.write(0, keys)
    for query in (*keys[10:20], np.zeros(dimension, np.float32)):
        assert np.array_equal(index.search(query, 50)[0], flat.search(query, 50)[0])


def test_the_self_test_finds_an_index_that_keeps_what_was_overwritten():
    class Forgetful(NumpyIndex):
        def write(self, slot, keys):
            if slot >= self._count:
                super().write(slot, keys)

    assert overwrites_in_place(FaissIndex(8, 8), 8, 8)
    assert overwrites_in_place(NumpyIndex(8, 8), 8, 8)
    assert not overwrites_in_place(Forgetful(8, 8), 8, 8)
