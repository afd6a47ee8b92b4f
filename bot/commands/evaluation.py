"""``evaluate``: walk-forward evaluation of model and bot, on bars beside baselines or on generated markets."""

import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot import logs
from bot.commands.evaluate import Options
from bot.commands.history_store import history_path, opened
from bot.config import Config
from bot.errors import ConfigError, InputError
from bot.evaluation.bot_run import KeptKeys, ModelMaker, Protocol, TraderMaker
from bot.evaluation.examine import examine
from bot.evaluation.findings import BarsReport
from bot.evaluation.ground_truth import INTERVAL, SYMBOL, MarketReport, MarketStudy, study_markets
from bot.evaluation.report import bars_page, estimate_text, market_page
from bot.evaluation.trading_result import BaselineCosts
from bot.market import ALWAYS_OPEN, Bar, Calendar, FundingRate, Instrument, price_grid, utc_text
from bot.market.borrow import Borrow
from bot.model.memory.moments import MemoryConfig
from bot.model.similarity import SimilarityModel
from bot.sessions.assembly import build_trader, configuration_name, find_checkpoint, load_strategy
from bot.sessions.data_files import check_data, funding_of
from bot.sessions.known_funding import chosen_rates, funding_note
from bot.sources.instruments import read_given, settle_all
from bot.sources.sessions import calendar_for
from bot.store.database import Database
from bot.store.history.market import load_bars, load_rates, load_rules, market_of
from bot.store.runs.catalogue import INDEX_NAME
from bot.store.runs.schema import INDEX
from bot.store.runs.trials import EvaluatedBars, note_trial, tried
from bot.synthetic import PRESETS, SyntheticMarket
from bot.terminal.progress import Progress
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening

REPORT, FIGURES = "report.md", "report.json"

_BASIS_POINT = 1e-4
_QUICK_SCORED = 1_500


class Evaluated(Struct, frozen=True, kw_only=True):
    """``report.json``: the configuration in force, and what was found on bars or on generated markets.

    ``rules`` names the trading rules of each symbol and their source; empty for generated markets.
    """

    config: dict[str, object]
    seconds: float
    report: BarsReport | MarketReport
    rules: tuple[str, ...] = ()


async def run(options: Options, config: Config, strategies: Mapping[str, str]) -> int:
    """Evaluate, write the report's files, and say where they are."""
    logs.configure(config.log)
    began = time.monotonic()
    out = Path(options.out)
    note: Callable[[], Awaitable[None]] | None = None
    rules: tuple[str, ...] = ()
    if options.market is None:
        for option in ("seeds", "market_bars"):
            if getattr(options, option) is not None:
                raise ConfigError(f"--{option.replace('_', '-')} belongs to --market few, hard, none or base")
        name = ""
        on_bars, rules, note = await _on_bars(options, config, strategies)
        report: BarsReport | MarketReport = on_bars
        page = bars_page(on_bars)
    else:
        if options.data or options.funding or options.instrument:
            raise ConfigError("--market generates its bars; leave out --data, --funding and --instrument")
        name = f"market-{options.market}-"
        on_markets = _on_markets(options.market, options, config, strategies)
        report, page = on_markets, market_page(on_markets)
    seconds = round(time.monotonic() - began, 1)
    evaluated = Evaluated(
        config=json.loads(msgspec.json.encode(config)), seconds=seconds, report=report, rules=rules
    )
    encoded = msgspec.json.encode(evaluated)
    markdown, charts = page
    _write(out, {f"{name}{REPORT}": markdown, f"{name}{FIGURES}": encoded.decode(), **charts})
    if note is not None:
        # Last, so that a database that cannot be written does not take the report with it.
        await note()
    if options.json:
        print(encoded.decode())
    else:
        print(_told(report))
        for number, text in enumerate(rules):
            print(f"{'rules:' if not number else '':<7}{text}")
        print(f"report: {out / (name + REPORT)}, figures: {out / (name + FIGURES)} ({seconds:,.0f} s)")
    return 0


