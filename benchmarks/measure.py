"""Results, and how they are come by: medians, percentiles, child processes, shares of a profile."""

import math
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

ROOT = Path(__file__).resolve().parent.parent


class Result(Struct, frozen=True, kw_only=True):
    """One figure. ``baseline`` is the yardstick's, in the same unit, measured in the same run.

    ``ratio`` says how many times better than the yardstick, or with a ``target`` in the note, than that.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    note: str = ""


def rate(name: str, value: float, baseline: float | None = None, *, unit: str, note: str = "") -> Result:
    """A figure of which more is better."""
    ratio = None if baseline is None else value / baseline
    return Result(name=name, value=value, unit=unit, baseline=baseline, ratio=ratio, note=note)


def cost(name: str, value: float, baseline: float | None = None, *, unit: str, note: str = "") -> Result:
    """A figure of which less is better."""
    ratio = None if baseline is None else baseline / value
    return Result(name=name, value=value, unit=unit, baseline=baseline, ratio=ratio, note=note)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(works: Sequence[Callable[[], object]], *, rounds: int) -> list[float]:
    """Median seconds of each, taken in turns, so that a noisy neighbour disturbs all alike."""
    taken = [[seconds(work) for work in works] for _ in range(rounds)]
    return [median(column) for column in zip(*taken, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def bot(*arguments: str, settings: Mapping[str, str] | None = None) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a bot that knows only ``settings`` (``section.key`` to value).

    The settings of whoever runs the benchmark, in the environment or in config.toml, do not count.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOT__")}
    for dotted, value in (settings or {}).items():
        environment[f"BOT__{dotted.upper().replace('.', '__')}"] = value
    command = [sys.executable, str(ROOT / "run_bot.py"), *arguments, "--config", os.devnull]
    return command, environment


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a child process prints. Raises RuntimeError with its last words where it fails."""
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def shares_by_room(stats: Mapping[Any, Any], root: Path) -> dict[str, float]:
    """Where a profile's time went: each room of the house to its share, largest first, summing to 1.

    ``stats`` is :attr:`pstats.Stats.stats`. A room is a file or folder under ``root``. What happened
    in other people's code counts for the rooms that had it called, or as ``elsewhere`` where none did.
    """
    known: dict[Any, dict[str, float]] = {}

    def rooms_of(function: Any) -> dict[str, float]:
        """The rooms that a function works for, and each one's share of it."""
        if function not in known:
            room = _room(function[0], root)
            known[function] = {room or "elsewhere": 1.0}  # stands where callers go round in a circle
            callers = {} if room else stats[function][4]
            # Calls too short for the clock still count for their callers.
            total = sum(called[3] + 1e-9 for called in callers.values())
            if total:
                shares: defaultdict[str, float] = defaultdict(float)
                for caller, called in callers.items():
                    for name, share in rooms_of(caller).items():
                        shares[name] += share * (called[3] + 1e-9) / total
                known[function] = dict(shares)
        return known[function]

    spent: defaultdict[str, float] = defaultdict(float)
    for function, (_, _, own, _, _) in stats.items():
        for name, share in rooms_of(function).items():
            spent[name] += share * own
    total = sum(spent.values())
    return {name: own / total for name, own in sorted(spent.items(), key=lambda item: -item[1])}


def _room(file: str, root: Path) -> str | None:
    path = Path(file)
    if not path.is_absolute() or not path.is_relative_to(root):
        return None
    parts = path.relative_to(root).parts
    return "/".join(parts[:2]) if parts[0] == "bot" else parts[0]


def table(results: Sequence[Result]) -> str:
    """The results for people."""
    rows = [("", "value", "unit", "baseline", "ratio", "")]
    rows += [
        (
            result.name,
            _figure(result.value),
            result.unit,
            "" if result.baseline is None else _figure(result.baseline),
            "" if result.ratio is None else f"{result.ratio:.2f}",
            result.note,
        )
        for result in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for name, value, unit, baseline, ratio, note in rows:
        figures = f"{value:>{widths[1]}} {unit:<{widths[2]}}  {baseline:>{widths[3]}}  {ratio:>{widths[4]}}"
        lines.append(f"{name:<{widths[0]}}  {figures}  {note}".rstrip())
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
