"""The memory, its keys and its encoders beside the textbook's."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import faiss
import numpy as np
import torch

from benchmarks.measure import Result, cost, in_turns
from benchmarks.yardsticks import PackedMemory, TextbookMemory, TextbookTransformer, textbook_key
from bot.market import INTERVAL_MS, Bar
from bot.model.features import RECEPTIVE_BARS, Encoder, FeatureWindow, Key, Keys, PlainEncoder, key_of
from bot.model.memory.bank import MemoryBank
from bot.model.memory.index import PrefilteredIndex
from bot.model.memory.moments import MemoryConfig
from bot.model.network.encoder import build_encoder
from bot.model.network.streaming import StreamingTransformer
from bot.model.outcomes import MaturedMoment, Moment
from bot.store.checkpoints.folder import DEFAULT, load_checkpoint
from bot.synthetic import PRESETS, SyntheticMarket

_INTERVAL = "15"
_HORIZON_BARS = 24
_ROUNDS = 21
_BARS_A_ROUND = 25
"""In turns, yet not bar by bar: one memory would drive another out of the processor's cache."""


_NEIGHBORS = 32
_DIMENSION = 64
_TEXTBOOK_BARS = 96
_HEADS = 4
_SAME_SIZE = StreamingTransformer(
    patch=8, width=64, layers=2, heads=_HEADS, attention_bars=_TEXTBOOK_BARS, inner=256, dimension=_DIMENSION
)


def run() -> Iterator[Result]:
    """Add and recall at 10,000 and 100,000 moments, add and search up to a million, and one bar's key."""
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    bars = SyntheticMarket(PRESETS["base"], 1, _INTERVAL).bars("BTCUSDT", 0, 102_000)
    keys = _keys(bars)
    yield from _add_and_recall(keys, 10_000)
    yield from _add_and_recall(keys, 100_000)
    yield _key(bars)
    yield from _encoders(bars)
    del keys
    for size, rounds in ((100_000, _ROUNDS), (1_000_000, 9)):
        for spectrum, decay in (("low-rank", 0.73), ("white", 1.0)):
            yield _add_and_search(size, spectrum, decay, rounds)


def _keys(bars: Sequence[Bar]) -> list[tuple[Bar, Key]]:
    """Each bar that has a key, with it."""
    window, encoder = FeatureWindow(), PlainEncoder()
    found = []
    for bar in bars:
        window.push(bar)
        key = key_of(encoder, window)
        if key is not None:
            found.append((bar, key))
    return found


def _add_and_recall(keys: list[tuple[Bar, Key]], size: int) -> Iterator[Result]:
    """One bar's share of both: a moment more, and what is like it."""
    step = INTERVAL_MS[_INTERVAL]
    config = MemoryConfig(size=size, over_fetch=8)
    bank = MemoryBank(
        config, dimension=PlainEncoder.dimension, interval_ms=step, exclusion_bars=_HORIZON_BARS
    )
    episodes = [
        MaturedMoment(
            symbol=bar.symbol,
            start_ms=bar.start_ms,
            matured_ms=bar.close_ms + _HORIZON_BARS * step,
            moment=Moment(key=key, regime="sideways/calm", volatility=0.003),
            forward_return=0.01 * float(key[-1]),
        )
        for bar, key in keys[: size + _ROUNDS * _BARS_A_ROUND]
    ]
    bank.remember(episodes[:size])
    deque_of_keys = TextbookMemory(key for _, key in keys[:size])
    packed = PackedMemory(key for _, key in keys[:size])
    ours, first, second = (iter(episodes[size:]) for _ in range(3))

    def remember_and_recall() -> None:
        for episode in islice(ours, _BARS_A_ROUND):
            bank.remember([episode])
            bank.recall(episode.moment.key, episode.matured_ms)

    def refill_from_deque() -> None:
        for episode in islice(first, _BARS_A_ROUND):
            deque_of_keys.add_and_recall(episode.moment.key, config.neighbors)

    def refill_from_array() -> None:
        for episode in islice(second, _BARS_A_ROUND):
            packed.add_and_recall(episode.moment.key, config.neighbors)

    works = (remember_and_recall, refill_from_deque, refill_from_array)
    mine, textbook, lean = (1e3 * taken / _BARS_A_ROUND for taken in in_turns(works, rounds=_ROUNDS))
    name = f"memory: add and recall, {size:,} moments"
    yield cost(name, mine, textbook, unit="ms", note="beside the textbook: keys in a deque, index refilled")
    yield cost(name, mine, lean, unit="ms", note="beside the same, keys packed in one array all along")


