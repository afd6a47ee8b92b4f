from functools import partial

import numpy as np
import pytest
import torch

from bot.model.rows import CertifiedRows, FaissRows, GpuRows, NumpyRows, overwrites_in_place, sound_rows


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
    ring = FaissRows(dimension, size)
    for i, key in enumerate(keys):
        ring.write(i % size, key[None])
    fresh = FaissRows(dimension, size)
    order = np.arange(len(keys) - size, len(keys))
    for slot, i in enumerate(order[np.argsort(order % size)]):
        fresh.write(slot, keys[i : i + 1])
    for query in keys[:20]:
        ring_answer, fresh_answer = ring.search(query, size), fresh.search(query, size)
        assert np.array_equal(ring_answer[0], fresh_answer[0])
        assert np.array_equal(ring_answer[1], fresh_answer[1])


@pytest.mark.parametrize("rows", [FaissRows, NumpyRows])
def test_a_row_has_the_same_similarity_in_whatever_slot_it_stands(rows):
    rng = np.random.default_rng(4)
    key, query = rng.standard_normal((2, 48)).astype(np.float32)
    for size in (1, 2, 5, 33, 100):
        filled = rows(48, size)
        for slot in range(size):
            filled.write(slot, key[None])
        similarities, _ = filled.search(query, size)
        assert len(set(similarities.tolist())) == 1
        single = rows(48, 1)
        single.write(0, key[None])
        assert single.search(query, 1)[0][0] == similarities[0]


@pytest.mark.parametrize("dimension", [16, 48, 64, 100])
def test_a_certified_search_equals_the_flat_one_bit_for_bit_through_turns_of_the_ring(dimension):
    rng = np.random.default_rng(5)
    size, since = 6_000, 4_000
    rows, flat = CertifiedRows(dimension, size, certified_from=since), FaissRows(dimension, size)
    turn, _ = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    white = unit(rng.standard_normal((4_500, dimension)))
    keys = np.concatenate(
        (low_rank(rng, 5_000, dimension), low_rank(rng, 4_500, dimension, turn=turn), white)
    )
    asked = 0
    for i, key in enumerate(keys):
        rows.write(i % size, key[None])
        flat.write(i % size, key[None])
        if i % 70 == 69:
            query = key if i % 140 == 69 else unit(rng.standard_normal((1, dimension)))[0]
            for count in (1, 32, 200):
                count = min(count, i + 1)
                similarities, slots = rows.search(query, count)
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
    rows, flat = GpuRows(dimension, size, device), FaissRows(dimension, size)
    white = unit(rng.standard_normal((1_500, dimension)))
    alike = unit(1.0 + 1e-6 * rng.standard_normal((1_000, dimension)))
    longer = 30.0 * low_rank(rng, 800, dimension)
    keys = np.concatenate((low_rank(rng, 1_700, dimension), white, alike, longer)).astype(np.float32)
    keys[900:920] = keys[900]
    for i, key in enumerate(keys):
        rows.write(i % size, key[None])
        flat.write(i % size, key[None])
        if i % 50 == 49:
            for query in (key, unit(rng.standard_normal((1, dimension)))[0], np.zeros(dimension, np.float32)):
                for count in (1, 32, min(640, i + 1)):
                    similarities, slots = rows.search(query, count)
                    expected, true_slots = flat.search(query, count)
                    assert np.array_equal(similarities, expected)
                    # Which of those as similar as the last one are cut off is not said.
                    whole = expected > expected[-1]
                    assert set(slots[whole].tolist()) == set(true_slots[whole].tolist())
                    assert len(set(slots.tolist())) == count


def test_a_gpu_searches_only_where_there_is_one_and_it_is_asked_for(monkeypatch):
    assert sound_rows(16, 100)[0] == "faiss"
    assert sound_rows(16, 100, gpu=True)[0] == ("gpu" if torch.cuda.is_available() else "faiss")
    monkeypatch.setattr("bot.model.rows.find_spec", lambda _: None)
    assert sound_rows(16, 100, gpu=True)[0] == "faiss"


@pytest.mark.parametrize("rows", [FaissRows, NumpyRows, CertifiedRows, partial(GpuRows, device="cpu")])
def test_rows_written_together_are_found_like_rows_written_one_by_one(rows):
    rng = np.random.default_rng(9)
    size, dimension = 3_000, 32
    more = {"certified_from": 2_000} if rows is CertifiedRows else {}
    single, together = (rows(dimension, size, **more) for _ in range(2))
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


def test_copies_of_one_key_are_all_found_by_a_certified_search():
    rng = np.random.default_rng(6)
    keys = low_rank(rng, 6_000, 32)
    keys[500:540] = keys[500]
    rows = CertifiedRows(32, 6_000, certified_from=2_000)
    for slot, key in enumerate(keys):
        rows.write(slot, key[None])
    assert rows._near(keys[500], 40) is not None
    similarities, slots = rows.search(keys[500], 40)
    assert set(slots.tolist()) == set(range(500, 540))
    assert len(set(similarities.tolist())) == 1


@pytest.mark.parametrize("decay", [0.55, 1.0])
def test_what_a_certified_search_looks_at_again_is_few_of_the_rows_and_every_one_that_may_be_among_the_best(
    decay,
):
    rng = np.random.default_rng(7)
    keys = unit(rng.standard_normal((40_000, 64)) * decay ** np.arange(64))
    rows = CertifiedRows(64, 40_000)
    rows.write(0, keys)
    for query in keys[:50]:
        near = rows._near(query, 200)
        assert len(near) < 2_000
        true = keys.astype(float) @ query.astype(float)
        # Rounded to eight bits alone, these would be others: the bound is what brings them in.
        assert set(np.flatnonzero(true >= np.sort(true)[-200]).tolist()) <= set(near.tolist())


def test_keys_that_are_all_alike_are_searched_flat():
    rng = np.random.default_rng(8)
    keys = unit(1.0 + 1e-4 * rng.standard_normal((20_000, 64)))
    rows, flat = CertifiedRows(64, 20_000), FaissRows(64, 20_000)
    rows.write(0, keys)
    flat.write(0, keys)
    assert rows._near(keys[0], 32) is None
    assert all(map(np.array_equal, rows.search(keys[0], 32), flat.search(keys[0], 32)))


@pytest.mark.parametrize("dimension", [3, 64, 2_000])
def test_keys_of_any_length_and_a_query_of_nothing_are_searched_alike(dimension):
    rng = np.random.default_rng(9)
    keys = (rng.standard_normal((6_000, dimension)) * 10.0 ** rng.integers(-3, 3, (6_000, 1))).astype("f4")
    keys[17] = 0.0
    rows, flat = CertifiedRows(dimension, 6_000, certified_from=10), FaissRows(dimension, 6_000)
    rows.write(0, keys)
    flat.write(0, keys)
    for query in (*keys[10:20], np.zeros(dimension, np.float32)):
        assert np.array_equal(rows.search(query, 50)[0], flat.search(query, 50)[0])


def test_the_self_test_tells_rows_that_keep_what_was_overwritten():
    class Forgetful(NumpyRows):
        def write(self, slot, keys):
            if slot >= self._count:
                super().write(slot, keys)

    assert overwrites_in_place(FaissRows(8, 8), 8, 8)
    assert overwrites_in_place(NumpyRows(8, 8), 8, 8)
    assert not overwrites_in_place(Forgetful(8, 8), 8, 8)
