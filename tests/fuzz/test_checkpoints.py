"""Checkpoints with right hashes around any content: loaded, used for a few bars, or refused in one line."""

import hashlib
import json
import shutil
import struct
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from bot.errors import InputError
from bot.model.features import STATE_FEATURES
from bot.model.network.encoder import WindowNetwork
from bot.model.network.streaming import StreamingTransformer
from bot.model.odds import OddsNetwork
from bot.store.checkpoints.folder import CARD, WEIGHTS, load_checkpoint, save_checkpoint
from tests.fuzz.absurd import damaged, within
from tests.fuzz.oracle import Findings, bounded, rounds
from tests.model.network.test_encoder import weights_of
from tests.model.test_odds import some_weights
from tests.store.checkpoints.test_folder import a_card, an_odds_card

NETWORKS = (WindowNetwork(width=8), StreamingTransformer(width=24, inner=16))
ODDS = OddsNetwork(inputs=len(STATE_FEATURES), width=8, dimension=5)
ABSURD = (0.0, 1e38, -1e38, 3.4e38, 1e20, 1e4, 999.0, -999.0, 1e-45, 1e-38, float("nan"), float("inf"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> list[Path]:
    folders = []
    for number, network in enumerate(NETWORKS):
        folder = tmp_path_factory.mktemp(f"sound{number}")
        card = a_card(network, odds=an_odds_card(ODDS))
        save_checkpoint(folder, weights_of(network), card, some_weights(ODDS))
        folders.append(folder)
    return folders


def unpacked(data: bytes) -> tuple[dict[str, Any], bytearray]:
    """The header of a file of tensors, and the tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])


def packed(header: object, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def change_weights(random: Random, data: bytes) -> tuple[bytes, str]:
    """Some tensors filled with, or holding, what no training gives; their header stays."""
    header, body = unpacked(data)
    told = []
    for _ in range(random.choice((1, 1, 3, 30))):
        name = random.choice([each for each in header if each != "__metadata__"])
        begin, end = header[name]["data_offsets"]
        figures = np.frombuffer(bytes(body[begin:end]), np.float32).copy()
        figure = random.choice((*ABSURD, random.uniform(-2000, 2000)))
        match random.randrange(4):
            case 0:
                figures[:] = figure
            case 1:
                figures[random.randrange(len(figures))] = figure
            case 2:
                with np.errstate(all="ignore"):
                    figures *= np.float32(figure)
            case _:
                figures[:: random.choice((1, 2, 7))] = figure
        body[begin:end] = figures.tobytes()
        told.append(f"{name} {figure}")
    return packed(header, bytes(body)), "; ".join(told)[:200]


def change_header(random: Random, data: bytes) -> tuple[bytes, str]:
    """Names, shapes, types, offsets or the network are others."""
    header, body = unpacked(data)
    if random.random() < 0.5:
        metadata = dict(header["__metadata__"])
        network = within(random, json.loads(metadata["network"]))
        text = json.dumps(network) if random.random() < 0.9 else "[" * random.choice((1, 5_000, 100_000))
        return packed({**header, "__metadata__": {**metadata, "network": text}}, bytes(body)), text[:200]
    changed = within(random, header)
    return packed(changed, bytes(body)), "header"


def spoil(random: Random, folder: Path) -> str:
    weights, card = folder / WEIGHTS, folder / CARD
    data, told = weights.read_bytes(), "card"
    match random.randrange(8):
        case 0:
            data, told = damaged(random, data), "bytes"
        case 1 | 2:
            data, told = change_header(random, data)
        case 3 | 4 | 5 | 6:
            data, told = change_weights(random, data)
    weights.write_bytes(data)
    tree = json.loads(card.read_text())
    if told == "card" or random.random() < 0.1:
        tree = within(random, tree)
    if isinstance(tree, dict) and random.random() < 0.97:
        tree["weights_sha256"] = hashlib.sha256(data).hexdigest()
    card.write_text(json.dumps(tree))
    return told


def use(folder: Path, random: Random) -> None:
    """What a bot does with a checkpoint: keys, states and forecasts of whatever bars; all are finite figures."""
    found = load_checkpoint(folder)
    assert found.card.summary()
    assert found.card.odds is None or found.card.odds.learned_until_ms >= -1
    generator = np.random.default_rng(random.randrange(1 << 30))
    scaled = random.choice((1.0, 5.0, 1e-6)) * generator.standard_t(3, found.encoder.network.bars + 20)
    keys = found.encoder.keys(scaled)
    assert np.isfinite(keys).all(), "keys are not finite"
    if found.odds is not None:
        rows = generator.standard_normal((5, found.odds.network.inputs)).astype(np.float32)
        state, scale = found.odds.standings(rows, 24)
        assert np.isfinite(state).all(), "states are not finite"
        assert np.isfinite(scale).all(), "scales are not finite"
        assert np.isfinite(found.odds.heads(rows)).all(), "forecasts are not finite"


def test_no_checkpoint_gives_more_than_one_line_nor_figures_that_are_none(sound, tmp_path, seed, seconds):
    findings = Findings()
    folder = tmp_path / "changed"
    for random in rounds(seed, seconds):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(random.choice(sound), folder)
        done = spoil(random, folder)
        findings.tried += 1
        try:
            with bounded():
                use(folder, random)
            findings.codes[0] += 1
        except InputError as error:
            findings.codes[2] += 1
            if "\n" in str(error) or len(str(error)) > 1_000:
                findings.add("no one line", f"{done}: {error}")
        except Exception as error:
            findings.add(f"{type(error).__name__} {str(error)[:60]}", done)
    print(findings)
    assert not findings.wrong, findings
