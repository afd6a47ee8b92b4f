"""When which settlement's rate and price are asked for, and what may be handed on. Pure: no I/O, no clock."""

from collections.abc import Mapping
from decimal import Decimal

from bot.exchange.symbol_funding import Ask, News, PriceWanted, RatesWanted, SymbolFunding, growing
from bot.market import Bar, Notice, settlement_ms
from bot.market.funding import Pace
from bot.trading.held import LookBack


class FundingSchedule:
    """What is asked for and when, and what may be handed on: facts in, questions and news out.

    A settlement is handed on once the bar that its time falls into has been, and once it has a price: the
    mark price; where that is not shown after some looks, the index price; else the close of the bar that
    ends then, or of the last before it. Settlements of a symbol keep their order. A rate that is not
    published holds back later ones for an hour at most, is told once when it is late and once when it is
    given up, and is charged whenever it becomes known after that. A price further than ``max_jump`` times from the
    last close before it counts as not shown until another answer agrees.

    ``now`` is local and in seconds, ``clock_ms`` the exchange's newest time.
    """

    def __init__(
        self, every_ms: Mapping[str, int], look_backs: Mapping[str, LookBack], max_jump: float
    ) -> None:
        self._max_jump = Decimal(str(max_jump))
        self._symbols = {
            symbol: SymbolFunding(symbol, Pace(every), look_backs.get(symbol, LookBack()), self._max_jump)
            for symbol, every in every_ms.items()
            if every
        }

    def add(self, symbol: str, every_ms: int, look_back: LookBack) -> None:
        """Follow this symbol's settlements too."""
        if every_ms and symbol not in self._symbols:
            self._symbols[symbol] = SymbolFunding(symbol, Pace(every_ms), look_back, self._max_jump)

    def bar(self, bar: Bar) -> None:
        """A bar was handed on."""
        state = self._symbols.get(bar.symbol)
        if state is not None:
            if state.first_closed_ms is None:
                state.first_closed_ms = bar.close_ms
            state.closed_ms = max(state.closed_ms, bar.close_ms)
            state.closes.append((bar.close_ms, bar.close))

    def announce(self, symbol: str, time_ms: int, at_ms: int) -> bool:
        """The exchange says when it settles next; whether that is news."""
        state, time_ms = self._symbols.get(symbol), settlement_ms(time_ms)
        if state is None or time_ms == state.announced_ms:
            return False
        before = state.announced_ms
        if before is not None and before <= at_ms and state.begun:
            # It has rolled over because it was settled, and not because the interval has changed.
            state.must_have(before, firm=True)
        state.announced_ms, state.announced_at_ms = time_ms, at_ms
        return True

    def asks(self, now: float) -> list[Ask]:
        """What is to be asked for now. Each is answered once, by one of the methods below."""
        asks: list[Ask] = []
        for state in self._symbols.values():
            if not state.closed_ms:
                continue
            state.expect()
            wanted = state.rates_wanted()
            if wanted is not None and state.ask_at <= now:
                state.asking = True
                asks.append(wanted)
            price = state.price_wanted()
            if price is not None and price[0] <= now:
                state.pricing = True
                source = state.waiting[price[1]].source
                asks.append(PriceWanted(symbol=state.symbol, time_ms=price[1], source=source))
        return asks

    def wake(self) -> float | None:
        """When something is to be asked for again; None while only the market can tell."""
        times = []
        for state in self._symbols.values():
            if state.closed_ms and state.rates_wanted() is not None:
                times.append(state.ask_at)
            price = state.price_wanted()
            if price is not None:
                times.append(price[0])
        return min(times, default=None)

    def rates(
        self, ask: RatesWanted, found: list[tuple[int, Decimal]], now: float, clock_ms: int
    ) -> list[News]:
        """The answer to a question for rates: by scheduled time, as far as they are published."""
        state = self._symbols[ask.symbol]
        state.asking, state.probing, state.failures = False, False, 0
        return state.take(dict(found), now, clock_ms)

    def price(self, ask: PriceWanted, price: Decimal | None, now: float, clock_ms: int) -> list[News]:
        """The answer to a question for a price, None where it does not show one."""
        state = self._symbols[ask.symbol]
        state.pricing = False
        return state.take_price(ask.time_ms, price, now, clock_ms)

    def failed(self, ask: Ask, error: str, now: float, clock_ms: int) -> list[News]:
        """A question that got no answer; told once, until another gets one."""
        state = self._symbols[ask.symbol]
        news: list[News] = []
        if isinstance(ask, RatesWanted):
            state.asking = False
            state.failures += 1
            state.ask_at = now + growing(state.failures)
            times = state.failures
        else:
            state.pricing = False
            times = state.waiting[ask.time_ms].failures + 1
            news = state.price_failed(ask.time_ms, now, clock_ms)
        if times == 1:
            detail = f"funding: {error}"
            news.insert(0, Notice(kind="rest_failed", time_ms=clock_ms, symbol=ask.symbol, detail=detail))
        return news
