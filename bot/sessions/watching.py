"""Which symbols a session watches: those to trade, and those that the account still holds."""

import asyncio
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from bot.errors import BrokenInvariant, ConfigError
from bot.exchange.rest import BybitRest
from bot.market import TRADING, Instrument, Listing
from bot.sessions import warm_up
from bot.store.account.state import AccountState, load_instruments
from bot.store.account.watching import read_watched, traded_by_hand
from bot.store.database import Database
from bot.trading.events import Input, Watch

_AT_ONCE = 8
"""Symbols that are asked for at a time: one that the exchange answers badly holds up no other."""


class WatchList(Struct, frozen=True, kw_only=True):
    """What a session watches from its start.

    ``traded`` may be entered; ``held`` are only closed. ``joining`` were not watched before, so what closed
    meanwhile is history. ``rules`` are those of all of them as the account last knew them, and ``listings``
    what the exchange says of symbols that it does not trade.
    """

    traded: tuple[str, ...]
    held: tuple[str, ...]
    joining: frozenset[str]
    rules: dict[str, Instrument]
    listings: tuple[Listing, ...]

    @property
    def streamed(self) -> tuple[str, ...]:
        """Symbols that bars and quotes can be had of."""
        silent = {listing.symbol for listing in self.listings}
        return tuple(symbol for symbol in (*self.traded, *self.held) if symbol not in silent)

    def inputs(self, time_ms: int) -> list[Input]:
        """What the core is told before anything else, at ``time_ms`` or when a contract was delivered."""
        told: list[Input] = [
            Watch(id=0, time_ms=time_ms, drop=(symbol,), note="it is not among the symbols to trade")
            for symbol in self.held
        ]
        for listing in self.listings:
            told.append(replace(listing, time_ms=max(time_ms, listing.delivery_ms)))
        return told


def owned_symbols(account: AccountState) -> set[str]:
    """Symbols that are held, or have orders resting."""
    held = {position.symbol for position in account.positions if position.quantity}
    return held | {order.symbol for order in account.open_orders}


async def watch_list(
    database: Database, account: AccountState, rest: BybitRest, configured: tuple[str, ...]
) -> WatchList:
    """The symbols to trade and to close, and what the exchange says of them.

    Raises ConfigError for a symbol that neither the exchange nor the account knows.
    """
    stored = await load_instruments(database)
    let_go = {one.symbol for one in await read_watched(database) if one.state == "let_go"}
    owned = owned_symbols(account)
    traded = await traded_by_hand(database, configured)
    held = tuple(sorted(owned - set(traded)))
    rules: dict[str, Instrument] = {}
    listings: list[Listing] = []
    turns = asyncio.Semaphore(_AT_ONCE)

    async def instrument(symbol: str) -> Instrument | None:
        async with turns:
            return await warm_up.persist(partial(rest.instrument, symbol), "instruments")

    symbols = (*traded, *held)
    for symbol, found in zip(symbols, await asyncio.gather(*map(instrument, symbols)), strict=True):
        if found is not None and found.status == TRADING:
            rules[symbol] = found
            continue
        known = stored.get(symbol)
        if known is None and symbol not in owned:
            status = "" if found is None else f" (its status is {found.status})"
            raise ConfigError(
                f"run.symbols: Bybit does not trade {symbol!r} in category {rest.category!r}{status}; "
                f"symbols look like BTCUSDT, categories are linear and spot"
            )
        last_known = known or found
        if last_known is None:
            raise BrokenInvariant(f"{symbol} is held, but its rules are known to nobody")
        rules[symbol] = last_known
        listings.append(await warm_up.persist(partial(rest.listing, symbol, found), "instruments"))
    if all(symbol in {listing.symbol for listing in listings} for symbol in traded):
        raise ConfigError(f"run.symbols: Bybit trades none of {', '.join(traded)} any more; name others")
    return WatchList(
        traded=traded,
        held=held,
        joining=frozenset(let_go & set(traded) - owned),
        rules=rules,
        listings=tuple(listings),
    )
