"""``transfer``: money into the paper account or out of it, whether the bot runs or not."""

import argparse
import time
from decimal import Decimal
from pathlib import Path

import msgspec
from msgspec import Struct

from bot.commands.inspect import database_path
from bot.commands.resume import live_only
from bot.config import Config
from bot.errors import InputError
from bot.exact import EXACT, ZERO, floor_to
from bot.market import plain
from bot.store.database import Database, Holder, holder
from bot.store.queries import read_account, read_free_cash
from bot.store.requests import ask_to_transfer, requested_transfers

OK = 0


class Asked(Struct, frozen=True, kw_only=True):
    """A transfer that was asked for under this number; a running bot books it within a second or so."""

    database: str
    id: int
    amount: Decimal
    running: Holder | None


async def run(args: argparse.Namespace, config: Config) -> int:
    """Ask the bot of the database that the arguments mean to book a deposit or a withdrawal."""
    asked = await transfer(database_path(args, config), args.amount, args.note)
    if args.json:
        print(msgspec.json.encode(asked).decode())
        return OK
    kind = "deposit" if asked.amount > 0 else "withdrawal"
    when = f"{asked.running} books it now" if asked.running is not None else "the next start books it"
    print(f"{kind} {asked.id} of {plain(asked.amount.copy_abs())}: {when}")
    return OK


async def transfer(db_path: Path | str, amount: Decimal, note: str = "") -> Asked:
    """Ask for a deposit (positive) or withdrawal, in quote currency.

    Raises InputError for an account that does not go on, or has not so much in cash that nothing binds.
    """
    async with Database.beside(db_path) as database:
        live_only(database)
        async with database.transaction():
            account = await read_account(database)
            asked = await requested_transfers(database, account.next_transfer_id - 1)
            free = EXACT.add(await read_free_cash(database, account), asked)
        if amount < 0 and free + amount < 0:
            cash = account.starting_cash if account.equity is None else account.equity.cash
            raise InputError(
                f"transfer: of {plain(cash)} in cash, {plain(_in_cents(free))} is free (positions, waiting orders and "
                f"transfers asked for before bind the rest): {plain(-amount)} cannot be withdrawn"
            )
        number = await ask_to_transfer(database, time.time_ns() // 1_000_000, amount, note or "by hand")
    return Asked(database=str(db_path), id=number, amount=amount, running=holder(db_path))


def _in_cents(free: Decimal) -> Decimal:
    """What may be withdrawn, in digits that can be read."""
    return floor_to(max(free, ZERO), Decimal("0.01"))
