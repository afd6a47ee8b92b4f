"""A live session against the embedded exchange: frame to commit, start-up, the size of a recording; and --help."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.exchange import INTERVAL, LIVE_FROM_BAR, SYMBOL, Addresses, market, serving
from benchmarks.measure import ROOT, Result, bot, cost, percentile, run_child, seconds
from benchmarks.yardsticks import bare_commits
from bot.store.account.steps import StepWriter
from bot.store.database import Database, Identity

_BARS = 400
_BAR_SECONDS = 0.05
_STARTS = 5


def run() -> Iterator[Result]:
    """Figures that a person at the screen feels. Databases lie under build/: a real disk, real commits."""
    command, environment = bot("--help")
    times = [seconds(lambda: run_child(command, environment)) for _ in range(9)]
    yield cost("start: --help", median(times), unit="s", note="asked for: about 0.3")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=build) as folder, serving(_BAR_SECONDS) as addresses:
        yield from _frame_to_commit(Path(folder), addresses)
        for count in (10_000, 100_000):
            yield _start(Path(folder), addresses, count)


def _frame_to_commit(folder: Path, addresses: Addresses) -> Iterator[Result]:
    recordings = folder / "recordings"
    arguments = _arguments(folder / "session.db", _BARS)
    command, environment = bot(*arguments, settings=_settings(addresses, recordings))
    command[1:2] = ["-m", "benchmarks.frame_to_commit"]
    taken = json.loads(run_child(command, environment).splitlines()[-1])
    bare = bare_commits(folder / "bare.db", len(taken))
    note = (
        f"{len(taken)} bars, one symbol, 10,000 moments, recorded; beside: a bare durable commit of one row"
    )
    for share in (0.5, 0.99):
        asked = "; asked for: 20" if share > 0.5 else ""
        mine, yardstick = (1e3 * percentile(values, share) for values in (taken, bare))
        yield cost(
            f"live: frame to commit, p{100 * share:.0f}", mine, yardstick, unit="ms", note=note + asked
        )
    size = sum(file.stat().st_size for file in recordings.iterdir())
    note = "compressed, flushed at each bar, quotes included"
    yield cost("live: recording, a bar", size / len(taken), unit="bytes", note=note)


def _start(folder: Path, addresses: Addresses, stored: int) -> Result:
    """From the shell to the first bar on the stream, with so many bars in the database."""
    path = folder / f"warm-{stored}.db"
    asyncio.run(_fill(path, stored))
    command, environment = bot(*_arguments(path, 1), settings=_settings(addresses, folder / "starts"))
    times = [_until_live(command, environment) for _ in range(_STARTS)]
    note = f"{stored:,} bars of one symbol stored; asked for: 3"
    return cost(f"start: until live, {stored:,} bars", median(times), unit="s", note=note)


def _until_live(command: list[str], environment: dict[str, str]) -> float:
    began, live = time.perf_counter(), 0.0
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if not live and '"connected"' in line:
                live = time.perf_counter() - began
    if process.returncode or not live:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode} before it went live")
    return live


async def _fill(path: Path, count: int) -> None:
    identity = Identity(mode="testnet", category="linear", starting_cash=Decimal(10_000))
    async with Database.open(path, identity) as database:
        bars = market().bars(SYMBOL, LIVE_FROM_BAR - count, count)
        await StepWriter(database, 0).insert_history(bars)


def _arguments(path: Path, bars: int) -> tuple[str, ...]:
    symbols = ("--symbols", SYMBOL, "--interval", INTERVAL)
    return ("--testnet", "--db", str(path), "--max-bars", str(bars), "--json", *symbols)


def _settings(addresses: Addresses, recordings: Path) -> dict[str, str]:
    return {
        "exchange.rest_url": addresses.rest_url,
        "exchange.ws_url": addresses.ws_url,
        "run.recordings": str(recordings),
    }
