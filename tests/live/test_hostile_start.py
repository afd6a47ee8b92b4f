"""A session comes up whatever REST answers at first, and one symbol's trouble is not the others'."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.books import rows
from tests.live.answers import ANY, BARS, Alter, code
from tests.live.answers import rows as answer_rows
from tests.live.proxy import Answer, Answers
from tests.live.trial import SYMBOLS, Setting, Trial

COMMON = (
    "HTTP 502", "retCode 10016", "no time", "an empty body", "lists a hundred thousand deep", "rows of null",
    "no answer", "cut in the middle",
)  # fmt: skip


def field(path: str, value: Any) -> Alter:
    """Another value in every row, some levels down."""

    def change(one: dict[str, Any]) -> dict[str, Any]:
        head, _, rest = path.partition(".")
        return one | {head: value if not rest else one[head] | {rest: value}}

    return answer_rows(lambda found: [change(one) for one in found])


TIERS = {name: ANY[name] for name in COMMON} | {
    "limits of NaN": field("riskLimitValue", "NaN"),
    "rates of Infinity": field("maintenanceMargin", "Infinity"),
    "rates of 5": field("maintenanceMargin", "5"),
    "negative rates": field("initialMargin", "-1"),
    "a leverage of zero": field("maxLeverage", "0"),
    "a deduction of 1e400": field("mmDeduction", "1e400"),
    "a limit that is a list": field("riskLimitValue", []),
}
HISTORY = {name: ANY[name] for name in COMMON} | BARS
# These answers hide where the history ends, or where it begins: it then begins a bar later.
A_BAR_SHORTER = ("rows of the future before", "the newest closed row missing")
RULES = {name: ANY[name] for name in COMMON} | {
    "a tick of zero": field("priceFilter.tickSize", "0"),
    "a tick of NaN": field("priceFilter.tickSize", "NaN"),
    "a tick of 1e400": field("priceFilter.tickSize", "1e400"),
    "a lot that is a list": field("lotSizeFilter.qtyStep", []),
    "a negative lot": field("lotSizeFilter.qtyStep", "-1"),
    "a least order of Infinity": field("lotSizeFilter.minOrderQty", "Infinity"),
    "a funding interval of zero": field("fundingInterval", 0),
    "a delivery in words": field("deliveryTime", "soon"),
    "a status of null": field("status", None),
    "no filters": answer_rows(lambda found: [{"symbol": one["symbol"]} for one in found]),
    "another symbol's rules": field("symbol", "SOLUSDT"),
}
ENDPOINTS = {"risk-limit": TIERS, "kline": HISTORY, "instruments-info": RULES}
TIMES = 2


def names(endpoint: str) -> dict[str, str]:
    """A symbol for each kind."""
    letter = endpoint[0].upper()
    return {
        f"{letter}{chr(65 + n // 26)}{chr(65 + n % 26)}USDT": name
        for n, name in enumerate(ENDPOINTS[endpoint])
    }


def altering(endpoint: str) -> Answers:
    """Each symbol's first answers of an endpoint are altered as its kind has it."""
    kinds, left = names(endpoint), dict.fromkeys(names(endpoint), TIMES)

    def answers(asked: str, query: dict[str, str], answer: Answer) -> Answer | None:
        symbol = query.get("symbol", "")
        if asked != endpoint or not left.get(symbol):
            return answer
        left[symbol] -= 1
        return ENDPOINTS[endpoint][kinds[symbol]](answer)

    return answers


def session(folder: Path, setting: Setting, opening: Answers | None) -> Trial:
    folder.mkdir()
    return Trial(folder, setting, bars=6, opening=opening)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_whatever_rest_answers_at_first_every_symbol_comes_up_with_its_history_and_decides(
    tmp_path, endpoint
):
    kinds = names(endpoint)
    setting = Setting(symbols=(*kinds, SYMBOLS[2]))

    async def both() -> list[Any]:
        return await asyncio.gather(
            session(tmp_path / "clean", setting, None).run(),
            session(tmp_path / "struck", setting, altering(endpoint)).run(),
        )

    clean, struck = asyncio.run(both())
    assert not clean.wrong
    assert not struck.wrong
    query = "SELECT symbol, start_ms, open, high, low, close, volume FROM bars ORDER BY symbol, start_ms"
    known, found = (
        {(bar["symbol"], bar["start_ms"]): bar for bar in rows(tmp_path / run / "testnet.db", query)}
        for run in ("clean", "struck")
    )
    oldest = min(at for _, at in known)
    wrong = {
        kinds.get(symbol, symbol)
        for symbol, at in known
        if known[symbol, at] != found.get((symbol, at))
        and not (at == oldest and kinds.get(symbol) in A_BAR_SHORTER)
    }
    assert not wrong
    decided = [{row for row in run.ledger[0] if row[0] == "decision"} for run in (clean, struck)]
    assert decided[0] == decided[1]


@pytest.mark.parametrize("endpoint", ["kline", "risk-limit"])
def test_a_symbol_that_is_refused_for_good_is_put_aside_with_its_reason_and_the_others_go_on(
    tmp_path, endpoint
):
    refused = code(10001, "params error: symbol invalid")

    def answers(asked: str, query: dict[str, str], answer: Answer) -> Answer:
        return refused(answer) if asked == endpoint and query.get("symbol") == "BTCUSDT" else answer

    setting = Setting()
    trial = Trial(
        tmp_path, setting, bars=6, opening=answers, put_aside=("BTCUSDT",) if endpoint == "kline" else ()
    )
    verdict = asyncio.run(trial.run())
    assert not verdict.wrong
    told = [line for line in verdict.lines if "params error" in str(line)]
    assert {line["symbol"] for line in told} == {"BTCUSDT"}
    assert len({line["event"] for line in told}) == len(told)
