"""One bot, one exchange, a table of faults: each strikes in a window of its own, and is held against a clean run.

The market keeps step with the bot: it goes on once every symbol has decided its last bar and is subscribed again.
So nothing is late for want of speed, and whatever a fault takes away has come over REST before the next quote: the
ledger is the clean run's to the last digit, on any machine.
"""

import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from bot.demo.exchange import DemoExchange
from bot.demo.faults import Faults
from bot.synthetic import PRESETS, SyntheticMarket
from tests.books import audit, rows
from tests.bot_process import ROOT, environment
from tests.live.proxy import Answers, Link, Out, Proxy

Message = dict[str, Any]
Make = Callable[[Message, Sequence[Message]], Iterable[Out]]

MARKET = SyntheticMarket(PRESETS["demo"], 7, "15")
LIVE_INDEX = 3_000
LIVE_MS = MARKET.start_ms(LIVE_INDEX)
STEP_MS = 15 * 60_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
"""The last one is never struck."""
PATIENCE_SECONDS = 20.0
START_SECONDS = 90.0
PUSHES = 4
"""Of each bar, at its beginning, a third, two thirds, and its end; orders are filled by the second."""
ROUTINE = {"filled", "rejected"}
LONGEST_DETAIL = 400
PROGRESS = re.compile(r"history \w+: \d+ of \d+$")
COUNTED = re.compile(r"\d+ more in (6\d|[7-9]\d|\d{3,}) s")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A fault by its name.

    ``make(message, past)`` is what a hostile exchange sends besides, or ``instead`` of, the hit symbol's next
    message: a ``confirmed`` or ``running`` kline, ``tickers`` or an ``orderbook``; ``past`` holds earlier messages
    of the topic, the newest last. ``times``: it is sent so often. ``at_end``: of the
    bar, when no order waits any more. ``answers`` alters REST's answers about the hit symbol until the window's first
    bar is decided, where the symbol's confirmation is ``withheld``, so that REST is asked, or until the window is over.
    ``act`` does something to the connections right before the bar closes."""

    name: str
    make: Make | None = None
    on: Literal["confirmed", "running", "tickers", "orderbook"] = "confirmed"
    at_end: bool = False
    instead: bool = False
    times: int = 3
    answers: Callable[[], Answers] | None = None
    withheld: bool = True
    act: Callable[[Proxy], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Setting:
    """What runs: ``depth`` fills orders by the book, ``silence_seconds`` is the configuration's."""

    category: Literal["linear", "spot"] = "linear"
    symbols: tuple[str, ...] = SYMBOLS
    depth: bool = False
    silence_seconds: float = 30.0
    window_bars: int = 2
    """What each fault has for itself: it strikes in the first."""
    hourly: bool = False
    """Funding is settled every hour."""
    lanes: int = 1
    """Processes that share the kinds, where what takes time is waiting."""

    def bars(self, kinds: int) -> int:
        """How long the market of so many kinds is: a few bars more, so that what comes late comes before the end."""
        return self.window_bars * kinds + 8

    @property
    def quotes(self) -> str:
        return "tickers" if self.category == "linear" else "orderbook.1"

    def config(self, proxy: Proxy) -> str:
        return f"""
[run]
symbols = {json.dumps(self.symbols)}
category = "{self.category}"
database = "{{mode}}.db"
recordings = "recordings"

[exchange]
rest_url = "http://{proxy.url}"
ws_url = "ws://{proxy.url}"
silence_seconds = {self.silence_seconds}

[memory]
warmup_bars = 60

[strategy]
name = "tests.live.steady:Steady"
horizon_bars = 4

[broker]
starting_cash = 10000000
latency_ms = 60000
fill_model = "{"book" if self.depth else "quote"}"

[risk]
# So small that what an account has won does not show in the size of its orders.
position_fraction = 0.0001
max_quote_age_bars = 0
max_daily_loss = 0
max_drawdown = 0
"""


