"""``train``: an encoder from stored bars or files, written as a checkpoint folder."""

import argparse
import importlib.metadata
import importlib.util
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from bot import __version__, logs
from bot.commands.data_files import check_data
from bot.commands.progress import Progress
from bot.config import Config
from bot.errors import ConfigError, InputError
from bot.market import INTERVAL_MS, Bar
from bot.model.encoder import Network, StreamingTransformer, WindowNetwork
from bot.model.features import RECEPTIVE_BARS
from bot.model.views import Cuttings, Look, Run, ShapeConfig, scaled_runs
from bot.store import bars as bar_store
from bot.store.checkpoints import REPORT, BarRange, Card, prepare_folder, save_checkpoint
from bot.store.database import Database

NETWORKS: dict[str, Network] = {"window": WindowNetwork(), "transformer": StreamingTransformer()}
"""What ``--network`` may name."""

_UNSEEN_SHARE = 0.15


class Result(Struct, frozen=True, kw_only=True):
    """What ``train --json`` prints. ``best`` is the look at unseen shapes whose weights were kept."""

    folder: str
    weights_sha256: str
    steps: int
    best: Look
    seconds: float


class _Material(Struct, frozen=True, kw_only=True):
    """What keys see of the bars, by symbol: the runs to train on, and later ones to validate on."""

    interval: str
    training: dict[str, list[Run]]
    validation: dict[str, list[Run]]


async def run(args: argparse.Namespace, config: Config) -> int:
    """Cut shapes, train, write the folder, and say how well unseen shapes are recognised."""
    logs.configure(config.log)
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("train needs torch, which is not installed; make setup installs it")
    # No other command needs torch, which takes seconds to load.
    from bot.model import training

    shapes = ShapeConfig(simulated=args.simulated)
    settings = training.TrainingConfig(seed=args.seed, steps=args.steps)
    network, folder = NETWORKS[args.network], Path(args.out)
    began = time.monotonic()
    with Progress() as progress:
        material = _Material(interval="", training={}, validation={})
        if shapes.simulated < 1.0:
            material = await _material(args, config, progress)
        prepare_folder(folder)
        trained = training.train(
            network,
            _cuttings(material.training, shapes),
            _cuttings(material.validation, shapes),
            config=settings,
            shapes=shapes,
            on_step=lambda done, total: progress("training", done, total),
        )
    card = save_checkpoint(
        folder,
        trained.weights,
        Card(
            network=network,
            trained_on=_ranges(material.training, material.interval),
            validated_on=_ranges(material.validation, material.interval),
            shapes=shapes,
            training=msgspec.to_builtins(settings),
            steps=trained.steps,
            best=trained.best,
            history=trained.history,
            made_with={
                "bot": __version__,
                "torch": importlib.metadata.version("torch"),
                "numpy": importlib.metadata.version("numpy"),
                "device": trained.device,
            },
        ),
    )
    seconds = round(time.monotonic() - began, 1)
    if args.json:
        result = Result(
            folder=str(folder),
            weights_sha256=card.weights_sha256,
            steps=card.steps,
            best=card.best,
            seconds=seconds,
        )
        print(msgspec.json.encode(result).decode())
    else:
        print(
            f"{card.summary()}: of {settings.pairs} unseen shapes {card.best.found:.1%} found their twin "
            f"after {card.best.step} steps ({seconds:,.0f} s)"
        )
        print(f'Use it: checkpoint = "{folder}" under [model]. How it went: {folder / REPORT}')
    return 0


async def _material(args: argparse.Namespace, config: Config, progress: Progress) -> _Material:
    """Runs of the bars asked for, split in time; InputError where they are too few."""
    if args.data:
        files = check_data(args.data, args.symbol, args.interval)
        interval, runs = files.interval, {}
        for done, (symbol, file) in enumerate(files.by_symbol.items(), start=1):
            runs[symbol] = scaled_runs(bar for bar in file if _asked_for(bar, args))
            progress("bars", done, len(files.by_symbol))
        where = "--data"
    else:
        interval, symbols = config.run.interval, config.run.symbols
        path = config.database_path("backtest")
        if not path.exists():
            raise InputError(
                f"{path} does not exist: fetch or import bars, name files with --data, "
                "or train on simulated shapes alone with --simulated 1"
            )
        runs = {}
        async with Database.open(path, readonly=True) as database:
            for done, symbol in enumerate(symbols, start=1):
                stored = bar_store.load_bars(
                    database, (symbol,), interval, since_ms=args.since, until_ms=args.until
                )
                runs[symbol] = scaled_runs([bar async for bar in stored])
                progress("bars", done, len(symbols))
        where = f"{path}, {', '.join(symbols)} {interval}"
    material = _split(runs, interval)
    for part in (material.training, material.validation):
        if not part:
            raise InputError(
                f"{where}: too few unbroken bars; a key sees none of the first {RECEPTIVE_BARS} after a gap, "
                f"and the last {_UNSEEN_SHARE:.0%} are kept for validation"
            )
    return material


def _asked_for(bar: Bar, args: argparse.Namespace) -> bool:
    return (args.since is None or bar.start_ms >= args.since) and (
        args.until is None or bar.start_ms < args.until
    )


def _split(runs: dict[str, list[Run]], interval: str) -> _Material:
    """All symbols at one moment; what follows it within a key's reach is on neither side."""
    starts = [run.start_ms[place] for each in runs.values() for run in each for place in (0, -1)]
    first, last = min(starts, default=0), max(starts, default=0)
    cut_ms = int(last - _UNSEEN_SHARE * (last - first))
    resumed_ms = cut_ms + RECEPTIVE_BARS * INTERVAL_MS[interval]
    return _Material(
        interval=interval,
        training=_within(runs, 0, cut_ms),
        validation=_within(runs, resumed_ms, int(last) + 1),
    )


def _within(runs: dict[str, list[Run]], since_ms: int, until_ms: int) -> dict[str, list[Run]]:
    """The runs' parts between two starts, as far as a shape can be cut from them."""
    shortest = ShapeConfig().longest
    parts = {
        symbol: [part for run in each if len(part := run.within(since_ms, until_ms)) >= shortest]
        for symbol, each in runs.items()
    }
    return {symbol: part for symbol, part in parts.items() if part}


def _cuttings(runs: dict[str, list[Run]], shapes: ShapeConfig) -> Cuttings | None:
    return Cuttings([run for each in runs.values() for run in each], shapes) if runs else None


def _ranges(runs: dict[str, list[Run]], interval: str) -> tuple[BarRange, ...]:
    return tuple(
        BarRange(
            symbol=symbol,
            interval=interval,
            bars=sum(map(len, each)),
            first_start_ms=int(each[0].start_ms[0]),
            last_start_ms=int(each[-1].start_ms[-1]),
        )
        for symbol, each in runs.items()
    )
