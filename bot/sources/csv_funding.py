"""Settled funding rates from CSV files, also gzipped: a whole file, or none of it and its bad rows named."""

from decimal import Decimal, InvalidOperation
from os import PathLike
from pathlib import Path

from msgspec.structs import replace

from bot.errors import InputError
from bot.files import MAX_DATA_BYTES
from bot.market import FundingRate, settlement_ms, utc_text
from bot.market.bounds import LAST_MS
from bot.market.symbols import symbol_problem
from bot.sources.csv_files import LONGEST_FIGURE, MOST_PROBLEMS, read_rows, require_sound

HEADER = ("time_ms", "rate")

# Money is booked to the last digit, so there must be a last one.
_MOST_DECIMALS = 30


def read_funding(
    path: PathLike[str] | str, symbol: str | None = None, max_bytes: int = MAX_DATA_BYTES
) -> list[FundingRate]:
    """Each settlement of a file once, ascending; ``symbol`` stands before what its name says.

    Stamps a little beside the minute belong to its settlement (see :func:`bot.market.settlement_ms`).

    Raises InputError, in one line that names the file and, where rows are bad, the first of them.
    """
    path = Path(path)
    if symbol is None:
        parts = path.name.split(".")[0].split("_")
        symbol = parts[0] if len(parts) > 2 else ""
    if not symbol:
        raise InputError(
            f"{path}: its name does not tell the symbol (SYMBOL_venue_funding_…); give it as SYMBOL=FILE"
        )
    if (problem := symbol_problem(symbol)) is not None:
        raise InputError(f"{path}: {problem}")
    rates: list[FundingRate] = []
    problems: list[str] = []
    last_ms = -1
    for line, row in read_rows(path, HEADER, max_bytes):
        found = _rate(row, symbol, last_ms)
        if isinstance(found, str):
            problems.append(f"line {line}: {found}")
            if len(problems) >= MOST_PROBLEMS:
                break
            continue
        last_ms = found.time_ms
        rate = replace(found, time_ms=settlement_ms(last_ms))
        if not rates or rate.time_ms != rates[-1].time_ms:
            rates.append(rate)
        elif rate.rate != rates[-1].rate:
            when = utc_text(rate.time_ms)
            problems.append(f"line {line}: another rate for the settlement of {when} than the row before it")
    require_sound(path, problems, len(rates), "funding rates")
    return rates


def _rate(row: list[str], symbol: str, last_ms: int) -> FundingRate | str:
    """The row's rate, or why it is none."""
    if len(row) != len(HEADER):
        return f"{len(row)} columns where {len(HEADER)} are expected"
    try:
        time_ms = int(row[0])
    except ValueError:
        return f"time_ms is no number: {row[0][:20]!r}"
    try:
        rate = Decimal(row[1][: LONGEST_FIGURE + 1])
    except InvalidOperation:
        return f"rate is no number: {row[1][:20]!r}"
    if not 0 <= time_ms <= LAST_MS:
        return "time_ms is no time in milliseconds"
    if time_ms <= last_ms:
        return "its time does not come after the row before it"
    if not rate.is_finite() or rate.copy_abs() >= 1:
        return f"rate is no fraction between -1 and 1 (0.0001 is 0.01 %): {row[1][:20]!r}"
    if -int(rate.as_tuple().exponent) > _MOST_DECIMALS:
        return f"rate has more than {_MOST_DECIMALS} decimals"
    return FundingRate(symbol=symbol, time_ms=time_ms, rate=rate)
