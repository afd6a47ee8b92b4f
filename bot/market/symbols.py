"""What a symbol may look like: the one place that says so."""

import unicodedata

_LONGEST = 40
_QUOTES = ("USDT", "USDC", "USDE", "USD", "BTC", "ETH", "EUR", "BRL", "TRY", "DAI")
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


def is_dollar(coin: str) -> bool:
    """Whether a coin is worth a dollar, by its name."""
    return coin in _DOLLARS
