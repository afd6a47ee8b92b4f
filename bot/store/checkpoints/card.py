"""Card: what there is to know about a checkpoint's weights, and its report for people."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from bot.market import utc_text
from bot.model.network.encoder import Network
from bot.model.odds import OddsNetwork
from bot.model.training.views import ShapeConfig, ValidationPoint

FORMAT = 1

_Figures = dict[str, int | float | bool]


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
    best: ValidationPoint
    history: tuple[ValidationPoint, ...]
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
            f"| {point.step:,} | {point.loss:.4f} | {point.top1_accuracy:.1%} | {point.temperature:.4f} |"
            for point in self.history
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
