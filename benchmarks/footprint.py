"""Peak memory of whole backtests, and their speed from file to SQLite."""

import csv
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import ROOT, Result, bot, cost, rate, run_child, seconds
from bot.market import plain
from bot.sources.bar_rows import HEADER
from bot.synthetic import PRESETS, SyntheticMarket

_SYMBOL, _CHUNK = "BTCUSDT", 10_000
_MOMENTS = 262_144

_PEAK = """
import pathlib, resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    if end.code:
        raise
status = pathlib.Path("/proc/self/status")
if status.exists():
    # Linux counts what the parent held at the fork as the child's own in ru_maxrss, but not here.
    print(int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024))
"""
"""Runs a script and prints the most megabytes that its process ever held."""


_FILLED = f"""
import sys
import numpy as np
from bot.model.memory.bank import MemoryBank
from bot.model.memory.moments import MemoryConfig
from bot.model.outcomes import MaturedMoment, Moment

config = MemoryConfig(size={_MOMENTS})
bank = MemoryBank(config, dimension=64, interval_ms=900_000, exclusion_bars=24, key_share=0.5)
rng = np.random.default_rng(1)
for first in range(0, {_MOMENTS} if sys.argv[1] == "full" else 0, 256):
    keys = rng.standard_normal((256, 64)) * 0.73 ** (0.5 * np.arange(64))
    rows = [keys, rng.standard_normal((256, 40))]
    rows = [np.asarray(each / np.linalg.norm(each, axis=1, keepdims=True), np.float32) for each in rows]
    bank.remember([
        MaturedMoment(
            symbol="BTCUSDT",
            start_ms=900_000 * i,
            matured_ms=900_000 * (i + 25),
            moment=Moment(key=key, regime="sideways/calm", volatility=0.003, shape=shape),
            forward_return=0.01,
        )
        for i, (key, shape) in enumerate(zip(*rows), start=first)
    ])
assert len(bank) in (0, {_MOMENTS})
"""
"""A memory of so many moments, full or empty."""


def run() -> Iterator[Result]:
    """Backtests of 100,000 and 500,000 bars, of which the second must hold no more than the first; a memory."""
    held = []
    for filled in ("empty", "full"):
        with TemporaryDirectory() as folder:
            script = Path(folder) / "fill.py"
            script.write_text(_FILLED)
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            peak = run_child([sys.executable, "-c", _PEAK, str(script), filled], environment)
        held.append(float(peak))
    note = f"asked for: 400; the whole process, {held[0]:.0f} MB of which are there before the first moment"
    yield cost(f"memory: {_MOMENTS:,} moments of 64 dimensions, peak", held[1], unit="MB", note=note)
    peaks: dict[int, float] = {}
    for bars in (100_000, 500_000):
        with TemporaryDirectory() as folder:
            file = Path(folder) / f"{_SYMBOL}_generated_1m.csv"
            write_market(file, bars)
            arguments = ("backtest", "--data", str(file), "--db", str(Path(folder) / "backtest.db"), "--json")
            # Rich and untaxed, so that the account goes on trading to the end.
            costs = dict.fromkeys(("broker.taker_fee", "broker.half_spread_bps", "broker.slippage_bps"), "0")
            settings = {
                "strategy.name": "moving_average_cross",
                "broker.starting_cash": "10000000",
                **costs,
            }
            command, environment = bot(*arguments, settings=settings)
            command[1:1] = ["-c", _PEAK]
            printed: list[str] = []
            taken = seconds(lambda: printed.append(run_child(command, environment)))  # noqa: B023 (called at once)
        peaks[bars] = float(printed[0].splitlines()[-1])
        note = "command line, file checked and read, every decision kept"
        yield rate(f"backtest: {bars:,} bars from a file", bars / taken, unit="bars/s", note=note)
    note = "beside: 100,000 bars; must stay flat"
    yield cost("backtest: peak memory, 500,000 bars", peaks[500_000], peaks[100_000], unit="MB", note=note)


def write_market(path: Path, bars: int) -> None:
    """So many bars of a generated market as a CSV file that the bot reads."""
    source = SyntheticMarket(PRESETS["base"], 1, "1")
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        for first in range(0, bars, _CHUNK):
            for bar in source.bars(_SYMBOL, first, min(_CHUNK, bars - first)):
                figures = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.turnover or Decimal(0))
                rows.writerow((bar.start_ms, *(plain(figure) for figure in figures)))
