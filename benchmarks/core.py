"""The whole core: bars a second with and without a memory, beside a bare loop, and where the time goes."""

import asyncio
import cProfile
import pstats
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from msgspec.structs import replace

from benchmarks.measure import ROOT, Result, cost, in_turns, percentile, rate, seconds, shares_by_room
from benchmarks.yardsticks import bare_loop
from bot.config import Config
from bot.market import Bar, Instrument
from bot.model.similarity import ModelConfig
from bot.sessions import loop
from bot.sessions.assembly import build_trader, load_strategy
from bot.sessions.session import SessionCounter
from bot.sources.csv_bars import check_bars
from bot.store.account.steps import StepWriter, begin_session
from bot.store.checkpoints.folder import DEFAULT, load_checkpoint, save_checkpoint
from bot.store.database import Database, Identity
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trader import Trader
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening
from strategies import STRATEGIES

REAL_BARS = "../shared/data/BTCUSDT_binance-perp_1h_20190908_20240229.csv.gz"
_SYMBOL, _INTERVAL = "BTCUSDT", "60"
_CASH = Decimal(10_000)
_IDENTITY = Identity(mode="backtest", category="linear", starting_cash=_CASH)
_BATCH_BARS = 500
_KEPT = "bar, signal and equity rows of every bar"


def run() -> Iterator[Result]:
    """Every figure of the core, on generated bars and, where they are at hand, on real ones."""
    market = SyntheticMarket(PRESETS["base"], 1, _INTERVAL)
    rules = market.instrument(_SYMBOL)
    bars = market.bars(_SYMBOL, 0, 60_000)
    yield from _without_memory(bars, rules)
    yield from _with_memory(market, rules)
    yield from _rooms(bars[:20_000], rules, "moving_average_cross")
    yield from _rooms(bars[:10_000], rules, "historical_similarity")


def _without_memory(bars: Sequence[Bar], rules: Instrument) -> Iterator[Result]:
    name = "moving_average_cross"

    def in_memory() -> None:
        trader = _trader(name, rules)
        for bar in bars:
            trader.advance(bar)

    def into_sqlite() -> None:
        with TemporaryDirectory() as folder:
            asyncio.run(_kept(bars, name, rules, Path(folder) / "backtest.db"))

    def bare() -> None:
        with TemporaryDirectory() as folder:
            asyncio.run(_bare(bars, Path(folder) / "bare.db"))

    memory, sqlite, loop = (len(bars) / taken for taken in in_turns((in_memory, into_sqlite, bare), rounds=5))
    yield rate("core: moving average cross, in memory", memory, unit="bars/s", note="asked for: 60,000")
    yield rate(
        "core: moving average cross, into SQLite",
        sqlite,
        loop,
        unit="bars/s",
        note=f"asked for: 25,000; {_KEPT}; beside: a bare loop writing the same rows",
    )


def _with_memory(market: SyntheticMarket, rules: Instrument) -> Iterator[Result]:
    name = "historical_similarity"
    real = ROOT / REAL_BARS
    if real.exists():
        listed = list(islice(check_bars(real), 20_000))
        taken = median(seconds(lambda: _advance(_trader(name, rules), listed)) for _ in range(3))
        note = "the first 20,000 bars, the memory growing from nothing"
        yield rate("core: with memory, BTCUSDT 1h", len(listed) / taken, unit="bars/s", note=note)
    observed, coming = market.bars(_SYMBOL, 0, 100_500), market.bars(_SYMBOL, 100_500, 2_000)
    yield from _warm_up(observed, rules)
    with TemporaryDirectory() as folder:
        _damp(Path(folder))
        for kind, checkpoint, asked in (("", "default", "600"), (", low-rank keys", folder, "1,000")):
            trader = _trader(name, rules, checkpoint)
            trader.observe_all(observed, observed[-1].close_ms)
            taken_each = [seconds(partial(trader.advance, bar)) for bar in coming]
            rounds = [taken_each[i : i + 400] for i in range(0, len(taken_each), 400)]
            note = f"asked for: {asked}; generated market, every search exact, one thread"
            rates = [len(some) / sum(some) for some in rounds]
            yield rate(f"core: with memory, 100,000 moments{kind}", median(rates), unit="bars/s", note=note)
            for share, which in ((0.5, "p50"), (0.99, "p99")):
                yield cost(
                    f"core: bar to signal, 100,000 moments{kind}, {which}",
                    1e3 * percentile(taken_each, share),
                    unit="ms",
                    note="asked for: about 1.5 at p50; key, search, forecast, decision, books",
                )


