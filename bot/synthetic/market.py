"""SyntheticMarket: bars as a pure function of spec, seed, symbol and bar index."""

import math
import zlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.market import INTERVAL_MS, Bar, Category, Instrument
from bot.market.symbols import is_dated
from bot.synthetic.motifs import Library, Occurrence
from bot.synthetic.spec import MONDAY_MS, Candles, MarketSpec, Truth, listing_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 4096
_VOLATILITY_LEVELS = (0.55, 0.8, 1.1, 1.6)
_TAIL = 5.0
_LARGEST_SHOCK = 8.0
_ARCH, _GARCH = 0.06, 0.90
_PULL = 1.5e-5
# One stream of random numbers for each purpose, so that one never disturbs another; 0 is the motifs'.
_RETURNS, _OCCURRENCES = 1, 2


@dataclass(frozen=True, slots=True)
class _Block:
    """A stretch of one symbol's market: prices in ticks, volume in lots, and its truth."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    lots: Ints
    truth: Truth


class _Path:
    """One symbol's market, extended block by block from bar 0; what is generated never changes."""

    def __init__(self, spec: MarketSpec, library: Library, seed: int, symbol: str) -> None:
        key = zlib.crc32(symbol.encode())
        self.listing = listing_of(symbol)
        self.blocks: list[_Block] = []
        self._spec = spec
        self._library = library
        self._rng = np.random.default_rng([seed, _RETURNS, key])
        self._occurrence_rng = np.random.default_rng([seed, _OCCURRENCES, key])
        self._variance = 1.0
        self._level = int(self._rng.integers(len(_VOLATILITY_LEVELS)))
        self._displacement = 0.0
        self._close = round(self.listing.price * 10**self.listing.tick_decimals)
        self._playing = self._next_occurrence(after=0)

    def _next_occurrence(self, after: int) -> Occurrence:
        gap = self._occurrence_rng.exponential(self._spec.gap_bars)
        return self._library.play(self._occurrence_rng, after + 1 + int(gap))

    def extend(self) -> None:
        """Append the next block."""
        spec, listing = self._spec, self.listing
        first = len(self.blocks) * _BLOCK
        shocks = self._rng.standard_t(_TAIL, _BLOCK) * math.sqrt((_TAIL - 2.0) / _TAIL)
        shocks = np.clip(shocks, -_LARGEST_SHOCK, _LARGEST_SHOCK)
        # One bar more than the block, for the expectation of the bar that follows its last one.
        volatility = spec.volatility * self._levels() * np.sqrt(self._variances(shocks))

        pattern, expected, noise, truth = self._motifs(first)
        moves = volatility[:-1] * (noise * shocks + pattern)
        log_price = self._prices(moves)
        pull = -_PULL * log_price
        truth = Truth(
            motif=truth.motif,
            phase=truth.phase,
            remaining=truth.remaining,
            outcome=truth.outcome,
            realised=truth.realised,
            volatility=volatility[:-1],
            expected_next=volatility[1:] * expected + pull,
        )

        ticks = listing.price * 10**listing.tick_decimals
        close = np.maximum(1, np.rint(ticks * np.exp(log_price))).astype(np.int64)
        open_ = np.concatenate(([self._close], close[:-1]))
        self._close = int(close[-1])
        high, low = self._extremes(open_, close, volatility[:-1] * noise)
        busy = np.exp(0.35 * self._rng.standard_normal(_BLOCK) + 0.3 * np.abs(shocks))
        coins = 2e6 / listing.price * (volatility[:-1] / spec.volatility) * busy
        lots = np.maximum(1, np.rint(coins * 10**listing.lot_decimals)).astype(np.int64)
        self.blocks.append(_Block(open_, high, low, close, lots, truth))

    def _levels(self) -> Floats:
        """Volatility level of each bar, and of the first one after the block."""
        levels = np.empty(_BLOCK + 1)
        switches = np.flatnonzero(self._rng.random(_BLOCK) < 1.0 / self._spec.regime_bars)
        jumps = self._rng.integers(1, len(_VOLATILITY_LEVELS), len(switches))
        begin = 0
        for end, jump in zip(switches, jumps, strict=True):
            levels[begin : end + 1] = _VOLATILITY_LEVELS[self._level]
            self._level = (self._level + int(jump)) % len(_VOLATILITY_LEVELS)
            begin = int(end) + 1
        levels[begin:] = _VOLATILITY_LEVELS[self._level]
        return levels

    def _variances(self, shocks: Floats) -> Floats:
        """GARCH(1,1) variance of each bar, 1 on average, and of the first one after the block."""
        variance = self._variance
        constant = 1.0 - _ARCH - _GARCH
        variances = [variance]
        for squared in (shocks * shocks).tolist():
            variance = constant + (_ARCH * squared + _GARCH) * variance
            variances.append(variance)
        self._variance = variance
        return np.array(variances)

    def _motifs(self, first: int) -> tuple[Floats, Floats, Floats, Truth]:
        """Pattern, expectation of the next bar and noise factor of each bar, in units of volatility."""
        pattern, following, noise = np.zeros(_BLOCK), np.zeros(_BLOCK), np.ones(_BLOCK)
        motif = np.full(_BLOCK, -1, np.int16)
        phase, remaining = np.full(_BLOCK, -1, np.int16), np.full(_BLOCK, -1, np.int16)
        outcome, realised = np.zeros(_BLOCK, np.int8), np.zeros(_BLOCK, np.int8)
        while self._playing.start < first + _BLOCK:
            playing = self._playing
            length = len(playing.pattern)
            end = playing.start + length
            begin = max(first, playing.start)
            here = slice(begin - first, min(end - first, _BLOCK))
            there = slice(begin - playing.start, min(length, first + _BLOCK - playing.start))
            phases = np.arange(there.start, there.stop)
            pattern[here] = playing.pattern[there]
            following[here] = np.append(playing.expected, 0.0)[phases + 1]
            noise[here] = self._spec.noise
            motif[here] = playing.motif
            phase[here] = phases
            remaining[here] = playing.bars - 1 - phases
            outcome[here] = playing.outcome
            realised[here] = playing.realised
            if end > first + _BLOCK:
                break
            self._playing = self._next_occurrence(after=end)
        nothing = np.empty(0)
        return pattern, following, noise, Truth(motif, phase, remaining, outcome, realised, nothing, nothing)

    def _prices(self, moves: Floats) -> Floats:
        """Log price over the starting price after each bar: moves summed up and pulled back."""
        decay = (1.0 - _PULL) ** np.arange(1, _BLOCK + 1)
        log_price = decay * (self._displacement + np.cumsum(moves / decay))
        self._displacement = float(log_price[-1])
        return log_price

    def _extremes(self, open_: Ints, close: Ints, volatility: Floats) -> tuple[Ints, Ints]:
        """Highest and lowest tick of each bar, as a Brownian bridge from open to close would have them."""
        middle, half = (open_ + close) / 2.0, (close - open_) / 2.0
        spread = open_ * volatility
        draws = np.log(1.0 - self._rng.random((2, _BLOCK)))
        reach = np.sqrt(half * half - 0.5 * spread * spread * draws)
        high = np.maximum(np.rint(middle + reach[0]).astype(np.int64), np.maximum(open_, close))
        low = np.minimum(np.rint(middle - reach[1]).astype(np.int64), np.minimum(open_, close))
        return high, np.maximum(1, low)


