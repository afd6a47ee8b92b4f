"""An account's life in this process: sessions as the live command runs them, but for the exchange."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
from msgspec.structs import replace

from bot.config import Config
from bot.market import INTERVAL_MS, Bar, Funding, Quote
from bot.sessions import loop, warm_up
from bot.sessions.assembly import load_strategy, opening_of
from bot.store.account.state import load_account
from bot.store.account.steps import StepWriter, begin_session, end_session, save_instruments
from bot.store.database import Database, Identity
from bot.store.provenance import strategy_path
from bot.store.recording.entries import Observed
from bot.store.recording.header import Header
from bot.store.recording.recorder import Recorder, record
from bot.synthetic import PRESETS, SyntheticMarket
from bot.trading.events import Input
from tests.core import a_config, a_trader, merged
from tests.eager import ALLOWED
from tests.factories import an_instrument

MARKET = SyntheticMarket(PRESETS["demo"], 11, "15")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
STEP = INTERVAL_MS["15"]
FUNDING_MS = 8 * 3_600_000
DEMO = Identity(mode="demo", category="linear", starting_cash=Decimal(10_000))


def feed(first: int, count: int, symbols: Sequence[str] = SYMBOLS) -> list[Bar | Quote | Funding]:
    """Bars as they close, and after each a quote that fills what was ordered, and funding when it is due."""
    events: list[Bar | Quote | Funding] = []
    for bar in merged(*(MARKET.bars(symbol, first, count) for symbol in symbols)):
        events.append(bar)
        if bar.symbol == symbols[-1]:
            for symbol in symbols:
                index = MARKET.index_of(bar.start_ms)
                close = MARKET.bars(symbol, index, 1)[0].close
                bid, ask, size = close, close + Decimal("0.5"), Decimal(9)
                at = bar.close_ms + 2_000
                events.append(
                    Quote(symbol=symbol, time_ms=at, bid=bid, bid_size=size, ask=ask, ask_size=size)
                )
                if bar.close_ms % FUNDING_MS == 0:
                    rate = Decimal("0.000125")
                    events.append(Funding(symbol=symbol, time_ms=bar.close_ms, rate=rate, mark_price=close))
    return events


def settings(strategy: str, memory_size: int = 100_000, **sections: dict) -> Config:
    # Which quote came last before a restart is not known after it, so its age may not matter here.
    risk = {"max_quote_age_bars": 0, **sections.pop("risk", {})}
    config = a_config(memory={"size": memory_size}, risk=risk, **sections)
    return replace(config, strategy=replace(config.strategy, name=strategy))


async def session(
    path: Path,
    config: Config,
    events: Sequence[Input],
    *,
    recordings: Path | None = None,
    ends: str | None = None,
) -> Path | None:
    """One session on the account at ``path``; its recording, where it has one.

    Without ``ends`` nobody writes down that it has ended, as if the process had been killed.
    """
    async with Database.open(path, DEMO) as database:
        account = await load_account(database)
        strategy = load_strategy(config, ALLOWED)
        opening = opening_of(account)
        trader = a_trader(config, strategy, quotes=True, opening=opening)
        config_json = msgspec.json.encode(config).decode()
        instruments = tuple(an_instrument(symbol, tick_size="0.01") for symbol in config.run.symbols)
        await save_instruments(database, instruments)
        id = await begin_session(database, "demo", config_json, 1, start=account.equity)
        if recordings is None:
            await _lived(database, id, config, trader, account, events, None)
            recorded = None
        else:
            header = Header(
                session_id=id, started_ms=1, mode="demo", category="linear", config_json=config_json,
                checkpoint_sha256=None, strategy=strategy_path(strategy), made_with={}, instruments=instruments,
                opening=opening, equity=account.worth,
            )  # fmt: skip
            async with record(recordings, header) as recorder:
                await _lived(database, id, config, trader, account, events, recorder)
            recorded = recorder.path
        if ends is not None:
            await end_session(database, id, 2, ends)
    return recorded


async def _lived(database, id, config, trader, account, events, recorder: Recorder | None) -> None:
    steps = StepWriter(database, id, before_commit=None if recorder is None else recorder.commit)
    wanted = warm_up.Wanted(
        symbols=config.run.symbols,
        interval="15",
        bars=config.memory.warmup_bars,
        memory_size=config.memory.size,
        horizon_bars=config.strategy.horizon_bars,
        calibration_bars=config.memory.calibration_bars,
    )
    if not account.progress:
        first = min(event.start_ms for event in events if isinstance(event, Bar))
        index = MARKET.index_of(first)
        for symbol in config.run.symbols:
            bars = MARKET.bars(symbol, index - config.memory.warmup_bars, config.memory.warmup_bars)
            await steps.insert_history([replace(bar, source="history") for bar in bars])

    def observe(bars, first_query_ms) -> None:
        for bar in bars if recorder is not None else ():
            recorder.note(Observed(bar))
        trader.observe_all(bars, first_query_ms)

    await warm_up.observe(observe, database, wanted, lambda *_: None)

    async def source():
        for event in events:
            yield event

    told = source() if recorder is None else recorder.tap(source())
    await loop.run(told, trader, steps, lambda _: None)


def after_a_bar(events: Sequence[Input], bars: int) -> int:
    """Where to cut: right after the decisions of the ``bars``-th close, before any quote."""
    return 2 + next(
        index
        for index, event in enumerate(events)
        if isinstance(event, Bar) and event.start_ms >= events[0].start_ms + (bars - 1) * STEP
    )
