"""``train``: an encoder and odds from stored bars or files, written as a checkpoint folder."""

import importlib.metadata
import importlib.util
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot import __version__, logs
from bot.commands.history_store import history_path, opened
from bot.commands.train import Options
from bot.config import Config
from bot.errors import ConfigError, InputError
from bot.market import Bar, Calendar
from bot.model.feature_table import feature_table
from bot.model.features import RECEPTIVE_BARS, STATE_FEATURES
from bot.model.network.encoder import Network, WindowNetwork
from bot.model.network.streaming import StreamingTransformer
from bot.model.odds import OddsNetwork
from bot.model.training.material import (
    VALIDATION_FRACTION,
    Material,
    OddsRows,
    material_before,
    merged,
    split_material,
)
from bot.model.training.views import ContiguousReturns, ShapeConfig, ValidationPoint, contiguous_returns
from bot.sessions.data_files import check_data
from bot.sources.sessions import calendar_for
from bot.store.bars import load_starts
from bot.store.checkpoints.card import BarRange, Card, OddsCard
from bot.store.checkpoints.folder import REPORT, load_checkpoint, prepare_folder, save_checkpoint
from bot.store.history.market import load_bars, market_of
from bot.terminal.progress import Progress

if TYPE_CHECKING:
    from bot.model.training.pairs import ShapeSampler

NETWORKS: dict[str, Network] = {"window": WindowNetwork(), "transformer": StreamingTransformer()}
"""What ``--network`` may name."""

ODDS = OddsNetwork(inputs=len(STATE_FEATURES))


class Result(Struct, frozen=True, kw_only=True):
    """What ``train --json`` prints.

    ``best`` is the validation whose weights were kept, ``odds`` a row a horizon of what head,
    memory and both came to on unseen bars; empty where there were too few bars for odds.
    """

    folder: str
    weights_sha256: str
    steps: int
    best: ValidationPoint
    odds: tuple[dict[str, int | float | bool], ...]
    seconds: float


async def run(options: Options, config: Config) -> int:
    """Train, write the folder, and say how well unseen shapes are recognised and unseen odds are told."""
    logs.configure(config.log)
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("train needs torch, which is not installed; make setup-dev installs it")

    shapes = ShapeConfig(simulated=options.simulated)
    folder = Path(options.out)
    began = time.monotonic()
    with Progress() as progress:
        kept = None if options.odds_only is None else load_checkpoint(Path(options.odds_only))
        material = Material()
        if kept is not None or shapes.simulated < 1.0:
            material = await _material(options, config, progress)
        prepare_folder(folder)
        if kept is not None:
            card, weights = kept.card, kept.weights
        else:
            card, weights = _encoder(options, material, shapes, progress)
        odds, missing = _odds(options, material, progress)
    if odds is None and kept is not None:
        raise InputError(missing)
    trained, described = odds or (None, None)
    card = save_checkpoint(folder, weights, msgspec.structs.replace(card, odds=described), trained)
    seconds = round(time.monotonic() - began, 1)
    if options.json:
        result = Result(
            folder=str(folder),
            weights_sha256=card.weights_sha256,
            steps=card.steps,
            best=card.best,
            odds=() if card.odds is None else card.odds.unseen,
            seconds=seconds,
        )
        print(msgspec.json.encode(result).decode())
    else:
        print(_told(card, missing, seconds))
        print(f'Use it: checkpoint = "{folder}" under [model]. How it went: {folder / REPORT}')
    return 0


def _told(card: Card, missing: str, seconds: float) -> str:
    lines = [
        f"{card.summary()}: {card.best.top1_accuracy:.1%} of unseen shapes found their twin after "
        f"{card.best.step} steps ({seconds:,.0f} s)"
    ]
    for row in () if card.odds is None else card.odds.unseen:
        lines.append(
            f"odds {row['horizon_bars']} bars ahead, CRPS on unseen bars: head {row['head']:.4f}, "
            f"memory {row['recall']:.4f}, both {row['blend']:.4f}"
        )
    if missing:
        lines.append(f"without odds: {missing}")
    return "\n".join(lines)


def _encoder(
    options: Options, material: Material, shapes: ShapeConfig, progress: Progress
) -> tuple[Card, Mapping[str, NDArray[np.float32]]]:
    """A trained encoder's weights, and the card that describes it."""
    # No other command needs torch, which takes seconds to load.
    from bot.model.training.encoder import TrainingConfig, train

    settings = TrainingConfig(
        seed=options.seed, steps=options.steps, pairs=options.pairs, negatives=options.pairs
    )
    trained = train(
        network := NETWORKS[options.network],
        _sampler(material.training, shapes),
        _sampler(material.validation, shapes),
        config=settings,
        shapes=shapes,
        on_step=lambda done, total: progress("training", done, total),
    )
    card = Card(
        network=network,
        trained_on=_ranges(material.training, material),
        validated_on=_ranges(material.validation, material),
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
    )
    return card, trained.weights


