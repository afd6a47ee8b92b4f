"""What ``--data`` names, bars of files and the symbols and interval that they set; and what ``--funding`` names."""

from collections.abc import Iterator, Sequence
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from bot.config import Config
from bot.errors import InputError
from bot.market import Bar, FundingRate, PriceGrid
from bot.market.symbols import currency_problem
from bot.sources.csv_bars import BarFile, check_bars
from bot.sources.csv_funding import read_funding


class DataFiles(Struct, frozen=True):
    """Sound files of bars by symbol, all of one interval. They are read when iterated, not before."""

    by_symbol: dict[str, BarFile]
    interval: str

    def applied_to(self, config: Config) -> Config:
        """The configuration with the files' symbols and interval in place of its own.

        InputError where they are priced in unlike coins, of which one account cannot keep the books.
        """
        if config.run.category != "equity" and (problem := currency_problem(self.by_symbol)) is not None:
            raise InputError(f"--data: {problem}")
        return replace(config, run=replace(config.run, symbols=tuple(self.by_symbol), interval=self.interval))

    def grids(self) -> dict[str, PriceGrid]:
        """What the prices of each symbol's file lie on."""
        return {symbol: file.grid for symbol, file in self.by_symbol.items()}

    def starts(self) -> Iterator[int]:
        """The starts of all bars of all files."""
        return chain.from_iterable(file.starts for file in self.by_symbol.values())

    def only(self, symbols: Sequence[str] | None) -> "DataFiles":
        """The files of these symbols alone, all without any. InputError for a symbol that no file has."""
        if symbols is None:
            return self
        missing = [symbol for symbol in symbols if symbol not in self.by_symbol]
        if missing:
            raise InputError(
                f"--symbols: no file of --data has {', '.join(missing)}; they have {', '.join(self.by_symbol)}"
            )
        return DataFiles({symbol: self.by_symbol[symbol] for symbol in sorted(symbols)}, self.interval)

    def bars(self) -> dict[str, list[Bar]]:
        """All bars of all files at once."""
        return {symbol: list(file) for symbol, file in self.by_symbol.items()}


def check_data(names: Sequence[str], symbol: str | None, interval: str | None, config: Config) -> DataFiles:
    """Check each ``FILE`` or ``SYMBOL=FILE``. Raises InputError where they do not fit together."""
    files: dict[str, BarFile] = {}
    intervals: dict[str, str] = {}
    for name in names:
        named, separator, path = name.partition("=")
        file = check_bars(
            path if separator else name, named if separator else symbol, interval, config.max_data_bytes
        )
        if file.symbol in files:
            raise InputError(
                f"--data {name}: {file.symbol} was given already; name symbols as SYMBOL=FILE, "
                "or import the files of one symbol and leave --data out"
            )
        files[file.symbol] = file
        intervals[file.interval] = name
    if len(intervals) > 1:
        raise InputError(f"--data: files of different intervals: {', '.join(intervals.values())}")
    return DataFiles(dict(sorted(files.items())), next(iter(intervals)))


def funding_of(names: Sequence[str] | None, config: Config) -> list[FundingRate]:
    """The rates of each ``FILE`` or ``SYMBOL=FILE``. Raises InputError where they do not fit what is traded."""
    if names and config.run.category != "linear":
        raise InputError(f"--funding: run.category is {config.run.category}, where no funding is paid")
    rates: dict[str, list[FundingRate]] = {}
    for name in names or ():
        named, separator, path = name.partition("=")
        found = read_funding(path if separator else name, named if separator else None, config.max_data_bytes)
        symbol = found[0].symbol
        if symbol not in config.run.symbols:
            raise InputError(
                f"--funding {name}: {symbol} is not traded, only {', '.join(config.run.symbols)}; "
                "name symbols as SYMBOL=FILE"
            )
        if symbol in rates:
            raise InputError(f"--funding {name}: {symbol} was given already; name symbols as SYMBOL=FILE")
        rates[symbol] = found
    return [rate for each in rates.values() for rate in each]
