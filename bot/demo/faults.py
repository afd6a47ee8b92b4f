"""What a pretend exchange can do wrong: how often, and to what. Pure; each seed does the same again."""

import random
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from bot.market import plain

ConfirmFault = Literal[
    "skip", "repeat", "revise", "late", "reorder", "delay", "high_below_low", "nan", "negative", "empty",
    "off_grid", "future", "unknown_symbol", "missing_field", "wrong_type",
]  # fmt: skip
"""What can happen to a bar's confirmation.

``skip``: it never comes. ``repeat``: it comes twice. ``revise``: it comes again with other figures.
``late``: after the next bar's first push. ``reorder``: after the next bar's confirmation. ``delay``:
several bars later. The others replace it by one that is broken in the way that they name.
"""
BROKEN: tuple[ConfirmFault, ...] = get_args(ConfirmFault)[6:]

RestFault = Literal[
    "http500", "http502", "http403", "http429", "broken_json", "code10000", "code10006", "code10016",
    "empty", "slow", "dropped", "missing_bar", "broken_row",
]  # fmt: skip
"""What can happen to a REST answer. ``missing_bar`` and ``broken_row`` strike the newest closed bar of a
kline answer and leave other answers alone; ``dropped`` closes the connection without any answer."""

ERROR_TEXTS = {
    "code10000": "Server Timeout",
    "code10006": "Too many visits. Exceeded the API Rate Limit.",
    "code10016": "Server error.",
}
"""What the exchange says where an answer is a code."""

GarbageFrame = Literal["no_json", "binary", "huge", "other_shape", "odd_data"]

Share = Annotated[float, Meta(ge=0, le=1)]


class Faults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often what goes wrong; the same seed does it to the same bars and, where their order is the
    same, requests.

    ``skip`` to ``broken`` are probabilities for each symbol's confirmation, tried in that order.
    ``garbage``, ``cut`` (half of them without a close frame) and ``silence`` are probabilities for each
    push, several of which make a bar; a silence lasts ``silence_seconds`` and drops data, not answers.
    ``refused_connections`` and ``rest`` are probabilities for each request; ``rest_kinds`` are drawn
    from evenly. ``refused_subscriptions`` is the number of requests for each topic that are refused
    at first, -1 for all. ``slow_seconds`` is what a slow answer takes.
    ``mark_missing`` and ``index_missing`` are probabilities for each minute whose price is never shown.
    Funding rates are published up to ``funding_late_ms`` after their time (of the exchange's clock), with
    stamps up to ``funding_noise_ms`` past it; ``funding_hours`` are changes of the interval, 8 hours at
    first: (the time of the settlement after which it holds, hours).
    """

    seed: int = 0
    skip: Share = 0.0
    repeat: Share = 0.0
    revise: Share = 0.0
    late: Share = 0.0
    reorder: Share = 0.0
    delay: Share = 0.0
    broken: Share = 0.0
    garbage: Share = 0.0
    cut: Share = 0.0
    silence: Share = 0.0
    silence_seconds: Annotated[float, Meta(gt=0)] = 1.0
    refused_connections: Share = 0.0
    refused_subscriptions: Annotated[int, Meta(ge=-1)] = 0
    rest: Share = 0.0
    rest_kinds: tuple[RestFault, ...] = (
        "http500", "http502", "http429", "broken_json", "code10000", "code10006", "code10016", "empty",
        "slow", "dropped", "missing_bar", "broken_row",
    )  # fmt: skip
    slow_seconds: Annotated[float, Meta(ge=0)] = 0.5
    mark_missing: Share = 0.0
    index_missing: Share = 0.0
    funding_late_ms: Annotated[int, Meta(ge=0)] = 0
    funding_noise_ms: Annotated[int, Meta(ge=0, le=20_000)] = 0
    funding_hours: tuple[tuple[int, Literal[1, 2, 4, 8]], ...] = ()

    def confirmation(self, symbol: str, start_ms: int) -> ConfirmFault | None:
        """What happens to this bar's confirmation."""
        shares: tuple[tuple[ConfirmFault, float], ...] = (
            ("skip", self.skip), ("repeat", self.repeat), ("revise", self.revise), ("late", self.late),
            ("reorder", self.reorder), ("delay", self.delay),
        )  # fmt: skip
        if not self.broken and not any(share for _, share in shares):
            return None
        draws = random.Random(f"{self.seed}/confirm/{symbol}/{start_ms}")
        for kind, share in shares:
            if draws.random() < share:
                return kind
        return draws.choice(BROKEN) if draws.random() < self.broken else None


NO_FAULTS = Faults()


def break_confirmation(entry: dict[str, Any], fault: ConfirmFault, interval_ms: int) -> dict[str, Any]:
    """A confirmed kline entry, broken in the way that the fault names."""
    low = Decimal(entry["low"])
    match fault:
        case "high_below_low":
            return entry | {"high": plain(low / 2)}
        case "nan":
            return entry | {"close": "NaN"}
        case "negative":
            return entry | {"low": plain(-low)}
        case "empty":
            return entry | {"close": ""}
        case "off_grid":
            return entry | {"start": entry["start"] + 7, "end": entry["end"] + 7}
        case "future":
            ahead = 10 * interval_ms
            return entry | {"start": entry["start"] + ahead, "end": entry["end"] + ahead}
        case "missing_field":
            return {name: value for name, value in entry.items() if name != "close"}
        case "wrong_type":
            return entry | {"close": {"price": entry["close"]}}
        case _:
            return entry


def garbage_frame(kind: GarbageFrame, topics: set[str]) -> str | bytes:
    """A frame that no client expects."""
    match kind:
        case "no_json":
            return "<html>Bad Gateway"
        case "binary":
            return b"\xff\xfe\x00\x9f"
        case "huge":
            return '{"topic":"' + "x" * 1_000_000 + '"}'
        case "other_shape":
            return '[1,{"topic":7,"data":"none"},null]'
        case "odd_data":
            topic = min(topics, default="kline")
            return msgspec.json.encode({"topic": topic, "ts": "soon", "data": {"confirm": "yes"}}).decode()


def corrupt_rows(rows: list[list[str]], fault: RestFault, closed_until_ms: int) -> None:
    """Leave out the newest closed bar of the rows, or put its high below its low."""
    place = next((i for i, row in enumerate(rows) if int(row[0]) < closed_until_ms), None)
    if place is None:
        return
    if fault == "missing_bar":
        del rows[place]
    else:
        rows[place][2] = plain(Decimal(rows[place][3]) / 2)
