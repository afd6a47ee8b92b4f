"""What did not happen stands first: in the summary, in the report, in the status, and in an explanation."""

import asyncio
import json
from decimal import Decimal

import pytest

from bot.commands import explain, report, status
from bot.sessions.session import SessionCounter, with_decisions
from bot.store.account.steps import StepWriter, begin_session
from bot.store.database import Database
from bot.terminal.summary import print_summary
from bot.trading.checks import Check
from tests.commands.showing import show
from tests.factories import START_MS, a_bar, a_signal, a_step, an_equity
from tests.performance.test_funnel import IDENTITY, a_check_list, reported

LONGS = [a_signal("long", reason="trend: up", checks=a_check_list(2))] * 30
DRY = [a_bar(index, volume="0") for index in range(31)]
FALLING = [a_bar(0), a_bar(1), *(a_bar(index, close=80) for index in range(2, 30))]
NOTHING = [a_bar(index) for index in range(5)]
AGAINST = [a_signal("hold", reason="trend: down", checks=a_check_list(0))] * 5


def shown(what: str, path, capsys) -> list[str]:
    capsys.readouterr()
    if what == "summary":
        summary = SessionCounter((), 10_000.0).summary("demo", str(path), 1, "end of data", 0.0)
        print_summary(asyncio.run(with_decisions(summary)), as_json=False)
    elif what == "report":
        show(report, path)
    else:
        show(status, path)
    return capsys.readouterr().out.strip().splitlines()


@pytest.mark.parametrize("what", ["summary", "report", "status"])
@pytest.mark.parametrize(
    ("signals", "bars", "risk", "said"),
    [
        (
            LONGS,
            DRY,
            {},
            "NO TRADE: 30 signals and no fill; 30 no_volume, first decision 1: nothing was traded",
        ),
        (
            LONGS,
            FALLING,
            {"max_drawdown": 0.01, "position_fraction": 0.5},
            "HALTED at bar 3 of 30, closed at 2023-",
        ),
        (AGAINST, NOTHING, {}, "NO TRADE: no signal in 5 decisions; 5 trend, first decision 1: down"),
    ],
)
def test_why_nothing_was_traded_stands_before_every_figure(what, signals, bars, risk, said, tmp_path, capsys):
    reported(tmp_path / "a.db", {"BTCUSDT": signals}, bars, risk=risk)
    lines = shown(what, tmp_path / "a.db", capsys)
    (place,) = [number for number, line in enumerate(lines) if line.startswith(said)]
    assert place <= 2
    assert not any("equity" in line for line in lines[:place])


def test_every_reader_shows_the_same_funnel_in_text_and_in_json(tmp_path, capsys):
    path = tmp_path / "a.db"
    told, _ = reported(path, {"BTCUSDT": LONGS, "ETHUSDT": AGAINST}, [*DRY, *(a_bar(0, symbol="ETHUSDT"),)])
    tables = []
    for what in ("summary", "report", "status"):
        lines = shown(what, path, capsys)
        begin = lines.index("from decisions to round trips")
        end = next(i for i, line in enumerate(lines) if line.startswith("what was asked for"))
        tables.append(lines[begin : end + 1])
    assert tables[0] == tables[1] == tables[2]
    assert [line.split() for line in tables[0][1:3]] == [
        ["all", "BTCUSDT", "ETHUSDT"],
        ["decisions", "32", "31", "1"],
    ]
    for command in (status, report):
        show(command, path, json=True)
        found = json.loads(capsys.readouterr().out)["decisions"]["funnels"]
        assert {step["name"]: step["count"] for step in found["total"]["steps"]} == {
            step.name: step.count for step in told.funnels.total.steps
        }
        assert set(found["by_symbol"]) == {"BTCUSDT", "ETHUSDT"}


