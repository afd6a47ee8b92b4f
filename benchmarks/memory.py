"""The memory and its key beside the textbook's."""

from collections.abc import Iterator, Sequence
from itertools import islice

import faiss

from benchmarks.measure import Result, cost, in_turns
from benchmarks.yardsticks import PackedMemory, TextbookMemory, textbook_key
from bot.market import INTERVAL_MS, Bar
from bot.model.features import RECEPTIVE_BARS, FeatureWindow, Key, PlainEncoder, key_of
from bot.model.memory import MemoryBank, MemoryConfig
from bot.model.outcomes import Episode, Moment
from bot.synthetic import PRESETS, SyntheticMarket

_INTERVAL = "15"
_HORIZON_BARS = 24
_ROUNDS = 21
_BARS_A_ROUND = 25
"""In turns, yet not bar by bar: one memory would drive another out of the processor's cache."""


def run() -> Iterator[Result]:
    """Add and recall at 10,000 and 100,000 moments, and one bar's key."""
    faiss.omp_set_num_threads(1)
    bars = SyntheticMarket(PRESETS["base"], 1, _INTERVAL).bars("BTCUSDT", 0, 102_000)
    keys = _keys(bars)
    yield from _add_and_recall(keys, 10_000)
    yield from _add_and_recall(keys, 100_000)
    yield _key(bars)


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
        Episode(
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
