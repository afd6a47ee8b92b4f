"""Live sessions: testnet, mainnet and the demo. One way up, one loop, one way down."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal

import msgspec
import structlog
from msgspec.structs import replace

from bot import logs, program, standard_streams
from bot.commands.live import Options
from bot.commands.stopping import Stop, UnawaitedThreads
from bot.config import Config, Mode
from bot.errors import ConfigError, DatabaseLocked
from bot.exchange.config import HOSTS
from bot.exchange.proxy import chosen
from bot.exchange.rest import BybitRest
from bot.exchange.stream import MarketStream
from bot.market import Bar, plain, utc_text
from bot.sessions import loop, warm_up
from bot.sessions.assembly import (
    build_trader,
    find_checkpoint,
    learned_until_ms,
    load_strategy,
    look_backs,
    search_engine,
)
from bot.sessions.data_files import check_data
from bot.sessions.embedded import embedded_exchange
from bot.sessions.joining import Joining
from bot.sessions.session import SessionCounter, hindsight, with_decisions
from bot.sessions.taken_up import take_up
from bot.sessions.watching import WatchList, watch_list
from bot.sources.instruments import read_given
from bot.store.account.requests import ChangeSymbols, Inbox
from bot.store.account.state import AccountState
from bot.store.account.steps import StepWriter, begin_session, end_session, name_recording, save_instruments
from bot.store.account.unbegun import discard_unbegun
from bot.store.account.watching import keep_watched
from bot.store.database import Database, Identity
from bot.store.patience import Patience
from bot.store.provenance import made_with, strategy_path
from bot.store.recording.entries import Observed
from bot.store.recording.header import Header
from bot.store.recording.recorder import Recorder, record
from bot.strategy import Strategy, declared_checks
from bot.terminal.progress import Progress
from bot.terminal.step_lines import StepLines
from bot.terminal.summary import print_summary
from bot.trader import Trader
from bot.trading.events import Step
from bot.trading.opening import Opening

_SPOT_FEE = Decimal("0.001")
"""Taker and maker fee on spot without a VIP level; the defaults are those of linear contracts."""

_LOOK_SECONDS, _COMING_UP_SECONDS = 1.0, 0.02
"""How often the database is looked at for what a person asks."""

_READER_SECONDS = 1.0
"""How long a session that is over waits for somebody to read its summary."""

_log = structlog.get_logger()


async def run(options: Options, config: Config, strategies: Mapping[str, str]) -> int:
    """One live session, from an empty or existing database to a clean stop."""
    mode = options.mode
    assert mode is not None  # without one there is help
    logs.configure(config.log)
    standard_streams.never_wait_for_results(_READER_SECONDS)
    strategy = load_strategy(config, strategies)
    if options.data and mode != "demo":
        raise ConfigError("--data goes with --demo or backtest; live modes bring their own data")
    if options.instrument and not options.data:
        raise ConfigError(
            "--instrument goes with --data; an exchange, also the embedded one, has its own rules"
        )
    files = check_data(options.data, options.symbol, options.interval, config) if options.data else None
    if files is not None:
        config = files.applied_to(config)
    path = config.database_path(mode)
    identity = Identity(mode=mode, category=config.run.category, starting_cash=config.broker.starting_cash)
    asyncio.get_running_loop().set_default_executor(UnawaitedThreads())
    stop = Stop()
    session: _Session | None = None
    pace = _DemoPace()
    if options.run_for is not None:
        stop.after(options.run_for)
    with stop.on_signals():
        async with AsyncExitStack() as stack:
            if not path.exists():
                stack.push_async_callback(discard_unbegun, path, mode)
            patience = Patience(config.run.lock_seconds, lambda told: _log.warning("database", note=told))
            database = await stack.enter_async_context(Database.open(path, identity, patience=patience))
            account, opening = await take_up(database, config)
            if mode == "demo":
                exchange = await stack.enter_async_context(
                    await embedded_exchange(
                        config, database, account, files, read_given(options.instrument), pace
                    )
                )
                hosts, proxy = (exchange.rest_url, exchange.ws_url), None
                stop.soon_after(exchange.exhausted)
            else:
                rest_url, ws_url = HOSTS[mode]
                hosts = config.exchange.rest_url or rest_url, config.exchange.ws_url or ws_url
                proxy = chosen(config.exchange.proxy, hosts, os.environ)
            rest = await stack.enter_async_context(
                BybitRest(
                    hosts[0],
                    config.run.category,
                    lambda text: _log.error("banned", error=text),
                    config.exchange,
                    proxy=proxy,
                )
            )
            session = _Session(config, mode, database, rest, hosts[1], stop, pace)
            await session.run(strategy, account, opening, max_bars=options.max_bars)
    if session is not None and (tally := session.tally) is not None:
        summary = tally.summary(mode, str(path), session.id, stop.reason, time.monotonic() - session.began)
        if files is not None:
            # A demo on a file is a backtest at the speed of a stream; a generated market was never learned from.
            known = hindsight(learned_until_ms(config, strategy), tally.first_start_ms)
            summary = replace(summary, hindsight=known)
        if lost := standard_streams.lines_lost():
            summary = replace(summary, events={**summary.events, "log_lines_lost": lost})
        print_summary(await with_decisions(summary), as_json=options.json)
    return 0


class _DemoPace:
    """Holds the embedded market up while the bot is behind: on a slow machine it is slower, and nothing is missed."""

    stream: MarketStream | None = None

    async def __call__(self, _start_ms: int, _pushes: int) -> None:
        if self.stream is not None:
            await self.stream.caught_up()


class _Session:
    """One session on an open database: warm up, go live, write down the end."""

    def __init__(
        self,
        config: Config,
        mode: Mode,
        database: Database,
        rest: BybitRest,
        ws_url: str,
        stop: Stop,
        pace: _DemoPace,
    ) -> None:
        self._config = config
        self._mode = mode
        self._database = database
        self._rest = rest
        self._ws_url = ws_url
        self._stop = stop
        self._pace = pace
        self._live_bars: Counter[str] = Counter()
        self._watch: WatchList
        self.began = time.monotonic()
        self.id = 0
        self.tally: SessionCounter | None = None

    async def run(
        self, strategy: Strategy, account: AccountState, opening: Opening, *, max_bars: int | None
    ) -> None:
        """Run until stopped; ``tally`` says what the session came to, also where it never went live."""
        config, database = self._config, self._database
        run = config.run
        watch = self._watch = await watch_list(database, account, self._rest, run.symbols)
        instruments = watch.rules
        trader = build_trader(config, strategy, instruments, opening, quotes=True)
        await save_instruments(database, instruments.values())
        config_json, started_ms = msgspec.json.encode(config).decode(), time.time_ns() // 1_000_000
        checkpoint = find_checkpoint(config) if strategy.needs_memory else None
        sha256 = None if checkpoint is None else checkpoint.sha256
        await keep_watched(database, watch.traded, started_ms)
        begun = database, self._mode, config_json, started_ms
        self.id = await begin_session(
            *begun, checkpoint_sha256=sha256, checks=declared_checks(strategy), start=account.equity
        )
        if checkpoint is not None:
            _log.info("model", checkpoint=checkpoint.card.summary(), search=search_engine(config))
        if self._mode == "testnet":
            _log.warning(
                "testnet_prices",
                note=f"testnet's prices are not the market's; for those: {program.call()} --mainnet",
            )
        if run.category == "spot" and config.broker.taker_fee < _SPOT_FEE:
            _log.warning("spot_fees", note=f"Bybit takes {_SPOT_FEE}; set broker.taker_fee, maker_fee")
        header = Header(
            session_id=self.id,
            started_ms=started_ms,
            mode=self._mode,
            category=run.category,
            config_json=config_json,
            checkpoint_sha256=sha256,
            strategy=strategy_path(strategy),
            made_with=made_with(strategy),
            instruments=tuple(instruments.values()),
            opening=opening,
            equity=account.worth,
        )
        tally = self.tally = SessionCounter(
            account.positions, float(account.worth), float(account.track.value)
        )
        reason = "failed"
        try:
            async with self._recorded(header) as recorder:
                await self._live(trader, recorder, account, opening, tally, max_bars=max_bars)
            reason = self._stop.reason
        except asyncio.CancelledError:
            reason = self._stop.reason
            raise
        finally:
            await end_session(database, self.id, time.time_ns() // 1_000_000, reason)

    @asynccontextmanager
    async def _recorded(self, header: Header) -> AsyncIterator[Recorder | None]:
        """The session's recording, its path in the database; None where nothing is recorded."""
        folder = self._config.recordings_path(self._mode)
        if folder is None:
            yield None
            return
        async with record(folder, header) as recorder:
            await name_recording(self._database, self.id, str(recorder.path))
            yield recorder

    async def _live(
        self,
        trader: Trader,
        recorder: Recorder | None,
        account: AccountState,
        opening: Opening,
        tally: SessionCounter,
        *,
        max_bars: int | None,
    ) -> None:
        """Warm up, then hand on what the exchange says until stopped."""
        config, run = self._config, self._config.run
        steps = StepWriter(
            self._database, self.id, before_commit=None if recorder is None else recorder.commit
        )

        def observe(bars: list[Bar], first_query_ms: int) -> None:
            if recorder is not None:
                for bar in bars:
                    recorder.note(Observed(bar))
            trader.observe_all(bars, first_query_ms)

        last_starts = await self._warm_up(observe, steps)
        self._tell_resumed(account, last_starts)
        stream = MarketStream(
            config.exchange,
            self._ws_url,
            self._rest,
            category=run.category,
            interval=run.interval,
            instruments=self._watch.rules,
            last_starts=last_starts,
            look_backs=look_backs(opening, self._watch.rules, last_starts, run.interval),
            waits=trader.waits,
            depth=config.broker.fill_model == "book",
        )

        lines = StepLines()
        joining = Joining(stream, self._rest, self._database, steps, self._wanted())

        def report(step: Step) -> None:
            tally.count(step)
            lines.tell(step)
            joining.follow(step)
            if max_bars is not None and self._reached(step, max_bars):
                self._stop.now(f"{max_bars} bars")

        async with stream:
            self._stop.live(stream)
            self._pace.stream = stream
            for told in self._watch.inputs(max(stream.clock_ms, _last_ms(account))):
                stream.hand_in(told)
            asking = asyncio.create_task(self._hand_in(stream, joining))
            try:
                await loop.run(stream if recorder is None else recorder.tap(stream), trader, steps, report)
            finally:
                asking.cancel()
                joining.cancel()
                lines.finish()

    async def _hand_in(self, stream: MarketStream, joining: Joining) -> None:
        """Hand on what a person asks for, looked at once a second, as soon as the exchange tells the time."""
        inbox = Inbox(self._database)
        while True:
            if stream.live:
                with suppress(DatabaseLocked):
                    for asked in await inbox.take(stream.clock_ms):
                        if isinstance(asked, ChangeSymbols):
                            joining.change(asked)
                        else:
                            stream.hand_in(asked)
            await asyncio.sleep(_LOOK_SECONDS if stream.live else _COMING_UP_SECONDS)

    def _wanted(self) -> warm_up.Wanted:
        """The history that the model wants."""
        run, memory = self._config.run, self._config.memory
        return warm_up.Wanted(
            symbols=self._watch.streamed,
            interval=run.interval,
            bars=memory.warmup_bars,
            memory_size=memory.size,
            horizon_bars=self._config.strategy.horizon_bars,
            calibration_bars=memory.calibration_bars,
            joining=self._watch.joining,
            held=frozenset(self._watch.held),
        )

    async def _warm_up(
        self, observe: Callable[[list[Bar], int], None], steps: StepWriter
    ) -> dict[str, int | None]:
        wanted = self._wanted()
        with Progress() as progress:
            last_starts = await warm_up.download(self._rest, self._database, steps, wanted, progress)
            observed = await warm_up.observe(observe, self._database, wanted, progress)
        _log.info("warmed_up", bars=observed, seconds=round(time.monotonic() - self.began, 1))
        return last_starts

    def _reached(self, step: Step, max_bars: int) -> bool:
        """Whether every symbol has had its bars, not counting those missed before the session went live."""
        if step.bar is None:
            return False
        symbol = step.bar.symbol
        if not step.bar.late or self._live_bars[symbol]:
            self._live_bars[symbol] += 1
        counted = set(self._watch.traded) & set(self._watch.streamed)
        return all(self._live_bars[each] >= max_bars for each in counted)

    def _tell_resumed(self, account: AccountState, last_starts: Mapping[str, int | None]) -> None:
        if account.equity is None:
            return
        last = max((start for start in last_starts.values() if start is not None), default=0)
        _log.info(
            "resumed",
            equity=plain(account.equity.equity),
            positions={p.symbol: plain(p.quantity) for p in account.positions if p.quantity},
            open_orders=len(account.open_orders),
            fills=len(account.fills),
            missed_since=utc_text(last),
            closing_only=list(self._watch.held) or None,
        )
        halt = account.risk.halt
        if halt is not None:
            _log.warning("halted", since=utc_text(halt.time_ms), rule=halt.rule, reason=halt.reason)


def _last_ms(account: AccountState) -> int:
    """When the account last changed."""
    return 0 if account.equity is None else account.equity.time_ms
