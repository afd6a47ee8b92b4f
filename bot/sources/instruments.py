"""The rules of a symbol in a run without an exchange: told, stored, listed, or inferred and named as such."""

import csv
import os.path
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from bot import files, program
from bot.errors import InputError, shortened
from bot.market import Category, Instrument, RuleSource, plain
from bot.market.bounds import field_problem
from bot.market.instruments import share_rules
from bot.market.price_grid import PriceGrid, fitted, inferred_rules
from bot.market.symbols import quote_coin_of, symbol_problem
from bot.market.times import date_text

_LONGEST_FILE = files.MEGABYTE
_TABLE = Path(__file__).parent / "instruments.csv"

_SOURCES: dict[RuleSource, str] = {
    "exchange": "the exchange",
    "options": "the options of the run",
    "file": "a file of rules",
    "history": "what fetch stored",
    "table": "the shipped table",
    "inferred": "inferred from the prices of its bars",
    "generated": "the generated market",
    "custom": "as shares are traded",
}


class GivenRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user tells of one symbol, as in Instrument; what is None is taken from elsewhere."""

    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    max_market_quantity: Decimal | None = None
    funding_interval_minutes: int | None = None
    max_leverage: Decimal | None = None
    quote_coin: str | None = None
    delivery_ms: int | None = None


class Given(Struct, frozen=True, kw_only=True):
    """Rules that a user gave, and as what: ``place`` names the option or file for a person."""

    rules: GivenRules
    source: RuleSource
    place: str


class Settled(Struct, frozen=True, kw_only=True):
    """The rules that a run goes by, and in one line for a person where they are from."""

    rules: Instrument
    text: str


def settle(
    symbol: str,
    category: Category,
    *,
    given: Given | None = None,
    stored: Instrument | None = None,
    grid: PriceGrid | None = None,
    fractional_shares: bool = False,
) -> Settled:
    """The rules of a symbol, from the first that tells them.

    That is: what was ``given``, what is ``stored`` of the exchange's own answer, the shipped table, and last
    what all prices of the series show (``grid``). ``given`` may tell a part; the others tell the rest. What
    is stored or listed is of another time or place than the bars may be: a tick that the prices do not fit
    gives way to their finest decimal. Raises InputError where nobody tells the tick and lot, and where
    the given ones cannot be the series'. Shares are traded alike (:func:`~bot.market.instruments.share_rules`),
    whole or by fractions.
    """
    base = found = _told_elsewhere(symbol, category, stored, fractional_shares=fractional_shares)
    if base is not None and grid is not None:
        base = fitted(base, grid)
    if base is None and grid is not None:
        base = inferred_rules(symbol, category, grid)
    rules = base if given is None else _with_given(symbol, category, given, base, grid)
    if rules is None:
        raise InputError(
            f"the trading rules of {symbol} are not known: fetch them ({program.name()} fetch), or give tick_size and "
            f"lot_size, as in --instrument {symbol}:tick_size=0.01,lot_size=0.001"
        )
    text = _text(rules)
    if found is not None and rules.tick_size != found.tick_size and rules.source == found.source:
        text += f"; the bars' prices are finer than its tick {plain(found.tick_size)}, so theirs counts"
    return Settled(rules=rules, text=text)


def settle_all(
    symbols: Iterable[str],
    category: Category,
    *,
    given: Mapping[str, Given],
    stored: Mapping[str, Instrument],
    grids: Mapping[str, PriceGrid],
    fractional_shares: bool = False,
) -> dict[str, Settled]:
    """The rules of all symbols of a run; see :func:`settle`. InputError where rules are given for another."""
    symbols = tuple(symbols)
    for symbol, one in given.items():
        if symbol not in symbols:
            raise InputError(f"{one.place}: {symbol} is not traded, only {', '.join(symbols)}")
    return {
        symbol: settle(
            symbol,
            category,
            given=given.get(symbol),
            stored=stored.get(symbol),
            grid=grids.get(symbol),
            fractional_shares=fractional_shares,
        )
        for symbol in symbols
    }


def read_given(names: Sequence[str] | None) -> dict[str, Given]:
    """The rules that each ``FILE`` or ``SYMBOL:key=value,…`` of ``--instrument`` gives, by symbol.

    A file is TOML or JSON with a table for each symbol, which holds keys of :class:`GivenRules`. Later names
    add to earlier ones. Raises InputError in one line that names what is wrong.
    """
    found: dict[str, Given] = {}
    for name in names or ():
        symbol, colon, pairs = name.partition(":")
        if colon and "=" in pairs and not os.path.exists(name):
            told = {symbol: dict(_pair(name, pair) for pair in pairs.split(","))}
            source: RuleSource = "options"
            place = f"--instrument {name}"
        else:
            told, source, place = _read_file(Path(name)), "file", name
        for symbol, fields in told.items():
            if (problem := symbol_problem(symbol)) is not None:
                raise InputError(f"{place}: {problem}")
            rules = _checked(fields, symbol, place)
            if symbol in found:
                earlier = {
                    key: value for key, value in asdict(found[symbol].rules).items() if value is not None
                }
                later = {key: value for key, value in asdict(rules).items() if value is not None}
                rules = GivenRules(**(earlier | later))
            found[symbol] = Given(rules=rules, source=source, place=place)
    return found


def given_rules(rules: Mapping[str, Mapping[str, Any]], place: str) -> dict[str, Given]:
    """The rules that a person gives each symbol, as keys of :class:`GivenRules`; raises as :func:`read_given`."""
    found = {}
    for symbol, fields in rules.items():
        if (problem := symbol_problem(symbol)) is not None:
            raise InputError(f"{place}: {problem}")
        found[symbol] = Given(rules=_checked(dict(fields), symbol, place), source="options", place=place)
    return found


@cache
def shipped() -> dict[tuple[Category, str], Instrument]:
    """The shipped table: dated rules by category and symbol."""
    with _TABLE.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        found = [_listed(row) for row in rows]
    return {(rules.category, rules.symbol): rules for rules in found}


def _listed(row: dict[str, str]) -> Instrument:
    as_of = datetime.fromisoformat(row.pop("as_of")).replace(tzinfo=UTC)
    fields: dict[str, Any] = {
        **row,
        "source": "table",
        "known_ms": int(as_of.timestamp() * 1000),
        "quote_coin": quote_coin_of(row["symbol"]),
    }
    return msgspec.convert(fields, Instrument, strict=False)


def _told_elsewhere(
    symbol: str, category: Category, stored: Instrument | None, *, fractional_shares: bool
) -> Instrument | None:
    if category == "equity":
        return share_rules(symbol, fractional=fractional_shares)
    # What an earlier run assumed and stored is nobody's answer.
    if stored is not None and stored.category == category and stored.source in ("exchange", "history"):
        return replace(stored, source="history")
    return shipped().get((category, symbol))


def _with_given(
    symbol: str, category: Category, given: Given, base: Instrument | None, grid: PriceGrid | None
) -> Instrument | None:
    told = {key: value for key, value in asdict(given.rules).items() if value is not None}
    tick = given.rules.tick_size
    if tick is not None and grid is not None and tick > grid.low:
        raise InputError(
            f"{given.place}: a tick_size of {plain(tick)} is larger than {symbol}'s lowest price, "
            f"{plain(grid.low)}"
        )
    if base is None:
        if tick is None or given.rules.lot_size is None:
            return None
        fields: dict[str, Any] = {
            "symbol": symbol,
            "category": category,
            "min_quantity": given.rules.lot_size,
            "quote_coin": quote_coin_of(symbol),
            "source": given.source,
        }
        return Instrument(**(fields | told))
    if given.rules.lot_size is not None and given.rules.min_quantity is None:
        told["min_quantity"] = max(base.min_quantity, given.rules.lot_size)
    return replace(base, **told, source=given.source, known_ms=0)


def _read_file(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise InputError(
            f"--instrument {path}: no such file; rules may also be given as SYMBOL:tick_size=0.01,lot_size=0.001"
        )
    try:
        text = files.content(path, "--instrument", _LONGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"--instrument {path}: cannot be read as text: {error}") from error
    try:
        if text.lstrip().startswith("{"):
            told = msgspec.json.decode(text)
        else:
            told = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--instrument {path}: neither TOML nor JSON: {shortened(error)}") from error
    if not isinstance(told, dict) or not told or not all(isinstance(each, dict) for each in told.values()):
        raise InputError(
            f'--instrument {path}: expected a table for each symbol, as [BTCUSDT] or {{"BTCUSDT": …}}'
        )
    return told


def _pair(name: str, pair: str) -> tuple[str, str]:
    key, _, value = pair.partition("=")
    if not key.strip() or not value.strip():
        raise InputError(f"--instrument {name}: expected key=value, found {pair!r}")
    return key.strip(), value.strip()


def _checked(fields: dict[str, Any], symbol: str, place: str) -> GivenRules:
    known = ", ".join(GivenRules.__struct_fields__)
    for key in fields:
        if key not in GivenRules.__struct_fields__:
            raise InputError(f"{place}: {symbol}.{key} is no rule; known are {known}")
    # A float's digits are the text's that it was written as.
    texts = {key: str(value) if isinstance(value, float) else value for key, value in fields.items()}
    try:
        rules = msgspec.convert(texts, GivenRules, strict=False)
    except (msgspec.ValidationError, InvalidOperation) as error:
        raise InputError(f"{place}: {symbol}: {shortened(error)}") from error
    for key, value in asdict(rules).items():
        least_is_zero = key in ("min_notional", "funding_interval_minutes", "delivery_ms")
        if isinstance(value, Decimal | int) and not (
            (isinstance(value, int) or value.is_finite()) and (value > 0 or (least_is_zero and value == 0))
        ):
            raise InputError(f"{place}: {symbol}.{key} must be above 0, not {shortened(value)}")
        if (problem := field_problem(key, value)) is not None:
            raise InputError(f"{place}: {symbol}: {problem}")
    return rules


def _text(rules: Instrument) -> str:
    told = _SOURCES[rules.source]
    if rules.known_ms:
        told += f" of {date_text(rules.known_ms)}"
    return (
        f"{rules.symbol}: tick {plain(rules.tick_size)}, lot {plain(rules.lot_size)}, orders of at least "
        f"{plain(rules.min_quantity)} and {plain(rules.min_notional)} {rules.quote_coin}".rstrip()
        + f" ({told})"
    )
