"""What ``--data`` names: bars of files, and the symbols and interval that they set."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from bot.config import Config
from bot.errors import InputError
from bot.market import Bar
from bot.store.csv_bars import read_bars


class DataFiles(Struct, frozen=True):
    """Bars by symbol, ascending, all of one interval."""

    bars: dict[str, list[Bar]]
    interval: str

    def applied_to(self, config: Config) -> Config:
        """The configuration with the files' symbols and interval in place of its own."""
        return replace(config, run=replace(config.run, symbols=tuple(self.bars), interval=self.interval))


def read_data(names: Sequence[str], symbol: str | None, interval: str | None) -> DataFiles:
    """Read each ``FILE`` or ``SYMBOL=FILE``. Raises InputError where they do not fit together."""
    bars: dict[str, list[Bar]] = {}
    intervals: dict[str, str] = {}
    for name in names:
        named, separator, path = name.partition("=")
        listed = read_bars(path if separator else name, named if separator else symbol, interval)
        found = listed[0].symbol
        if found in bars:
            raise InputError(f"--data {name}: {found} was given already; name symbols as SYMBOL=FILE")
        bars[found] = listed
        intervals[listed[0].interval] = name
    if len(intervals) > 1:
        raise InputError(f"--data: files of different intervals: {', '.join(intervals.values())}")
    return DataFiles(dict(sorted(bars.items())), next(iter(intervals)))
