"""How the bot is examined: bars enter through its own door in order of time, and its answers are kept as rows.

Nothing is fitted here and nothing is shown twice: the memory grows online, as it does live, and what a bar
recalls is what it would have recalled on that day.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from bot.market import Bar, Funding
from bot.model.feature_table import Panel
from bot.model.features import Encoder, FeatureWindow, Key, Keys
from bot.model.memory import MemoryConfig
from bot.model.similarity import Recollection, SimilarityModel
from bot.trader import Trader
from bot.trading.events import Equity, Fill, FundingPayment, RoundTrip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DEALS = 40

ModelMaker = Callable[[MemoryConfig], SimilarityModel]
TraderMaker = Callable[[], Trader]


class KeptKeys:
    """An encoder that works out each key once, however many models ask for it: keys depend on bars alone.

    Closes name a moment. An encoder that looks at more than those must not be wrapped.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.dimension = encoder.dimension
        self.window_bars = encoder.window_bars
        self.receptive_bars = encoder.receptive_bars
        self._encoder = encoder
        self._keys: dict[bytes, Key] = {}

    def last_keys(self, window: FeatureWindow, n: int) -> Keys:
        """See :class:`~bot.model.features.Encoder`."""
        reach = self.receptive_bars
        closes = window.closes(n + reach - 1)
        names = [
            blake2b(closes[i : i + reach].tobytes(), digest_size=16).digest()
            for i in range(len(closes) - reach + 1)
        ]
        unknown = next((len(names) - i for i, name in enumerate(names) if name not in self._keys), 0)
        if unknown:
            self._keys.update(zip(names[-unknown:], self._encoder.last_keys(window, unknown), strict=True))
        return np.array([self._keys[name] for name in names], np.float32).reshape(-1, self.dimension)


