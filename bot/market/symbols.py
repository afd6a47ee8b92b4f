"""What a symbol may look like: the one place that says so."""

import re
import unicodedata
from collections.abc import Iterable

_LONGEST = 40
_QUOTES = ("USDT", "USDC", "USDE", "USD", "BTC", "ETH", "EUR", "BRL", "BRZ", "TRY", "DAI")
_DATED = re.compile(r"-[0-9]{1,2}[A-Z]{3}[0-9]{2}")
_INVERSE = re.compile(r".+USD([HMUZ][0-9]{2})?")
_DOLLARS = ("USDT", "USDC", "USDE", "USD", "DAI")


def symbol_problem(symbol: str) -> str | None:
    """What keeps ``symbol`` from being one; None where nothing does.

    Letters of any script in capitals and digits, with dashes and underscores between them, as in BTCUSDT,
    1000PEPEUSDT, BTC-26DEC25 and 币安人生USDT. So it is safe in a path, a query, a topic and a table.
    """
    shown = repr(symbol if len(symbol) <= _LONGEST else f"{symbol[:_LONGEST]}…")
    if not symbol:
        return "a symbol is missing"
    if len(symbol) > _LONGEST:
        return f"{shown} is too long for a symbol ({len(symbol)} characters, at most {_LONGEST})"
    bare = symbol.replace("-", "").replace("_", "")
    plain = bare.isalnum() and unicodedata.normalize("NFKC", symbol) == symbol
    if not plain or not (symbol[0].isalnum() and symbol[-1].isalnum()):
        return f"{shown} is no symbol; they look like BTCUSDT, 1000PEPEUSDT or BTC-26DEC25"
    if symbol != symbol.upper():
        return f"{shown} is no symbol: they are written in capitals, as {symbol.upper()!r}"
    return None


def quote_coin_of(symbol: str) -> str:
    """The coin that a symbol is priced in, by its name; empty where that does not tell.

    Perpetuals named as BTCPERP and futures named as BTC-26DEC25 are priced in USDC.
    """
    head, dash, _ = symbol.partition("-")
    if head.endswith("PERP") and head != "PERP":
        return "USDC"
    found = next((coin for coin in _QUOTES if head.endswith(coin) and head != coin), "")
    return "USDC" if dash and not found else found


def is_dated(symbol: str) -> bool:
    """Whether a symbol's name is that of a dated future, as BTC-26DEC25 or BTCUSDT-26DEC25."""
    return _DATED.search(symbol) is not None


def inverse_problem(symbols: Iterable[str]) -> str | None:
    """What keeps contracts from being traded here, by their names: BTCUSD and BTCUSDH26 are settled in their coin."""
    found = next((symbol for symbol in symbols if _INVERSE.fullmatch(symbol)), None)
    if found is None:
        return None
    return (
        f"{found} names an inverse contract, which is settled in its own coin and not traded here; "
        f"take {found[: found.rindex('USD')]}USDT, or run.category = 'spot' where coins themselves are traded"
    )


def currency_problem(symbols: Iterable[str]) -> str | None:
    """What keeps symbols from being traded in one account, by their names: they are priced in unlike coins.

    Coins that are worth a dollar count as one.
    """
    first: dict[str, str] = {}
    for symbol in symbols:
        if coin := quote_coin_of(symbol):
            first.setdefault("USDT" if is_dollar(coin) else coin, symbol)
    if len(first) < 2:
        return None
    priced = " and ".join(f"{symbol} in {quote_coin_of(symbol)}" for symbol in first.values())
    return f"an account keeps one currency, but {priced} are priced; trade them in runs of their own"


def is_dollar(coin: str) -> bool:
    """Whether a coin is worth a dollar, by its name."""
    return coin in _DOLLARS
