"""What a person asks of the bot through its database: written beside the running process, read by it."""

from decimal import Decimal

from msgspec import Struct

from bot.exact import EXACT
from bot.store.account.sessions import read_settings
from bot.store.account.state import AccountState, load_instruments
from bot.store.account.tables import REQUESTS, RequestKind, StoredRequest
from bot.store.account.watching import read_requests
from bot.store.database import Database
from bot.store.rows import decimal_of
from bot.trading.events import Close, Pause, Resume, Transfer
from bot.trading.margin import Margin


class ChangeSymbols(Struct, frozen=True, kw_only=True):
    """A person wants a symbol traded from now on, or only closed; what that takes is the session's matter."""

    id: int
    symbol: str
    add: bool
    note: str


Taken = Resume | Transfer | Close | Pause | ChangeSymbols


async def ask(
    database: Database,
    kind: RequestKind,
    made_ms: int,
    *,
    amount: Decimal = Decimal(0),
    symbols: str = "",
    note: str = "",
) -> int:
    """Ask for something; the request's number. The same that was not taken yet is enough, but for a transfer."""
    async with database.transaction():
        for waiting in await read_requests(database, "done_ms IS NULL AND kind = ?", kind):
            if kind != "transfer" and waiting.symbols == symbols:
                return waiting.id
        made = StoredRequest(made_ms=made_ms, kind=kind, amount=amount, symbols=symbols, note=note)
        await database.write(REQUESTS.insert, [REQUESTS.row(made)])
        number: int = await database.value("SELECT max(id) FROM requests")
        return number


async def read_request(database: Database, number: int) -> StoredRequest:
    """The request of this number as it stands."""
    (found,) = await read_requests(database, "id = ?", number)
    return found


async def read_waiting(database: Database) -> tuple[StoredRequest, ...]:
    """What was asked for and not carried out yet, in order."""
    return await read_requests(database, "done_ms IS NULL")


async def requested_transfers(database: Database) -> Decimal:
    """What the transfers come to that were asked for and not booked yet."""
    total = Decimal(0)
    for waiting in await read_waiting(database):
        total = EXACT.add(total, waiting.amount)
    return total


async def read_free_cash(database: Database, account: AccountState) -> Decimal:
    """What of the cash neither positions nor waiting orders bind, by the leverages of the last session.

    Below 0 where the cash lacks of what is bound. Inside the caller's transaction. An order that names no price
    counts at the last stored close.
    """
    cash = account.starting_cash if account.equity is None else account.equity.cash
    last_session = await database.value("SELECT max(id) FROM sessions")
    if last_session is None:
        return cash
    settings = await read_settings(database, last_session)
    margin = Margin(settings.broker, await load_instruments(database))
    closes = {
        symbol: decimal_of(database, close, "bars.close")
        for symbol, close, _ in await database.fetch(
            "SELECT symbol, close, max(start_ms) FROM bars WHERE interval = ? GROUP BY symbol",
            (settings.run.interval,),
        )
    }
    return margin.free(cash, account.positions, account.open_orders, closes)


class Inbox:
    """What a session has still to take."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last_id = 0

    async def take(self, now_ms: int) -> list[Taken]:
        """What was asked for since this was last asked and is not carried out, in order; each once.

        ``now_ms`` is when it enters the core: the exchange's time.
        """
        taken: list[Taken] = []
        for asked in await read_requests(self._database, "done_ms IS NULL AND id > ?", self._last_id):
            self._last_id = asked.id
            taken.append(_input(asked, now_ms))
        return taken


def _input(asked: StoredRequest, now_ms: int) -> Taken:
    symbol = asked.symbols or None
    match asked.kind:
        case "resume":
            return Resume(id=asked.id, time_ms=now_ms, note=asked.note, symbol=symbol)
        case "transfer":
            return Transfer(id=asked.id, time_ms=now_ms, amount=asked.amount, reason=asked.note)
        case "close":
            return Close(id=asked.id, time_ms=now_ms, symbol=symbol, note=asked.note)
        case "pause":
            return Pause(id=asked.id, time_ms=now_ms, symbol=symbol, note=asked.note)
        case "symbols":
            add, name = asked.symbols[:1] == "+", asked.symbols[1:]
            return ChangeSymbols(id=asked.id, symbol=name, add=add, note=asked.note)
