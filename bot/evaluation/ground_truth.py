"""The bot on generated markets, whose truth is known: its skill as a share of what could be had."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from bot.evaluation.bot_run import (
    ModelMaker,
    RecallTable,
    TraderMaker,
    permutations,
    recall_at,
    run_bot,
    stack_tables,
)
from bot.evaluation.metrics import calibrated_error_limit, calibration_error, correlation
from bot.evaluation.oracles import Triggers, precision, retrieval_ceiling, triggers_of
from bot.evaluation.trading_result import TradingResult, bot_result
from bot.model.feature_table import feature_table
from bot.model.memory.moments import MemoryConfig
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.performance import Estimate

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

SYMBOL, INTERVAL = "BTCUSDT", "15"


class MarketStudy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which markets are generated and how long they are.

    The last 30 % of ``bars`` are judged; there novel motifs appear. ``sizes`` are memory sizes beside the
    whole one. ``trades`` False skips the run of the whole bot: only recall is judged then.
    """

    market: str
    seeds: Annotated[tuple[int, ...], Meta(min_length=1)]
    bars: Annotated[int, Meta(ge=2000)] = 90_000
    sizes: tuple[Annotated[int, Meta(ge=1)], ...] = (2_000, 8_000, 32_000)
    trades: bool = True


class Score(Struct, frozen=True, kw_only=True):
    """One method's correlation with the realized outcome at trigger bars, by kind of motif.

    ``direction`` is the correlation with the direction that belongs to the motif: sharper, free of the
    outcome's own noise. NaN where it does not vary.
    """

    all: float
    known: float
    novel: float
    direction: float


class SeedResult(Struct, frozen=True, kw_only=True):
    """One market: scores by method, the precision of its neighbors, and what the whole bot did on it."""

    seed: int
    triggers: int
    scores: dict[str, Score]
    precision: dict[str, float]
    sizes: dict[int, float]
    signalled: float | None = None
    hit_rate: float | None = None
    stated: float | None = None
    calibration_error: float | None = None
    calibrated_limit: float | None = None
    trading: TradingResult | None = field(name="earnings", default=None)


class Across(Struct, frozen=True, kw_only=True):
    """One method over all seeds: means with standard errors."""

    method: str
    all: Estimate
    known: Estimate
    novel: Estimate
    direction: Estimate


class Paired(Struct, frozen=True, kw_only=True):
    """One method minus another, market by market, and in how many the first was better."""

    method: str
    baseline: str = field(name="rival")
    all: Estimate
    known: Estimate
    novel: Estimate
    won: int


class MarketReport(Struct, frozen=True, kw_only=True):
    """A study's outcome. Shares are ratios of means over seeds."""

    study: MarketStudy
    seeds: list[SeedResult]
    across: list[Across]
    paired: list[Paired]
    share_of_ceiling: dict[str, float]
    sizes: dict[int, Estimate]
    notes: list[str]


ORACLE, CEILING = "oracle: knows which motif ended", "retrieval ceiling"
MEMORY, FORECAST = "memory, online", "forecast, online"
FROZEN, SHUFFLED = "memory, frozen", "memory, shuffled outcomes"
_PARTS = ("all", "known", "novel", "direction")
PLAIN, PLAIN_FROZEN = "plain windows, online", "plain windows, frozen"


def study_markets(
    study: MarketStudy,
    makers: tuple[ModelMaker, ModelMaker, Callable[[SyntheticMarket], TraderMaker]],
    memory: MemoryConfig,
    horizon_bars: int,
    progress: Progress,
) -> MarketReport:
    """Judge the bot on each seed's market.

    ``makers`` make the bot's model, one of plain windows, and a market's trader. Outcomes are log returns
    over ``horizon_bars`` in units of the volatility expected of them.
    """
    results = []
    for i, seed in enumerate(study.seeds):
        progress(f"market {study.market}", i, len(study.seeds))
        results.append(_judge(study, seed, makers, memory, horizon_bars))
    progress(f"market {study.market}", len(study.seeds), len(study.seeds))
    methods = list(results[0].scores)
    across = [
        Across(
            method=method,
            **{part: _over([getattr(result.scores[method], part) for result in results]) for part in _PARTS},
        )
        for method in methods
    ]
    ceiling = next(each for each in across if each.method == CEILING).all.value
    return MarketReport(
        study=study,
        seeds=results,
        across=across,
        paired=[
            _paired(results, *pair)
            for pair in (
                (MEMORY, PLAIN),
                (FORECAST, PLAIN),
                (MEMORY, FROZEN),
                (PLAIN, PLAIN_FROZEN),
            )
        ],
        share_of_ceiling={each.method: each.all.value / ceiling for each in across},
        sizes={size: _over([result.sizes[size] for result in results]) for size in results[0].sizes},
        notes=[] if len(study.seeds) > 1 else ["One market alone has no standard error."],
    )


