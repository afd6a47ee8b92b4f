"""What of the account was at work, read from its rows."""

from msgspec.structs import replace

from bot.performance.exposure import AverageExposure
from bot.store.account.opening import read_opening
from bot.store.account.period import Period, stream_closes, stream_equity
from bot.store.database import Database


async def average_exposure(database: Database, period: Period, session_id: int | None) -> float | None:
    """The mean share of the equity that was held at the closes of a period. Inside the caller's transaction.

    Whatever was held counts, also what the last session was not to trade, at the closes of its interval; None
    without any.
    """
    books = await read_opening(database)
    held = {} if books is None else {each.symbol: float(each.quantity) for each in books.ledger.positions}
    fills = []
    for session, time_ms, symbol, side, quantity in await database.fetch(
        "SELECT session_id, time_ms, symbol, side, quantity FROM fills ORDER BY id"
    ):
        signed = float(quantity) if side == "buy" else -float(quantity)
        if session < period.sessions[0].id:
            held[symbol] = held.get(symbol, 0.0) + signed
        else:
            fills.append((time_ms, symbol, signed))
    run = period.settings.run
    run = replace(run, symbols=tuple(sorted({*run.symbols, *held, *(symbol for _, symbol, _ in fills)})))
    exposure = AverageExposure(held, fills)
    equity, rows = float(period.opening.equity), stream_equity(database, session_id)
    ahead = await anext(rows, None)
    closed: dict[str, float] = {}
    closed_ms = period.opening.time_ms

    async def count() -> None:
        nonlocal ahead, equity
        while ahead is not None and ahead[0] <= closed_ms:
            equity, ahead = ahead[1], await anext(rows, None)
        exposure.close(closed_ms, closed, equity)

    async for time_ms, symbol, close in stream_closes(database, run, period.opening.time_ms, period.last_ms):
        if closed and time_ms > closed_ms:
            await count()
            closed = {}
        closed_ms = time_ms
        closed[symbol] = close
    if closed:
        await count()
    return exposure.mean
