"""What a pretend exchange shows of a market: its bars as they run, quotes, marks, funding, rules. Pure."""

import zlib
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from bot.demo.funding import FundingBook
from bot.market import INTERVAL_MS, TRADING, Bar, Category, Instrument, plain
from bot.market.symbols import is_dated, quote_coin_of
from bot.synthetic import SyntheticMarket

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


class Source(Protocol):
    """Where the bars come from. Starts are on the grid; answers are ascending."""

    interval: str

    def instrument(self, symbol: str, category: Category) -> Instrument: ...

    def last_start_ms(self, symbols: tuple[str, ...]) -> int | None:
        """Start of the last bar of all, None where there is no end."""

    def newest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]: ...

    def oldest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]: ...


class GeneratedSource:
    """Bars of a generated market."""

    def __init__(self, market: SyntheticMarket) -> None:
        self._market = market
        self.interval = market.interval

    def instrument(self, symbol: str, category: Category) -> Instrument:
        return self._market.instrument(symbol, category)

    def last_start_ms(self, symbols: tuple[str, ...]) -> int | None:
        return None

    def newest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]:
        first, last = self._range(first_ms, last_ms)
        first = max(first, last + 1 - limit)
        return self._market.bars(symbol, first, last + 1 - first) if last >= first else []

    def oldest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]:
        first, last = self._range(first_ms, last_ms)
        return self._market.bars(symbol, first, min(limit, last + 1 - first)) if last >= first else []

    def _range(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        # What begins inside a bar begins with the next one.
        first = self._market.index_of(first_ms + INTERVAL_MS[self.interval] - 1)
        return max(0, first), self._market.index_of(last_ms)


class ListedSource:
    """Bars of a list for each symbol, with holes where bars are missing."""

    def __init__(
        self, bars: Mapping[str, list[Bar]], interval: str, rules: Mapping[str, Instrument] | None = None
    ) -> None:
        self.interval = interval
        self._rules = rules or {}
        self._bars = {
            symbol: [_as_streamed(bar) for bar in sorted(listed, key=lambda bar: bar.start_ms)]
            for symbol, listed in bars.items()
        }
        self._starts = {symbol: [bar.start_ms for bar in listed] for symbol, listed in self._bars.items()}

    def instrument(self, symbol: str, category: Category) -> Instrument:
        """The given rules, else as fine as the bars' own digits; a volume finer than 0.000001 needs no finer lot."""
        if symbol in self._rules:
            return self._rules[symbol]
        bars = self._bars[symbol]
        tick = min(_digit(price) for bar in bars for price in (bar.open, bar.high, bar.low, bar.close))
        lot = max(min(_digit(bar.volume) for bar in bars), Decimal("0.000001"))
        return Instrument(
            symbol=symbol,
            category=category,
            tick_size=tick,
            lot_size=lot,
            min_quantity=lot,
            funding_interval_minutes=480 if category == "linear" else 0,
        )

    def last_start_ms(self, symbols: tuple[str, ...]) -> int | None:
        return max(self._starts[symbol][-1] for symbol in symbols)

    def newest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]:
        starts = self._starts[symbol]
        begin, end = bisect_left(starts, first_ms), bisect_right(starts, last_ms)
        return self._bars[symbol][max(begin, end - limit) : end]

    def oldest(self, symbol: str, first_ms: int, last_ms: int, limit: int) -> list[Bar]:
        starts = self._starts[symbol]
        begin, end = bisect_left(starts, first_ms), bisect_right(starts, last_ms)
        return self._bars[symbol][begin : min(end, begin + limit)]


def _as_streamed(bar: Bar) -> Bar:
    """The bar as this exchange publishes it: with a turnover, which files may lack."""
    if bar.turnover is not None and bar.source == "stream" and not bar.late:
        return bar
    turnover = bar.close * bar.volume if bar.turnover is None else bar.turnover
    return msgspec.structs.replace(bar, turnover=turnover, source="stream", late=False)


def _digit(value: Decimal) -> Decimal:
    """The last digit's place of a figure, trailing zeros aside; 1 for whole numbers."""
    exponent = value.normalize().as_tuple().exponent
    return Decimal(1).scaleb(min(0, int(exponent)))


class RunningBar(Struct, frozen=True, gc=False):
    """A bar as it stands some time after its start."""

    start_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal


class _Past(Struct, frozen=True, gc=False):
    """The 24 hours before the running bar, and the price an hour ago."""

    open: Decimal
    hour_open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    turnover: Decimal


