"""Bars: market data of one symbol, with the digits of its source, from a file, a DataFrame or stored history."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from bot.api.arguments import interval_name, time_ms
from bot.api.shown import html_frame
from bot.api.waiting import wait_for
from bot.config import Config, load
from bot.errors import InputError
from bot.frames.bars import bars_frame, bars_of_frame
from bot.market import INTERVAL_MS, Bar, Category, FundingRate, Instrument, PriceGrid, minute_text, price_grid
from bot.sources.csv_bars import check_bars
from bot.store.believed import readable
from bot.store.history.market import load_bars, load_rates, load_rules, market_of
from bot.store.history.store import open_history

if TYPE_CHECKING:
    from pandas import DataFrame

Source = Union["Bars", "DataFrame", str, "PathLike[str]"]
"""What bars can be read from."""


class Bars:
    """Closed bars of one symbol, oldest first, exactly as their source has them; gaps are valid.

    Iterate for :class:`~bot.market.Bar` values, ``frame()`` for a DataFrame. ``rates`` are settled funding rates
    and ``rules`` the trading rules kept beside stored history, as far as known.
    """

    def __init__(
        self,
        *,
        symbol: str,
        interval: str,
        starts: Sequence[int],
        read: Callable[[], Iterable[Bar]],
        grid: PriceGrid | None,
        text: str,
        category: Category | None = None,
        rates: tuple[FundingRate, ...] = (),
        rules: Instrument | None = None,
    ) -> None:
        self.symbol = symbol
        self.interval = interval
        self.category = category
        self.rates = rates
        self.rules = rules
        self.text = text
        self.grid = grid
        self.starts = starts
        self._read = read

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Bar]:
        return iter(self._read())

    def frame(self, *, exact: bool = False) -> "DataFrame":
        """A DataFrame: index ``start`` (UTC), columns ``open, high, low, close, volume, turnover``.

        float64, or with ``exact`` :class:`~decimal.Decimal` with the source's digits. ``read_bars`` takes it back.

        >>> bars.frame().close.head(2).tolist()
        [100.0, 100.85]
        """
        frame = bars_frame(self, exact=exact)
        frame.attrs = {"symbol": self.symbol, "interval": self.interval}
        return frame

    def __repr__(self) -> str:
        step = INTERVAL_MS[self.interval]
        gaps = sum(after - before != step for before, after in pairwise(self.starts))
        holes = f", {gaps} {'gap' if gaps == 1 else 'gaps'}" if gaps else ""
        span = f"{minute_text(self.starts[0])} to {minute_text(self.starts[-1] + step)} UTC"
        return f"<Bars {self.symbol} {self.interval}: {len(self):,} bars, {span}{holes}, from {self.text}>"

    def _repr_html_(self) -> str:
        return html_frame(repr(self), self.frame())


def read_bars(
    source: Source,
    symbol: str | None = None,
    interval: str | None = None,
    *,
    category: Category | None = None,
) -> Bars:
    """Bars from a CSV file (also gzipped), freqtrade's candles or a DataFrame.

    ``symbol`` and ``interval`` (``"60"`` or ``"1h"``) are needed where neither the file's name
    (``BTCUSDT_venue_1h.csv``) nor the DataFrame (its ``attrs``, the distance of its rows) names them. ``category`` is
    linear, spot or equity; None leaves it to the configuration. Raises :class:`bot.errors.InputError` with the bad rows
    named, and then nothing is read.

    >>> bars = bot.read_bars("BTCUSDT_waves_1h.csv")
    >>> bars
    <Bars BTCUSDT 60: 1,200 bars, 2024-01-01 00:00 to 2024-02-20 00:00 UTC, from BTCUSDT_waves_1h.csv>
    >>> bot.read_bars(bars.frame())
    <Bars BTCUSDT 60: 1,200 bars, 2024-01-01 00:00 to 2024-02-20 00:00 UTC, from a DataFrame>
    """
    if isinstance(source, Bars):
        return source
    if isinstance(source, str | PathLike):
        file = check_bars(Path(source).expanduser(), symbol, interval)
        return Bars(
            symbol=file.symbol,
            interval=file.interval,
            starts=file.starts,
            read=lambda: file,
            grid=file.grid,
            text=str(file.path),
            category=category,
        )
    if not hasattr(source, "columns"):
        raise InputError(f"bars come from a file's path or a DataFrame, not from {type(source).__name__}")
    return _of_list(bars_of_frame(source, symbol, interval), "a DataFrame", category)


def history(
    symbol: str,
    interval: str,
    since: Any = None,
    until: Any = None,
    *,
    category: Category = "linear",
    venue: str | None = None,
    config: str | PathLike[str] | None = None,
) -> Bars:
    """Stored bars (see the commands ``fetch`` and ``import``), with the funding rates and rules kept beside them.

    ``since`` and ``until`` (the end excluded) bound the starts: ``"2024-01-31"``, a datetime or a Timestamp, UTC where
    none says else. ``venue`` chooses where several have such bars. ``config`` names a configuration file, whose
    ``run.history`` is read; None takes ``config.toml`` of the working folder, if there is one. Raises
    :class:`bot.errors.InputError` where there are no such bars.

    >>> bot.history("BTCUSDT", "60", since="2024-02-01")
    <Bars BTCUSDT 60: 456 bars, 2024-02-01 00:00 to 2024-02-20 00:00 UTC, from var/history.db, waves linear>
    """
    settings = load(
        config, {"run.symbols": (symbol,), "run.interval": interval_name(interval), "run.category": category}
    )
    return wait_for(_stored(settings, time_ms(since, "since"), time_ms(until, "until"), venue))


async def _stored(config: Config, since_ms: int | None, until_ms: int | None, venue: str | None) -> Bars:
    run, path = config.run, config.history_path
    earlier = Path(run.database.replace("{mode}", "backtest"))
    with readable(path):
        async with open_history(path, earlier=earlier, tell=lambda text: None) as store:
            market = await market_of(store, run.category, run.symbols, run.interval, venue)
            found = load_bars(store, market, run.symbols, run.interval, since_ms=since_ms, until_ms=until_ms)
            bars = [bar async for bar in found]
            rates = tuple(await load_rates(store, market, run.symbols))
            rules = await load_rules(store, market, run.symbols)
    symbol = run.symbols[0]
    if not bars:
        raise InputError(f"{path} has no bars of {symbol} {run.interval} between these times")
    return _of_list(bars, f"{path}, {market}", run.category, rates, rules.get(symbol))


def _of_list(
    bars: list[Bar],
    text: str,
    category: Category | None,
    rates: tuple[FundingRate, ...] = (),
    rules: Instrument | None = None,
) -> Bars:
    return Bars(
        symbol=bars[0].symbol,
        interval=bars[0].interval,
        starts=[bar.start_ms for bar in bars],
        read=lambda: bars,
        grid=price_grid(bars),
        text=text,
        category=category,
        rates=rates,
        rules=rules,
    )
