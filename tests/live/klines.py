"""What can be wrong with a kline frame."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.live.trial import STEP_MS, Kind, Message, scaled

FIGURES = ("open", "high", "low", "close", "volume", "turnover")
Entry = dict[str, Any]
GONE = object()
YEAR_10000_MS = 253_402_300_800_000


def text(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))


def altered(message: Message, **fields: Any) -> Message:
    """The message with other fields; GONE leaves one out."""
    return {name: value for name, value in (message | fields).items() if value is not GONE}


def entry(alter: Callable[[Entry], Entry]) -> Callable[[Message, Sequence[Message]], list[str]]:
    """A message whose entry is altered."""
    return lambda message, past: [text(message | {"data": [alter(dict(message["data"][0]))]})]


def fields(**changes: Any) -> Callable[[Message, Sequence[Message]], list[str]]:
    return entry(lambda one: altered(one, **changes))


def figures(factor: str) -> Callable[[Message, Sequence[Message]], list[str]]:
    return entry(lambda one: one | {name: scaled(one[name], factor) for name in FIGURES[:4]})


def moved(ms: int) -> Callable[[Message, Sequence[Message]], list[str]]:
    return entry(lambda one: one | {"start": one["start"] + ms, "end": one["end"] + ms})


def envelope(**changes: Any) -> Callable[[Message, Sequence[Message]], list[str]]:
    return lambda message, past: [text(altered(message, **changes))]


def topic(part: str, other: str) -> Callable[[Message, Sequence[Message]], list[str]]:
    return lambda message, past: [text(message | {"topic": message["topic"].replace(part, other)})]


def literal(value: str) -> Callable[[Message, Sequence[Message]], list[str]]:
    """The close as a bare token, which is no JSON."""
    return lambda message, past: [
        text(message | {"data": [message["data"][0] | {"close": "@@"}]}).replace('"@@"', value)
    ]


ENTRIES = {
    "a missing start": fields(start=GONE),
    "a missing confirm": fields(confirm=GONE),
    "a missing close": fields(close=GONE),
    "a missing volume": fields(volume=GONE),
    "no figures at all": fields(**dict.fromkeys(FIGURES, GONE)),
    "a close that is a float": entry(lambda one: one | {"close": float(one["close"])}),
    "a close that is null": fields(close=None),
    "a close that is true": fields(close=True),
    "a close that is an object": entry(lambda one: one | {"close": {"price": one["close"]}}),
    "a close that is a list": entry(lambda one: one | {"close": [one["close"]]}),
    "a start that is text": entry(lambda one: one | {"start": str(one["start"])}),
    "a start that is a float": entry(lambda one: one | {"start": one["start"] + 0.5}),
    "a confirm that is text": fields(confirm="true"),
    "a confirm that is 1": fields(confirm=1),
    "an empty close": fields(close=""),
    "a close in words": fields(close="sixty thousand"),
    "a close in Arabic digits": fields(close="١٢٣٤٥"),
    "a close with underscores": fields(close="1_000_0"),
    "a close among spaces": entry(lambda one: one | {"close": f" {one['close']}\n"}),
    "a close of NaN": fields(close="NaN"),
    "a close of signalling NaN": fields(close="sNaN"),
    "a close of Infinity": fields(close="Infinity", high="Infinity"),
    "a volume of -Infinity": fields(volume="-Infinity"),
    "a bare NaN": literal("NaN"),
    "a bare Infinity": literal("Infinity"),
    "a negative low": entry(lambda one: one | {"low": "-" + one["low"]}),
    "a close of zero": fields(low="0", close="0"),
    "a negative volume": fields(volume="-1"),
    "a turnover of NaN": fields(turnover="NaN"),
    "a high of 1e23": fields(high="1e23"),
    "prices of 1e23": fields(open="1e23", high="1e23", low="1e23", close="1e23"),
    "prices of 1e-30": fields(open="1e-30", high="1e-30", low="1e-30", close="1e-30"),
    "a low of 1e-30": fields(low="1e-30"),
    "a volume of 1e400": fields(volume="1e400"),
    "an exponent of a billion": fields(high="1e999999999"),
    "an exponent beyond any": fields(high="1e99999999999999999999"),
    "a close of 400 digits": fields(close="1." + "1" * 400),
    "a close of 100,000 digits": fields(close="1" * 100_000),
    "a high below the low": entry(lambda one: one | {"high": scaled(one["low"], "0.5")}),
    "a close above the high": entry(lambda one: one | {"close": scaled(one["high"], "1.01")}),
    "an open below the low": entry(lambda one: one | {"open": scaled(one["low"], "0.99")}),
    "a start off the grid": moved(7),
    "a start in the past": moved(-7 * STEP_MS),
    "a start at the next bar": moved(STEP_MS),
    "a start ten bars ahead": moved(10 * STEP_MS),
    "a start a year ahead": moved(365 * 96 * STEP_MS),
    "a start of zero": fields(start=0),
    "a negative start": fields(start=-STEP_MS),
    "a start in the year 10000": fields(start=YEAR_10000_MS - YEAR_10000_MS % STEP_MS),
    "a start of 2^63": fields(start=2**63 - 2**63 % STEP_MS),
    "a start beyond 2^64": fields(start=2**64 * STEP_MS),
    "a start of 400 digits": fields(start=int("9" * 400)),
    "an interval that is not the topic's": fields(interval="60"),
}  # fmt: skip

MESSAGES = {
    "a ts of zero": envelope(ts=0),
    "a negative ts": envelope(ts=-1),
    "a ts that is text": envelope(ts="soon"),
    "a ts that is a float": envelope(ts=1.5e12),
    "a ts a day ahead": lambda message, past: [text(message | {"ts": message["ts"] + 96 * STEP_MS})],
    "a ts a day ago": lambda message, past: [text(message | {"ts": message["ts"] - 96 * STEP_MS})],
    "a ts in the year 10000": envelope(ts=YEAR_10000_MS),
    "a ts beyond 2^64": envelope(ts=2**64 + 1),
    "no ts": envelope(ts=GONE),
    "no data": envelope(data=GONE),
    "data of null": envelope(data=None),
    "data of text": envelope(data="bars"),
    "data of a number": envelope(data=7),
    "an empty list of data": envelope(data=[]),
    "data that is the entry itself": lambda message, past: [text(message | {"data": message["data"][0]})],
    "data in a list too many": lambda message, past: [text(message | {"data": [message["data"]]})],
    "a topic of an unknown symbol": envelope(topic="kline.15.NOBODYUSDT"),
    "a topic of another interval": topic("kline.15", "kline.60"),
    "a topic of no kind": topic("kline", "liquidation"),
    "a topic without a symbol": envelope(topic="kline.15"),
    "an empty topic": envelope(topic=""),
    "a topic that is a number": envelope(topic=15),
    "a topic of a hundred thousand characters": envelope(topic="kline.15." + "X" * 100_000),
    "a kline under the quotes' topic": topic("kline.15", "tickers"),
}  # fmt: skip


def ahead(message: Message, past: Sequence[Message]) -> list[str]:
    """The next bar's first push before this one's confirmation."""
    one = message["data"][0]
    following = one | {
        "start": one["start"] + STEP_MS, "end": one["end"] + STEP_MS, "confirm": False,
        "open": one["close"], "high": one["close"], "low": one["close"], "volume": "0", "turnover": "0",
    }  # fmt: skip
    return [text(message | {"ts": message["ts"] + 1, "data": [following]})]


ORDER = {
    "sent three times": lambda message, past: [text(message)],
    "an old one again": lambda message, past: [text(past[0])],
    "all old ones again, newest first": lambda message, past: [text(one) for one in reversed(past)],
    "the next bar's first push first": ahead,
    "the next bar's confirmation first": moved(STEP_MS),
    "the list twice": lambda message, past: [text(message | {"data": 2 * message["data"]})],
    "the list a thousand times": lambda message, past: [text(message | {"data": 1_000 * message["data"]})],
    "other figures afterwards": lambda message, past: [
        text(message),
        text(message | {"data": [message["data"][0] | {"close": message["data"][0]["low"]}]}),
    ],
    "a broken entry before the true one": lambda message, past: [
        text(message | {"data": [{"confirm": True}, None, message["data"][0] | {"close": "NaN"}, *message["data"]]})
    ],
    "a thousand broken entries": lambda message, past: [text(message | {"data": [{"start": "x"}] * 1_000})],
    "a thousand broken frames": lambda message, past: [text(message | {"data": [{"start": "x"}]})] * 1_000,
}  # fmt: skip

# Where it is all that comes of a confirmation, the bar is had over REST.
REPLACED = [
    Kind(name=f"instead of a confirmation, {name}", make=make, instead=True)
    for name, make in {**ENTRIES, **MESSAGES}.items()
]
ADDED = [
    Kind(name=f"before a confirmation, {name}", make=make)
    for name, make in {**ENTRIES, **MESSAGES}.items()
    # Believed, and rightly so: the first valid confirmation is the one that counts.
    if name not in ("a start in the past",)
] + [Kind(name=f"around a confirmation, {name}", make=make) for name, make in ORDER.items()]
RUNNING = [
    Kind(name=f"while a bar runs, {name}", make=make, on="running")
    for name, make in {**ENTRIES, **MESSAGES, **ORDER}.items()
    if name not in ("a start in the past", "a confirm that is 1", "other figures afterwards")
]
WITHHELD = [Kind(name="a confirmation that never comes", make=lambda message, past: [], instead=True)]
