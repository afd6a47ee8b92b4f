"""A person's requests, ``resume``, ``transfer``, ``close``, ``pause``, ``symbols``, whether the bot runs or not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from bot.errors import InputError
from bot.exact import EXACT, ZERO, floor_to
from bot.market import plain
from bot.market.symbols import symbol_problem
from bot.sessions.watching import owned_symbols
from bot.store.account.requests import ask, read_free_cash, read_request, requested_transfers
from bot.store.account.state import read_account, read_risk
from bot.store.account.tables import RequestKind
from bot.store.account.watching import read_trading
from bot.store.database import Database
from bot.store.lock import Holder, holder
from bot.trading.events import Halt, Pause

_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Asked(Struct, frozen=True, kw_only=True):
    """A request under this number, and what became of it.

    ``outcome`` says what was done and ``error`` what was not, both None while the bot has not taken it; one
    that does not run takes it as it starts. ``halt`` and ``pauses`` are those that were in force.
    """

    database: str
    id: int
    kind: RequestKind
    symbols: str
    amount: Decimal
    running: Holder | None
    outcome: str | None
    error: str | None
    halt: Halt | None
    pauses: tuple[Pause, ...]
    resumed: bool = False


async def resume(db_path: Path | str, symbol: str | None = None, note: str = "") -> Asked:
    """Ask for the halt and all pauses to end, or for one symbol's pause.

    Raises InputError for a database without an account that goes on, or where nothing is in force.
    """

    async def check(database: Database) -> None:
        risk = await read_risk(database)
        paused = [pause.symbol for pause in risk.pauses]
        if symbol is not None and symbol not in paused:
            others = ", ".join(each or "everything" for each in paused) or "nothing"
            raise InputError(f"{db_path}: {symbol} is not paused; paused is: {others}")
        if risk.halt is None and not paused:
            raise InputError(
                f"{db_path}: neither a halt nor a pause is in force, so there is nothing to resume"
            )

    return await _asked(db_path, "resume", check, symbols=symbol or "", note=note)


async def pause(db_path: Path | str, symbol: str | None = None, note: str = "") -> Asked:
    """Ask that nothing be entered, into one symbol or into any. InputError for a symbol that is not watched."""

    async def check(database: Database) -> None:
        watched = await read_trading(database)
        if symbol is not None and symbol not in watched:
            raise InputError(
                f"{db_path}: {symbol} is not traded; these are: {', '.join(watched) or 'none yet'}"
            )

    return await _asked(db_path, "pause", check, symbols=symbol or "", note=note)


async def close(db_path: Path | str, symbol: str | None, note: str = "") -> Asked:
    """Ask for a symbol's orders to be cancelled and its position closed, or (None) for all.

    InputError where nothing is held and no order rests.
    """

    async def check(database: Database) -> None:
        account = await read_account(database)
        concerned = sorted(owned_symbols(account))
        if symbol is not None and symbol not in concerned:
            raise InputError(
                f"{db_path}: nothing of {symbol} is held, and no order rests; held or ordered are: "
                f"{', '.join(concerned) or 'none'}"
            )
        if not concerned:
            raise InputError(f"{db_path}: nothing is held, and no order rests, so there is nothing to close")

    return await _asked(db_path, "close", check, symbols=symbol or "", note=note)


async def symbols(
    db_path: Path | str, add: tuple[str, ...], drop: tuple[str, ...], note: str = ""
) -> list[Asked]:
    """Ask for symbols to be traded, and for others to be only closed; a request each.

    InputError for what is no symbol's name, is traded already, is not traded, or where nothing is left.
    """
    if not add and not drop:
        raise InputError("symbols: name symbols with --add A,B or --drop C,D")

    async def check(database: Database) -> None:
        traded = await read_trading(database)
        if wrong := [problem for name in (*add, *drop) if (problem := symbol_problem(name))]:
            raise InputError(f"symbols: {wrong[0]}")
        if known := [name for name in add if name in traded]:
            raise InputError(f"{db_path}: {known[0]} is traded already; {', '.join(traded)} are")
        if unknown := [name for name in drop if name not in traded]:
            raise InputError(f"{db_path}: {unknown[0]} is not traded; {', '.join(traded)} are")
        if traded and not set(traded) - set(drop) | set(add):
            raise InputError(f"{db_path}: nothing would be traded any more; stop the bot, or `pause` it")

    wanted = [*(f"+{name}" for name in add), *(f"-{name}" for name in drop)]
    asked: list[Asked] = []
    for each in wanted:
        asked.append(await _asked(db_path, "symbols", check if not asked else None, symbols=each, note=note))
    return asked


async def transfer(db_path: Path | str, amount: Decimal, note: str = "") -> Asked:
    """Ask for a deposit (positive) or withdrawal, in quote currency.

    Raises InputError for an account that does not go on, or has not so much in cash that nothing binds.
    """

    async def check(database: Database) -> None:
        if amount > 0:
            return
        account = await read_account(database)
        free = EXACT.add(await read_free_cash(database, account), await requested_transfers(database))
        if free + amount < 0:
            cash = account.starting_cash if account.equity is None else account.equity.cash
            # In digits that can be read.
            free = floor_to(max(free, ZERO), Decimal("0.01"))
            raise InputError(
                f"transfer: of {plain(cash)} in cash, {plain(free)} is free (positions, waiting orders and "
                f"transfers asked for before bind the rest): {plain(-amount)} cannot be withdrawn"
            )

    return await _asked(db_path, "transfer", check, amount=amount, note=note or "by hand")


async def _asked(
    db_path: Path | str,
    kind: RequestKind,
    check: Callable[[Database], Awaitable[None]] | None,
    *,
    symbols: str = "",
    amount: Decimal = ZERO,
    note: str,
) -> Asked:
    """Put a request beside the process that writes, and give it a moment to take it."""
    async with Database.beside(db_path) as database:
        mode = database.identity.mode
        if mode in ("backtest", "replay"):
            raise InputError(
                f"{database.path} holds a {mode}, which does not go on; name a live session's with --db"
            )
        # Read without the lock that the bot writes under: an account may be long.
        async with database.transaction(reads=True):
            if check is not None:
                await check(database)
            risk = await read_risk(database)
        running = holder(db_path)
        number = await ask(
            database, kind, time.time_ns() // 1_000_000, amount=amount, symbols=symbols, note=note
        )
        until = time.monotonic() + _PATIENCE_SECONDS
        found = await read_request(database, number)
        while running is not None and found.done_ms is None and time.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            found = await read_request(database, number)
    return Asked(
        database=str(db_path),
        id=number,
        kind=kind,
        symbols=symbols,
        amount=amount,
        running=running,
        outcome=found.outcome,
        error=found.error,
        halt=risk.halt,
        pauses=risk.pauses,
        resumed=kind == "resume" and bool(found.outcome),
    )
