"""What can be wrong with a ticker, and with the top and the depth of a book."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.live.klines import GONE, YEAR_10000_MS, altered, envelope, text
from tests.live.trial import STEP_MS, Kind, Message, scaled

DAY_MS = 96 * STEP_MS
Level = list[str]
Built = Callable[[Message, Sequence[Message]], list[str]]


def ticker(**changes: Any) -> Built:
    """A delta of these fields alone."""
    return lambda message, past: [text(message | {"data": {"symbol": message["data"]["symbol"], **changes}})]


def also(**changes: Any) -> Built:
    """The true message with these fields otherwise."""
    return lambda message, past: [text(message | {"data": altered(message["data"], **changes)})]


def snapshot(**changes: Any) -> Built:
    """A snapshot of these fields alone: what else was known is known no more."""
    return lambda message, past: [
        text(message | {"type": "snapshot", "data": {"symbol": message["data"]["symbol"], **changes}})
    ]


def times(factor: str, *names: str) -> Built:
    """Prices so many times as large."""

    def make(message: Message, past: Sequence[Message]) -> list[str]:
        known: dict[str, str] = {}
        for one in (*past, message):
            known |= one["data"]
        return [
            text(message | {"data": message["data"] | {name: scaled(known[name], factor) for name in names}})
        ]

    return make


BOTH = ("bid1Price", "ask1Price")
ALL = (*BOTH, "markPrice")
TICKERS: dict[str, Built] = {
    "a bid of NaN": ticker(bid1Price="NaN"),
    "an ask of signalling NaN": ticker(ask1Price="sNaN"),
    "a bid of Infinity": ticker(bid1Price="Infinity", ask1Price="Infinity"),
    "a negative bid": ticker(bid1Price="-1"),
    "a bid of zero": ticker(bid1Price="0"),
    "prices of 1e23": ticker(**dict.fromkeys(ALL, "1e23")),
    "prices of 1e-30": ticker(**dict.fromkeys(ALL, "1e-30")),
    "an exponent of a billion": ticker(**dict.fromkeys(ALL, "1e999999999")),
    "an exponent beyond any": ticker(bid1Price="1e99999999999999999999"),
    "a bid of 400 digits": ticker(bid1Price="1." + "1" * 400),
    "a bid of 100,000 digits": ticker(bid1Price="1" * 100_000),
    "a bid in words": ticker(bid1Price="high"),
    "a bid in Arabic digits": ticker(bid1Price="١٢٣"),
    "a bid with underscores": ticker(bid1Price="1_0"),
    "a bid that is a float": ticker(bid1Price=1.5),
    "a bid that is null": ticker(bid1Price=None),
    "a bid that is true": ticker(bid1Price=True),
    "a bid that is a list": ticker(bid1Price=["1"]),
    "a bid that is an object": ticker(bid1Price={"price": "1"}),
    "empty prices": also(bid1Price="", ask1Price="", bid1Size="", ask1Size=""),
    "crossed": ticker(bid1Price="999999", ask1Price="1"),
    "sizes of NaN": also(bid1Size="NaN", ask1Size="NaN"),
    "negative sizes": also(bid1Size="-5", ask1Size="-5"),
    "sizes of 1e40": also(bid1Size="1e40", ask1Size="1e40"),
    "sizes of 1e-40": also(bid1Size="1e-40", ask1Size="1e-40"),
    "sizes of null": also(bid1Size=None, ask1Size=None),
    "a mark of NaN": also(markPrice="NaN"),
    "a mark of zero": also(markPrice="0"),
    "a negative mark": also(markPrice="-3"),
    "a mark of 1e-30": also(markPrice="1e-30"),
    "a mark of 1e23": also(markPrice="1e23"),
    "a mark that is an object": also(markPrice={}),
    "a funding time beyond 2^64": also(nextFundingTime=str(2**64)),
    "a funding time in the year 10000": also(nextFundingTime=str(YEAR_10000_MS)),
    "a funding time in the past": also(nextFundingTime="0"),
    "a negative funding time": also(nextFundingTime="-1"),
    "a funding time of 5,000 digits": also(nextFundingTime="1" * 5_000),
    "a funding time in words": also(nextFundingTime="soon"),
    "a funding time that is a list": also(nextFundingTime=[1]),
    "a rate of NaN": also(fundingRate="NaN"),
    "another symbol's name": ticker(symbol="SOLUSDT", bid1Price="1", ask1Price="2"),
    "a symbol that is a number": ticker(symbol=7, bid1Price="1", ask1Price="2"),
    "a snapshot of NaN": snapshot(**dict.fromkeys(ALL, "NaN"), bid1Size="NaN", ask1Size="NaN"),
    "data of null": envelope(data=None),
    "data of text": envelope(data="quote"),
    "a list of data": lambda message, past: [text(message | {"data": [message["data"]]})],
    "no data": envelope(data=GONE),
    "an unknown type": lambda message, past: [
        text(message | {"type": "gossip", "data": message["data"] | dict.fromkeys(ALL, "1")})
    ],
    "a type that is a number": envelope(type=7),
}
"""Besides a true ticker."""

STAMPS: dict[str, Built] = {
    "a ts of zero": envelope(ts=0),
    "a negative ts": envelope(ts=-1),
    "a ts a day ahead": lambda message, past: [text(message | {"ts": message["ts"] + DAY_MS})],
    "a ts a year ahead": lambda message, past: [text(message | {"ts": message["ts"] + 365 * DAY_MS})],
    "a ts in the year 10000": envelope(ts=YEAR_10000_MS),
    "a ts of 2^63": envelope(ts=2**63),
    "a ts beyond 2^64": envelope(ts=2**64 + 1),
    "a ts of 400 digits": envelope(ts=int("9" * 400)),
    "a ts that is text": envelope(ts="soon"),
    "a ts that is a float": envelope(ts=1.7e12),
    "no ts": envelope(ts=GONE),
    "an unknown symbol": lambda message, past: [
        text(message | {"topic": message["topic"].rpartition(".")[0] + ".NOBODYUSDT"})
    ],
    "sent three times": lambda message, past: [text(message)],
    "an old one again": lambda message, past: [text(past[0])],
    "all old ones again, newest first": lambda message, past: [text(one) for one in reversed(past)],
    "a thousand broken ones": lambda message, past: [text(message | {"data": {"bid1Price": "x"}})] * 1_000,
}
"""Of a ticker and of a book."""

# Said once and not again: what a second message confirms is believed.
JUMPS: dict[str, Built] = {
    "bid and ask jump tenfold": times("10", *BOTH),
    "bid and ask fall to a tenth": times("0.1", *BOTH),
    "the mark jumps a thousandfold": times("1000", "markPrice"),
    "all prices jump tenfold": times("10", *ALL),
}

TICKER_KINDS = [
    Kind(name=f"before a ticker, {name}", make=make, on="tickers")
    for name, make in {**TICKERS, **STAMPS}.items()
] + [Kind(name=f"before a ticker, {name}", make=make, on="tickers", times=1) for name, make in JUMPS.items()]


def book(**changes: Any) -> Built:
    """The true book's message with these fields otherwise."""
    return lambda message, past: [text(message | {"data": altered(message["data"], **changes)})]