class Board:
    """What the exchange shows of one symbol at one time: running bar, quote, mark, 24-hour figures."""

    def __init__(self, source: Source, instrument: Instrument, funding: FundingBook) -> None:
        self.instrument = instrument
        self.funding = funding
        self.bar: Bar | None = None
        """The bar that is running, or the last one that was published."""
        self.shown: dict[str, str] = {}
        """The ticker as last pushed; deltas are what differs from it."""
        self.depth: dict[str, dict[Decimal, Decimal]] = {}
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
        """Go on to the bar that starts here; whether there is one."""
        symbol = self.instrument.symbol
        if self.bar is not None and self.bar.start_ms == start_ms:
            return True
        if self.bar is None:
            self._day.extend(self._source.newest(symbol, start_ms - _DAY_MS, start_ms - 1, 1440))
            self.bar = next(iter(self._source.newest(symbol, 0, start_ms - 1, 1)), None)
        while self._day and self._day[0].start_ms <= start_ms - _DAY_MS:
            self._day.popleft()
        found = self._source.newest(symbol, start_ms, start_ms, 1)
        if not found:
            return False
        bar = self.bar = found[0]
        past = list(self._day)
        self._past = _Past(
            open=past[0].open if past else bar.open,
            hour_open=next((one.open for one in past if one.start_ms > start_ms - _HOUR_MS), bar.open),
            high=max((one.high for one in past), default=bar.open),
            low=min((one.low for one in past), default=bar.open),
            volume=sum((one.volume for one in past), Decimal(0)),
            turnover=sum((one.turnover or Decimal(0) for one in past), Decimal(0)),
        )
        self._day.append(bar)
        return True

    def running(self, bar: Bar, time_ms: int) -> RunningBar:
        """The bar at a time inside it: it goes from open over one extreme and the other to close.

        On the tick grid, with the extremes so far, and at the bar's end exactly the bar itself.
        """
        whole, tick = self._interval_ms, self.instrument.tick_size
        elapsed = min(max(0, time_ms - bar.start_ms), whole)
        turnover = bar.close * bar.volume if bar.turnover is None else bar.turnover
        if elapsed == whole:
            return RunningBar(bar.start_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, turnover)
        knots = self._knots(bar)
        leg = 3 * elapsed // whole
        ticks = int((knots[leg + 1] - knots[leg]) / tick)
        price = knots[leg] + ticks * (3 * elapsed - leg * whole) // whole * tick
        passed = (*knots[: leg + 1], price)
        lot = self.instrument.lot_size
        volume = int(bar.volume / lot) * elapsed // whole * lot
        return RunningBar(
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
        """The mark price: the running price, up to two ticks aside, the same all through a bar."""
        tick = self.instrument.tick_size
        aside = (bar.start_ms // self._interval_ms + self._key) % 5 - 2
        return max(tick, self.running(bar, time_ms).close + aside * tick)

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
        now = self.running(bar, time_ms)
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


def instrument_fields(instrument: Instrument) -> dict[str, Any]:
    """A row of instruments-info."""
    symbol, tick, lot = instrument.symbol, instrument.tick_size, instrument.lot_size
    quote = quote_coin_of(symbol) or "USDT"
    base = symbol.partition("-")[0].removesuffix("PERP").removesuffix(quote)
    common = {"symbol": symbol, "status": instrument.status, "baseCoin": base, "quoteCoin": quote}
    if instrument.category == "spot":
        return common | {
            "innovation": "0",
            "marginTrading": "utaOnly",
            "lotSizeFilter": {
                "basePrecision": plain(lot),
                "quotePrecision": "0.0000001",
                "minOrderQty": plain(instrument.min_quantity),
                "maxOrderQty": plain(lot * 1_000_000),
                "minOrderAmt": plain(instrument.min_notional),
                "maxOrderAmt": "4000000",
                "maxLimitOrderQty": plain(lot * 1_000_000),
                "maxMarketOrderQty": plain(lot * 500_000),
            },
            "priceFilter": {"tickSize": plain(tick)},
        }
    return common | {
        "contractType": "LinearFutures" if is_dated(symbol) else "LinearPerpetual",
        "launchTime": "1584230400000",
        "deliveryTime": str(instrument.delivery_ms),
        "deliveryFeeRate": "",
        "priceScale": str(max(0, -int(tick.as_tuple().exponent))),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {
            "minPrice": plain(tick),
            "maxPrice": plain(tick * 20_000_000),
            "tickSize": plain(tick),
        },
        "lotSizeFilter": {
            "maxOrderQty": plain(lot * 1_000_000),
            "minOrderQty": plain(instrument.min_quantity),
            "qtyStep": plain(lot),
            "postOnlyMaxOrderQty": plain(lot * 1_000_000),
            "maxMktOrderQty": plain(lot * 500_000),
            "minNotionalValue": plain(instrument.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": instrument.funding_interval_minutes,
        "settleCoin": quote,
        "copyTrading": "none",
        "upperFundingRate": "0.005",
        "lowerFundingRate": "-0.005",
        "isPreListing": False,
    }


def risk_tiers(symbol: str) -> list[dict[str, Any]]:
    """Risk tiers with a maintenance margin that is continuous from one to the next."""
    tiers = []
    width, deduction = 2_000_000, Decimal(0)
    for number in range(1, 6):
        maintenance = Decimal("0.005") * number
        if number > 1:
            deduction += width * (number - 1) * Decimal("0.005")
        tiers.append(
            {
                "id": number,
                "symbol": symbol,
                "riskLimitValue": str(width * number),
                "maintenanceMargin": plain(maintenance),
                "initialMargin": plain(2 * maintenance),
                "isLowestRisk": int(number == 1),
                "maxLeverage": f"{Decimal(100) / number:.2f}",
                "mmDeduction": plain(deduction.quantize(Decimal(1))) if deduction else "",
            }
        )
    return tiers
