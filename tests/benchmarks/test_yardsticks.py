import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path

import numpy as np
import torch

from benchmarks.yardsticks import PackedMemory, TextbookMemory, TextbookTransformer, bare_loop, textbook_key
from bot.model.features import FeatureWindow, PlainEncoder, key_of
from bot.store.database import Database, Identity
from bot.synthetic import PRESETS, SyntheticMarket

BARS = SyntheticMarket(PRESETS["base"], 1, "15").bars("BTCUSDT", 0, 400)


def test_the_textbook_key_is_the_plain_key():
    window, encoder = FeatureWindow(), PlainEncoder()
    for bar in BARS:
        window.push(bar)
    key = key_of(encoder, window)
    assert key is not None
    np.testing.assert_allclose(textbook_key(BARS), key, rtol=1e-5, atol=1e-6)


def test_the_textbook_transformer_is_torchs_own():
    torch.manual_seed(1)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True)
    theirs = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    for value in theirs.parameters():
        torch.nn.init.normal_(value, std=0.3)
    weights = {name: value.numpy() for name, value in theirs.state_dict().items()}
    window = np.random.default_rng(1).standard_normal((12, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(window)[None])[0, -1].numpy()
    np.testing.assert_allclose(TextbookTransformer(weights, 2).encode(window), expected, atol=2e-6)


def test_both_textbook_memories_forget_the_oldest_key_and_find_the_newest():
    first, second, third = np.eye(3, dtype=np.float32)
    for memory in (TextbookMemory([first, second]), PackedMemory([first, second])):
        similarities, _ = memory.add_and_recall(third, 1)
        assert similarities.tolist() == [1.0]
        similarities, _ = memory.add_and_recall(first, 2)
        assert similarities.tolist() == [1.0, 0.0]


def test_the_bare_loop_writes_the_three_rows_of_every_bar(tmp_path: Path):
    path = tmp_path / "bare.db"

    async def write() -> None:
        identity = Identity(mode="backtest", category="linear", starting_cash=Decimal(1))
        async with Database.open(path, identity, durable=False):
            pass
        await bare_loop(BARS, path, batch=150)

    asyncio.run(write())
    with sqlite3.connect(path) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("bars", "signals", "equity")
        ]
    assert counts == [400, 400, 400]