def bids(*levels: Any) -> Built:
    return book(b=list(levels))


BOOKS: dict[str, Built] = {
    "a bid of NaN": bids(["NaN", "1"]),
    "a bid of signalling NaN": bids(["sNaN", "1"]),
    "a bid of Infinity": bids(["Infinity", "1"]),
    "a size of NaN": bids(["1", "NaN"]),
    "a negative size": bids(["1", "-1"]),
    "a size of 1e40": bids(["1", "1e40"]),
    "a negative price": bids(["-1", "1"]),
    "a price of zero": bids(["0", "1"]),
    "a price of 1e23": book(a=[["1e23", "1"]]),
    "a price of 1e-30": bids(["1e-30", "1"]),
    "an exponent of a billion": bids(["1e999999999", "1"]),
    "an exponent beyond any": bids(["1e99999999999999999999", "1"]),
    "a price of 400 digits": bids(["1." + "1" * 400, "1"]),
    "a price in words": bids(["high", "1"]),
    "a price that is a number": bids([1, "1"]),
    "a price that is null": bids([None, "1"]),
    "a level of one": bids(["1"]),
    "a level of three": bids(["1", "1", "1"]),
    "a level that is an object": bids({"price": "1", "size": "1"}),
    "a level that is text": bids("1"),
    "sides that are objects": book(b={}, a={}),
    "crossed": book(b=[["999999", "1"]], a=[["1", "1"]]),
    "an update that is text": book(u="next"),
    "an update that is missing": book(u=GONE),
    "an update that goes back": lambda message, past: [
        text(message | {"data": message["data"] | {"u": message["data"]["u"] - 100}})
    ],
    "an update that is skipped": lambda message, past: [
        text(message | {"data": message["data"] | {"u": message["data"]["u"] + 100}})
    ],
    "an update beyond 2^64": book(u=2**64 + 1),
    "another symbol's": book(s="SOLUSDT"),
    "a symbol that is a number": book(s=7),
    "no symbol": book(s=GONE),
    "data of null": envelope(data=None),
    "a list of data": lambda message, past: [text(message | {"data": [message["data"]]})],
    "an unknown type": envelope(type="gossip"),
    "ten thousand levels": bids(*([str(1 + n), "1"] for n in range(10_000))),
}
"""Of a book's depth, where a delta that is lost costs the book."""

# At a bar's end, when no order waits: a delta that is refused costs the book, and that the connection.
DEPTH_KINDS = [
    Kind(name=f"before a depth, {name}", make=make, on="orderbook", times=1, at_end=True)
    for name, make in {**BOOKS, **STAMPS}.items()
]
SPOT_KINDS = [
    Kind(name=f"before a best bid and ask, {name}", make=make, on="orderbook")
    for name, make in {**BOOKS, **STAMPS}.items()
    # What is not merged has no order.
    if not name.startswith(("an update that goes back", "an update that is skipped"))
]
