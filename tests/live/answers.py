"""What can be wrong with REST's answers."""

import gzip
import json
from collections.abc import Callable
from typing import Any

from tests.live.klines import YEAR_10000_MS
from tests.live.proxy import Answer, Answers
from tests.live.trial import STEP_MS, Kind, scaled

Alter = Callable[[Answer], Answer | None]
Json = dict[str, Any]
PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def on(endpoint: str, alter: Alter, times: int) -> Callable[[], Answers]:
    """The next answers of an endpoint are altered, so many of them."""

    def begin() -> Answers:
        left = [times]

        def answers(asked: str, query: dict[str, str], answer: Answer) -> Answer | None:
            if not asked.endswith(endpoint) or not left[0]:
                return answer
            left[0] -= 1
            return alter(answer)

        return answers

    return begin


def status(code: int, body: bytes = PAGE, kind: str = "text/html", **headers: str) -> Alter:
    return lambda answer: Answer(code, body, {"Content-Type": kind, **headers})


def code(value: Any, message: Any = "error") -> Alter:
    return told(
        lambda whole: {
            "retCode": value,
            "retMsg": message,
            "result": {},
            "retExtInfo": {},
            "time": whole["time"],
        }
    )


def body(raw: bytes) -> Alter:
    return lambda answer: Answer(200, raw)


def told(change: Callable[[Json], Any]) -> Alter:
    """The whole answer changed."""
    return lambda answer: Answer(200, json.dumps(change(answer.json())).encode())


def result(change: Callable[[Json], Any]) -> Alter:
    return told(lambda whole: whole | {"result": change(whole["result"])})


def rows(change: Callable[[list[Any]], Any]) -> Alter:
    return result(lambda found: found | {"list": change(found["list"])})


def without(name: str) -> Alter:
    return told(lambda whole: {key: value for key, value in whole.items() if key != name})


def late(seconds: float) -> Alter:
    return lambda answer: Answer(answer.status, answer.body, answer.headers, seconds=seconds)


def cut(share: float) -> Alter:
    return lambda answer: Answer(
        answer.status, answer.body, answer.headers, cut_at=int(share * len(answer.body))
    )


