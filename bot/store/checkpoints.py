"""Weights as bytes: a folder with the trained tensors of encoder and odds, and a card that says what they are.

``weights.safetensors`` is all that they need: both networks stand in the file's own header, so that the
file's SHA-256 names the whole model. The odds' tensors are those that begin with ``odds.``; a checkpoint
may be without them. ``checkpoint.json`` repeats it for people, with what was trained on, how, and what
that gave.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot import files
from bot.errors import InputError, StoreError, shortened
from bot.market import utc_text
from bot.market.bounds import field_problem
from bot.model.encoder import Network, TransformerEncoder, WindowEncoder, build_encoder
from bot.model.features import STATE_FEATURES
from bot.model.odds import Odds, OddsNetwork
from bot.model.soundness import encoder_problem, odds_problem
from bot.model.views import Look, ShapeConfig

WEIGHTS, CARD, REPORT = "weights.safetensors", "checkpoint.json", "report.md"

DEFAULT = Path(__file__).resolve().parents[1] / "checkpoints" / "default"
"""The checkpoint that comes with the bot."""

FORMAT = 1

_ODDS = "odds."
_LARGEST_WEIGHTS, _LARGEST_CARD = 256 * files.MEGABYTE, 16 * files.MEGABYTE
_RAISED = (ValueError, ArithmeticError, LookupError, TypeError, RecursionError, MemoryError, AttributeError)
"""What tensors of any names, shapes and types raise in those who meet them."""
_Figures = dict[str, int | float | bool]
_Tensors = Mapping[str, NDArray[np.float32]]


class BarRange(Struct, frozen=True, kw_only=True):
    """Bars of one symbol that shapes were cut from; starts of the first and the last."""

    symbol: str
    interval: str
    bars: int
    first_start_ms: int
    last_start_ms: int


class OddsCard(Struct, frozen=True, kw_only=True):
    """What there is to know about the odds' weights.

    ``training`` holds the settings of that name, ``history`` the looks at unseen bars while training, and
    ``unseen`` what the trained odds came to on them, a row a horizon.
    """

    network: OddsNetwork
    trained_on: tuple[BarRange, ...]
    validated_on: tuple[BarRange, ...]
    training: _Figures
    history: tuple[_Figures, ...]
    unseen: tuple[_Figures, ...]

    @property
    def learned_until_ms(self) -> int:
        """Start of the newest bar that was learned from, of whatever symbol: they share the market."""
        return max(part.last_start_ms for part in (*self.trained_on, *self.validated_on))

    def summary(self) -> str:
        """One line for the log: odds of what, trained on what."""
        horizons = ", ".join(map(str, self.network.horizons))
        return f"odds over {horizons} bars, trained on {_trained_on(self.trained_on)}"

    def report(self) -> list[str]:
        """How the training went, as lines of Markdown."""
        return [
            "## Odds",
            "",
            f"{self.summary()}. A state of {self.network.dimension} figures is made of {self.network.inputs} that "
            "bars alone give; it was trained to put moments side by side after which the same outcomes were "
            "likely, a scale beside it to say how large, the head to tell those likely outcomes itself, and the "
            "gate to weigh one against the other.",
            "",
            *_ranges_table(self.trained_on, self.validated_on),
            *_figures_table(self.history),
            *_figures_table(self.unseen),
            f"Settings: {_settings(self.training)}.",
            "",
        ]


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
    training: _Figures
    steps: int
    best: Look
    history: tuple[Look, ...]
    made_with: dict[str, str]
    odds: OddsCard | None = None

    def summary(self) -> str:
        """One line for the log: what kind of encoder and odds, trained on what."""
        key = f"{type(self.network).__name__} {self.weights_sha256[:12]}, trained on {_trained_on(self.trained_on)}"
        return key if self.odds is None else f"{key}; {self.odds.summary()}"

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
            *_ranges_table(self.trained_on, self.validated_on),
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
        settings = _settings(self.training | msgspec.to_builtins(self.shapes))
        lines += ["", f"Made with {made_with}.", "", f"Settings: {settings}.", ""]
        return "\n".join([*lines, *(self.odds.report() if self.odds is not None else ())])


def _trained_on(ranges: Sequence[BarRange]) -> str:
    symbols = sorted({one.symbol for one in ranges})
    intervals = sorted({one.interval for one in ranges})
    return f"{', '.join(symbols)} at {', '.join(intervals)}" if ranges else "simulated shapes only"


def _ranges_table(training: Sequence[BarRange], validation: Sequence[BarRange]) -> list[str]:
    return [
        "| bars | symbol | interval | count | from | to (UTC, start of the last) |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {purpose} | {one.symbol} | {one.interval} | {one.bars:,} | {utc_text(one.first_start_ms)} "
            f"| {utc_text(one.last_start_ms)} |"
            for purpose, ranges in (("training", training), ("validation", validation))
            for one in ranges
        ),
        "",
    ]


def _figures_table(rows: Sequence[_Figures]) -> list[str]:
    if not rows:
        return []
    return [
        f"| {' | '.join(rows[0])} |",
        f"|{' --- |' * len(rows[0])}",
        *(f"| {' | '.join(map(_figure, row.values()))} |" for row in rows),
        "",
    ]


def _settings(figures: _Figures) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items())


def _figure(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


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
    """Read a folder that ``run_bot.py train`` wrote.

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
            f"{folder} is no checkpoint: it holds no {path.name}; train one with run_bot.py train --out {folder}"
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
