"""What a person asks of the running account, and what the exchange does to a symbol: one input in, one Step out."""

from collections.abc import Callable

from msgspec.structs import replace

from bot.exact import EXACT, ZERO
from bot.market import CLOSED, TRADING, Instrument, Listing, Notice, plain, utc_text
from bot.trading.account import AccountTrack
from bot.trading.broker import Matched, PaperBroker
from bot.trading.events import (
    Answer,
    Close,
    Equity,
    Fill,
    Halt,
    Order,
    Pause,
    Request,
    Resume,
    Step,
    Transfer,
    Watch,
    Watched,
)
from bot.trading.ledger import Ledger
from bot.trading.margin import Margin
from bot.trading.risk import RiskReview
from bot.trading.sizing import Sizer

Post = Callable[[Matched, list[Equity]], tuple[Fill, ...]]
"""Books fills, and notes the account after each."""


class Hands:
    """Carries out requests on the account's parts; owns which symbols are only closed and not let go yet."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        broker: PaperBroker,
        sizer: Sizer,
        risk: RiskReview,
        margin: Margin,
        instruments: dict[str, Instrument],
        track: AccountTrack,
        post: Post,
    ) -> None:
        self._ledger = ledger
        self._broker = broker
        self._sizer = sizer
        self._risk = risk
        self._margin = margin
        self._instruments = instruments
        self._track = track
        self._post = post
        self._leaving: set[str] = set()

    def take(self, asked: Request) -> Step:
        """Carry out what was asked for, or say why not."""
        match asked:
            case Resume():
                return self._resume(asked)
            case Transfer():
                return self._transfer(asked)
            case Close():
                return self._close(asked)
            case Pause():
                return self._pause(asked)
            case Watch():
                return self._watch(asked)
            case Listing():
                return self._listing(asked)

    def sell_out(
        self, symbol: str, now_ms: int, *, signal_id: int, everything: bool, late: bool
    ) -> tuple[Order, ...]:
        """Withdraw what rests and close what is held in a halt: of all symbols as it begins, of one later.

        Later, what waits is left to: it is the rest of a close that the market has not taken yet.
        """
        if everything:
            symbols = {symbol, *self._concerned()}
        elif late or self._broker.waits(symbol):
            return ()
        else:
            symbols = {symbol}
        changed: list[Order] = []
        for each in sorted(symbols):
            changed += self._broker.cancel(each, now_ms, "halted")
            changed += self._close_at_market(each, now_ms, signal_id, "halted: everything is sold")
        return tuple(changed)

    def halt_notice(self, halt: Halt) -> Notice:
        """What a person should hear as a halt begins, what cannot be sold included."""
        detail = (
            f"{halt.rule}: {halt.reason}; what is held is sold, nothing is entered until run_bot.py resume"
        )
        unsold = [
            f"{plain(position.quantity)} {position.symbol} ({self._instruments[position.symbol].status})"
            for position in self._ledger.open_positions
            if not self._trades(position.symbol)
        ]
        if unsold:
            detail += f"; cannot be sold: {', '.join(unsold)}"
        return Notice(kind="halt", time_ms=halt.time_ms, detail=detail)

    def let_go(self, symbol: str, time_ms: int) -> tuple[Watched, ...]:
        """That a symbol that is only closed is flat now and need not be watched any more, once."""
        if (
            symbol not in self._leaving
            or self._ledger.position(symbol).quantity
            or self._broker.waits(symbol)
        ):
            return ()
        self._leaving.remove(symbol)
        reason = f"flat: {self._risk.halts.closing_only[symbol]}"
        return (Watched(symbol=symbol, state="let_go", since_ms=time_ms, reason=reason),)

    def _resume(self, resume: Resume) -> Step:
        now_ms = resume.time_ms
        ended, over = self._risk.resume(resume)
        if ended is not None:
            self._track.restart_limits()
        told = [] if ended is None else [f"after the halt by {ended.rule}"]
        told += [f"after the pause of {pause.symbol or 'everything'}" for pause in over]
        if not told:
            what = "neither a halt nor a pause was in force"
            if resume.symbol is not None:
                what = f"no pause of {resume.symbol} was in force"
            return self._refused(resume.id, "resume", now_ms, what, resume.symbol)
        detail = ", ".join(told) + (f": {resume.note}" if resume.note else "")
        return Step(
            time_ms=now_ms,
            notices=(Notice(kind="resume", time_ms=now_ms, symbol=resume.symbol, detail=detail),),
            halts=() if ended is None else (ended,),
            pauses=over,
            risk=self._risk.state_if_changed(),
            account=self._track.news()[1],
            answers=(Answer(id=resume.id, time_ms=now_ms, outcome=f"resumed {', '.join(told)}"),),
        )

    def _transfer(self, transfer: Transfer) -> Step:
        """Money enters the account or leaves it: neither gain nor loss."""
        now_ms, amount = transfer.time_ms, transfer.amount
        if amount < 0:
            # Much may have happened since it was asked for.
            free = self._margin.free(
                self._ledger.cash, self._ledger.open_positions, self._broker.open_orders, self._ledger.marks
            )
            if EXACT.add(free, amount) < 0:
                why = f"{plain(-amount)} cannot be withdrawn: {max(free, ZERO):.2f} of the cash is not bound any more"
                return self._refused(transfer.id, "transfer_refused", now_ms, why)
        self._ledger.transfer(transfer)
        self._ledger.check()
        row = self._track.move(amount, self._ledger.equity(now_ms))
        return Step(
            time_ms=now_ms,
            transfers=(transfer,),
            equity=(row,),
            account=self._track.news()[1],
            marks=self._ledger.held_marks,
            answers=(Answer(id=transfer.id, time_ms=now_ms, outcome=f"booked {plain(amount)}"),),
        )

    def _pause(self, pause: Pause) -> Step:
        scope, now_ms = pause.symbol or "everything", pause.time_ms
        in_force = self._risk.pause(pause)
        if in_force != pause:
            outcome = f"{scope} is paused since {utc_text(in_force.time_ms)} UTC already"
            return Step(time_ms=now_ms, answers=(Answer(id=pause.id, time_ms=now_ms, outcome=outcome),))
        note = f": {pause.note}" if pause.note else ""
        detail = f"nothing is entered until run_bot.py resume, exits go on{note}"
        return Step(
            time_ms=now_ms,
            notices=(Notice(kind="pause", time_ms=now_ms, symbol=pause.symbol, detail=detail),),
            pauses=(pause,),
            risk=self._risk.state_if_changed(),
            answers=(Answer(id=pause.id, time_ms=now_ms, outcome=f"{scope} is paused"),),
        )

    def _close(self, asked: Close) -> Step:
        now_ms = asked.time_ms
        symbols = self._concerned() if asked.symbol is None else {asked.symbol} & self._concerned()
        if not symbols:
            scope = "any symbol" if asked.symbol is None else asked.symbol
            why = f"nothing of {scope} is held, and no order rests"
            return self._refused(asked.id, "close_refused", now_ms, why, asked.symbol)
        changed: list[Order] = []
        done: list[str] = []
        stuck: list[str] = []
        note = f": {asked.note}" if asked.note else ""
        for symbol in sorted(symbols):
            cancelled = self._broker.cancel(symbol, now_ms, f"closed by hand{note}")
            placed = self._close_at_market(symbol, now_ms, 0, f"closed by hand{note}")
            position = self._ledger.position(symbol)
            changed += (*cancelled, *placed)
            if placed:
                done.append(f"{placed[0].side}s {plain(position.quantity.copy_abs())} {symbol} at market")
            elif position.quantity:
                status = self._instruments[symbol].status
                stuck.append(f"{plain(position.quantity)} {symbol} cannot be closed: its status is {status}")
            if cancelled:
                done.append(f"{len(cancelled)} orders of {symbol} cancelled")
        return Step(
            time_ms=now_ms,
            orders=tuple(changed),
            notices=(
                Notice(
                    kind="close",
                    time_ms=now_ms,
                    symbol=asked.symbol,
                    detail="; ".join((*done, *stuck)) + (f" ({asked.note})" if asked.note else ""),
                ),
            ),
            watched=tuple(gone for symbol in sorted(symbols) for gone in self.let_go(symbol, now_ms)),
            answers=(Answer(id=asked.id, time_ms=now_ms, outcome="; ".join(done), error="; ".join(stuck)),),
        )

    def _watch(self, asked: Watch) -> Step:
        now_ms, closing_only = asked.time_ms, self._risk.halts.closing_only
        watched: list[Watched] = []
        changed: list[Order] = []
        for rules in asked.add:
            closing_only.pop(rules.symbol, None)
            self._instruments[rules.symbol] = rules
            self._leaving.discard(rules.symbol)
            watched.append(Watched(symbol=rules.symbol, state="trading", since_ms=now_ms, reason=asked.note))
        for symbol in asked.drop:
            closing_only[symbol] = asked.note
            self._leaving.add(symbol)
            # What protects a position stays; what would open one does not.
            changed += self._broker.cancel(
                symbol, now_ms, f"closing_only: {asked.note}", keep_exits=True, keep_closes=True
            )
            gone = self.let_go(symbol, now_ms)
            watched += gone or (
                Watched(symbol=symbol, state="closing_only", since_ms=now_ms, reason=asked.note),
            )
        notices = tuple(
            Notice(kind="watch", time_ms=now_ms, symbol=one.symbol, detail=_watch_text(one))
            for one in watched
        )
        outcome = "; ".join(f"{one.symbol} {_watch_text(one)}" for one in watched)
        answers = (Answer(id=asked.id, time_ms=now_ms, outcome=outcome),) if asked.id else ()
        return Step(
            time_ms=now_ms,
            orders=tuple(changed),
            notices=notices,
            watched=tuple(watched),
            answers=answers,
            rules=asked.add,
        )

    def _listing(self, listing: Listing) -> Step:
        """The exchange says whether a symbol trades; what is delivered settles."""
        symbol, now_ms = listing.symbol, listing.time_ms
        before = self._instruments[symbol].status
        rules = replace(self._instruments[symbol], status=listing.status, delivery_ms=listing.delivery_ms)
        self._instruments[symbol] = rules
        detail = f"{before} is now {listing.status}"
        if listing.delivery_ms:
            detail += f", delivery {utc_text(listing.delivery_ms)} UTC"
        notices = [Notice(kind="listing", time_ms=now_ms, symbol=symbol, detail=detail)]
        changed: tuple[Order, ...] = ()
        fills: tuple[Fill, ...] = ()
        equity: list[Equity] = []
        if listing.status != TRADING:
            changed = self._broker.cancel(symbol, now_ms, f"not_trading: {symbol} is {listing.status}")
        position = self._ledger.position(symbol)
        price, source = listing.price, "the delivery price"
        if price is None:
            price, source = self._ledger.marks.get(symbol), "the last mark known"
        if (
            listing.status == CLOSED
            and rules.category == "linear"
            and position.quantity
            and price is not None
        ):
            order, fill = self._broker.settle(
                position, price, now_ms, fee_rate=listing.fee_rate, reason=f"settled at {source}"
            )
            changed = (*changed, order)
            fills = self._post(Matched(fills=(fill,), orders=(order,), rejections=()), equity)
            self._ledger.check()
            realized = plain(fills[0].realized_pnl)
            detail = f"{plain(fill.quantity)} at {plain(price)}, {source}, which realized {realized}"
            notices.append(Notice(kind="settlement", time_ms=now_ms, symbol=symbol, detail=detail))
        elif listing.status != TRADING and position.quantity:
            detail = f"{plain(position.quantity)} stay held, valued at the last mark known"
            notices.append(Notice(kind="not_trading", time_ms=now_ms, symbol=symbol, detail=detail))
        trips, account = self._track.news()
        return Step(
            time_ms=now_ms,
            orders=changed,
            fills=fills,
            round_trips=trips,
            account=account,
            positions=(self._ledger.position(symbol),) if fills else (),
            equity=tuple(equity),
            notices=tuple(notices),
            marks=self._ledger.held_marks if fills else (),
            risk=self._risk.state_if_changed(),
            watched=self.let_go(symbol, now_ms),
        )

    def _concerned(self) -> set[str]:
        """Symbols that are held, or have orders resting."""
        held = {position.symbol for position in self._ledger.open_positions}
        return held | {order.symbol for order in self._broker.open_orders}

    def _trades(self, symbol: str) -> bool:
        # Of what is held beside the run, older recordings do not tell the rules.
        rules = self._instruments.get(symbol)
        return rules is None or rules.status == TRADING

    def _close_at_market(self, symbol: str, now_ms: int, signal_id: int, reason: str) -> tuple[Order, ...]:
        """Place what closes a symbol's position; nothing where it is flat, or nobody trades it."""
        position = self._ledger.position(symbol)
        if not position.quantity or not self._trades(symbol):
            return ()
        return self._broker.place(self._sizer.closing(position, now_ms, signal_id=signal_id, reason=reason))

    def _refused(self, id: int, kind: str, time_ms: int, why: str, symbol: str | None = None) -> Step:
        return Step(
            time_ms=time_ms,
            notices=(Notice(kind=kind, time_ms=time_ms, symbol=symbol, detail=why),),
            answers=(Answer(id=id, time_ms=time_ms, error=why),),
            risk=self._risk.state_if_changed(),
        )


def _watch_text(one: Watched) -> str:
    note = f": {one.reason}" if one.reason else ""
    match one.state:
        case "trading":
            return f"is traded{note}"
        case "closing_only":
            return f"is only closed{note}"
        case _:
            return f"is let go, {one.reason}"