def _odds(
    options: Options, material: Material, progress: Progress
) -> tuple[tuple[Mapping[str, NDArray[np.float32]], OddsCard] | None, str]:
    """Trained odds and what describes them; or none, and why."""
    from bot.model.training.forecaster import OddsTrainingConfig, train_odds

    if not material.moments:
        return None, "there are no bars to learn them from"
    settings = OddsTrainingConfig(seed=options.seed, steps=options.odds_steps)
    try:
        trained = train_odds(
            ODDS,
            merged([*material.moments.values()]),
            config=settings,
            on_step=lambda done, total: progress("odds", done, total),
        )
    except ValueError as error:
        return None, str(error)
    starts = {symbol: moments.start_ms for symbol, moments in material.moments.items()}
    described = OddsCard(
        network=ODDS,
        trained_on=_moment_ranges(starts, material, 0, trained.train_end_ms),
        validated_on=_moment_ranges(starts, material, trained.validation_start_ms, sys.maxsize),
        training=msgspec.to_builtins(settings),
        history=tuple(msgspec.to_builtins(look) for look in trained.history),
        unseen=tuple(
            {"horizon_bars": h, **msgspec.to_builtins(each)} for h, each in trained.validation.items()
        ),
    )
    return (trained.weights, described), ""


def _moment_ranges(
    starts: dict[str, NDArray[np.int64]], material: Material, since_ms: int, until_ms: int
) -> tuple[BarRange, ...]:
    within = {
        symbol: each[(each >= since_ms) & (each < until_ms)].tolist() for symbol, each in starts.items()
    }
    return tuple(
        BarRange(
            symbol=symbol,
            interval=material.interval,
            bars=len(each),
            first_start_ms=material.calendar.start_ms(each[0]),
            last_start_ms=material.calendar.start_ms(each[-1]),
        )
        for symbol, each in within.items()
        if each
    )


async def _material(options: Options, config: Config, progress: Progress) -> Material:
    """What is seen of the bars asked for, split in time; InputError where they are too few."""
    returns: dict[str, list[ContiguousReturns]] = {}
    moments: dict[str, OddsRows] = {}

    def calendar_over(starts: Iterable[int]) -> Calendar:
        return calendar_for(config.run.calendar_name, interval, config.run.timezone, starts)

    def see(symbol: str, bars: list[Bar]) -> None:
        returns[symbol] = contiguous_returns(bars, calendar)
        if bars and len(seen := material_before(feature_table(bars, calendar), len(bars), ODDS.horizons)):
            moments[symbol] = seen

    if options.data:
        files = check_data(options.data, options.symbol, options.interval, config)
        interval = files.interval
        calendar = calendar_over(files.starts())
        for done, (symbol, file) in enumerate(files.by_symbol.items(), start=1):
            see(symbol, [bar for bar in file if _asked_for(bar, options)])
            progress("bars", done, len(files.by_symbol))
        where = "--data"
    else:
        interval, symbols = config.run.interval, config.run.symbols
        path = history_path(options, config)
        async with opened(path, config) as history:
            market = await market_of(history, config.run.category, symbols, interval, options.venue)
            starts = [await load_starts(history, symbol, interval, market.scope) for symbol in symbols]
            calendar = calendar_over(chain.from_iterable(starts))
            for done, symbol in enumerate(symbols, start=1):
                stored = load_bars(
                    history, market, (symbol,), interval, since_ms=options.since, until_ms=options.until
                )
                see(symbol, [bar async for bar in stored])
                progress("bars", done, len(symbols))
        where = f"{path}, {', '.join(symbols)} {interval}"
    material = split_material(returns, moments, interval, calendar)
    for part in (material.training, material.validation):
        if not part:
            raise InputError(
                f"{where}: too few unbroken bars; a key sees none of the first {RECEPTIVE_BARS} after a gap, "
                f"and the last {VALIDATION_FRACTION:.0%} are kept for validation"
            )
    return material


def _asked_for(bar: Bar, options: Options) -> bool:
    return (options.since is None or bar.start_ms >= options.since) and (
        options.until is None or bar.start_ms < options.until
    )


def _sampler(
    returns: Mapping[str, Sequence[ContiguousReturns]], shapes: ShapeConfig
) -> "ShapeSampler | None":
    # Behind it stands torch, which takes seconds to load.
    from bot.model.training.pairs import ShapeSampler

    return ShapeSampler(list(chain.from_iterable(returns.values())), shapes) if returns else None


def _ranges(returns: Mapping[str, Sequence[ContiguousReturns]], material: Material) -> tuple[BarRange, ...]:
    return tuple(
        BarRange(
            symbol=symbol,
            interval=material.interval,
            bars=sum(map(len, each)),
            first_start_ms=material.calendar.start_ms(int(each[0].start_ms[0])),
            last_start_ms=material.calendar.start_ms(int(each[-1].start_ms[-1])),
        )
        for symbol, each in returns.items()
    )
