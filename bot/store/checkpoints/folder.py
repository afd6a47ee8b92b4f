"""Weights as bytes: a folder with the trained tensors of encoder and odds, and a card that says what they are.

``weights.safetensors`` is all that they need: both networks stand in the file's own header, so that the
file's SHA-256 names the whole model. The odds' tensors are those that begin with ``odds.``; a checkpoint
may be without them. ``checkpoint.json`` repeats it for people, with what was trained on, how, and what
that gave.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot import files, program
from bot.errors import InputError, StoreError, shortened
from bot.market.bounds import field_problem
from bot.model.features import STATE_FEATURES
from bot.model.network.encoder import Network, WindowEncoder, build_encoder
from bot.model.network.streaming import TransformerEncoder
from bot.model.odds import Odds, OddsNetwork
from bot.model.soundness import encoder_problem, odds_problem
from bot.store.checkpoints.card import FORMAT, Card

WEIGHTS, CARD, REPORT = "weights.safetensors", "checkpoint.json", "report.md"

DEFAULT = Path(__file__).resolve().parents[2] / "checkpoints" / "default"
"""The checkpoint that comes with the bot."""

_ODDS = "odds."
_LARGEST_WEIGHTS, _LARGEST_CARD = 256 * files.MEGABYTE, 16 * files.MEGABYTE
_RAISED = (ValueError, ArithmeticError, LookupError, TypeError, RecursionError, MemoryError, AttributeError)
"""What tensors of any names, shapes and types raise in those who meet them."""
_Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Encoder and odds as they were stored. ``sha256`` is that of their weights' file.

    ``weights`` are the encoder's, to be saved again beside other odds.
    """

    encoder: WindowEncoder | TransformerEncoder
    odds: Odds | None
    sha256: str
    card: Card
    weights: _Tensors


def prepare_folder(folder: Path) -> None:
    """Make the folder where it is missing, so that nobody trains for one that cannot be written.

    Raises InputError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error


def save_checkpoint(folder: Path, weights: _Tensors, card: Card, odds: _Tensors | None = None) -> Card:
    """Write the files, each of them whole; returns the card with the weights' hash.

    ``weights`` are the encoder's, ``odds`` those of ``card.odds``. Raises StoreError where the disk fails.
    """
    from safetensors.numpy import save

    # Under one name, whatever there is: several stand in the header in a random order, and so would the hash.
    network = msgspec.json.encode(card.network).decode()
    if card.odds is not None:
        network = f"[{network},{msgspec.json.encode(card.odds.network).decode()}]"
    whole = {**weights, **{f"{_ODDS}{name}": tensor for name, tensor in (odds or {}).items()}}
    tensors = {name: np.ascontiguousarray(whole[name]) for name in sorted(whole)}
    data = save(tensors, metadata={"network": network})
    card = msgspec.structs.replace(card, weights_sha256=hashlib.sha256(data).hexdigest())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / WEIGHTS, data)
        _write(folder / CARD, msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
        _write(folder / REPORT, card.report().encode())
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}") from error
    return card


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder that ``train`` wrote.

    Raises InputError, in one line that names the file, where one is missing, damaged, of a newer format,
    or where the two do not belong together.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    weights, described = folder / WEIGHTS, folder / CARD
    data = _read(weights, folder, _LARGEST_WEIGHTS)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        card = msgspec.json.decode(_read(described, folder, _LARGEST_CARD), type=Card)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{described} is no checkpoint's card: {shortened(error)}") from error
    if (problem := _card_problem(card)) is not None:
        raise InputError(f"{described} is no checkpoint's card: {problem}")
    if card.format != FORMAT:
        raise InputError(f"{described} has format {card.format}, this bot reads {FORMAT}; train again")
    if card.weights_sha256 != sha256:
        raise InputError(f"{weights} is not the file that {CARD} describes; copy the whole folder again")
    encoder_words, odds_words = "does not hold an encoder", "does not hold odds"
    try:
        with safe_open(weights, framework="numpy") as stored:
            described_as = (stored.metadata() or {}).get("network", "null")
        network, odds_network = _networks(described_as)
        tensors = load(data)
        odds_tensors = {
            name.removeprefix(_ODDS): tensors.pop(name) for name in [*tensors] if name.startswith(_ODDS)
        }
        encoder = build_encoder(network, tensors)
        problem = encoder_problem(encoder, tensors)
    except (SafetensorError, *_RAISED) as error:
        raise InputError(f"{weights} {encoder_words}: {shortened(error)}") from error
    if problem is not None:
        raise InputError(f"{weights} {encoder_words} that can be used: {problem}; train again")
    try:
        odds = None if odds_network is None else _odds(odds_network, odds_tensors)
        problem = None if odds is None else odds_problem(odds)
    except _RAISED as error:
        raise InputError(f"{weights} {odds_words}: {shortened(error)}") from error
    if problem is not None:
        raise InputError(f"{weights} {odds_words} that can be used: {problem}; train again")
    return Checkpoint(encoder=encoder, odds=odds, sha256=sha256, card=card, weights=tensors)


def _networks(text: str) -> tuple[Network, OddsNetwork | None]:
    """What the header says: the encoder's network alone, or that and the odds'."""
    if text.startswith("["):
        return msgspec.json.decode(text, type=tuple[Network, OddsNetwork])
    return msgspec.json.decode(text, type=Network), None


def _odds(network: OddsNetwork, tensors: _Tensors) -> Odds:
    if network.inputs != len(STATE_FEATURES):
        raise ValueError(f"they want {network.inputs} figures of a bar, this bot has {len(STATE_FEATURES)}")
    out = tensors.get("state.out.weight")
    if out is not None and len(out) == network.dimension:
        # Odds of before there were scales: each is 1, of which the logarithm is nothing.
        more = ((0, len(network.horizons)), (0, 0))
        tensors = {
            **tensors,
            "state.out.weight": np.pad(out, more),
            "state.out.bias": np.pad(tensors["state.out.bias"], more[:1]),
        }
    return Odds(network, tensors)


def _card_problem(card: Card) -> str | None:
    """What a card says that none does."""
    if card.odds is not None and not (card.odds.trained_on or card.odds.validated_on):
        return "odds that were trained on nothing"
    return field_problem("card", card)


def _read(path: Path, folder: Path, limit_bytes: int) -> bytes:
    if not os.path.lexists(path):
        raise InputError(
            f"{folder} is no checkpoint: it holds no {path.name}; train one with {program.name()} train --out {folder}"
        )
    return files.content(path, "the checkpoint's", limit_bytes)


def _write(path: Path, data: bytes) -> None:
    # Beside its place, then into it: a reader meets the old file or the new one, never half of one.
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
