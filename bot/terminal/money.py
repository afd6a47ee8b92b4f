"""Amounts and prices for a person's eye; JSON and the tables of the database keep every digit."""

from decimal import Decimal

from bot.market import plain


def money_text(amount: Decimal | float, *, signed: bool = False) -> str:
    """``11,242.40``: an amount in quote currency to the cent; ``signed`` puts a plus before a gain."""
    text = f"{amount:{'+' if signed else ''},.2f}"
    return "0.00" if text in ("-0.00", "+0.00") else text


def price_text(price: Decimal, tick_size: Decimal | None = None) -> str:
    """A price with the decimals of its symbol's tick; where that is not known, with eight digits."""
    if tick_size is None:
        return plain(Decimal(f"{price:.8g}"))
    exponent = tick_size.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # a tick is finite
    return f"{price:.{max(-exponent, 0)}f}"