@dataclass
class Verdict:
    """What was wrong after each kind, by its name; what every row of the ledger was, by window."""

    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ledger: dict[int, Counter[tuple[Any, ...]]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Of the log, but for routine ones."""


class Bot:
    """The bot's process and what it says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.decided: set[tuple[str, int]] = set()
        self.lines: list[dict[str, Any]] = []
        """Other lines than routine ones."""
        self.funded = 0
        """Settlements charged."""
        self.odd: list[str] = []
        """What is no line of the log."""
        self._heard = asyncio.Event()

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "run_bot.py"), "--testnet", "--json",
            cwd=self._folder, env=environment(), limit=2**26,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            try:
                line = json.loads(raw)
                event = line["event"]
            except (ValueError, TypeError, KeyError):
                said = raw.decode(errors="replace").strip()
                if not PROGRESS.match(said):
                    self.odd.append(said)
                continue
            if event == "bar_decided":
                self.decided.add((line["symbol"], line["close_ms"] - STEP_MS))
            elif event == "funding":
                self.funded += 1
            elif event not in ROUTINE:
                self.lines.append(line)
            self._heard.set()
        self._heard.set()

    @property
    def over(self) -> bool:
        return self._reader.done()

    async def until(self, what: Callable[[], bool], seconds: float) -> bool:
        """Whether it came to that in so many seconds."""
        end = time.monotonic() + seconds
        while not what():
            if self.over or time.monotonic() > end:
                return False
            self._heard.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await self._heard.wait()
        return True

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reader

    async def stop(self) -> int | None:
        """End it cleanly; its exit code, None where it does not end."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                code = await self.process.wait()
                await self._reader
                return code
        await self.kill()
        return None


class Trial:
    """Runs a table of kinds; ``run`` says what came of each."""

    def __init__(
        self,
        folder: Path,
        setting: Setting,
        kinds: Sequence[Kind] = (),
        *,
        bars: int | None = None,
        clean: Verdict | None = None,
        opening: Answers | None = None,
        put_aside: tuple[str, ...] = (),
    ) -> None:
        self._setting = setting
        self._kinds = kinds
        self._bars = bars or setting.bars(len(kinds))
        self._folder = folder
        self._bot = Bot(folder)
        self._proxy: Proxy
        self._opening = opening
        self._armed: Kind | None = None
        self._hit = ""
        self._past: dict[str, deque[Message]] = defaultdict(lambda: deque(maxlen=24))
        self._verdict = Verdict()
        self._clean = {} if clean is None else clean.ledger
        self._unfunded = 0
        self._done = asyncio.Event()
        self._symbols = [symbol for symbol in setting.symbols if symbol not in put_aside]
        kinds_of_topic = ["kline.15", setting.quotes, *(["orderbook.50"] if setting.depth else [])]
        self._topics = {f"{kind}.{symbol}" for kind in kinds_of_topic for symbol in self._symbols}

    async def run(self) -> Verdict:
        """The verdict on every kind; the ledger by window, to be held against the clean run's."""
        hourly = ((LIVE_MS - LIVE_MS % (8 * 3_600_000), 1),) if self._setting.hourly else ()
        exchange = DemoExchange(
            MARKET, self._setting.category, self._setting.symbols, "15", live_from_ms=LIVE_MS, bar_seconds=0.03,
            max_bars=self._bars, before_push=self._keep_step, faults=Faults(funding_hours=hourly),
        )  # fmt: skip
        async with exchange, Proxy(exchange.rest_url, exchange.ws_url) as self._proxy:
            (self._folder / "config.toml").write_text(self._setting.config(self._proxy))
            self._proxy.frames, self._proxy.answers = self._frames, self._opening
            await self._bot.start()
            over = asyncio.create_task(exchange.exhausted.wait())
            ended = asyncio.create_task(self._done.wait())
            try:
                if await self._bot.until(lambda: self._topics <= self._proxy.topics, START_SECONDS):
                    async with asyncio.timeout(START_SECONDS + 15.0 * self._bars):
                        await asyncio.wait({over, ended}, return_when=asyncio.FIRST_COMPLETED)
                else:
                    missing = sorted(self._topics - self._proxy.topics)
                    said = [*map(str, self._bot.lines[-3:]), *self._bot.odd[-3:]]
                    self._wrong(f"did not come up, {missing} among others: {said}")
                code = await self._bot.stop()
            finally:
                over.cancel()
                ended.cancel()
                await self._bot.kill()
            self._verdict.lines += self._bot.lines
            if code != 0 or self._bot.odd:
                last = self._kinds[-1].name if self._kinds else "clean"
                self._verdict.wrong[last].append(f"exit code {code}: {self._bot.odd[-1:]}")
        database = self._folder / "testnet.db"
        if not database.exists():
            return self._verdict
        try:
            audit(database, "10000000")
        except AssertionError as error:
            self._verdict.wrong["any of them"].append(f"the books are wrong: {error}")
        self._verdict.ledger = _ledger(database, self._setting.window_bars)
        return self._verdict

    # In step with the market.

    async def _keep_step(self, start_ms: int, number: int) -> None:
        bar = (start_ms - LIVE_MS) // STEP_MS
        if number == 1 and bar:
            await self._until_decided(start_ms - STEP_MS)
        elif number == 0 and self._armed is not None:
            # What the fault has done to the connection shows before the market goes on.
            await self._proxy.settle(PATIENCE_SECONDS)
        if not self._topics <= self._proxy.topics:
            await self._until_subscribed()
        place, since = divmod(bar - 1, self._setting.window_bars)
        if number == 1 and not since:
            await self._until_funded(place)
            self._disarm()
            self._close_window()
            self._arm(place)
        if number == PUSHES and self._armed is not None and self._armed.act is not None:
            await self._armed.act(self._proxy)

    async def _until_funded(self, place: int) -> None:
        """Wait for what settlements before this window came to, in the clean run."""
        wanted = -self._unfunded + sum(
            row[0] == "funding"
            for window, found in self._clean.items()
            if window < place - 1
            for row in found
        )
        if not await self._bot.until(lambda: self._bot.funded >= wanted, PATIENCE_SECONDS):
            self._wrong(f"{wanted - self._bot.funded} settlements not charged")
            self._unfunded += wanted - self._bot.funded

    def _arm(self, place: int) -> None:
        if place < len(self._kinds):
            self._kind, self._armed = self._kinds[place], self._kinds[place]
            self._hit = self._setting.symbols[place % 2]
            self._struck = False
            if self._kind.answers is not None:
                self._proxy.answers = _about(self._hit, self._kind.answers())

    def _disarm(self) -> None:
        self._armed = None
        self._proxy.relent()

    async def _until_decided(self, start_ms: int) -> None:
        wanted = {(symbol, start_ms) for symbol in self._symbols}
        if not await self._bot.until(lambda: wanted <= self._bot.decided, PATIENCE_SECONDS):
            missing = sorted(symbol for symbol, _ in wanted - self._bot.decided)
            await self._fail(f"{', '.join(missing)} not decided")
            if not await self._bot.until(lambda: wanted <= self._bot.decided, START_SECONDS):
                await self._fail("not decided even after a restart")
                self._done.set()
        kind = self._armed
        if kind is not None and (kind.act or self._struck) and kind.withheld:
            self._disarm()
            await self._proxy.settle(PATIENCE_SECONDS)

    async def _until_subscribed(self) -> None:
        if not await self._bot.until(lambda: self._topics <= self._proxy.topics, PATIENCE_SECONDS):
            await self._fail(f"not subscribed to {sorted(self._topics - self._proxy.topics)}")
            await self._bot.until(lambda: self._topics <= self._proxy.topics, START_SECONDS)

    async def _fail(self, what: str) -> None:
        """Note what went wrong, and go on with another process."""
        bot = self._bot
        self._disarm()
        if bot.over:
            what = f"{what}; the bot ended: {' / '.join(bot.odd[-2:])[-300:]}"
        self._wrong(what)
        await bot.kill()
        bot.lines.clear()
        bot.odd.clear()
        await bot.start()

    def _wrong(self, what: str) -> None:
        kind = getattr(self, "_kind", None)
        self._verdict.wrong[kind.name if kind else "before any"].append(what)

    def _close_window(self) -> None:
        lines, self._bot.lines = self._bot.lines, []
        self._verdict.lines += lines
        if not hasattr(self, "_kind"):
            return
        # What was counted is told a minute later, whatever happens then.
        first = [line for line in lines if not COUNTED.match(str(line.get("detail")))]
        for (event, symbol), count in Counter((line["event"], line.get("symbol")) for line in first).items():
            if count > 1:
                said = next(line for line in lines if (line["event"], line.get("symbol")) == (event, symbol))
                self._wrong(f"{count} lines of {event} of {symbol}: {str(said.get('detail'))[:120]}")
        for line in lines:
            if len(str(line.get("detail", ""))) > LONGEST_DETAIL:
                self._wrong(f"a line of {len(str(line['detail']))} characters")
        for odd in self._bot.odd:
            self._wrong(f"no line of a log: {odd[:200]}")
        self._bot.odd.clear()

    # What the bot gets.

    def _frames(self, link: Link, text: str) -> Iterable[Out]:
        kind, topic = self._armed, text[10 : text.find('"', 10)] if text.startswith('{"topic":') else ""
        if not topic.endswith(self._hit) or not self._hit:
            return [text]
        message = json.loads(text)
        past = self._past[topic]
        outs: list[Out] = [text]
        if kind is not None and not self._struck:
            outs = self._strike(kind, message, text, past)
        past.append(message)
        return outs

    def _strike(self, kind: Kind, message: Message, text: str, past: Sequence[Message]) -> list[Out]:
        what, _, _ = message["topic"].partition(".")
        if what == "kline":
            what = "confirmed" if message["data"][0]["confirm"] else "running"
        if kind.answers is not None and kind.withheld and what == "confirmed":
            self._struck = True
            return []
        if kind.make is None or what != kind.on or (kind.at_end and message["ts"] % STEP_MS < 0.9 * STEP_MS):
            return [text]
        self._struck = True
        hostile = list(kind.make(message, list(past))) * kind.times
        return hostile if kind.instead else [*hostile, text]


