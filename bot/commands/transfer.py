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
from bot.market import plain
from bot.store.database import Database, Holder, holder
from bot.store.queries import load_account
from bot.store.requests import ask_to_transfer

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

    Raises InputError for an account that does not go on, or has not so much in cash.
    """
    async with Database.beside(db_path) as database:
        live_only(database)
        account = await load_account(database)
        cash = account.starting_cash if account.equity is None else account.equity.cash
        if amount + cash < 0:
            raise InputError(
                f"transfer: {db_path} has {plain(cash)} in cash, {plain(-amount)} cannot be withdrawn"
            )
        number = await ask_to_transfer(database, time.time_ns() // 1_000_000, amount, note or "by hand")
    return Asked(database=str(db_path), id=number, amount=amount, running=holder(db_path))