def zipped(raw: bytes) -> Alter:
    return lambda answer: Answer(
        200, gzip.compress(raw, 9), {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )


HUGE = b'{"retCode":0,"result":{"list":["' + b"x" * 50_000_000 + b'"]}}'

# Of any endpoint.
ANY: dict[str, Alter] = {
    **{f"HTTP {number}": status(number) for number in (400, 401, 405, 408, 418, 429, 451)},
    **{f"HTTP {number}": status(number) for number in (500, 501, 502, 503, 504, 520, 599)},
    "HTTP 200 and a page": status(200),
    "HTTP 204": status(204, b""),
    "HTTP 304": status(304, b""),
    "a redirect to itself": status(302, b"", Location="?"),
    "a redirect to nowhere": status(302, b"", Location="http://[::1"),
    "HTTP 429 with JSON": status(429, b'{"retCode":10006,"retMsg":"Too many visits!"}', "application/json"),
    "retCode 10000": code(10000, "Server Timeout"),
    "retCode 10006": code(10006, "Too many visits. Exceeded the API Rate Limit."),
    "retCode 10016": code(10016, "Server error."),
    "retCode 3100326": code(3100326, "an error of its own"),
    "a retCode in words": code("none"),
    "a retCode of null": code(None, None),
    "a retCode of 2^64": code(2**64),
    "a retMsg of a million characters": code(10016, "x" * 1_000_000),
    "a retMsg that is a list": code(10016, [1]),
    "no retCode": without("retCode"),
    "no result": without("result"),
    "no time": without("time"),
    "a time in words": told(lambda whole: whole | {"time": "soon"}),
    "a time of null": told(lambda whole: whole | {"time": None}),
    "an empty body": body(b""),
    "white space": body(b"  \n"),
    "null": body(b"null"),
    "a number": body(b"7"),
    "a list": body(b"[]"),
    "an empty object": body(b"{}"),
    "invalid UTF-8": body(b'{"retCode":0,"retMsg":"\xff\xfe"}'),
    "lists a hundred thousand deep": body(b"[" * 100_000),
    "objects a hundred thousand deep": body(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "an integer of a million digits": body(b'{"retCode":' + b"9" * 1_000_000 + b"}"),
    "50 MB": body(HUGE),
    "50 MB in 50 kB": zipped(HUGE),
    "a broken zip": lambda answer: Answer(200, b"no zip", {"Content-Encoding": "gzip"}),
    "half an answer": lambda answer: Answer(200, answer.body[: len(answer.body) // 2]),
    "a result of null": result(lambda found: None),
    "a result that is a list": result(lambda found: [found]),
    "a result in words": result(lambda found: "none"),
    "no list": result(lambda found: {}),
    "a list of null": rows(lambda found: None),
    "a list that is an object": rows(lambda found: {"0": found}),
    "an empty list": rows(lambda found: []),
    "rows of null": rows(lambda found: [None] * 3),
    "rows in words": rows(lambda found: ["row"] * 3),
    "rows that are numbers": rows(lambda found: [1, 2]),
    "rows in lists too many": rows(lambda found: [[row] for row in found]),
    "the same page again and again": result(lambda found: found | {"nextPageCursor": "0"}),
    "slow": late(1.0),
    "no answer": lambda answer: None,
    "cut at once": cut(0.0),
    "cut in the middle": cut(0.5),
}  # fmt: skip


def row(place: int, value: Any) -> Alter:
    """Another figure in every row."""
    return rows(lambda found: [[*one[:place], value, *one[place + 1 :]] for one in found])


def starts(move: Callable[[int], Any]) -> Alter:
    return rows(lambda found: [[move(int(one[0])), *one[1:]] for one in found])


BARS: dict[str, Alter] = {
    "out of order": rows(lambda found: found[::-1]),
    "each row twice": rows(lambda found: [one for one in found for _ in range(2)]),
    "the newest closed row missing": rows(lambda found: [one for n, one in enumerate(found) if n != 1]),
    "the running row missing": rows(lambda found: found[1:]),
    "rows of the future before": rows(
        lambda found: [[str(int(found[0][0]) + n * STEP_MS), *found[0][1:]] for n in range(9, 0, -1)] + found
    ),
    "a row of the year 10000 before": rows(
        lambda found: [[str(YEAR_10000_MS - YEAR_10000_MS % STEP_MS), *found[0][1:]], *found]
    ),
    "a row of 1970 behind": rows(lambda found: [*found, ["0", *found[0][1:]]]),
    "closes of NaN": row(4, "NaN"),
    "closes of Infinity": row(4, "Infinity"),
    "closes of null": row(4, None),
    "closes that are floats": row(4, 1.5),
    "negative lows": row(3, "-1"),
    "highs of 1e23": row(2, "1e23"),
    "lows of 1e-30": row(3, "1e-30"),
    "exponents of a billion": row(2, "1e999999999"),
    "exponents beyond any": row(2, "1e99999999999999999999"),
    "figures of 400 digits": row(4, "1." + "1" * 400),
    "figures of 100,000 digits": row(4, "1" * 100_000),
    "highs below the lows": rows(lambda found: [[*one[:2], scaled(one[3], "0.5"), *one[3:]] for one in found]),
    "negative volumes": row(5, "-1"),
    "rows too short": rows(lambda found: [one[:4] for one in found]),
    "empty rows": rows(lambda found: [[] for _ in found]),
    "rows that are objects": rows(lambda found: [dict(enumerate(one)) for one in found]),
    "starts in words": starts(lambda start: "noon"),
    "starts of null": starts(lambda start: None),
    "starts of 2^64": starts(lambda start: str(2**64)),
    "starts of 5,000 digits": starts(lambda start: "1" * 5_000),
    "negative starts": starts(lambda start: str(-start)),
    "starts off the grid": starts(lambda start: str(start + 7)),
    "a broken row before the others": rows(lambda found: [["?"] * 7, *found]),
    "a time a day ago": told(lambda whole: whole | {"time": whole["time"] - 96 * STEP_MS}),
    "a time a day ahead": told(lambda whole: whole | {"time": whole["time"] + 96 * STEP_MS}),
    "a time in the year 10000": told(lambda whole: whole | {"time": YEAR_10000_MS}),
    "a time of 2^64": told(lambda whole: whole | {"time": 2**64}),
    "a negative time": told(lambda whole: whole | {"time": -1}),
    "another symbol's": result(
        lambda found: {
            **found, "symbol": "SOLUSDT",
            "list": [[one[0], *(scaled(figure, "1.5") for figure in one[1:5]), *one[5:]] for one in found["list"]],
        }
    ),
    "another category's": result(lambda found: found | {"category": "inverse"}),
}  # fmt: skip


def funding(name: str, value: Any) -> Alter:
    return rows(lambda found: [one | {name: value} for one in found])


RATES: dict[str, Alter] = {
    "rates of NaN": funding("fundingRate", "NaN"),
    "rates of Infinity": funding("fundingRate", "-Infinity"),
    "rates of 5": funding("fundingRate", "5"),
    "rates of null": funding("fundingRate", None),
    "rates of 400 digits": funding("fundingRate", "0." + "1" * 400),
    "rates of an exponent beyond any": funding("fundingRate", "1e99999999999999999999"),
    "stamps in words": funding("fundingRateTimestamp", "noon"),
    "stamps of 2^64": funding("fundingRateTimestamp", str(2**64)),
    "stamps of 5,000 digits": funding("fundingRateTimestamp", "1" * 5_000),
    "negative stamps": funding("fundingRateTimestamp", "-1"),
    "rows without a rate": rows(lambda found: [{"symbol": one["symbol"]} for one in found]),
    "out of order": rows(lambda found: found[::-1]),
    "each row twice": rows(lambda found: found + found),
}
MARKS: dict[str, Alter] = {
    name: BARS[name]
    for name in (
        "highs of 1e23", "rows too short", "empty rows", "starts in words", "starts of 2^64", "starts of 5,000 digits",
    )
} | {
    "opens of NaN": row(1, "NaN"),
    "opens of zero": row(1, "0"),
    "opens of null": row(1, None),
    "opens of 1e23": row(1, "1e23"),
    "opens of 1e-30": row(1, "1e-30"),
    "negative opens": row(1, "-1"),
}  # fmt: skip

KLINES = [
    Kind(name=f"the next bar over REST, {name}", answers=on("kline", alter, 2))
    for name, alter in {**ANY, **BARS}.items()
    # What takes long is tried once.
] + [Kind(name="the next bar over REST, retCode 10001", answers=on("kline", code(10001, "params error"), 1))]
_FEW = (
    "HTTP 500",
    "retCode 10016",
    "an empty body",
    "no list",
    "rows of null",
    "lists a hundred thousand deep",
    "no answer",
    "cut in the middle",
)
FUNDING = (
    [
        Kind(name=f"a settled rate, {name}", answers=on("funding/history", alter, 2), withheld=False)
        for name, alter in {**{name: ANY[name] for name in _FEW}, **RATES}.items()
    ]
    + [
        Kind(
            name=f"the mark of a settlement, {name}", answers=on("mark-price-kline", alter, 2), withheld=False
        )
        for name, alter in {**{name: ANY[name] for name in _FEW}, **MARKS}.items()
    ]
    + [
        Kind(
            name=f"the mark of a settlement, {by} times what it is",
            answers=on(
                "mark-price-kline",
                rows(lambda found, by=by: [[one[0], scaled(one[1], by), *one[2:]] for one in found]),
                1,
            ),
            withheld=False,
        )
        for by in ("700", "0.001")
    ]
)
