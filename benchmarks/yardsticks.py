"""The yardsticks, in plain sight: the textbook's memory, window and transformer, and a bare loop."""

import asyncio
import json
import math
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from bot.market import Bar
from bot.model.features import KEY_BARS, VOLATILITY_BARS

Keys = NDArray[np.float32]


class TextbookMemory:
    """Keys in a deque, as such programs keep them; the index is emptied and filled again at each bar."""

    def __init__(self, keys: Iterable[Keys]) -> None:
        self._keys = deque(keys)
        self._index = faiss.IndexFlatIP(len(self._keys[0]))

    def add_and_recall(self, key: Keys, k: int) -> tuple[Keys, NDArray[np.int64]]:
        """Let the oldest key give way to this one, then find the ``k`` most similar to it."""
        self._keys.popleft()
        self._keys.append(key)
        self._index.reset()
        self._index.add(np.array(self._keys))
        similarities, rows = self._index.search(key[None, :], k)
        return similarities[0], rows[0]


class PackedMemory:
    """The same with the keys in one array all along: the most that can be said for refilling."""

    def __init__(self, keys: Iterable[Keys] | Keys) -> None:
        self._keys = keys if isinstance(keys, np.ndarray) else np.stack(list(keys))
        self._oldest = 0
        self._index = faiss.IndexFlatIP(self._keys.shape[1])

    def add_and_recall(self, key: Keys, k: int) -> tuple[Keys, NDArray[np.int64]]:
        """Let the oldest key give way to this one, then find the ``k`` most similar to it."""
        self._keys[self._oldest] = key
        self._oldest = (self._oldest + 1) % len(self._keys)
        self._index.reset()
        self._index.add(self._keys)
        similarities, rows = self._index.search(key[None, :], k)
        return similarities[0], rows[0]


def textbook_key(bars: Sequence[Bar]) -> Keys:
    """The plain key of the last bars, with every return and volatility worked out anew."""
    closes = np.array([float(bar.close) for bar in bars[-(KEY_BARS + VOLATILITY_BARS + 1) :]])
    returns = np.diff(np.log(closes))
    weights = 0.97 ** np.arange(VOLATILITY_BARS - 1, -1, -1)
    weights /= weights.sum()
    scaled = []
    for i in range(len(returns) - KEY_BARS, len(returns)):
        volatility = math.sqrt(np.dot(weights, returns[i - VOLATILITY_BARS : i] ** 2))
        scaled.append(returns[i] / max(volatility, 1e-12))
    key = np.clip(scaled, -6.0, 6.0)
    return np.asarray(key / np.linalg.norm(key), dtype=np.float32)


class TextbookTransformer:
    """``nn.TransformerEncoder`` (post-norm, ReLU, no dropout) in NumPy: every bar, the whole window anew.

    ``weights`` are a ``state_dict`` of such layers. All bars of the window see each other; the key is what
    the last one has become.
    """

    def __init__(self, weights: Mapping[str, Keys], heads: int) -> None:
        names = sorted(
            {name.rsplit("self_attn.in_proj_weight", 1)[0] for name in weights if "in_proj_w" in name}
        )
        self._layers = [
            {name[len(layer) :]: value for name, value in weights.items() if name.startswith(layer)}
            for layer in names
        ]
        self._heads = heads

    def encode(self, window: Keys) -> Keys:
        """(bars, width) to (width,)."""
        h, heads = window, self._heads
        for w in self._layers:
            bars, width = h.shape
            mixed = h @ w["self_attn.in_proj_weight"].T + w["self_attn.in_proj_bias"]
            # (heads, bars, width / heads) each.
            query, key, value = mixed.reshape(bars, 3, heads, -1).transpose(1, 2, 0, 3)
            scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(width // heads))
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            shares = scores / scores.sum(axis=-1, keepdims=True)
            attended = (shares @ value).transpose(1, 0, 2).reshape(bars, width)
            attended = attended @ w["self_attn.out_proj.weight"].T + w["self_attn.out_proj.bias"]
            h = _normed(h + attended, w["norm1.weight"], w["norm1.bias"])
            inner = np.maximum(h @ w["linear1.weight"].T + w["linear1.bias"], np.float32(0.0))
            h = _normed(
                h + inner @ w["linear2.weight"].T + w["linear2.bias"], w["norm2.weight"], w["norm2.bias"]
            )
        newest: Keys = h[-1]
        return newest


def _normed(x: Keys, weight: Keys, bias: Keys) -> Keys:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    normed: Keys = centred / np.sqrt(variance + np.float32(1e-5)) * weight + bias
    return normed


async def bare_loop(bars: Iterable[Bar], path: Path, batch: int = 500) -> None:
    """A queue, a moving-average cross on floats, and the three rows of each bar into the bot's own tables."""
    queue: asyncio.Queue[Bar | None] = asyncio.Queue(1000)

    async def produce() -> None:
        for bar in bars:
            await queue.put(bar)
        await queue.put(None)

    producer = asyncio.create_task(produce())
    connection = sqlite3.connect(path, isolation_level=None)
    closes: deque[float] = deque(maxlen=100)
    rows: list[tuple[tuple[object, ...], ...]] = []
    number, cash, held = 0, 10_000.0, 0.0
    while (bar := await queue.get()) is not None:
        number += 1
        close = float(bar.close)
        closes.append(close)
        recent = list(closes)
        wanted = 1.0 if sum(recent[-20:]) / 20 > sum(recent) / 100 else -1.0
        if wanted != held:
            cash -= abs(wanted - held) * close * 0.00055 + (wanted - held) * close
            held = wanted
        worth = held * close
        end_ms = bar.close_ms
        figures = map(str, (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.turnover))
        decision = json.dumps({"gate": "signal"})
        signal = ("long" if held > 0 else "short", 0.5, None, None, None, None, None, "crossed", 0)
        rows.append(
            (
                (bar.symbol, bar.interval, bar.start_ms, *figures, bar.source),
                (number, 1, bar.symbol, bar.interval, bar.start_ms, *signal, end_ms, decision),
                (number, 1, end_ms, str(cash), str(worth), str(cash + worth)),
            )
        )
        if len(rows) == batch:
            _write(connection, rows)
            rows.clear()
    if rows:
        _write(connection, rows)
    connection.close()
    await producer


def _write(connection: sqlite3.Connection, rows: list[tuple[tuple[object, ...], ...]]) -> None:
    connection.execute("BEGIN")
    for i, table in enumerate(("bars", "signals", "equity")):
        marks = ", ".join("?" * len(rows[0][i]))
        # What the schema has beyond a bare row is left to its defaults.
        names = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
        columns = ", ".join(names[: len(rows[0][i])])
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", [row[i] for row in rows])
    connection.execute("COMMIT")


def bare_commits(path: Path, count: int) -> list[float]:
    """Seconds of each of ``count`` durable commits of one small row into a database of its own."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows (text) VALUES ('a bar')")
        connection.execute("COMMIT")
        taken.append(time.perf_counter() - began)
    connection.close()
    return taken