def _warm_up(observed: Sequence[Bar], rules: Instrument) -> Iterator[Result]:
    """As a start does it, as it was done bar by bar, and without the votes that calibrate confidence."""
    name, first_query_ms, some = "historical_similarity", observed[-1].close_ms, observed[:5_000]

    def whole() -> None:
        _trader(name, rules).observe_all(observed, first_query_ms)

    def without_votes() -> None:
        _trader(name, rules, calibration_bars=0).observe_all(observed, first_query_ms)

    def one_by_one() -> None:
        trader = _trader(name, rules, calibration_bars=0)
        for bar in some:
            trader.observe(bar)

    taken, indexed, each = in_turns((whole, without_votes, one_by_one), rounds=3)
    bars = f"{len(observed):,} bars"
    each *= len(observed) / len(some)
    yield cost(
        f"core: warm-up, {bars}",
        indexed,
        each,
        unit="s",
        note="asked for: about 3; encoded, matured, indexed; beside: one by one, the first 5,000",
    )
    note = "with what was forecast over the last 20,000 of them, which calibrates confidence"
    yield cost(f"core: warm-up, {bars}, calibrated", taken, unit="s", note=note)


def _damp(folder: Path) -> None:
    """The shipped checkpoint with keys of low rank: each direction's energy is 0.73 of the one's before it."""
    shipped = load_checkpoint(DEFAULT)
    weights = dict(shipped.weights)
    # All that a key is the sum of, of whichever network.
    for part in weights.keys() & {"out.weight", "out.bias", "skip.weight"}:
        damped = weights[part].T * 0.73 ** (0.5 * np.arange(len(weights[part])))
        weights[part] = np.ascontiguousarray(damped.T, np.float32)
    save_checkpoint(folder, weights, shipped.card, None if shipped.odds is None else shipped.odds.weights)


def _rooms(bars: Sequence[Bar], rules: Instrument, name: str) -> Iterator[Result]:
    """The shares of the rooms in a profiled run into SQLite; profiling slows small calls most."""
    profile = cProfile.Profile()
    with TemporaryDirectory() as folder:
        profile.enable()
        asyncio.run(_kept(bars, name, rules, Path(folder) / "backtest.db"))
        profile.disable()
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for room, share in shares_by_room(stats, ROOT).items():
        if share >= 0.01:
            yield Result(name=f"time: {name}, {room}", value=100 * share, unit="%")


def _advance(trader: Trader, bars: Sequence[Bar]) -> None:
    for bar in bars:
        trader.advance(bar)


async def _kept(bars: Sequence[Bar], name: str, rules: Instrument, path: Path) -> None:
    """What the backtest command does, its reading of the file aside."""
    async with Database.open(path, _IDENTITY, durable=False) as database:
        trader = _trader(name, rules)
        session_id = await begin_session(database, "backtest", "{}", 0)
        steps = StepWriter(database, session_id, batch_bars=_BATCH_BARS)
        await loop.run(_events(bars), trader, steps, SessionCounter((), float(_CASH)).count)
        await steps.flush()


async def _bare(bars: Sequence[Bar], path: Path) -> None:
    async with Database.open(path, _IDENTITY, durable=False):
        pass
    await bare_loop(bars, path, _BATCH_BARS)


async def _events(bars: Sequence[Bar]) -> AsyncIterator[Bar]:
    for bar in bars:
        yield bar


def _trader(
    name: str, rules: Instrument, checkpoint: str = "default", calibration_bars: int | None = None
) -> Trader:
    defaults = Config()
    memory = defaults.memory
    if calibration_bars is not None:
        memory = replace(memory, calibration_bars=calibration_bars)
    config = replace(
        defaults,
        run=replace(defaults.run, symbols=(_SYMBOL,), interval=_INTERVAL),
        strategy=replace(defaults.strategy, name=name),
        model=ModelConfig(checkpoint=checkpoint),
        memory=memory,
        # Over years a trend follower may lose enough to be halted, which would end the work that is measured.
        risk=replace(defaults.risk, max_daily_loss=Decimal(0), max_drawdown=Decimal(0)),
    )
    opening = Opening(
        ledger=Ledger(_CASH).snapshot(), open_orders=(), next_signal_id=1, next_order_id=1, next_fill_id=1
    )
    return build_trader(config, load_strategy(config, STRATEGIES), {_SYMBOL: rules}, opening, quotes=False)
