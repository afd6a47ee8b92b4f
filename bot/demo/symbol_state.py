"""What a pretend exchange shows of one symbol: its open bar, quote, mark price, book and 24-hour figures. Pure."""

import zlib
from collections import deque
from decimal import Decimal

from msgspec import Struct

from bot.demo.funding import FundingBook
from bot.demo.sources import Source
from bot.market import INTERVAL_MS, TRADING, Bar, Instrument, plain

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


class OpenBar(Struct, frozen=True, gc=False):
    """A bar as it is some time after its start."""

    start_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal


class _Past(Struct, frozen=True, gc=False):
    """The 24 hours before the open bar, and the price an hour ago."""

    open: Decimal
    hour_open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    turnover: Decimal


class SymbolState:
    """What the exchange shows of one symbol at one time: open bar, quote, book, mark, 24-hour figures."""

    def __init__(self, source: Source, instrument: Instrument, funding: FundingBook) -> None:
        self.instrument = instrument
        self.funding = funding
        self.bar: Bar | None = None
        """The open bar, or the last one that was published."""
        self.pushed_ticker: dict[str, str] = {}
        """The ticker as last pushed; deltas are what differs from it."""
        self.pushed_levels: dict[str, dict[Decimal, Decimal]] = {}
        """The book as last pushed, by side."""
        self.updates = 0
        self.delivery_price: Decimal | None = None
        """What a closed contract was delivered at."""
        self._source = source
        self._interval_ms = INTERVAL_MS[source.interval]
        self._day: deque[Bar] = deque()
        self._past: _Past | None = None
        self._key = zlib.crc32(instrument.symbol.encode())

    @property
    def trades(self) -> bool:
        return self.instrument.status == TRADING

    def begin(self, start_ms: int) -> bool:
        """Move to the bar that starts here; whether there is one."""
        symbol = self.instrument.symbol
        if self.bar is not None and self.bar.start_ms == start_ms:
            return True
        if self.bar is None:
            self._day.extend(self._source.newest(symbol, start_ms - _DAY_MS, start_ms - 1, 1440))
            self.bar = next(iter(self._source.newest(symbol, 0, start_ms - 1, 1)), None)
        while self._day and self._day[0].start_ms <= start_ms - _DAY_MS:
            self._day.popleft()
        bars = self._source.newest(symbol, start_ms, start_ms, 1)
        if not bars:
            return False
        bar = self.bar = bars[0]
        past = list(self._day)
        self._past = _Past(
            open=past[0].open if past else bar.open,
            hour_open=next(
                (earlier.open for earlier in past if earlier.start_ms > start_ms - _HOUR_MS), bar.open
            ),
            high=max((earlier.high for earlier in past), default=bar.open),
            low=min((earlier.low for earlier in past), default=bar.open),
            volume=sum((earlier.volume for earlier in past), Decimal(0)),
            turnover=sum((earlier.turnover or Decimal(0) for earlier in past), Decimal(0)),
        )
        self._day.append(bar)
        return True

    def open_bar(self, bar: Bar, time_ms: int) -> OpenBar:
        """The bar at a time inside it: it goes from open over one extreme and the other to close.

        On the tick grid, with the extremes so far, and at the bar's end exactly the bar itself.
        """
        whole, tick = self._interval_ms, self.instrument.tick_size
        elapsed = min(max(0, time_ms - bar.start_ms), whole)
        turnover = bar.close * bar.volume if bar.turnover is None else bar.turnover
        if elapsed == whole:
            return OpenBar(bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, turnover)
        knots = self._knots(bar)
        leg = 3 * elapsed // whole
        ticks = int((knots[leg + 1] - knots[leg]) / tick)
        price = knots[leg] + ticks * (3 * elapsed - leg * whole) // whole * tick
        passed = (*knots[: leg + 1], price)
        lot = self.instrument.lot_size
        volume = int(bar.volume / lot) * elapsed // whole * lot
        return OpenBar(
            bar.start_ms,
            bar.open,
            max(passed),
            min(passed),
            price,
            volume,
            round(turnover * elapsed / whole, 4),
        )

    @staticmethod
    def _knots(bar: Bar) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        if bar.close >= bar.open:
            return bar.open, bar.low, bar.high, bar.close
        return bar.open, bar.high, bar.low, bar.close

    def mark(self, bar: Bar, time_ms: int) -> Decimal:
        """The mark price: the current price, up to two ticks aside, the same all through a bar."""
        tick = self.instrument.tick_size
        aside = (bar.start_ms // self._interval_ms + self._key) % 5 - 2
        return max(tick, self.open_bar(bar, time_ms).close + aside * tick)

    def quote(self, price: Decimal) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """Bid, bid size, ask, ask size around a price: a tick apart, or 0.2 basis points where that is more."""
        tick, lot = self.instrument.tick_size, self.instrument.lot_size
        spread = max(1, int(price / tick / 50_000))
        bid = max(tick, price - (spread + 1) // 2 * tick)
        size = lot * (100 + (self.updates * 37 + self._key) % 900)
        return bid, size, bid + spread * tick, size + lot * 11

    def levels(self, price: Decimal) -> dict[str, dict[Decimal, Decimal]]:
        """Price to size of bids (``b``) and asks (``a``) around a price, 50 a side, the quote's a spread apart."""
        bid, bid_size, ask, ask_size = self.quote(price)
        step, lot = ask - bid, self.instrument.lot_size
        sizes = [
            lot * (100 + (self.updates // 3 * 37 + self._key + place * 53) % 900) for place in range(1, 50)
        ]
        bids = {bid: bid_size} | {
            level: size for place, size in enumerate(sizes, 1) if (level := bid - place * step) > 0
        }
        asks = {ask: ask_size} | {ask + place * step: size for place, size in enumerate(sizes, 1)}
        return {"b": bids, "a": asks}

    def ticker(self, time_ms: int) -> dict[str, str]:
        """Every field of the ticker at a time; empty before the first bar."""
        bar = self.bar
        if bar is None:
            return {}
        now = self.open_bar(bar, time_ms)
        past = self._past or _Past(bar.open, bar.open, bar.high, bar.low, Decimal(0), Decimal(0))
        bid, bid_size, ask, ask_size = self.quote(now.close)
        fields = {
            "symbol": self.instrument.symbol,
            "lastPrice": plain(now.close),
            "prevPrice24h": plain(past.open),
            "price24hPcnt": plain(round(now.close / past.open - 1, 6)),
            "highPrice24h": plain(max(now.high, past.high)),
            "lowPrice24h": plain(min(now.low, past.low)),
            "volume24h": plain(past.volume + now.volume),
            "turnover24h": plain(past.turnover + now.turnover),
        }
        if self.instrument.category == "spot":
            return fields | {"usdIndexPrice": plain(now.close)}
        mark = self.mark(bar, time_ms)
        interest = self.instrument.lot_size * 1_000_000
        next_funding_ms = self.funding.next_ms(time_ms)
        # What is announced moves until it is settled.
        ahead = Decimal((next_funding_ms - time_ms) // _HOUR_MS).scaleb(-6)
        return fields | {
            "tickDirection": "PlusTick" if now.close >= bar.open else "MinusTick",
            "prevPrice1h": plain(past.hour_open),
            "markPrice": plain(mark),
            "indexPrice": plain(mark + self.instrument.tick_size),
            "openInterest": plain(interest),
            "openInterestValue": plain(interest * mark),
            "nextFundingTime": str(next_funding_ms),
            "fundingRate": plain(self.funding.rate(self.instrument.symbol, next_funding_ms) + ahead),
            "fundingIntervalHour": str(self.funding.interval_ms(time_ms) // _HOUR_MS),
            "fundingCap": "0.005",
            "bid1Price": plain(bid),
            "bid1Size": plain(bid_size),
            "ask1Price": plain(ask),
            "ask1Size": plain(ask_size),
        }