class Protocol(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How bars are split and judged.

    The last ``test_share`` of each symbol's bars are forecast, in ``folds`` stretches for which weights are
    fitted anew; ``horizons`` longer than the bot's own are left out. Every ``every``-th bar is scored
    (None: as few as leave some 12,000). ``sizes`` are memory sizes beside the configured one. ``trials``
    counts the configurations that were tried on these bars so far, this one included. ``quantile_trees``
    and ``odds`` ask for what takes minutes to fit: LightGBM's quantiles, and the odds.
    """

    test_share: Annotated[float, Meta(gt=0, lt=1)] = 0.6
    folds: Annotated[int, Meta(ge=1, le=100)] = 4
    horizons: tuple[Annotated[int, Meta(ge=1)], ...] = (1, 4, 24)
    every: Annotated[int, Meta(ge=1)] | None = None
    sizes: tuple[Annotated[int, Meta(ge=1)], ...] = (2_000, 8_000, 32_000)
    trials: Annotated[int, Meta(ge=1)] = 1
    quantile_trees: bool = False
    odds: bool = False


@dataclass(frozen=True, slots=True)
class Library:
    """The rows of several symbols' panels under one another, and where each moment stands among them."""

    panels: Mapping[str, Panel]
    offsets: Mapping[str, int]
    row_of: Mapping[tuple[str, int], int]

    def outcomes(self, horizon_bars: int) -> Floats:
        """Scaled outcomes of all rows; see :meth:`Panel.outcome`."""
        return np.concatenate([panel.outcome(horizon_bars) for panel in self.panels.values()])


def library_of(panels: Sequence[Panel]) -> Library:
    """The panels' library, in their order."""
    offsets: dict[str, int] = {}
    row_of: dict[tuple[str, int], int] = {}
    end = 0
    for panel in panels:
        offsets[panel.symbol] = end
        for i, start_ms in enumerate(panel.start_ms.tolist()):
            row_of[panel.symbol, start_ms] = end + i
        end += len(panel)
    return Library({panel.symbol: panel for panel in panels}, offsets, row_of)


def shuffles(outcome: Floats, seed: int) -> Iterator[Floats]:
    """Outcomes dealt anew, forty times, among the moments that have one: nothing can be learnt from them."""
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(np.isfinite(outcome))
    for _ in range(_DEALS):
        dealt = outcome.copy()
        dealt[known] = outcome[rng.permutation(known)]
        yield dealt


@dataclass(frozen=True, slots=True)
class Answers:
    """What was recalled at the bars of ``rows`` (of the library, ascending), where anything was.

    ``expected`` is the forecast's log return, ``rising`` and ``base`` its probability of a rise and the
    memory's own share of rises, ``similarity`` the nearest neighbor's. ``neighbors`` (m x k) are rows of
    the library, -1 where fewer than k were recalled; their ``weights`` sum to 1.
    """

    rows: Ints
    expected: Floats
    rising: Floats
    base: Floats
    similarity: Floats
    neighbors: Ints
    weights: Floats

    def of(self, rows: Ints) -> "Answers":
        """The answers to those of ``rows`` that have one."""
        chosen = np.isin(self.rows, rows)
        return Answers(
            self.rows[chosen],
            self.expected[chosen],
            self.rising[chosen],
            self.base[chosen],
            self.similarity[chosen],
            self.neighbors[chosen],
            self.weights[chosen],
        )

    def voted(self, outcome: Floats) -> tuple[Floats, Floats]:
        """Neighbors' outcomes (m x k) and their weights; one whose outcome is not known weighs nothing."""
        values = np.where(self.neighbors >= 0, outcome[self.neighbors], np.nan)
        weights = np.where(np.isfinite(values), self.weights, 0.0)
        total = weights.sum(axis=1, keepdims=True)
        return np.nan_to_num(values), weights / np.where(total > 0.0, total, 1.0)

    def vote(self, outcome: Floats) -> Floats:
        """The neighbors' weighted mean outcome."""
        values, weights = self.voted(outcome)
        return np.asarray((values * weights).sum(axis=1))


class AnswerSheet:
    """Collects recollections as they come."""

    def __init__(self, library: Library) -> None:
        self._row_of = library.row_of
        self._rows: list[int] = []
        self._figures: list[tuple[float, float, float, float]] = []
        self._neighbors: list[list[int]] = []
        self._weights: list[list[float]] = []

    def add(self, bar: Bar, recollection: Recollection | None) -> None:
        """Keep what was recalled at the close of ``bar``; nothing recalled is nothing kept."""
        if recollection is None or recollection.forecast is None:
            return
        forecast, neighbors = recollection.forecast, recollection.neighbors
        self._rows.append(self._row_of[bar.symbol, bar.start_ms])
        self._figures.append(
            (
                forecast.expected_return,
                forecast.positive_ratio,
                forecast.base_ratio,
                forecast.best_similarity,
            )
        )
        self._neighbors.append([self._row_of[each.symbol, each.bar_start_ms] for each in neighbors])
        self._weights.append([each.weight for each in neighbors])

    def answers(self) -> Answers:
        """All answers, by row."""
        count = len(self._rows)
        widest = max(map(len, self._neighbors), default=0)
        neighbors = np.full((count, widest), -1, np.int64)
        weights = np.zeros((count, widest))
        for i, (rows, votes) in enumerate(zip(self._neighbors, self._weights, strict=True)):
            neighbors[i, : len(rows)] = rows
            weights[i, : len(votes)] = votes
        order = np.argsort(np.array(self._rows, np.int64), kind="stable")
        figures = np.array(self._figures, np.float64).reshape(count, 4)[order]
        return Answers(
            np.array(self._rows, np.int64)[order],
            figures[:, 0],
            figures[:, 1],
            figures[:, 2],
            figures[:, 3],
            neighbors[order],
            weights[order],
        )


@dataclass(frozen=True, slots=True)
class Walk:
    """A run of the whole bot: its answers, and what it did.

    ``decided`` counts bars it decided on, ``signalled`` those with a long or short signal, ``gates`` how
    often each gate decided. ``held`` is the side (-1, 0, 1) held during each row of the library,
    ``funding`` what was paid on it.
    """

    answers: Answers
    decided: int
    signalled: int
    gates: Mapping[str, int]
    claims: Sequence[tuple[int, float, int]]
    held: Ints
    fills: Sequence[Fill]
    equity: Sequence[Equity]
    funding: Sequence[FundingPayment]
    trips: Sequence[RoundTrip]


def in_order(bars: Mapping[str, Sequence[Bar]]) -> Iterator[Bar]:
    """The bars of all symbols by start and symbol."""
    return heapq.merge(*bars.values(), key=lambda bar: (bar.start_ms, bar.symbol))


def walk(
    trader: Trader, events: Iterable[Bar | Funding], library: Library, decided: Callable[[Bar], bool]
) -> Walk:
    """Run the bot over bars in order, funding among them; bars not ``decided`` on are its warm-up."""
    sheet = AnswerSheet(library)
    gates: dict[str, int] = {}
    claims: list[tuple[int, float, int]] = []
    held = np.zeros(len(library.row_of), np.int64)
    side: dict[str, int] = {}
    fills: list[Fill] = []
    equity: list[Equity] = []
    funding: list[FundingPayment] = []
    trips: dict[int, RoundTrip] = {}
    count = 0
    past: list[Bar] = []
    for event in events:
        if isinstance(event, Funding):
            step = trader.on_funding(event)
            funding.extend(step.funding)
            equity.extend(step.equity)
            trips.update((trip.id, trip) for trip in step.round_trips)
            continue
        bar = event
        if not decided(bar):
            past.append(bar)
            continue
        trader.observe_all(past)
        past.clear()
        count += 1
        step = trader.on_bar(bar)
        row = library.row_of[bar.symbol, bar.start_ms]
        for position in step.positions:
            side[position.symbol] = (position.quantity > 0) - (position.quantity < 0)
        held[row] = side.get(bar.symbol, 0)
        fills.extend(step.fills)
        equity.extend(step.equity)
        trips.update((trip.id, trip) for trip in step.round_trips)
        sheet.add(bar, step.recollection)
        signal = step.signal
        if signal is None:
            continue
        gate = str(signal.detail.get("gate", ""))
        gates[gate] = gates.get(gate, 0) + 1
        if signal.action != "hold":
            claims.append((row, signal.confidence, 1 if signal.action == "long" else -1))
    return Walk(
        sheet.answers(), count, len(claims), gates, claims, held, fills, equity, funding, list(trips.values())
    )


def recalled(
    model: SimilarityModel,
    bars: Iterable[Bar],
    library: Library,
    asked: Ints,
    *,
    frozen_from_ms: int | None = None,
) -> Answers:
    """What the model alone recalls at the ``asked`` rows; from ``frozen_from_ms`` on it remembers nothing new."""
    sheet = AnswerSheet(library)
    wanted = set(asked.tolist())
    grew = True
    past: list[Bar] = []
    for bar in bars:
        grows = frozen_from_ms is None or bar.start_ms < frozen_from_ms
        asks = library.row_of[bar.symbol, bar.start_ms] in wanted
        if asks or grows != grew:
            model.observe_all(past, remember=grew)
            past.clear()
        if asks:
            sheet.add(bar, model.observe(bar, remember=grows))
        else:
            past.append(bar)
        grew = grows
    return sheet.answers()