def _judge(
    study: MarketStudy,
    seed: int,
    makers: tuple[ModelMaker, ModelMaker, Callable[[SyntheticMarket], TraderMaker]],
    memory: MemoryConfig,
    horizon_bars: int,
) -> SeedResult:
    make_model, make_plain, make_trader = makers
    n = study.bars
    first = int(0.7 * n)
    spec = replace(PRESETS[study.market], novel_from=first, flip_from=int(0.85 * n))
    market = SyntheticMarket(spec, seed, INTERVAL)
    bars, truth = market.bars(SYMBOL, 0, n), market.truth(SYMBOL, 0, n)
    table = feature_table(bars)
    stacked = stack_tables([table])
    outcome = table.outcome(horizon_bars)
    everywhere = triggers_of(truth)
    ceiling = retrieval_ceiling(everywhere, outcome, horizon_bars)
    judged = (everywhere.rows >= first) & np.isfinite(outcome[everywhere.rows])
    triggers, ceiling = everywhere.of(judged), ceiling[judged]

    def recall(make: ModelMaker, size: int, *, frozen: bool = False, calibrated: bool = False) -> RecallTable:
        # A vote needs no calibration, and without one nothing is recalled on the way.
        calibration_bars = memory.calibration_bars if calibrated else 0
        return recall_at(
            make(replace(memory, size=size, calibration_bars=calibration_bars)),
            bars,
            stacked,
            triggers.rows,
            frozen_from_ms=market.start_ms(first) if frozen else None,
        )

    whole = max(memory.size, n)
    online, frozen = recall(make_model, whole, calibrated=True), recall(make_model, whole, frozen=True)
    plain, plain_frozen = recall(make_plain, whole), recall(make_plain, whole, frozen=True)
    novel = triggers.is_novel(spec)

    def score(forecast: Floats) -> Score:
        return _score(forecast, triggers, outcome[triggers.rows], novel)

    scores = {
        ORACLE: score(triggers.direction),
        CEILING: score(ceiling),
        MEMORY: score(_filled(online, online.vote(outcome), triggers)),
        FORECAST: score(_filled(online, online.expected / table.scale(horizon_bars)[online.rows], triggers)),
        FROZEN: score(_filled(frozen, frozen.vote(outcome), triggers)),
        SHUFFLED: _mean_score(
            [
                score(_filled(online, online.vote(permuted), triggers))
                for permuted in permutations(outcome, seed)
            ]
        ),
        PLAIN: score(_filled(plain, plain.vote(outcome), triggers)),
        PLAIN_FROZEN: score(_filled(plain_frozen, plain_frozen.vote(outcome), triggers)),
    }
    sizes = {}
    for size in (*(size for size in study.sizes if size < n), whole):
        recalls = online if size == whole else recall(make_model, size)
        sizes[min(size, n)] = score(_filled(recalls, recalls.vote(outcome), triggers)).all
    result = SeedResult(
        seed=seed,
        triggers=len(triggers.rows),
        scores=scores,
        precision={
            name: float(precision(recalls.neighbors, _motifs_of(recalls, triggers), truth).mean())
            for name, recalls in ((MEMORY, online), (PLAIN, plain))
            if len(recalls.rows)
        },
        sizes=sizes,
    )
    if not study.trades:
        return result
    since_ms = market.start_ms(first)
    run = run_bot(make_trader(market)(), bars, stacked, lambda bar: bar.start_ms >= since_ms)
    apart = run.recalls.at(np.arange(first, n, horizon_bars))
    rose = (outcome[apart.rows] > 0).astype(np.float64)
    known = np.isfinite(outcome[apart.rows])
    right = [side * outcome[row] > 0 for row, _, side in run.claims if np.isfinite(outcome[row])]
    return replace(
        result,
        signalled=run.signalled / run.decided,
        hit_rate=float(np.mean(right)) if right else None,
        stated=float(np.mean([confidence for _, confidence, _ in run.claims])) if run.claims else None,
        calibration_error=calibration_error(apart.rise_probability[known], rose[known]),
        calibrated_limit=calibrated_error_limit(apart.rise_probability[known]),
        trading=bot_result(run.equity, run.fills, run.held, np.arange(first, n), trials=1, trips=run.trips),
    )


def _mean_score(scores: Sequence[Score]) -> Score:
    return Score(**{part: float(np.mean([getattr(each, part) for each in scores])) for part in _PARTS})


def _filled(recalls: RecallTable, forecast: Floats, triggers: Triggers) -> Floats:
    """One forecast a trigger; 0 where nothing was recalled."""
    result = np.zeros(len(triggers.rows))
    result[np.searchsorted(triggers.rows, recalls.rows)] = forecast
    return result


def _motifs_of(recalls: RecallTable, triggers: Triggers) -> NDArray[np.int64]:
    return triggers.motif[np.searchsorted(triggers.rows, recalls.rows)]


def _score(forecast: Floats, triggers: Triggers, outcome: Floats, novel: NDArray[np.bool_]) -> Score:
    return Score(
        all=correlation(forecast, outcome),
        known=correlation(forecast[~novel], outcome[~novel]),
        novel=correlation(forecast[novel], outcome[novel]),
        direction=correlation(forecast, triggers.direction),
    )


def _over(values: Sequence[float]) -> Estimate:
    """Mean over seeds with its standard error; markets without a value are left out."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return Estimate(value=math.nan, standard_error=math.nan)
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
    return Estimate(value=float(known.mean()), standard_error=error)


def _paired(results: Sequence[SeedResult], method: str, baseline: str) -> Paired:
    parts = {
        part: [
            getattr(result.scores[method], part) - getattr(result.scores[baseline], part)
            for result in results
        ]
        for part in ("all", "known", "novel")
    }
    return Paired(
        method=method,
        baseline=baseline,
        won=sum(gain > 0 for gain in parts["all"]),
        **{part: _over(gains) for part, gains in parts.items()},
    )
