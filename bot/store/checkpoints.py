"""Weights as bytes: a folder with the trained encoder's tensors and a card that says what they are.

``weights.safetensors`` is all that an encoder needs: its network stands in the file's own header, so that
the file's SHA-256 names the encoder. ``checkpoint.json`` repeats it for people, with what it was trained
on, how, and what that gave.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.errors import InputError, StoreError
from bot.model.encoder import Network, TransformerEncoder, WindowEncoder, build_encoder
from bot.model.views import Look, ShapeConfig
from bot.store.database import utc_text

WEIGHTS, CARD, REPORT = "weights.safetensors", "checkpoint.json", "report.md"

DEFAULT = Path(__file__).resolve().parents[2] / "checkpoints" / "default"
"""The checkpoint that comes with the bot."""

FORMAT = 1


class BarRange(Struct, frozen=True, kw_only=True):
    """Bars of one symbol that shapes were cut from; starts of the first and the last."""

    symbol: str
    interval: str
    bars: int
    first_start_ms: int
    last_start_ms: int


class Card(Struct, frozen=True, kw_only=True):
    """``checkpoint.json``: everything there is to know about the weights beside it.

    ``weights_sha256`` is filled in when it is saved. ``trained_on`` and ``validated_on`` are empty where
    all shapes were simulated. ``training`` holds the settings of that name, ``best`` and ``history`` the
    looks at unseen shapes, ``made_with`` versions and device.
    """

    format: int = FORMAT
    weights_sha256: str = ""
    network: Network
    trained_on: tuple[BarRange, ...]
    validated_on: tuple[BarRange, ...]
    shapes: ShapeConfig
    training: dict[str, int | float | bool]
    steps: int
    best: Look
    history: tuple[Look, ...]
    made_with: dict[str, str]

    def summary(self) -> str:
        """One line for the log: what kind of encoder, trained on what."""
        symbols = sorted({one.symbol for one in self.trained_on})
        intervals = sorted({one.interval for one in self.trained_on})
        on = f"{', '.join(symbols)} at {', '.join(intervals)}" if symbols else "simulated shapes only"
        return f"{type(self.network).__name__} {self.weights_sha256[:12]}, trained on {on}"

    def report(self) -> str:
        """How the training went, as Markdown."""
        lines = [
            "# Training report",
            "",
            f"{self.summary()}. SHA-256 of the weights: `{self.weights_sha256}`.",
            "",
            f"A key is made of the last {self.network.bars} returns over volatility; it has "
            f"{self.network.dimension} dimensions. No outcome entered the training: a key learns which windows "
            "are two views of one shape, not what followed.",
            "",
            "| bars | symbol | interval | count | from | to (UTC, start of the last) |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for purpose, ranges in (("training", self.trained_on), ("validation", self.validated_on)):
            lines += [
                f"| {purpose} | {one.symbol} | {one.interval} | {one.bars:,} | {utc_text(one.first_start_ms)} "
                f"| {utc_text(one.last_start_ms)} |"
                for one in ranges
            ]
        lines += [
            "",
            f"{self.shapes.simulated:.0%} of the shapes were simulated. {self.steps:,} steps; the weights are "
            f"those after {self.best.step:,}, of the lowest loss on unseen shapes.",
            "",
            "| step | loss | twin found | temperature |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {look.step:,} | {look.loss:.4f} | {look.found:.1%} | {look.temperature:.4f} |"
            for look in self.history
        ]
        made_with = ", ".join(f"{name} {value}" for name, value in self.made_with.items())
        settings = ", ".join(
            f"{name} {value}" for name, value in (self.training | msgspec.to_builtins(self.shapes)).items()
        )
        return "\n".join([*lines, "", f"Made with {made_with}.", "", f"Settings: {settings}.", ""])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An encoder as it was stored. ``sha256`` is that of its weights' file."""

    encoder: WindowEncoder | TransformerEncoder
    sha256: str
    card: Card


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


def save_checkpoint(folder: Path, weights: Mapping[str, NDArray[np.float32]], card: Card) -> Card:
    """Write the files, each of them whole; returns the card with the weights' hash.

    Raises StoreError where the disk fails.
    """
    from safetensors.numpy import save

    network = msgspec.json.encode(card.network).decode()
    tensors = {name: np.ascontiguousarray(weights[name]) for name in sorted(weights)}
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
    """Read a folder that ``run_bot.py train`` wrote.

    Raises InputError, in one line that names the file, where one is missing, damaged, of a newer format,
    or where the two do not belong together.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    weights, described = folder / WEIGHTS, folder / CARD
    data = _read(weights, folder)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        card = msgspec.json.decode(_read(described, folder), type=Card)
    except msgspec.DecodeError as error:
        raise InputError(f"{described} is no checkpoint's card: {error}") from error
    if card.format != FORMAT:
        raise InputError(f"{described} has format {card.format}, this bot reads {FORMAT}; train again")
    if card.weights_sha256 != sha256:
        raise InputError(f"{weights} is not the file that {CARD} describes; copy the whole folder again")
    try:
        with safe_open(weights, framework="numpy") as stored:
            network = msgspec.json.decode((stored.metadata() or {}).get("network", "null"), type=Network)
        encoder = build_encoder(network, load(data))
    except (SafetensorError, msgspec.DecodeError, ValueError) as error:
        raise InputError(f"{weights} does not hold an encoder: {error}") from error
    return Checkpoint(encoder=encoder, sha256=sha256, card=card)


def _read(path: Path, folder: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no checkpoint: it holds no {path.name}; train one with run_bot.py train --out {folder}"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    # Beside its place, then into it: a reader meets the old file or the new one, never half of one.
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
