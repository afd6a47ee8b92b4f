"""A run of the bot for its evaluation: bars enter through its own door in order of time, recalls are kept as rows.

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
from bot.model.feature_table import FeatureTable
from bot.model.features import Encoder, FeatureWindow, Key, Keys
from bot.model.memory.moments import MemoryConfig
from bot.model.similarity import Recollection, SimilarityModel
from bot.trader import Trader
from bot.trading.events import Equity, Fill, FundingPayment, RoundTrip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PERMUTATIONS = 40

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

    The last ``test_share`` (a fraction) of each symbol's bars are forecast, in ``folds`` periods for which
    weights are fitted anew; ``horizons`` longer than the bot's own are skipped. Every ``every``-th bar is
    scored (None: as few as leave some 12,000). ``sizes`` are memory sizes beside the configured one.
    ``trials`` counts the configurations that were tried on these bars so far, this one included.
    ``quantile_trees`` and ``odds`` ask for what takes minutes to fit: LightGBM's quantiles, and the odds.
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
class StackedTables:
    """The rows of several symbols' tables, one table below the other, and each moment's row among them."""

    tables: Mapping[str, FeatureTable]
    offsets: Mapping[str, int]
    row_of: Mapping[tuple[str, int], int]

    def outcomes(self, horizon_bars: int) -> Floats:
        """Scaled outcomes of all rows; see :meth:`FeatureTable.outcome`."""
        return np.concatenate([table.outcome(horizon_bars) for table in self.tables.values()])


def stack_tables(tables: Sequence[FeatureTable]) -> StackedTables:
    """The tables one below the other, in their order."""
    offsets: dict[str, int] = {}
    row_of: dict[tuple[str, int], int] = {}
    end = 0
    for table in tables:
        offsets[table.symbol] = end
        for i, start_ms in enumerate(table.start_ms.tolist()):
            row_of[table.symbol, start_ms] = end + i
        end += len(table)
    return StackedTables({table.symbol: table for table in tables}, offsets, row_of)


def permutations(outcome: Floats, seed: int) -> Iterator[Floats]:
    """Outcomes permuted, forty times, among the moments that have one: nothing can be learnt from them."""
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(np.isfinite(outcome))
    for _ in range(_PERMUTATIONS):
        permuted = outcome.copy()
        permuted[known] = outcome[rng.permutation(known)]
        yield permuted


@dataclass(frozen=True, slots=True)
class RecallTable:
    """What was recalled at the bars of ``rows`` (of the stacked tables, ascending), where anything was.

    ``expected`` is the forecast's log return, ``rise_probability`` its probability of a rise,
    ``base_rate`` that of the memory as a whole, ``similarity`` the nearest neighbor's. ``neighbors`` (m x k)
    are rows of the stacked tables, -1 where fewer than k were recalled; their ``weights`` sum to 1.
    """

    rows: Ints
    expected: Floats
    rise_probability: Floats
    base_rate: Floats
    similarity: Floats
    neighbors: Ints
    weights: Floats

    def at(self, rows: Ints) -> "RecallTable":
        """What was recalled at those of ``rows`` where anything was."""
        chosen = np.isin(self.rows, rows)
        return RecallTable(
            self.rows[chosen],
            self.expected[chosen],
            self.rise_probability[chosen],
            self.base_rate[chosen],
            self.similarity[chosen],
            self.neighbors[chosen],
            self.weights[chosen],
        )

    def neighbor_outcomes(self, outcome: Floats) -> tuple[Floats, Floats]:
        """Neighbors' outcomes (m x k) and their weights; one whose outcome is not known has weight 0."""
        values = np.where(self.neighbors >= 0, outcome[self.neighbors], np.nan)
        weights = np.where(np.isfinite(values), self.weights, 0.0)
        total = weights.sum(axis=1, keepdims=True)
        return np.nan_to_num(values), weights / np.where(total > 0.0, total, 1.0)

    def vote(self, outcome: Floats) -> Floats:
        """The neighbors' weighted mean outcome."""
        values, weights = self.neighbor_outcomes(outcome)
        return np.asarray((values * weights).sum(axis=1))