def _key(bars: Sequence[Bar]) -> Result:
    window, encoder = FeatureWindow(), PlainEncoder()
    for bar in bars[:RECEPTIVE_BARS]:
        window.push(bar)
    batch = 100
    ends = iter(range(RECEPTIVE_BARS, len(bars), batch))
    again = iter(range(RECEPTIVE_BARS, len(bars), batch))

    def ours() -> None:
        end = next(ends)
        for bar in bars[end : end + batch]:
            window.push(bar)
            key_of(encoder, window)

    def theirs() -> None:
        end = next(again)
        for i in range(end, end + batch):
            textbook_key(bars[i - RECEPTIVE_BARS + 1 : i + 1])

    mine, yardstick = in_turns((ours, theirs), rounds=_ROUNDS)
    return cost(
        "model: a bar into its window and its key",
        1e6 * mine / batch,
        1e6 * yardstick / batch,
        unit="us",
        note="beside: 48 returns and volatilities worked out anew at each bar",
    )


def _add_and_search(size: int, spectrum: str, decay: float, rounds: int) -> Result:
    """One key more and the 32 nearest to it, exact, in rows of 64 dimensions.

    The energy of each direction is ``decay`` times that of the one before it.
    """
    rng = np.random.default_rng(1)
    scale = (decay ** (0.5 * np.arange(_DIMENSION))).astype(np.float32)

    def drawn(count: int) -> Keys:
        keys = rng.standard_normal((count, _DIMENSION), np.float32)
        keys *= scale
        keys /= np.sqrt(np.einsum("ij,ij->i", keys, keys))[:, None]
        return keys

    stored, bars = drawn(size), 8
    coming = drawn(bars * rounds)
    index, textbook = PrefilteredIndex(_DIMENSION, size), PackedMemory(stored)
    index.write(0, stored)
    ours, theirs = iter(enumerate(coming)), iter(coming)

    def add_and_search() -> None:
        for slot, key in islice(ours, bars):
            index.write(slot, key[None])
            index.search(key, _NEIGHBORS)

    def refill() -> None:
        for key in islice(theirs, bars):
            textbook.add_and_recall(key, _NEIGHBORS)

    mine, yardstick = (1e3 * taken / bars for taken in in_turns((add_and_search, refill), rounds=rounds))
    asked = {(100_000, "low-rank"): 5.0, (1_000_000, "low-rank"): 8.0, (1_000_000, "white"): 3.5}
    goal = asked.get((size, spectrum))
    note = "beside the textbook: one array of keys, index emptied and refilled"
    return cost(
        f"memory: add and search, {size:,} {spectrum} keys",
        mine,
        yardstick,
        unit="ms",
        note=note if goal is None else f"asked for: {goal:g} times; {note}",
    )


def _encoders(bars: Sequence[Bar]) -> Iterator[Result]:
    """A bar into its window and its key, beside encoding the textbook's window of 96 bars anew."""
    layer = torch.nn.TransformerEncoderLayer(
        _SAME_SIZE.width, _HEADS, _SAME_SIZE.inner, dropout=0.0, batch_first=True
    )
    in_torch = torch.nn.TransformerEncoder(layer, _SAME_SIZE.layers, enable_nested_tensor=False).eval()
    weights = {name: value.numpy() for name, value in in_torch.state_dict().items()}
    in_numpy = TextbookTransformer(weights, _HEADS)
    window = np.random.default_rng(1).standard_normal((_TEXTBOOK_BARS, _SAME_SIZE.width), np.float32)
    batch = 20

    def of(encoder: Encoder) -> Callable[[], None]:
        past, coming = FeatureWindow(), iter(bars)
        for bar in islice(coming, 600):
            past.push(bar)
        key_of(encoder, past)

        def encode() -> None:
            for bar in islice(coming, batch):
                past.push(bar)
                key_of(encoder, past)

        return encode

    def again_in_numpy() -> None:
        for _ in range(batch):
            in_numpy.encode(window)

    def again_in_torch() -> None:
        with torch.inference_mode():
            for _ in range(batch):
                in_torch(torch.from_numpy(window)[None])

    works = (
        of(load_checkpoint(DEFAULT).encoder),
        of(build_encoder(_SAME_SIZE, _random_weights(_SAME_SIZE))),
        again_in_numpy,
        again_in_torch,
    )
    taken = [1e6 * each / batch for each in in_turns(works, rounds=_ROUNDS)]
    size = f"a transformer of {_SAME_SIZE.layers} layers over {_TEXTBOOK_BARS} bars anew"
    for name, mine in zip(
        ("the shipped transformer", "the streaming transformer of 96 bars"), taken, strict=False
    ):
        for how, yardstick, asked in (
            ("NumPy", taken[2], "asked for: 6 times, compiled 30; "),
            ("torch", taken[3], ""),
        ):
            note = f"{asked}beside: {size}, in {how}"
            yield cost(f"encode: a bar, {name}", mine, yardstick, unit="us", note=note)


def _random_weights(network: StreamingTransformer) -> dict[str, Keys]:
    rng = np.random.default_rng(1)
    return {
        name: rng.standard_normal(shape, np.float32) / np.float32(math.sqrt(shape[-1]))
        for name, shape in network.shapes().items()
    }