class SyntheticMarket:
    """Generated bars of any symbol. The same spec, seed, symbol and index give the same bar, always.

    Symbols share the motifs and differ in everything else. Bars are generated from index 0 in blocks,
    on demand, and kept (some 70 bytes a bar).
    """

    def __init__(self, spec: MarketSpec, seed: int, interval: str, epoch_ms: int = MONDAY_MS) -> None:
        self.spec = spec
        self.seed = seed
        self.interval = interval
        self.epoch_ms = epoch_ms
        self._interval_ms = INTERVAL_MS[interval]
        self._library = Library(spec, seed)
        self._paths: dict[str, _Path] = {}

    def start_ms(self, index: int) -> int:
        """When the bar of this index starts."""
        return self.epoch_ms + index * self._interval_ms

    def index_of(self, start_ms: int) -> int:
        """Index of the bar that ``start_ms`` falls into; negative before the market's first bar."""
        return (start_ms - self.epoch_ms) // self._interval_ms

    def instrument(self, symbol: str, category: Category = "linear") -> Instrument:
        """Trading rules whose tick and lot the generated bars keep to."""
        listing = listing_of(symbol)
        lot = Decimal(1).scaleb(-listing.lot_decimals)
        return Instrument(
            symbol=symbol,
            category=category,
            tick_size=Decimal(1).scaleb(-listing.tick_decimals),
            lot_size=lot,
            min_quantity=lot,
            funding_interval_minutes=480 if category == "linear" and not is_dated(symbol) else 0,
            source="generated",
        )

    def bars(self, symbol: str, first_index: int, count: int) -> list[Bar]:
        """``count`` bars from ``first_index`` (0 or more) on, ascending."""
        path = self._path(symbol, first_index + count)
        listing = path.listing
        price = Decimal(1).scaleb(-listing.tick_decimals)
        volume = Decimal(1).scaleb(-listing.lot_decimals)
        turnover = price * volume
        bars = []
        start_ms = self.start_ms(first_index)
        figures = [
            _column(path, name, first_index, count) for name in ("open", "high", "low", "close", "lots")
        ]
        for o, h, low, c, lots in zip(*(column.tolist() for column in figures), strict=True):
            bar = Bar(
                symbol=symbol,
                interval=self.interval,
                start_ms=start_ms,
                open=o * price,
                high=h * price,
                low=low * price,
                close=c * price,
                volume=lots * volume,
                turnover=(o + h + low + c) // 4 * lots * turnover,
            )
            bars.append(bar)
            start_ms += self._interval_ms
        return bars

    def candles(self, symbol: str, first_index: int, count: int) -> Candles:
        """The same bars as float64 arrays."""
        path = self._path(symbol, first_index + count)
        tick, lot = 10.0**path.listing.tick_decimals, 10.0**path.listing.lot_decimals
        o, h, low, c, lots = (
            _column(path, name, first_index, count) for name in ("open", "high", "low", "close", "lots")
        )
        volume = lots / lot
        return Candles(
            o / tick, h / tick, low / tick, c / tick, volume, (o + h + low + c) // 4 / tick * volume
        )

    def truth(self, symbol: str, first_index: int, count: int) -> Truth:
        """What lies behind the same bars."""
        path = self._path(symbol, first_index + count)
        return Truth(*(_column(path, f"truth.{name}", first_index, count) for name in Truth.__slots__))

    def _path(self, symbol: str, length: int) -> _Path:
        path = self._paths.get(symbol)
        if path is None:
            path = self._paths[symbol] = _Path(self.spec, self._library, self.seed, symbol)
        while len(path.blocks) * _BLOCK < length:
            path.extend()
        return path


def _column(path: _Path, name: str, first: int, count: int) -> NDArray[Any]:
    """One array of the path's blocks, cut to the bars asked for. Raises IndexError before bar 0."""
    if first < 0:
        raise IndexError("a generated market has no bars before its epoch")
    begin, end = first // _BLOCK, -(-(first + count) // _BLOCK)
    blocks: list[Any] = path.blocks[begin:end]
    for part in name.split("."):
        blocks = [getattr(block, part) for block in blocks]
    whole = np.concatenate(blocks) if blocks else np.empty(0)
    return whole[first - begin * _BLOCK :][:count]