def explained(path, number, capsys) -> list[str]:
    capsys.readouterr()
    show(explain, path, id=number)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("answers", "volumes", "number", "came_of_it"),
    [
        (["long"], "11", 1, "filled"),
        (["long"], "10", 1, "ended unfilled: no_volume"),
        (["long"], "1", 1, "open: not_met: no quote or bar has come for it yet"),
        (["long", "long"], "111", 2, "already there: already_long: 20.000 is held"),
        (["short", "short"], "111", 2, "already there: already_short: 20.000 is held"),
        (["close"], "11", 1, "already there: already_flat: there is no position to close"),
        (["hold"], "11", 1, "it asked for nothing, and no order followed"),
    ],
)
def test_an_explanation_says_what_came_of_it(answers, volumes, number, came_of_it, tmp_path, capsys):
    signals = [
        a_signal("hold", close_position=True) if answer == "close" else a_signal(answer) for answer in answers
    ]
    if came_of_it.startswith("ended"):
        signals.append(a_signal("long"))
    bars = [a_bar(index, volume=100_000 * int(volume)) for index, volume in enumerate(volumes)]
    reported(tmp_path / "a.db", {"BTCUSDT": signals}, bars)
    (line,) = [line for line in explained(tmp_path / "a.db", number, capsys) if line.startswith("result: ")]
    assert line.removeprefix("result: ").startswith(came_of_it)


def test_an_explanation_shows_each_check_with_its_number_and_its_threshold(tmp_path, capsys):
    checks = (Check("trend", True), Check.at_most("size", 0.41234, 0.01), Check.above("costs", -0.2, 0.0015))
    reported(tmp_path / "a.db", {"BTCUSDT": [a_signal("hold", reason="size: no", checks=checks)]}, [a_bar(0)])
    lines = explained(tmp_path / "a.db", 1, capsys)
    begin = lines.index("checks of an entry: size decided")
    assert [line.split() for line in lines[begin + 2 : begin + 5]] == [
        ["trend", "with", "the", "trend", "-", "-", "passed"],
        ["size", "large", "enough", "0.4123", "<=", "0.01", "failed,", "decided"],
        ["costs", "-0.2", ">", "0.0015", "failed"],
    ]


def sessions(path, *configs):
    """A session with one closed bar for each configuration."""

    async def main():
        async with Database.open(path, IDENTITY) as database:
            for number, (symbol, strategy) in enumerate(configs):
                config = {
                    "run": {"symbols": [symbol], "interval": "15"},
                    "strategy": {"name": strategy},
                    "broker": {},
                }
                session = await begin_session(database, "demo", json.dumps(config), START_MS)
                bar = a_bar(number, symbol=symbol)
                step = a_step(number, bar=bar, equity=(an_equity("10000", time_ms=bar.close_ms),))
                await StepWriter(database, session).append(step)

    asyncio.run(main())


def test_a_report_says_when_it_is_only_of_the_last_session(tmp_path, capsys):
    sessions(tmp_path / "a.db", *[("BTCUSDT", "buy_and_hold")] * 3)
    assert (
        "session 3, the last of 3 (--all reports on all, --session N on one)"
        in shown("report", tmp_path / "a.db", capsys)[0]
    )
    show(report, tmp_path / "a.db", session=2)
    assert capsys.readouterr().out.splitlines()[0].endswith("session 2")


@pytest.mark.parametrize(
    ("second", "differs"),
    [
        (("BTCUSDT", "buy_and_hold"), False),
        (("ETHUSDT", "buy_and_hold"), True),
        (("BTCUSDT", "moving_average_cross"), True),
    ],
)
def test_a_report_on_all_names_what_each_session_ran_with_where_they_differ(
    second, differs, tmp_path, capsys
):
    sessions(tmp_path / "a.db", ("BTCUSDT", "buy_and_hold"), second)
    show(report, tmp_path / "a.db", all=True)
    told = capsys.readouterr().out
    assert ("sessions that ran with different settings" in told) == differs
    if differs:
        rows = [
            line.split() for line in told.splitlines() if line.strip()[:1] in "12" and "15" in line.split()
        ]
        assert [row[:4] for row in rows][:2] == [
            ["1", "BTCUSDT", "15", "buy_and_hold"],
            ["2", second[0], "15", second[1]],
        ]


@pytest.mark.parametrize("amount", ["0.004", "-0.004", "11242.4030205661", "-1234567.895", "0"])
def test_money_is_told_to_the_cent_and_never_as_minus_nothing(amount):
    from bot.terminal.money import money_text

    text = money_text(Decimal(amount))
    assert len(text.partition(".")[2]) == 2
    assert abs(Decimal(text.replace(",", "")) - Decimal(amount)) <= Decimal("0.005")
    assert not text.startswith("-0.00")