async def _on_bars(
    options: Options, config: Config, strategies: Mapping[str, str]
) -> tuple[BarsReport, tuple[str, ...], Callable[[], Awaitable[None]]]:
    """The report, by which rules the symbols were traded, and what writes down that this configuration was tried."""
    bars, stored, stored_rates, config = await _bars(options, config)
    given = funding_of(options.funding, config)
    rates = () if options.no_funding else chosen_rates(given, stored_rates, tuple(bars))
    risk, broker = config.risk, config.broker
    protocol = Protocol(quantile_trees=options.quantile_trees, odds=options.odds)
    judged = EvaluatedBars(
        symbols=tuple(bars),
        interval=config.run.interval,
        first_ms=min(_first_judged_ms(each, protocol) for each in bars.values()),
        last_ms=max(each[-1].start_ms for each in bars.values()),
    )
    index_path = config.runs_path / INDEX_NAME
    configuration = configuration_name(config, load_strategy(config, strategies))
    # A folder that may not be written to fails at once, and not at the end of the work.
    async with Database.open(index_path, kind=INDEX) as index, index.transaction():
        trials = len(await tried(index, judged) | {configuration})
    protocol = replace(protocol, trials=trials + options.trials)
    if options.quick:
        longest = max(map(len, bars.values()))
        protocol = replace(
            protocol,
            folds=2,
            sizes=protocol.sizes[:1],
            every=max(1, int(protocol.test_share * longest) // _QUICK_SCORED),
        )
    if options.every is not None:
        protocol = replace(protocol, every=options.every)
    funded = {rate.symbol for rate in rates}
    settled = settle_all(
        tuple(bars),
        config.run.category,
        given=read_given(options.instrument),
        stored=stored,
        grids={symbol: grid for symbol, each in bars.items() if (grid := price_grid(each)) is not None},
        fractional_shares=broker.fractional_shares,
    )
    calendar = calendar_for(
        config.run.calendar_name,
        config.run.interval,
        config.run.timezone,
        (bar.start_ms for each in bars.values() for bar in each),
    )
    # Without its rates, nothing is said of what is never charged.
    instruments = {
        symbol: one.rules if symbol in funded else replace(one.rules, funding_interval_minutes=0)
        for symbol, one in settled.items()
    }
    with Progress() as progress:
        report = examine(
            bars,
            protocol,
            make_model=_model_maker(config, calendar),
            make_trader=_trader_maker(config, strategies, instruments, calendar),
            memory=config.memory,
            horizon_bars=config.strategy.horizon_bars,
            costs=BaselineCosts(
                cost_per_turnover=float(broker.taker_fee)
                + float(broker.half_spread_bps + broker.slippage_bps) * _BASIS_POINT,
                position_fraction=float(risk.position_fraction),
            ),
            progress=progress,
            rates=rates,
            calendar=calendar,
            borrow=Borrow(broker.borrow_rate) if config.run.category == "equity" else None,
        )
    bot = report.trading[0]

    async def note() -> None:
        async with Database.open(index_path, kind=INDEX) as index:
            await note_trial(
                index,
                judged,
                created_ms=time.time_ns() // 1_000_000,
                command="evaluate",
                configuration=configuration,
                sharpe=None if bot.sharpe is None else bot.sharpe.value,
            )

    rules = tuple(one.text for one in settled.values())
    warnings = [*_seen(config, bars, protocol), *_uncharged(options, config, bars, protocol, rates)]
    return replace(report, warnings=warnings), rules, note


def _uncharged(
    options: Options,
    config: Config,
    bars: Mapping[str, Sequence[Bar]],
    protocol: Protocol,
    rates: Sequence[FundingRate],
) -> list[str]:
    """Sentences on the funding that what is earned leaves out."""
    spans = {symbol: (_first_judged_ms(each, protocol), each[-1].close_ms) for symbol, each in bars.items()}
    note = funding_note(config.run.category, rates, spans, left_out=options.no_funding)
    return [] if note is None else [text for _, text in note.lines()]


async def _bars(
    options: Options, config: Config
) -> tuple[dict[str, list[Bar]], dict[str, Instrument], Sequence[FundingRate], Config]:
    """The bars to judge, the rules and rates stored beside them, and the configuration that goes with them."""
    if options.data:
        files = check_data(options.data, options.symbol, options.interval, config)
        return files.bars(), {}, (), files.applied_to(config)
    run = config.run
    async with opened(history_path(options, config), config) as history:
        market = await market_of(history, run.category, run.symbols, run.interval, options.venue)
        bars = {
            symbol: [bar async for bar in load_bars(history, market, (symbol,), run.interval)]
            for symbol in sorted(run.symbols)
        }
        stored = await load_rules(history, market, run.symbols)
        rates = await load_rates(history, market, run.symbols)
    return bars, stored, rates, config


def _on_markets(market: str, options: Options, config: Config, strategies: Mapping[str, str]) -> MarketReport:
    horizon_bars = PRESETS[market].drift_bars
    config = replace(
        config,
        run=replace(config.run, symbols=(SYMBOL,), interval=INTERVAL),
        strategy=replace(config.strategy, horizon_bars=horizon_bars),
    )
    study = MarketStudy(
        market=market,
        seeds=_seeds(options.seeds or "11-18"),
        bars=options.market_bars or (20_000 if options.quick else 90_000),
        sizes=(2_000,) if options.quick else (2_000, 8_000, 32_000),
        trades=not options.quick,
    )

    def trader_of(market: SyntheticMarket) -> TraderMaker:
        return _trader_maker(config, strategies, {SYMBOL: market.instrument(SYMBOL)})

    def plain(memory: MemoryConfig) -> SimilarityModel:
        return SimilarityModel(
            replace(memory, key_share=1.0, calibration_bars=0), interval=INTERVAL, horizon_bars=horizon_bars
        )

    with Progress() as progress:
        return study_markets(
            study, (_model_maker(config), plain, trader_of), config.memory, horizon_bars, progress
        )


def _model_maker(config: Config, calendar: Calendar = ALWAYS_OPEN) -> ModelMaker:
    """Models of the configured encoder, which all share the keys that it has worked out."""
    checkpoint = find_checkpoint(config)
    encoder = None if checkpoint is None else KeptKeys(checkpoint.encoder)
    return lambda memory: SimilarityModel(
        memory,
        interval=config.run.interval,
        horizon_bars=config.strategy.horizon_bars,
        encoder=encoder,
        odds=None if checkpoint is None else checkpoint.odds,
        calendar=calendar,
    )


def _trader_maker(
    config: Config,
    strategies: Mapping[str, str],
    instruments: Mapping[str, Instrument],
    calendar: Calendar = ALWAYS_OPEN,
) -> TraderMaker:
    if not load_strategy(config, strategies).needs_memory:
        raise ConfigError(
            f"strategy.name: evaluate judges what a memory recalls, and {config.strategy.name} asks for none; "
            "backtest shows what it earns"
        )
    opening = Opening(
        ledger=Ledger(config.broker.starting_cash).snapshot(),
        open_orders=(),
        next_signal_id=1,
        next_order_id=1,
        next_fill_id=1,
    )
    return lambda: build_trader(
        config, load_strategy(config, strategies), instruments, opening, quotes=False, calendar=calendar
    )


def _first_judged_ms(bars: Sequence[Bar], protocol: Protocol) -> int:
    """Start of the first of a symbol's bars that is forecast."""
    return bars[-max(1, int(protocol.test_share * len(bars)))].start_ms


def _seen(config: Config, bars: Mapping[str, list[Bar]], protocol: Protocol) -> list[str]:
    """Sentences on bars to be forecast that the checkpoint was trained or validated on."""
    checkpoint = find_checkpoint(config)
    sentences = []
    known = () if checkpoint is None else (*checkpoint.card.trained_on, *checkpoint.card.validated_on)
    for symbol, each in bars.items():
        test_ms = _first_judged_ms(each, protocol)
        seen_ms = [
            part.last_start_ms
            for part in known
            if (part.symbol, part.interval) == (symbol, each[0].interval)
            and part.last_start_ms >= test_ms
            and part.first_start_ms <= each[-1].start_ms
        ]
        if seen_ms:
            sentences.append(
                f"the encoder has seen the shapes of {symbol} bars until {utc_text(max(seen_ms))}, though no "
                "outcome; train one on earlier bars (train --to) to be sure"
            )
    if checkpoint is not None and checkpoint.card.odds is not None:
        last_ms = checkpoint.card.odds.learned_until_ms
        first_ms = min(_first_judged_ms(each, protocol) for each in bars.values())
        if last_ms >= first_ms:
            sentences.append(
                f"the bot's own odds have learned from outcomes until {utc_text(last_ms)}: until then its "
                "forecasts and trades know of what came; train odds on earlier bars (train --odds-only, --to) "
                "to be sure. The rows of --odds are fitted anew each fold and know nothing of it"
            )
    return sentences


def _seeds(text: str) -> tuple[int, ...]:
    """``11-18`` or ``11,13`` as numbers."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise ConfigError(f"--seeds {text}: seeds are written 11-18 or 11,12,15")
        seeds += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(dict.fromkeys(seeds))


def _write(folder: Path, files: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}") from error


def _told(report: BarsReport | MarketReport) -> str:
    """The outcome in a few lines."""
    if isinstance(report, MarketReport):
        lines = [
            f"{each.method:<34}{estimate_text(each.all):<17}novel {each.novel.value:+.3f}   "
            f"{report.share_of_ceiling[each.method]:.2f} of the ceiling"
            for each in report.across
        ]
        return "\n".join(lines)
    lines = [
        f"{each.symbol} {each.method:<34}{each.ic.value:+.3f} [{each.ic.low:+.3f}, {each.ic.high:+.3f}]"
        for each in report.skill
        if each.horizon_bars == report.horizon_bars
    ]
    bot = report.trading[0]
    lines += [f"note: {warning}" for warning in report.warnings]
    lines.append(f"IC {report.horizon_bars} bars ahead; the bot's net return {bot.net_return:+.2%}")
    return "\n".join(lines)