def _about(symbol: str, answers: Answers) -> Answers:
    return lambda endpoint, query, answer: (
        answers(endpoint, query, answer) if query.get("symbol") == symbol else answer
    )


def _ledger(database: Path, window_bars: int) -> dict[int, Counter[tuple[Any, ...]]]:
    """Every row that a clean run has as well, by the window of its time; the rows of one window in no order."""
    queries = {
        "decision": "SELECT bar_start_ms AS at, symbol, action, reason, late, decided_ms FROM signals",
        "bar": "SELECT start_ms AS at, symbol, open, high, low, close, volume, turnover FROM bars",
        "order": "SELECT created_ms AS at, symbol, side, type, quantity, filled_quantity, status, reason FROM orders",
        "fill": "SELECT time_ms AS at, symbol, side, quantity, price, fee, rule, reference_price, late, realized_pnl "
        "FROM fills",
        "funding": "SELECT time_ms AS at, symbol, rate, mark_price, mark_source, quantity, payment FROM funding",
    }
    found: dict[int, Counter[tuple[Any, ...]]] = defaultdict(Counter)
    for name, query in queries.items():
        for row in rows(database, query):
            bar = (row["at"] - LIVE_MS) // STEP_MS
            if bar >= 0:
                found[(bar - 1) // window_bars][name, *row.values()] += 1
    return found


def differences(clean: Verdict, hostile: Verdict, kinds: Sequence[Kind]) -> dict[str, list[str]]:
    """What is wrong with each kind, by name: what its window showed, and the first row in which its ledger differs.

    A difference may last: what differs right after a window that did is not held against the next kind, nor, from
    there on, what a fill realized, which depends on all before it.
    """
    wrong = {name: list(found) for name, found in hostile.wrong.items()}
    differs = differed = False
    for place, kind in enumerate(kinds):
        one, other = (run.ledger.get(place, Counter()) for run in (clean, hostile))
        if differed:
            one, other = (Counter(row[:-1] for row in rows.elements()) for rows in (one, other))
        if one != other and not differs:
            lacks, has = (sorted((x - y).elements(), key=str)[:2] for x, y in ((one, other), (other, one)))
            wrong.setdefault(kind.name, []).append(f"its ledger lacks {lacks} and has {has}")
        differs = one != other
        differed = differed or differs
    return wrong


def undisturbed(folder: Path, setting: Setting, kinds: int) -> Verdict:
    """The clean run, long enough for so many kinds."""
    return asyncio.run(Trial(folder, setting, bars=setting.bars(kinds)).run())


def run(folder: Path, setting: Setting, kinds: Sequence[Kind], clean: Verdict) -> dict[str, list[str]]:
    """What is wrong with each kind, by its name; the lanes of the setting run side by side."""

    async def lane(number: int) -> dict[str, list[str]]:
        mine, own = kinds[number :: setting.lanes], folder / str(number)
        own.mkdir()
        return differences(clean, await Trial(own, setting, mine, clean=clean).run(), mine)

    async def all_lanes() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for wrong in await asyncio.gather(*map(lane, range(setting.lanes))):
            found |= wrong
        return found

    return asyncio.run(all_lanes())


def scaled(text: str, factor: str) -> str:
    """A figure of the exchange's, so many times as large."""
    return format(Decimal(text) * Decimal(factor), "f")
