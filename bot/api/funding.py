"""Settled funding rates that a caller gives: files, DataFrames, or either by symbol."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from os import PathLike
from typing import TYPE_CHECKING, Any, Union

from bot.config import Config
from bot.errors import InputError
from bot.frames.bars import times_of
from bot.market import FundingRate, settlement_ms
from bot.sources.csv_funding import read_funding

if TYPE_CHECKING:
    from pandas import DataFrame

Rates = Union["DataFrame", str, "PathLike[str]"]
Funding = Rates | Mapping[str, Rates] | bool | None


def rates_of(funding: Funding, config: Config) -> list[FundingRate]:
    """The rates given, in order of symbols and times; none for True, False and None.

    Raises InputError where they do not belong to what is traded.
    """
    if funding is None or isinstance(funding, bool):
        return []
    if config.run.category != "linear":
        raise InputError(f"funding: run.category is {config.run.category}, where no funding is paid")
    symbols = config.run.symbols
    if not isinstance(funding, Mapping):
        if len(symbols) > 1 and not isinstance(funding, str | PathLike):
            raise InputError("funding: of several symbols, name each: funding={'BTCUSDT': ...}")
        funding = {symbols[0] if len(symbols) == 1 else "": funding}
    rates: list[FundingRate] = []
    for symbol, source in funding.items():
        found = _read(source, symbol, config)
        if found[0].symbol not in symbols:
            raise InputError(f"funding: {found[0].symbol} is not traded, only {', '.join(symbols)}")
        rates += found
    return rates


def _read(source: Any, symbol: str, config: Config) -> list[FundingRate]:
    if isinstance(source, str | PathLike):
        return read_funding(source, symbol or None, config.max_data_bytes)
    if not hasattr(source, "columns"):
        raise InputError(
            f"funding: rates come from a file's path or a DataFrame, not from {type(source).__name__}"
        )
    if "rate" not in source.columns:
        raise InputError("funding: the DataFrame has no column rate")
    found: dict[int, FundingRate] = {}
    for time_ms, rate in zip(times_of(source), source["rate"].tolist(), strict=True):
        try:
            value = Decimal(str(rate))
        except InvalidOperation:
            value = Decimal("nan")
        if not value.is_finite() or value.copy_abs() >= 1:
            raise InputError(f"funding: {rate} is no fraction between -1 and 1 (0.0001 is 0.01 %)")
        time_ms = settlement_ms(time_ms)
        found[time_ms] = FundingRate(symbol=symbol, time_ms=time_ms, rate=value)
    if not found:
        raise InputError("funding: the DataFrame holds no rates")
    return [found[time_ms] for time_ms in sorted(found)]