class RecallRecorder:
    """Collects recollections, one a bar."""

    def __init__(self, stacked: StackedTables) -> None:
        self._row_of = stacked.row_of
        self._rows: list[int] = []
        self._figures: list[tuple[float, float, float, float]] = []
        self._neighbors: list[list[int]] = []
        self._weights: list[list[float]] = []

    def add(self, bar: Bar, recollection: Recollection | None) -> None:
        """Keep what was recalled at the close of ``bar``, if anything was."""
        if recollection is None or recollection.forecast is None:
            return
        forecast, neighbors = recollection.forecast, recollection.neighbors
        self._rows.append(self._row_of[bar.symbol, bar.start_ms])
        self._figures.append(
            (
                forecast.expected_return,
                forecast.rise_probability,
                forecast.base_ratio,
                forecast.best_similarity,
            )
        )
        self._neighbors.append([self._row_of[moment.symbol, moment.bar_start_ms] for moment in neighbors])
        self._weights.append([moment.weight for moment in neighbors])

    def table(self) -> RecallTable:
        """Everything that was recalled, by row."""
        count = len(self._rows)
        widest = max(map(len, self._neighbors), default=0)
        neighbors = np.full((count, widest), -1, np.int64)
        weights = np.zeros((count, widest))
        for i, (rows, votes) in enumerate(zip(self._neighbors, self._weights, strict=True)):
            neighbors[i, : len(rows)] = rows
            weights[i, : len(votes)] = votes
        order = np.argsort(np.array(self._rows, np.int64), kind="stable")
        figures = np.array(self._figures, np.float64).reshape(count, 4)[order]
        return RecallTable(
            np.array(self._rows, np.int64)[order],
            figures[:, 0],
            figures[:, 1],
            figures[:, 2],
            figures[:, 3],
            neighbors[order],
            weights[order],
        )


@dataclass(frozen=True, slots=True)
class BotRun:
    """A run of the whole bot: what it recalled, and what it did.

    ``decided`` counts bars it decided on, ``signalled`` those with a long or short signal, ``gates`` how
    often each gate decided; ``claims`` are the signals' rows, confidences and sides. ``held`` is the side
    (-1, 0, 1) held during each row of the stacked tables, ``funding`` what was paid on it.
    """

    recalls: RecallTable
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


def run_bot(
    trader: Trader, events: Iterable[Bar | Funding], stacked: StackedTables, decided: Callable[[Bar], bool]
) -> BotRun:
    """Run the bot over bars in order, funding among them; bars not ``decided`` on are its warm-up."""
    recorder = RecallRecorder(stacked)
    gates: dict[str, int] = {}
    claims: list[tuple[int, float, int]] = []
    held = np.zeros(len(stacked.row_of), np.int64)
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
        row = stacked.row_of[bar.symbol, bar.start_ms]
        for position in step.positions:
            side[position.symbol] = (position.quantity > 0) - (position.quantity < 0)
        held[row] = side.get(bar.symbol, 0)
        fills.extend(step.fills)
        equity.extend(step.equity)
        trips.update((trip.id, trip) for trip in step.round_trips)
        recorder.add(bar, step.recollection)
        signal = step.signal
        if signal is None:
            continue
        gate = str(signal.detail.get("gate", ""))
        gates[gate] = gates.get(gate, 0) + 1
        if signal.action != "hold":
            claims.append((row, signal.confidence, 1 if signal.action == "long" else -1))
    return BotRun(
        recorder.table(),
        count,
        len(claims),
        gates,
        claims,
        held,
        fills,
        equity,
        funding,
        list(trips.values()),
    )


def recall_at(
    model: SimilarityModel,
    bars: Iterable[Bar],
    stacked: StackedTables,
    queries: Ints,
    *,
    frozen_from_ms: int | None = None,
) -> RecallTable:
    """What the model alone recalls at the queried rows; from ``frozen_from_ms`` on it remembers nothing new."""
    recorder = RecallRecorder(stacked)
    queried = set(queries.tolist())
    grew = True
    past: list[Bar] = []
    for bar in bars:
        grows = frozen_from_ms is None or bar.start_ms < frozen_from_ms
        is_query = stacked.row_of[bar.symbol, bar.start_ms] in queried
        if is_query or grows != grew:
            model.observe_all(past, remember=grew)
            past.clear()
        if is_query:
            recorder.add(bar, model.observe(bar, remember=grows))
        else:
            past.append(bar)
        grew = grows
    return recorder.table()
